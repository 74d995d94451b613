use rayon::prelude::*;

use super::view::{Codes, Level, U32s};
use crate::{Code, CodeMatrix, CodeSpace, Error, ItemId, Result};

/// The trie over the semantic IDs of a catalogue, in memory: what an index file holds, less
/// the item keys. Views of it are the same as those of [`ItemIndex`](crate::ItemIndex).
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace, Tree};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let tree = Tree::new(&space, &codes, 1)?;
/// assert_eq!(tree.rank_to_item().iter().collect::<Vec<_>>(), [1, 2, 0]);
/// assert_eq!(tree.level(0).expect("two levels").codes.len(), 2);
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    pub(super) levels: Vec<Nodes>,
    pub(super) rank_to_item: Vec<[u8; 4]>,
    pub(super) item_to_rank: Vec<[u8; 4]>,
}

/// The nodes of one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nodes {
    pub(super) codes: NodeCodes,
    /// `None` at the last level if every leaf holds one item.
    pub(super) first_child: Option<Vec<[u8; 4]>>,
}

/// One byte a code where all codes are below 256, else two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeCodes {
    U8(Vec<u8>),
    U16(Vec<[u8; 2]>),
}

impl Tree {
    /// The trie of the paths `codes` `[N, L]` of items 0 to `N - 1`, at most `per_path` of which
    /// may share a path; those are in order of item. Paths shorter than `L` are padded with
    /// [`CodeSpace::end`].
    ///
    /// Sorts the items, `O(N L log N)`, and needs about 20 bytes an item besides the result.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the space has another number of levels or there are more than
    /// 2^32 - 1 items, [`Error::CodeOutOfRange`] or [`Error::Padding`] for a path that is none,
    /// and [`Error::SharedPath`] if more than `per_path` items have one.
    pub fn new(space: &CodeSpace, codes: &CodeMatrix, per_path: usize) -> Result<Self> {
        if u32::try_from(codes.len()).is_err() {
            return Err(Error::Shape {
                what: "number of items",
                got: codes.len(),
                expected: u32::MAX as usize,
            });
        }
        Self::in_order(space, codes, None, per_path, |item| item.to_string())
    }

    /// [`Tree::new`] with items that share a path in the given order of all items, or else by row.
    /// `name` tells what to call an item in an error.
    pub(super) fn in_order(
        space: &CodeSpace,
        codes: &CodeMatrix,
        order: Option<&[ItemId]>,
        per_path: usize,
        name: impl Fn(ItemId) -> String,
    ) -> Result<Self> {
        if codes.levels() != space.levels() {
            return Err(Error::Shape {
                what: "levels of the codes",
                got: codes.levels(),
                expected: space.levels(),
            });
        }
        for item in 0..codes.len() as u32 {
            check_path(space, codes, ItemId(item))?;
        }
        let sorted = Sorted::new(codes, order);
        let ranked: Vec<ItemId> = (0..codes.len()).map(|rank| sorted.item(rank)).collect();
        let levels = grow(&sorted, codes.levels());
        check_shared(codes, &ranked, &levels, per_path, name)?;
        let mut item_to_rank = vec![[0; 4]; ranked.len()];
        for (rank, item) in (0_u32..).zip(&ranked) {
            item_to_rank[item.index()] = rank.to_le_bytes();
        }
        Ok(Self {
            levels,
            rank_to_item: ranked.iter().map(|item| item.0.to_le_bytes()).collect(),
            item_to_rank,
        })
    }

    /// Number of items `N`.
    pub fn items(&self) -> usize {
        self.rank_to_item.len()
    }

    /// The nodes of a level, for a walk down the trie.
    pub fn level(&self, level: usize) -> Option<Level<'_>> {
        let nodes = self.levels.get(level)?;
        let codes = match &nodes.codes {
            NodeCodes::U8(codes) => Codes::U8(codes),
            NodeCodes::U16(codes) => Codes::U16(codes),
        };
        let offsets = nodes.first_child.as_ref();
        let first_child = offsets.map(|offsets| U32s::new(offsets.as_flattened()));
        Some(Level { codes, first_child })
    }

    /// The item of each rank, `[N]`.
    pub fn rank_to_item(&self) -> U32s<'_> {
        U32s::new(self.rank_to_item.as_flattened())
    }

    /// The rank of each item, `[N]`.
    pub fn item_to_rank(&self) -> U32s<'_> {
        U32s::new(self.item_to_rank.as_flattened())
    }
}

/// Holds that a path is one code or more, each in its codebook, and then only padding.
fn check_path(space: &CodeSpace, codes: &CodeMatrix, item: ItemId) -> Result<()> {
    let path = codes.row(item);
    let length = space.unpadded(path).len();
    if length == 0 {
        return Err(Error::Padding { item: item.index() });
    }
    for (level, &code) in path[..length].iter().enumerate() {
        if Some(code) == space.end(level) {
            return Err(Error::Padding { item: item.index() });
        }
        if code.index() >= space.size(level) {
            return Err(Error::CodeOutOfRange {
                item: item.index(),
                level,
                code: code.0.into(),
                size: space.sizes()[level],
            });
        }
    }
    Ok(())
}

