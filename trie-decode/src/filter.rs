use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use semantic_id::ItemId;

use crate::bitmap::{Bitmap, full, trim};
use crate::{Error, ItemTrie, Result, TrieCursor};

/// Which items one request may be given.
///
/// A set of ranks of one trie. The items below a node are an interval of ranks, so that a node
/// is worth following if and only if [`Filter::any`] holds for its interval: `O(1)` at any
/// depth, and no search walks into a dead end. Items that the trie has lost are never allowed.
///
/// Held as a bitmap with counts, 1.5 bits an item, less a short sorted list of ranks: to deny
/// a few items costs no bitmap. Immutable but for [`Filter::take`]; a clone shares the bitmap.
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
/// use trie_decode::{Filter, ItemTrie};
///
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let trie = ItemTrie::of_codes(CodeSpace::uniform(2, 4)?, &codes, 1)?;
///
/// let seen = Filter::deny_items(&trie, [ItemId(0)])?;
/// let lamps = Filter::allow_items(&trie, [ItemId(0), ItemId(2)])?;
/// let wanted = lamps.and(&seen)?;
/// assert_eq!(wanted.len(), 1);
///
/// let three = trie.find(&[Code(3)])?.expect("two items start with 3");
/// assert!(wanted.any(trie.ranks(three)?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Filter {
    stamp: u32,
    items: usize,
    /// The items that the trie still has; `None` is all.
    kept: Option<Arc<Bitmap>>,
    /// What is allowed unless denied; `None` is all.
    base: Option<Arc<Bitmap>>,
    /// Ranks of `base`, ascending, at most [`few`] of them.
    denied: Arc<Vec<u32>>,
}

/// Denied ranks that are better searched than made a bitmap of: a search takes `log d` steps at
/// every node a request meets, a bitmap `N / 64` steps once.
fn few(items: usize) -> usize {
    (items >> 14).clamp(16, 4096)
}

impl Filter {
    /// Every item that the trie still has.
    pub fn all<D: AsRef<[u8]>>(trie: &ItemTrie<D>) -> Self {
        let kept = trie.kept().cloned();
        Self {
            stamp: trie.stamp(),
            items: trie.items(),
            base: kept.clone(),
            kept,
            denied: Arc::default(),
        }
    }

    /// These items only. Takes `O(N / 64)` and a look-up an item.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] if there is no such item.
    pub fn allow_items<D: AsRef<[u8]>>(
        trie: &ItemTrie<D>,
        items: impl IntoIterator<Item = ItemId>,
    ) -> Result<Self> {
        Self::all(trie).only(items.into_iter().map(|item| trie.rank(item)))
    }

    /// All items but these: a short sorted list if they are few, 16 to 4096 by the number of
    /// items, else a bitmap in `O(N / 64)`.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] if there is no such item.
    pub fn deny_items<D: AsRef<[u8]>>(
        trie: &ItemTrie<D>,
        items: impl IntoIterator<Item = ItemId>,
    ) -> Result<Self> {
        Self::all(trie).but(items.into_iter().map(|item| trie.rank(item)))
    }

