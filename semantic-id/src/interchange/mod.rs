//! Other tools' files: semantic IDs in, semantic IDs out.
//!
//! | module | files | tools |
//! |---|---|---|
//! | [`index_json`] | `{"0": ["<a_12>", "<b_3>"]}` | LC-Rec, MiniOneRec, LETTER |
//! | [`csv`] | `key,c0,c1` | spreadsheets, pandas |
//! | `parquet` (feature `parquet`) | `pid`, `codes` | OpenOneRec |
//!
//! Each has a `read` from bytes to a [`Table`] and a `write` back. All take IDs of any
//! depth, and shorter ones among them. Reading needs memory in proportion to the file.
//!
//! ```
//! use semantic_id::{interchange::{Table, csv, index_json}, Manifest};
//!
//! let json = br#"{"B01": ["<a_12>", "<b_3>"], "B02": ["<a_12>", "<b_700>"]}"#;
//! let table = index_json::read(json, None)?;
//! assert_eq!(table.space().sizes(), [256, 1024]);
//! assert_eq!(csv::write(&table), b"key,c0,c1\nB01,12,3\nB02,12,700\n");
//!
//! let index = table.build(Manifest::new("import", ().into()))?;
//! assert_eq!(Table::of(&index)?, table);
//! # Ok::<(), semantic_id::Error>(())
//! ```

pub mod csv;
pub mod index_json;
#[cfg(feature = "parquet")]
pub mod parquet;

use crate::token::Spelling;
use crate::{Code, CodeMatrix, CodeSpace, Error, IndexInfo, ItemId, ItemIndex, ItemKeys};
use crate::{Manifest, Result, TokenFormat};

/// What all interchange formats hold: items with their keys and paths.
/// Several items may share a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    keys: ItemKeys,
    space: CodeSpace,
    codes: CodeMatrix,
    token_format: TokenFormat,
}

impl Table {
    /// The items of an index that were not removed, in order of item.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] if the file is damaged, [`Error::Empty`] if all were removed.
    pub fn of<D: AsRef<[u8]>>(index: &ItemIndex<D>) -> Result<Self> {
        let all = index.codes()?;
        let mut keys = Vec::with_capacity(index.items());
        let mut codes = Vec::with_capacity(index.items() * index.levels());
        for item in (0..index.items() as u32).map(ItemId) {
            if index.is_alive(item)? {
                keys.push(index.key(item)?);
                codes.extend(all.row(item));
            }
        }
        Ok(Self {
            keys: ItemKeys::new(keys)?,
            space: index.space().clone(),
            codes: CodeMatrix::new(codes, index.levels())?,
            token_format: index.token_format().clone(),
        })
    }

    /// An index of these items; where they share paths, a capacity index.
    ///
    /// # Errors
    ///
    /// Those of [`ItemIndex::build`].
    pub fn build(&self, manifest: Manifest) -> Result<ItemIndex<Vec<u8>>> {
        let info = IndexInfo::new(self.token_format.clone(), manifest);
        ItemIndex::build(&self.space, &self.codes, &self.keys, usize::MAX, info)
    }

    /// The keys, by row.
    pub fn keys(&self) -> &ItemKeys {
        &self.keys
    }

    /// The code space.
    pub fn space(&self) -> &CodeSpace {
        &self.space
    }

    /// The paths `[N, L]`, by row; shorter ones are padded with [`CodeSpace::end`].
    pub fn codes(&self) -> &CodeMatrix {
        &self.codes
    }

    /// How codes are spelled as tokens.
    pub fn token_format(&self) -> &TokenFormat {
        &self.token_format
    }

    /// Each key with its path, without padding.
    fn rows(&self) -> impl Iterator<Item = (&str, &[Code])> {
        let paths = self.codes.rows().map(|path| self.space.unpadded(path));
        self.keys.iter().zip(paths)
    }
}

/// Rows of a file, as they come.
#[derive(Default)]
struct Rows {
    keys: Vec<String>,
    codes: Vec<Code>,
    /// Codes of each row.
    lengths: Vec<usize>,
    spelling: Spelling,
}

impl Rows {
    /// Adds a code to the row that [`Rows::end`] will end, from a token spelled as the
    /// first one of its level.
    fn push_token(&mut self, level: usize, token: &str) -> Result<()> {
        self.codes.push(self.spelling.code(level, token)?);
        Ok(())
    }

    /// Ends a row of `length` codes. An error is a text, to which the caller adds the place.
    fn end(&mut self, key: String, length: usize) -> std::result::Result<(), String> {
        if length == 0 || length > CodeSpace::MAX_LEVELS {
            return Err(format!(
                "item {key:?} has {length} codes, expected 1 to {}",
                CodeSpace::MAX_LEVELS
            ));
        }
        self.keys.push(key);
        self.lengths.push(length);
        Ok(())
    }

    /// Pads all rows to one length. A level has `codes` codes; if not told, 256 or
    /// the next power of two above the largest code.
    fn finish(self, codes: Option<u32>, token_format: Option<TokenFormat>) -> Result<Table> {
        let levels = self.lengths.iter().copied().max().ok_or(Error::Empty)?;
        let token_format = match token_format {
            Some(token_format) => token_format,
            None => self.spelling.finish()?,
        };
        let mut largest = vec![0; levels];
        let mut rest = &*self.codes;
        for &length in &self.lengths {
            let (row, after) = rest.split_at(length);
            for (most, code) in largest.iter_mut().zip(row) {
                *most = code.0.max(*most);
            }
            rest = after;
        }
        let size = |&code: &u16| (u32::from(code) + 1).next_power_of_two().max(256);
        let space = match codes {
            Some(codes) => CodeSpace::uniform(levels, codes)?,
            None => CodeSpace::new(largest.iter().map(size).collect())?,
        };
        Ok(Table {
            codes: pad(&self.codes, &self.lengths, &space)?,
            keys: ItemKeys::new(self.keys)?,
            space,
            token_format,
        })
    }
}

/// Rows of equal length: shorter ones get the padding code of each level they lack.
fn pad(codes: &[Code], lengths: &[usize], space: &CodeSpace) -> Result<CodeMatrix> {
    let mut padded = Vec::with_capacity(lengths.len() * space.levels());
    let mut rest = codes;
    for (item, &length) in lengths.iter().enumerate() {
        let (row, after) = rest.split_at(length);
        for (level, (code, &size)) in row.iter().zip(space.sizes()).enumerate() {
            if code.index() >= size as usize {
                return Err(Error::CodeOutOfRange {
                    item,
                    level,
                    code: code.0.into(),
                    size,
                });
            }
        }
        padded.extend(space.padded(row)?);
        rest = after;
    }
    CodeMatrix::new(padded, space.levels())
}

fn import(place: impl Into<String>, problem: impl ToString) -> Error {
    Error::Import {
        place: place.into(),
        problem: problem.to_string(),
    }
}