/// Holds that no leaf has more than `per_path` ranks.
fn check_shared(
    codes: &CodeMatrix,
    ranked: &[ItemId],
    levels: &[Nodes],
    per_path: usize,
    name: impl Fn(ItemId) -> String,
) -> Result<()> {
    let leaves = levels.last().and_then(|nodes| nodes.first_child.as_ref());
    let leaves = leaves.map_or(U32s::new(&[]), |offsets| U32s::new(offsets.as_flattened()));
    let ranks = |leaf| leaves.interval(leaf).unwrap_or(0..0);
    let Some(crowd) = (0..leaves.len())
        .map(ranks)
        .find(|ranks| ranks.len() > per_path)
    else {
        return Ok(());
    };
    let items = &ranked[crowd.start as usize..crowd.end as usize];
    Err(Error::SharedPath {
        path: codes.row(items[0]).iter().copied().collect(),
        items: items.len(),
        per_path,
        keys: items.iter().take(3).map(|item| name(*item)).collect(),
    })
}

/// All items by path, and in the given order where paths are equal.
///
/// A path and a place in the order are packed into one number, which sorts several times
/// faster than rows do and needs no look at the row afterwards.
struct Sorted<'a> {
    codes: &'a CodeMatrix,
    order: Option<&'a [ItemId]>,
    /// Bits that the codes of each level take.
    widths: Vec<u32>,
    keys: Keys,
}

enum Keys {
    /// Most catalogues: up to four levels of 256 codes.
    Narrow(Vec<u64>),
    Wide(Vec<u128>),
    /// Places in the order, for paths of more than 96 bits.
    Places(Vec<u32>),
}

impl<'a> Sorted<'a> {
    fn new(codes: &'a CodeMatrix, order: Option<&'a [ItemId]>) -> Self {
        let mut widths = vec![0; codes.levels()];
        for path in codes.rows() {
            let both = widths.iter_mut().zip(path);
            both.for_each(|(width, code)| *width = (16 - code.0.leading_zeros()).max(*width));
        }
        let item = |place: usize| at(order, place as u32);
        let key = |place: usize| {
            let path = codes.row(item(place)).iter().zip(&widths);
            let path = path.fold(0, |key, (code, width)| key << width | u128::from(code.0));
            path << 32 | place as u128
        };
        let row = |place: &u32| codes.row(item(*place as usize));
        let places = 0..codes.len();
        let keys = match widths.iter().sum::<u32>() {
            0..=32 => {
                let mut keys: Vec<_> = places.map(|place| key(place) as u64).collect();
                keys.sort_unstable();
                Keys::Narrow(keys)
            }
            33..=96 => {
                let mut keys: Vec<_> = places.map(key).collect();
                keys.sort_unstable();
                Keys::Wide(keys)
            }
            _ => {
                let mut keys: Vec<_> = (0..codes.len() as u32).collect();
                keys.par_sort_by(|a, b| row(a).cmp(row(b)));
                Keys::Places(keys)
            }
        };
        Self {
            codes,
            order,
            widths,
            keys,
        }
    }

    fn item(&self, rank: usize) -> ItemId {
        let place = match &self.keys {
            Keys::Narrow(keys) => keys[rank] as u32,
            Keys::Wide(keys) => keys[rank] as u32,
            Keys::Places(keys) => keys[rank],
        };
        at(self.order, place)
    }

    /// Writes the path of a rank.
    fn path(&self, rank: usize, path: &mut [Code]) {
        let mut key = match &self.keys {
            Keys::Narrow(keys) => u128::from(keys[rank]),
            Keys::Wide(keys) => keys[rank],
            Keys::Places(_) => return path.copy_from_slice(self.codes.row(self.item(rank))),
        } >> 32;
        for (code, &width) in path.iter_mut().zip(&self.widths).rev() {
            *code = Code((key & ((1 << width) - 1)) as u16);
            key >>= width;
        }
    }
}

/// The item at a place in an order, or else of that row.
fn at(order: Option<&[ItemId]>, place: u32) -> ItemId {
    order.map_or(ItemId(place), |order| order[place as usize])
}

/// The nodes of all levels, grown from paths in lexicographic order.
fn grow(sorted: &Sorted<'_>, levels: usize) -> Vec<Nodes> {
    let items = sorted.codes.len();
    let mut nodes: Vec<Vec<Code>> = vec![Vec::new(); levels];
    let mut first_child: Vec<Vec<[u8; 4]>> = vec![Vec::new(); levels];
    let mut path = vec![Code(0); levels];
    let mut last: Vec<Code> = Vec::new();
    for rank in 0..items {
        sorted.path(rank, &mut path);
        let known = last.iter().zip(&path).take_while(|(a, b)| a == b).count();
        for level in known..levels {
            // Its first child, or rank, is what comes next there.
            let next = nodes.get(level + 1).map_or(rank, Vec::len) as u32;
            first_child[level].push(next.to_le_bytes());
            nodes[level].push(path[level]);
        }
        last.clone_from(&path);
    }
    for (level, first_child) in first_child.iter_mut().enumerate() {
        let end = nodes.get(level + 1).map_or(items, Vec::len) as u32;
        first_child.push(end.to_le_bytes());
    }
    let shared = nodes[levels - 1].len() < items;
    let nodes = nodes.into_iter().zip(first_child).enumerate();
    let whole = |(level, (codes, first_child)): (usize, (Vec<Code>, _))| Nodes {
        codes: NodeCodes::new(codes),
        first_child: (level + 1 < levels || shared).then_some(first_child),
    };
    nodes.map(whole).collect()
}

impl NodeCodes {
    fn new(codes: Vec<Code>) -> Self {
        if codes.iter().all(|code| code.0 < 256) {
            Self::U8(codes.iter().map(|code| code.0 as u8).collect())
        } else {
            Self::U16(codes.iter().map(|code| code.0.to_le_bytes()).collect())
        }
    }
}
