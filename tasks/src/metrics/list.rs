use std::collections::HashSet;
use std::ops::Range;

/// What was recommended to one user, best first.
///
/// Each entry is a run of rows of items. A shared ID stands for all its items, which take as many
/// places, in an order that is as good as any other. An entry without a row, as an ID that no item
/// has, is a miss that takes one place; so is an entry that repeats another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    entries: Vec<Range<u32>>,
    misses: usize,
    repeats: usize,
}

impl List {
    /// A list of entries. Two of them are either equal or have no row in common.
    pub fn new(entries: impl IntoIterator<Item = Range<u32>>) -> Self {
        let mut list = Self::default();
        let mut seen = HashSet::new();
        for entry in entries {
            let is_miss = entry.is_empty();
            let is_repeat = !is_miss && !seen.insert(entry.start);
            list.misses += usize::from(is_miss);
            list.repeats += usize::from(is_repeat);
            list.entries.push(if is_repeat { 0..0 } else { entry });
        }
        list
    }

    /// A list of items by their rows.
    pub fn of_items(rows: &[u32]) -> Self {
        Self::new(rows.iter().map(|&row| row..row + 1))
    }

    /// The entries, of which those without a row are misses and repeats.
    pub fn entries(&self) -> &[Range<u32>] {
        &self.entries
    }

    /// Number of entries, misses and repeats included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was recommended.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries that stand for no item.
    pub fn misses(&self) -> usize {
        self.misses
    }

    /// Entries that repeat an earlier one.
    pub fn repeats(&self) -> usize {
        self.repeats
    }

    /// The first place of each entry, from 0, the places it takes, and its rows.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, usize, Range<u32>)> {
        self.entries.iter().scan(0, |next, entry| {
            let (first, taken) = (*next, entry.len().max(1));
            *next += taken;
            Some((first, taken, entry.clone()))
        })
    }
}