    /// [`Filter::allow_items`] by key, in `O(log N)` a key.
    ///
    /// # Errors
    ///
    /// [`Error::NoKeys`] if the trie was made of codes alone, [`Error::UnknownKey`] if the
    /// index has no such key.
    pub fn allow_keys<D: AsRef<[u8]>>(
        trie: &ItemTrie<D>,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self> {
        Self::all(trie).only(keys.into_iter().map(|key| trie.rank_of_key(key.as_ref())))
    }

    /// [`Filter::deny_items`] by key, in `O(log N)` a key.
    ///
    /// # Errors
    ///
    /// Those of [`Filter::allow_keys`].
    pub fn deny_keys<D: AsRef<[u8]>>(
        trie: &ItemTrie<D>,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self> {
        Self::all(trie).but(keys.into_iter().map(|key| trie.rank_of_key(key.as_ref())))
    }

    /// [`Filter::allow_items`] by rank.
    ///
    /// # Errors
    ///
    /// [`Error::NoRank`] if there is no such rank.
    pub fn allow_ranks<D: AsRef<[u8]>>(
        trie: &ItemTrie<D>,
        ranks: impl IntoIterator<Item = u32>,
    ) -> Result<Self> {
        Self::all(trie).only(ranks.into_iter().map(|rank| known(trie, rank)))
    }

    /// [`Filter::deny_items`] by rank.
    ///
    /// # Errors
    ///
    /// [`Error::NoRank`] if there is no such rank.
    pub fn deny_ranks<D: AsRef<[u8]>>(
        trie: &ItemTrie<D>,
        ranks: impl IntoIterator<Item = u32>,
    ) -> Result<Self> {
        Self::all(trie).but(ranks.into_iter().map(|rank| known(trie, rank)))
    }

    /// What both allow. `O(N / 64)`, like [`Filter::or`] and [`Filter::not`].
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if the filters are of two tries.
    pub fn and(&self, other: &Self) -> Result<Self> {
        self.merged(other, |a, b| a & b)
    }

    /// What one or both allow.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if the filters are of two tries.
    pub fn or(&self, other: &Self) -> Result<Self> {
        self.merged(other, |a, b| a | b)
    }

    /// The items of the trie that are not allowed.
    pub fn not(&self) -> Self {
        let words = self.words().into_iter().map(|word| !word);
        self.of_words(words.collect())
    }

    /// Denies one more item, as a slate does with those it has given; tells whether the rank
    /// was allowed. Takes `O(log d)` and a short move for `d` denied ranks.
    pub fn take(&mut self, rank: u32) -> bool {
        if !self.contains(rank) {
            return false;
        }
        if self.denied.len() == few(self.items) {
            *self = self.of_words(self.words());
        }
        let at = self.denied.partition_point(|&denied| denied < rank);
        Arc::make_mut(&mut self.denied).insert(at, rank);
        true
    }

    /// Whether a rank is allowed. `O(1)` for a bitmap, `O(log d)` for `d` denied ranks; so are
    /// [`Filter::any`] and [`Filter::count`].
    pub fn contains(&self, rank: u32) -> bool {
        let based = match &self.base {
            Some(base) => base.contains(rank),
            None => (rank as usize) < self.items,
        };
        based && self.denied.binary_search(&rank).is_err()
    }

    /// Whether a rank of an interval is allowed.
    pub fn any(&self, ranks: Range<u32>) -> bool {
        match &self.base {
            Some(base) if self.denied.is_empty() => base.any(ranks),
            _ => {
                let based = self.based(&ranks);
                // More than all denied ranks: no need to look for them.
                based > self.denied.len() || based > self.denied_in(&ranks)
            }
        }
    }

    /// How many ranks of an interval are allowed.
    pub fn count(&self, ranks: Range<u32>) -> usize {
        self.based(&ranks) - self.denied_in(&ranks)
    }

    /// Number of allowed items.
    pub fn len(&self) -> usize {
        let based = self.base.as_ref().map_or(self.items, |base| base.len());
        based - self.denied.len()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Holds that the filter is of the trie with a stamp.
    pub(crate) fn check(&self, stamp: u32) -> Result<()> {
        if self.stamp == stamp {
            return Ok(());
        }
        Err(Error::Foreign {
            what: "filter",
            got: self.stamp,
            expected: stamp,
        })
    }

    /// Whether every item of the trie is allowed.
    pub(crate) fn is_whole(&self) -> bool {
        self.base.is_none() && self.denied.is_empty()
    }

    /// Whether an item below a node of the filter's trie is allowed.
    pub(crate) fn reaches<D: AsRef<[u8]>>(
        &self,
        trie: &ItemTrie<D>,
        cursor: TrieCursor,
    ) -> Result<bool> {
        Ok(self.is_whole() || self.any(trie.ranks(cursor)?))
    }

    /// Of these ranks, the ones that the trie still has.
    fn only(self, ranks: impl Iterator<Item = Result<u32>>) -> Result<Self> {
        let mut words = vec![0; self.items.div_ceil(64)];
        for rank in ranks {
            let rank = rank?;
            words[rank as usize / 64] |= 1 << (rank % 64);
        }
        Ok(self.of_words(words))
    }

    /// All that the trie still has but for these ranks.
    fn but(mut self, ranks: impl Iterator<Item = Result<u32>>) -> Result<Self> {
        let mut denied: Vec<u32> = ranks.collect::<Result<_>>()?;
        denied.retain(|&rank| self.contains(rank));
        denied.sort_unstable();
        denied.dedup();
        let long = denied.len() > few(self.items);
        self.denied = Arc::new(denied);
        Ok(if long {
            self.of_words(self.words())
        } else {
            self
        })
    }

    fn merged(&self, other: &Self, merge: impl Fn(u64, u64) -> u64) -> Result<Self> {
        other.check(self.stamp)?;
        let words = self.words().into_iter().zip(other.words());
        Ok(self.of_words(words.map(|(a, b)| merge(a, b)).collect()))
    }

    /// A filter of the same trie that allows of `words` what the trie still has.
    fn of_words(&self, mut words: Vec<u64>) -> Self {
        match &self.kept {
            Some(kept) => {
                let both = words.iter_mut().zip(kept.words());
                both.for_each(|(word, kept)| *word &= kept);
            }
            None => trim(&mut words, self.items),
        }
        Self {
            stamp: self.stamp,
            items: self.items,
            kept: self.kept.clone(),
            base: Some(Arc::new(Bitmap::new(words))),
            denied: Arc::default(),
        }
    }

    /// All allowed ranks as a bitmap.
    fn words(&self) -> Vec<u64> {
        let mut words = match &self.base {
            Some(base) => base.words().to_vec(),
            None => full(self.items),
        };
        for &rank in self.denied.iter() {
            words[rank as usize / 64] &= !(1 << (rank % 64));
        }
        words
    }

    /// How many ranks of an interval the base has.
    fn based(&self, ranks: &Range<u32>) -> usize {
        match &self.base {
            Some(base) => base.count(ranks.clone()),
            None => {
                let end = (ranks.end as usize).min(self.items);
                end.saturating_sub(ranks.start as usize)
            }
        }
    }

    fn denied_in(&self, ranks: &Range<u32>) -> usize {
        let from = self.denied.partition_point(|&rank| rank < ranks.start);
        // They are distinct, so no more of them than the interval is long.
        let most = ranks.len().min(self.denied.len() - from);
        self.denied[from..][..most].partition_point(|&rank| rank < ranks.end)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("allowed", &self.len())
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}

fn known<D: AsRef<[u8]>>(trie: &ItemTrie<D>, rank: u32) -> Result<u32> {
    let items = trie.items();
    if (rank as usize) < items {
        return Ok(rank);
    }
    Err(Error::NoRank { rank, items })
}
