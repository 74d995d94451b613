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
        let largest = largest(codes);
        // Padding is beyond its codebook too, so most catalogues need no look at single paths.
        if largest
            .iter()
            .zip(space.sizes())
            .any(|(code, &size)| u32::from(code.0) >= size)
        {
            let mut items = (0..codes.len() as u32).map(ItemId);
            items.try_for_each(|item| check_path(space, codes.row(item), item))?;
        }
        let sorted = Sorted::new(codes, order, &largest);
        let levels = grow(&sorted, &largest);
        check_shared(&sorted, &levels, per_path, name)?;
        let mut rank_to_item = vec![[0; 4]; codes.len()];
        let mut item_to_rank = vec![[0; 4]; codes.len()];
        for (rank, at_rank) in (0_u32..).zip(&mut rank_to_item) {
            let item = sorted.item(rank as usize);
            *at_rank = item.0.to_le_bytes();
            item_to_rank[item.index()] = rank.to_le_bytes();
        }
        Ok(Self {
            levels,
            rank_to_item,
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

/// The largest code of each level.
fn largest(codes: &CodeMatrix) -> Vec<Code> {
    let mut largest = vec![Code(0); codes.levels()];
    for path in codes.rows() {
        let both = largest.iter_mut().zip(path);
        both.for_each(|(largest, code)| *largest = (*largest).max(*code));
    }
    largest
}

/// Holds that a path is one code or more, each in its codebook, and then only padding.
pub(super) fn check_path(space: &CodeSpace, path: &[Code], item: ItemId) -> Result<()> {
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
    sorted: &Sorted<'_>,
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
    let mut items = crowd.clone().map(|rank| sorted.item(rank as usize));
    let path = sorted.codes.row(sorted.item(crowd.start as usize));
    Err(Error::SharedPath {
        path: path.iter().copied().collect(),
        items: crowd.len(),
        per_path,
        keys: items.by_ref().take(3).map(name).collect(),
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
    fn new(codes: &'a CodeMatrix, order: Option<&'a [ItemId]>, largest: &[Code]) -> Self {
        let widths: Vec<u32> = largest
            .iter()
            .map(|code| 16 - code.0.leading_zeros())
            .collect();
        let row = |place: usize| codes.row(at(order, place as u32));
        let codes_of = |place| row(place).iter().map(|code| code.0).zip(&widths);
        let places = 0..codes.len();
        let keys = match widths.iter().sum::<u32>() {
            0..=32 => {
                let pack = |key, (code, width): (u16, _)| key << width | u64::from(code);
                let key = |place| codes_of(place).fold(0, pack) << 32 | place as u64;
                let mut keys: Vec<_> = places.map(key).collect();
                keys.sort_unstable();
                Keys::Narrow(keys)
            }
            33..=96 => {
                let pack = |key, (code, width): (u16, _)| key << width | u128::from(code);
                let key = |place| codes_of(place).fold(0, pack) << 32 | place as u128;
                let mut keys: Vec<_> = places.map(key).collect();
                keys.sort_unstable();
                Keys::Wide(keys)
            }
            _ => {
                let mut keys: Vec<_> = (0..codes.len() as u32).collect();
                keys.par_sort_by_key(|&place| row(place as usize));
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

    /// Makes the path of the rank before this one, if there is one, the path of this rank.
    /// Returns how many codes at its start stay.
    fn advance(&self, rank: usize, path: &mut [Code]) -> usize {
        let (key, before) = match &self.keys {
            Keys::Narrow(keys) => (
                keys[rank].into(),
                rank.checked_sub(1).map(|r| keys[r].into()),
            ),
            Keys::Wide(keys) => (keys[rank], rank.checked_sub(1).map(|r| keys[r])),
            Keys::Places(_) => {
                let row = self.codes.row(self.item(rank));
                let same = path.iter().zip(row).take_while(|(a, b)| a == b).count();
                path.copy_from_slice(row);
                return if rank == 0 { 0 } else { same };
            }
        };
        let mut key: u128 = key >> 32;
        let mut change = before.map_or(u128::MAX, |before: u128| key ^ before >> 32);
        for level in (0..path.len()).rev() {
            if change == 0 {
                return level + 1;
            }
            path[level] = Code((key & ((1 << self.widths[level]) - 1)) as u16);
            key >>= self.widths[level];
            change >>= self.widths[level];
        }
        0
    }
}

/// The item at a place in an order, or else of that row.
fn at(order: Option<&[ItemId]>, place: u32) -> ItemId {
    order.map_or(ItemId(place), |order| order[place as usize])
}

/// The nodes of all levels, grown from paths in lexicographic order.
fn grow(sorted: &Sorted<'_>, largest: &[Code]) -> Vec<Nodes> {
    let items = sorted.codes.len();
    let levels = largest.len();
    let mut codes: Vec<NodeCodes> = Vec::with_capacity(levels);
    let mut first_child: Vec<Vec<[u8; 4]>> = Vec::with_capacity(levels);
    let mut most = 1_usize;
    for code in largest {
        most = most.saturating_mul(code.index() + 1).min(items);
        codes.push(NodeCodes::new(*code, most));
        first_child.push(Vec::with_capacity(most + 1));
    }
    let mut path = vec![Code(0); levels];
    for rank in 0..items {
        for level in sorted.advance(rank, &mut path)..levels {
            // Its first child, or rank, is what comes next there.
            let next = codes.get(level + 1).map_or(rank, NodeCodes::len) as u32;
            first_child[level].push(next.to_le_bytes());
            codes[level].push(path[level]);
        }
    }
    for (level, first_child) in first_child.iter_mut().enumerate() {
        let end = codes.get(level + 1).map_or(items, NodeCodes::len) as u32;
        first_child.push(end.to_le_bytes());
    }
    let shared = codes[levels - 1].len() < items;
    let nodes = codes.into_iter().zip(first_child).enumerate();
    let whole = |(level, (codes, first_child))| Nodes {
        codes,
        first_child: (level + 1 < levels || shared).then_some(first_child),
    };
    nodes.map(whole).collect()
}

impl NodeCodes {
    fn new(largest: Code, capacity: usize) -> Self {
        match largest.0 {
            0..256 => Self::U8(Vec::with_capacity(capacity)),
            _ => Self::U16(Vec::with_capacity(capacity)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::U16(codes) => codes.len(),
        }
    }

    /// Adds a code that is no larger than the largest.
    fn push(&mut self, code: Code) {
        match self {
            Self::U8(codes) => codes.push(code.0 as u8),
            Self::U16(codes) => codes.push(code.0.to_le_bytes()),
        }
    }
}
