use std::collections::HashMap;
use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use serde::de::DeserializeOwned;

use super::view::{Keys, U32s};
use super::{IndexInfo, damaged};
use crate::{CodeSpace, Digest, Result};

/// `__metadata__.format` of every index file.
pub(super) const FORMAT: &str = "semid.index";
/// The version of the format that this code writes and reads.
pub(super) const VERSION: &str = "1";

/// Where the parts of a file are, and what its header says.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) info: IndexInfo,
    pub(super) space: CodeSpace,
    pub(super) digest: Digest,
    pub(super) items: usize,
    pub(super) levels: Vec<LevelParts>,
    pub(super) rank_to_item: Range<usize>,
    pub(super) item_to_rank: Range<usize>,
    pub(super) key_offsets: Range<usize>,
    pub(super) key_text: Range<usize>,
    pub(super) key_order: Range<usize>,
    pub(super) alive: Option<Range<usize>>,
}

/// Where the nodes of one level are.
#[derive(Debug, Clone)]
pub(super) struct LevelParts {
    pub(super) codes: Range<usize>,
    /// Whether a code takes two bytes.
    pub(super) wide: bool,
    pub(super) nodes: usize,
    /// Offsets into the next level or, at the last, `rank_offset`.
    pub(super) first_child: Option<Range<usize>>,
}

impl Layout {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let (header, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|e| damaged("header", e.to_string()))?;
        let empty = HashMap::new();
        let strings = Strings(metadata.metadata().as_ref().unwrap_or(&empty));
        strings.expect("format", FORMAT)?;
        strings.expect("version", VERSION)?;
        let space: CodeSpace = strings.json("levels")?;
        let info = IndexInfo {
            token_format: strings.json("token_format")?,
            generation: strings.json("generation")?,
            parent: strings
                .0
                .get("parent")
                .map(|digits| digits.parse())
                .transpose()?,
            manifest: strings.json("manifest")?,
        };
        equal(
            "token_format",
            "levels",
            info.token_format.levels(),
            space.levels(),
        )?;

        let tensors = Tensors {
            metadata: &metadata,
            start: size_of::<u64>() + header,
        };
        let (rank_to_item, items) = tensors.vector("rank_to_item", Dtype::U32)?;
        if items == 0 || u32::try_from(items).is_err() {
            let problem = format!("got {items} items, expected 1 to {}", u32::MAX);
            return Err(damaged("rank_to_item", problem));
        }
        let levels = (0..space.levels())
            .map(|level| tensors.level(level, space.levels()))
            .collect::<Result<_>>()?;
        let alive = tensors.optional("alive", Dtype::U8, items.div_ceil(8))?;
        let (key_text, _) = tensors.vector("item_key.bytes", Dtype::U8)?;
        let layout = Self {
            info,
            digest: strings.get("blake3")?.parse()?,
            items,
            levels,
            rank_to_item,
            item_to_rank: tensors.sized("item_to_rank", Dtype::U32, items)?,
            key_offsets: tensors.sized("item_key.offset", Dtype::U64, items + 1)?,
            key_text,
            key_order: tensors.sized("item_key.order", Dtype::U32, items)?,
            alive,
            space,
        };
        layout.check_ends(bytes)?;
        Ok(layout)
    }

    /// Checks that every offsets tensor starts at 0 and ends at the end of what it divides.
    fn check_ends(&self, bytes: &[u8]) -> Result<()> {
        for (l, level) in self.levels.iter().enumerate() {
            if level.nodes == 0 || level.nodes > self.items {
                let problem = format!("got {} nodes, expected 1 to {}", level.nodes, self.items);
                return Err(damaged(&format!("level.{l}.code"), problem));
            }
            let children = self.levels.get(l + 1).map_or(self.items, |next| next.nodes);
            let Some(span) = &level.first_child else {
                equal(&format!("level.{l}.code"), "nodes", level.nodes, children)?;
                continue;
            };
            let offsets = U32s::new(&bytes[span.clone()]);
            let name = first_child_name(l, self.levels.len());
            equal(
                &name,
                "as its first entry",
                offsets.get(0).unwrap_or(u32::MAX) as usize,
                0,
            )?;
            let end = offsets.get(level.nodes).unwrap_or(u32::MAX) as usize;
            equal(&name, "as its last entry", end, children)?;
        }
        let keys = Keys {
            offsets: bytes[self.key_offsets.clone()].as_chunks().0,
            text: &bytes[self.key_text.clone()],
        };
        let end = |row| keys.offset(row).unwrap_or(usize::MAX);
        equal("item_key.offset", "as its first entry", end(0), 0)?;
        equal(
            "item_key.offset",
            "as its last entry",
            end(self.items),
            keys.text.len(),
        )
    }
}

