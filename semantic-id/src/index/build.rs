use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::layout::{FORMAT, VERSION, first_child_name};
use super::tree::{NodeCodes, Nodes, Tree};
use super::{IndexInfo, ItemIndex, damaged};
use crate::{CodeMatrix, CodeSpace, Digest, Error, ItemId, ItemKeys, Result};

impl ItemIndex<Vec<u8>> {
    /// Builds the file of an index in which item `i` has the path `codes.row(i)` and the
    /// key `keys.get(i)`. At most `per_path` items may share a path: 1 for a proper
    /// index, more for a capacity index. Paths shorter than `L` are
    /// padded with [`CodeSpace::end`].
    ///
    /// The same arguments give the same bytes, on any number of threads. Sorts the
    /// items, `O(N L log N)`, and needs about 50 bytes an item besides the file.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the arguments disagree on items or levels,
    /// [`Error::CodeOutOfRange`] or [`Error::Padding`] for a path that is none, and
    /// [`Error::SharedPath`] if more than `per_path` items have one.
    pub fn build(
        space: &CodeSpace,
        codes: &CodeMatrix,
        keys: &ItemKeys,
        per_path: usize,
        info: IndexInfo,
    ) -> Result<Self> {
        Self::build_with(space, codes, keys, &[], per_path, info)
    }

    /// [`ItemIndex::build`] of an index from which `dead` items, in order of row, are removed.
    pub(super) fn build_with(
        space: &CodeSpace,
        codes: &CodeMatrix,
        keys: &ItemKeys,
        dead: &[ItemId],
        per_path: usize,
        info: IndexInfo,
    ) -> Result<Self> {
        check_shapes(space, codes, keys, &info)?;
        let name = |item| keys.get(item).to_owned();
        let tree = Tree::in_order(space, codes, Some(keys.order()), per_path, name)?;
        let mut tensors = node_tensors(&tree.levels);
        tensors.extend([
            Tensor::u32s("rank_to_item", &tree.rank_to_item),
            Tensor::u32s("item_to_rank", &tree.item_to_rank),
            Tensor::new(
                "item_key.order",
                Dtype::U32,
                keys.order()
                    .iter()
                    .flat_map(|item| item.0.to_le_bytes())
                    .collect(),
            ),
            Tensor::new("item_key.bytes", Dtype::U8, keys.text().as_bytes().to_vec()),
            Tensor::new(
                "item_key.offset",
                Dtype::U64,
                keys.offsets()
                    .iter()
                    .flat_map(|at| at.to_le_bytes())
                    .collect(),
            ),
        ]);
        if !dead.is_empty() {
            let mut alive = all_alive(keys.len());
            for item in dead {
                let rank = u32::from_le_bytes(tree.item_to_rank[item.index()]);
                alive[rank as usize / 8] &= !(1 << (rank % 8));
            }
            tensors.push(Tensor::new("alive", Dtype::U8, alive));
        }
        Self::open(write(space, &info, tensors))
    }
}

impl<D: AsRef<[u8]>> ItemIndex<D> {
    /// The next generation, from which `items` are removed as well: they keep their rows, ranks
    /// and keys, and lose their bit in [`ItemIndex::alive`]. Copies the file.
    ///
    /// # Errors
    ///
    /// [`Error::NoItem`] if there is no such item, [`Error::IndexFile`] if the file is damaged.
    pub fn remove(&self, items: &[ItemId]) -> Result<ItemIndex<Vec<u8>>> {
        let mut alive = self
            .alive()
            .map_or_else(|| all_alive(self.items()), <[u8]>::to_vec);
        for &item in items {
            let rank = self.rank(item)?;
            let byte = alive.get_mut(rank as usize / 8);
            *byte.ok_or_else(|| damaged("alive", format!("there is no rank {rank}")))? &=
                !(1 << (rank % 8));
        }
        let mut tensors = self.tensors();
        tensors.push(Tensor::new("alive", Dtype::U8, alive));
        let info = IndexInfo {
            generation: self.info().generation.saturating_add(1),
            parent: Some(self.digest()),
            ..self.info().clone()
        };
        ItemIndex::open(write(self.space(), &info, tensors))
    }

    /// A copy of all tensors but `alive`.
    fn tensors(&self) -> Vec<Tensor<Vec<u8>>> {
        let layout = &self.layout;
        let copy = |name: &str, dtype, span| Tensor::new(name, dtype, self.part(span).to_vec());
        let mut tensors = vec![
            copy("rank_to_item", Dtype::U32, &layout.rank_to_item),
            copy("item_to_rank", Dtype::U32, &layout.item_to_rank),
            copy("item_key.order", Dtype::U32, &layout.key_order),
            copy("item_key.bytes", Dtype::U8, &layout.key_text),
            copy("item_key.offset", Dtype::U64, &layout.key_offsets),
        ];
        for (l, level) in layout.levels.iter().enumerate() {
            let dtype = if level.wide { Dtype::U16 } else { Dtype::U8 };
            tensors.push(copy(&format!("level.{l}.code"), dtype, &level.codes));
            if let Some(span) = &level.first_child {
                let name = first_child_name(l, layout.levels.len());
                tensors.push(copy(&name, Dtype::U32, span));
            }
        }
        tensors
    }
}