/// The name of a level's offsets tensor.
pub(super) fn first_child_name(level: usize, levels: usize) -> String {
    if level + 1 == levels {
        "rank_offset".to_owned()
    } else {
        format!("level.{level}.first_child")
    }
}

fn equal(part: &str, what: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(damaged(
        part,
        format!("got {got} {what}, expected {expected}"),
    ))
}

/// The strings under `__metadata__`.
struct Strings<'a>(&'a HashMap<String, String>);

impl<'a> Strings<'a> {
    fn get(&self, name: &str) -> Result<&'a str> {
        let value = self.0.get(name).map(String::as_str);
        value.ok_or_else(|| damaged("__metadata__", format!("there is no {name:?}")))
    }

    fn expect(&self, name: &str, expected: &str) -> Result<()> {
        let got = self.get(name)?;
        if got == expected {
            return Ok(());
        }
        let problem = format!("got {name} {got:?}, expected {expected:?}");
        Err(damaged("__metadata__", problem))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_str(self.get(name)?)
            .map_err(|error| damaged("__metadata__", format!("{name}: {error}")))
    }
}

/// The tensors of a header that the safetensors crate found to be sound: they
/// tile the data, each as long as its shape says.
struct Tensors<'a> {
    metadata: &'a Metadata,
    /// Where the data begins in the file.
    start: usize,
}

impl Tensors<'_> {
    fn level(&self, level: usize, levels: usize) -> Result<LevelParts> {
        let name = format!("level.{level}.code");
        let wide = self.info(&name)?.dtype == Dtype::U16;
        let dtype = if wide { Dtype::U16 } else { Dtype::U8 };
        let (codes, nodes) = self.vector(&name, dtype)?;
        let offsets = first_child_name(level, levels);
        let first_child = if level + 1 < levels {
            Some(self.sized(&offsets, Dtype::U32, nodes + 1)?)
        } else {
            self.optional(&offsets, Dtype::U32, nodes + 1)?
        };
        Ok(LevelParts {
            codes,
            wide,
            nodes,
            first_child,
        })
    }

    /// A tensor of any length: where it is, and its length.
    fn vector(&self, name: &str, dtype: Dtype) -> Result<(Range<usize>, usize)> {
        let info = self.info(name)?;
        let &[length] = &*info.shape else {
            let problem = format!("got shape {:?}, expected one dimension", info.shape);
            return Err(damaged(name, problem));
        };
        if info.dtype != dtype {
            let problem = format!("got {:?}, expected {dtype:?}", info.dtype);
            return Err(damaged(name, problem));
        }
        let (start, end) = info.data_offsets;
        Ok((self.start + start..self.start + end, length))
    }

    fn sized(&self, name: &str, dtype: Dtype, expected: usize) -> Result<Range<usize>> {
        let (span, length) = self.vector(name, dtype)?;
        equal(name, "values", length, expected)?;
        Ok(span)
    }

    fn optional(&self, name: &str, dtype: Dtype, expected: usize) -> Result<Option<Range<usize>>> {
        self.metadata
            .info(name)
            .map(|_| self.sized(name, dtype, expected))
            .transpose()
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let info = self.metadata.info(name);
        info.ok_or_else(|| damaged(name, "there is no such tensor".into()))
    }
}