fn check_shapes(
    space: &CodeSpace,
    codes: &CodeMatrix,
    keys: &ItemKeys,
    info: &IndexInfo,
) -> Result<()> {
    let levels = space.levels();
    for (what, got, expected) in [
        ("levels of the codes", codes.levels(), levels),
        (
            "levels of the token format",
            info.token_format.levels(),
            levels,
        ),
        ("rows of codes", codes.len(), keys.len()),
    ] {
        if got != expected {
            return Err(Error::Shape {
                what,
                got,
                expected,
            });
        }
    }
    Ok(())
}

/// The tensors of all levels.
fn node_tensors(levels: &[Nodes]) -> Vec<Tensor<Vec<u8>>> {
    let mut tensors = Vec::new();
    for (level, nodes) in levels.iter().enumerate() {
        let name = format!("level.{level}.code");
        tensors.push(match &nodes.codes {
            NodeCodes::U8(codes) => Tensor::new(&name, Dtype::U8, codes.clone()),
            NodeCodes::U16(codes) => Tensor::new(&name, Dtype::U16, codes.as_flattened().to_vec()),
        });
        if let Some(offsets) = &nodes.first_child {
            tensors.push(Tensor::u32s(
                &first_child_name(level, levels.len()),
                offsets,
            ));
        }
    }
    tensors
}

/// One bit an item, and zeros up to the end of the last byte.
fn all_alive(items: usize) -> Vec<u8> {
    let mut alive = vec![u8::MAX; items.div_ceil(8)];
    if let Some(last) = alive.last_mut() {
        *last >>= (8 - items % 8) % 8;
    }
    alive
}

/// A one-dimensional tensor of the file, wherever its values are.
pub(super) struct Tensor<V> {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) values: V,
}

/// The values of a tensor, little-endian.
pub(super) trait Values {
    fn bytes(&self) -> usize;
}

impl Values for Vec<u8> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl<V> Tensor<V> {
    pub(super) fn new(name: &str, dtype: Dtype, values: V) -> Self {
        Self {
            name: name.to_owned(),
            dtype,
            values,
        }
    }

    fn width(&self) -> usize {
        self.dtype.bitsize() / 8
    }
}

impl Tensor<Vec<u8>> {
    fn u32s(name: &str, values: &[[u8; 4]]) -> Self {
        Self::new(name, Dtype::U32, values.as_flattened().to_vec())
    }
}

/// Puts the file together.
fn write(space: &CodeSpace, info: &IndexInfo, mut tensors: Vec<Tensor<Vec<u8>>>) -> Vec<u8> {
    let mut file = header(space, info, &mut tensors);
    file.reserve_exact(tensors.iter().map(|tensor| tensor.values.len()).sum());
    for tensor in tensors {
        file.extend(tensor.values);
    }
    let digest = Digest::of(&file);
    seal(&mut file, digest);
    file
}

/// What stands before the tensors, which it puts in order. The safetensors crate would do, were
/// its order of the metadata not another one in every run.
pub(super) fn header<V: Values>(
    space: &CodeSpace,
    info: &IndexInfo,
    tensors: &mut [Tensor<V>],
) -> Vec<u8> {
    // Widest first: every tensor is aligned. Then by name, as safetensors has it.
    tensors.sort_by(|a, b| b.width().cmp(&a.width()).then_with(|| a.name.cmp(&b.name)));
    let mut header = Map::new();
    header.insert("__metadata__".into(), metadata(space, info));
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += tensor.values.bytes();
        header.insert(
            tensor.name.clone(),
            json!({
                "dtype": tensor.dtype.to_string(),
                "shape": [tensor.values.bytes() / tensor.width()],
                "data_offsets": [start, end],
            }),
        );
    }
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(
        ' ',
        header.len().next_multiple_of(8) - header.len(),
    ));
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes()].concat()
}

/// The strings that readers look for before the tensors.
fn metadata(space: &CodeSpace, info: &IndexInfo) -> Value {
    let text = |value: Value| Value::String(value.to_string());
    let mut strings = Map::from_iter([
        ("format".to_owned(), FORMAT.into()),
        ("version".to_owned(), VERSION.into()),
        ("blake3".to_owned(), UNSEALED.into()),
        ("levels".to_owned(), text(json!(space))),
        ("token_format".to_owned(), text(json!(info.token_format))),
        ("generation".to_owned(), text(json!(info.generation))),
        ("manifest".to_owned(), text(json!(info.manifest))),
    ]);
    if let Some(parent) = info.parent {
        strings.insert("parent".to_owned(), parent.to_string().into());
    }
    Value::Object(strings)
}

/// What stands for the hash while the file is hashed.
pub(super) const UNSEALED: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// Writes the hash of an unsealed file into its place in the header.
pub(super) fn seal(header: &mut [u8], digest: Digest) {
    let at = header
        .windows(UNSEALED.len())
        .position(|window| window == UNSEALED.as_bytes())
        .expect("the header was written with an empty seal");
    header[at..at + UNSEALED.len()].copy_from_slice(digest.to_string().as_bytes());
}
