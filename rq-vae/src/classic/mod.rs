//! IDs by rule, without a quantizer: Hua, Xu, Ge and Zhang, *How to Index Item IDs for
//! Recommendation Foundation Models* (2023), arXiv 2305.06569.
//!
//! Controls for learnt IDs, and sound IDs in their own right where there are no embeddings. All
//! are unique and cover the whole catalogue.

mod categories;
mod paths;
mod spectral;
mod title;

use indexmap::IndexSet;
use semantic_id::{CodeMatrix, CodeSpace, ItemId};

use crate::random::shuffled;
use crate::{Cooccurrence, Result};

use paths::{Counter, counted, numbered, ragged};

pub use spectral::SpectralClustering;

/// A path for each item of a catalogue, all of them distinct. Paths that end early are padded
/// with [`CodeSpace::end`].
#[derive(Debug, Clone, PartialEq)]
pub struct ClassicIds {
    /// The space of the paths; each level is as large as its largest code asks for.
    pub space: CodeSpace,
    /// `[N, L]`
    pub paths: CodeMatrix,
    /// Items of which the method knew nothing: without training events, categories or a title.
    pub unknown: usize,
}

/// What follows the prefix that items share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The number of the item within its prefix, in digits of this base.
    Counter(u32),
    /// The number of the item within the catalogue, which no other item has: the hybrid method.
    /// One code if the catalogue is small enough.
    Number,
}

impl ClassicIds {
    /// Sequential: items are numbered as they first appear in users' training histories, one
    /// user after the other, then those that never do. The ID is the number in digits of base
    /// `codes`, so that items bought one after the other share prefixes.
    ///
    /// # Errors
    ///
    /// This and the methods below: [`Error::Setting`](crate::Error::Setting) for less than 2
    /// codes, and the errors of [`CodeSpace::new`]. Here also
    /// [`Error::Shape`](crate::Error::Shape) for an item beyond the catalogue.
    pub fn sequential(histories: &[&[ItemId]], items: usize, codes: u32) -> Result<Self> {
        crate::collaborative::check_items(histories, items)?;
        let mut order: IndexSet<usize> = IndexSet::new();
        order.extend(histories.iter().copied().flatten().map(|item| item.index()));
        let known = order.len();
        order.extend(0..items);
        Self::in_order(order.into_iter(), codes, items - known)
    }

    /// Random: the items' numbers in an order drawn at random. A control: IDs that mean nothing.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn random(items: usize, codes: u32, seed: u64) -> Result<Self> {
        let order = shuffled(items, seed, "random IDs", 0);
        Self::in_order(order.into_iter(), codes, 0)
    }

    fn in_order(
        order: impl ExactSizeIterator<Item = usize>,
        codes: u32,
        unknown: usize,
    ) -> Result<Self> {
        let counter = Counter::below(order.len(), codes)?;
        let mut paths = vec![Vec::new(); order.len()];
        for (number, item) in order.enumerate() {
            counter.write(number, 0, &mut paths[item]);
        }
        ragged(paths, unknown)
    }

    /// Collaborative: clusters of the co-occurrence graph as prefixes, see
    /// [`SpectralClustering`].
    ///
    /// # Errors
    ///
    /// As above.
    pub fn collaborative(
        graph: &Cooccurrence,
        clustering: &SpectralClustering,
        ending: Ending,
    ) -> Result<Self> {
        let unknown = graph
            .degrees()
            .iter()
            .filter(|&&degree| degree == 0.0)
            .count();
        Self::with_ending(clustering.prefixes(graph)?, ending, unknown)
    }

    /// Semantic: the tree of categories as prefixes; `categories[item]` from the coarsest to the
    /// finest. Children of a category are numbered as they first appear. Items without any
    /// category are counted at the root.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn semantic(categories: &[Vec<&str>], ending: Ending) -> Result<Self> {
        let unknown = categories.iter().filter(|names| names.is_empty()).count();
        Self::with_ending(categories::prefixes(categories), ending, unknown)
    }

    /// Title: the words of an item's title as codes, by rank of their frequency in the catalogue;
    /// all beyond the `words` most frequent ones share one code. Titles are cut after `length`
    /// words, and told apart by a counter where they are equal.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn title(titles: &[&str], words: u32, length: usize) -> Result<Self> {
        let unknown = titles
            .iter()
            .filter(|title| title.trim().is_empty())
            .count();
        let prefixes = title::prefixes(titles, words, length);
        Self::with_ending(prefixes, Ending::Counter(title::COUNTER), unknown)
    }

    fn with_ending(prefixes: Vec<Vec<u32>>, ending: Ending, unknown: usize) -> Result<Self> {
        let paths = match ending {
            Ending::Counter(codes) => counted(prefixes, codes)?,
            Ending::Number => numbered(prefixes)?,
        };
        ragged(paths, unknown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(rows: &[&[u32]]) -> Vec<Vec<ItemId>> {
        let row = |row: &&[u32]| row.iter().copied().map(ItemId).collect();
        rows.iter().map(row).collect()
    }

    fn written(ids: &ClassicIds) -> Vec<String> {
        let text = |path: &[semantic_id::Code]| {
            let codes = ids.space.unpadded(path).iter().map(ToString::to_string);
            codes.collect::<Vec<_>>().join(".")
        };
        ids.paths.rows().map(text).collect()
    }

    fn views(histories: &[Vec<ItemId>]) -> Vec<&[ItemId]> {
        histories.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn items_are_numbered_as_they_appear() {
        let histories = items(&[&[4, 2, 4], &[0, 2]]);
        let ids = ClassicIds::sequential(&views(&histories), 5, 3).expect("two digits");
        assert_eq!(written(&ids), ["0.2", "1.0", "0.1", "1.1", "0.0"]);
        assert_eq!(ids.unknown, 2);
        assert!(
            ClassicIds::sequential(&views(&histories), 4, 3).is_err(),
            "item 4"
        );
        assert!(ClassicIds::random(5, 1, 0).is_err(), "one code is no digit");
    }

    #[test]
    fn categories_are_prefixes() {
        let categories = [
            vec!["games", "wii"],
            vec!["games"],
            vec!["games", "wii"],
            vec!["toys"],
            vec![],
        ];
        let ids = ClassicIds::semantic(&categories, Ending::Counter(16)).expect("few items");
        assert_eq!(written(&ids), ["0.0.0", "0.1", "0.0.1", "1", "2"]);
        assert_eq!(ids.unknown, 1);
        let hybrid = ClassicIds::semantic(&categories, Ending::Number).expect("few items");
        assert_eq!(written(&hybrid), ["0.0.2", "0.3", "0.0.4", "1.5", "6"]);
    }

    #[test]
    fn words_of_titles_are_codes_by_frequency() {
        let titles = ["the legend of Zelda", "The Sims", "the sims", "", "Zelda"];
        let ids = ClassicIds::title(&titles, 100, 3).expect("few items");
        assert_eq!(written(&ids), ["0.2.3", "0.1.0", "0.1.1", "5", "4"]);
        let rare = ClassicIds::title(&titles, 2, 3).expect("few items");
        assert_eq!(written(&rare)[0], "0.2.2", "all but two words share a code");
    }

    /// Three groups of users who meet only items of their own.
    #[test]
    fn groups_that_never_mix_get_prefixes_of_their_own() {
        let history = |user: u32| -> Vec<ItemId> {
            (0..8)
                .map(|at| ItemId((user / 3 + at * 7) % 20 * 3 + user % 3))
                .collect()
        };
        let histories: Vec<_> = (0..120).map(history).collect();
        let graph = Cooccurrence::count(&views(&histories), 61, 3).expect("there are pairs");
        let clustering = SpectralClustering {
            clusters: 3,
            codes: 30,
            seed: 1,
        };
        let ids = ClassicIds::collaborative(&graph, &clustering, Ending::Counter(30));
        let ids = ids.expect("few items");
        assert_eq!((ids.unknown, ids.paths.unique()), (1, 61));
        for item in 0..60 {
            let prefix = |item: u32| ids.paths.row(ItemId(item))[0];
            assert_eq!(
                prefix(item),
                prefix(item % 3),
                "item {item} and one of its group"
            );
            assert_ne!(prefix(item), prefix((item + 1) % 3));
        }
    }

    proptest! {
        /// Whatever the catalogue: all IDs differ, none is the beginning of another, and threads
        /// change nothing.
        #[test]
        fn ids_are_prefix_free_and_the_same_again(
            histories in proptest::collection::vec(
                proptest::collection::vec(0_u32..30, 2..9), 1..20),
            categories in proptest::collection::vec(
                proptest::collection::vec(0_usize..3, 0..4), 30),
            codes in 2_u32..9,
            clusters in 2_u32..5,
            seed: u64,
        ) {
            const NAMES: [&str; 3] = ["red", "green", "blue"];
            let histories: Vec<Vec<ItemId>> =
                histories.iter().map(|h| h.iter().copied().map(ItemId).collect()).collect();
            let categories: Vec<Vec<&str>> =
                categories.iter().map(|c| c.iter().map(|&at| NAMES[at]).collect()).collect();
            let titles: Vec<String> = categories.iter().map(|words| words.join(" ")).collect();
            let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
            let make = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.expect("a small pool").install(|| {
                    let mut all = vec![
                        ClassicIds::sequential(&views(&histories), 30, codes),
                        ClassicIds::random(30, codes, seed),
                        ClassicIds::semantic(&categories, Ending::Counter(codes)),
                        ClassicIds::semantic(&categories, Ending::Number),
                        ClassicIds::title(&titles, 2, 3),
                    ];
                    if let Ok(graph) = Cooccurrence::count(&views(&histories), 30, 2) {
                        let clustering = SpectralClustering { clusters, codes, seed };
                        for ending in [Ending::Counter(codes), Ending::Number] {
                            all.push(ClassicIds::collaborative(&graph, &clustering, ending));
                        }
                    }
                    all
                })
            };
            let once: Vec<ClassicIds> = make(1).into_iter().collect::<Result<_>>().expect("small");
            for ids in &once {
                prop_assert_eq!(ids.paths.len(), 30);
                let mut paths: Vec<_> =
                    ids.paths.rows().map(|path| ids.space.unpadded(path)).collect();
                paths.sort_unstable();
                for pair in paths.windows(2) {
                    prop_assert!(!pair[0].is_empty() && !pair[1].starts_with(pair[0]));
                }
            }
            let again: Vec<ClassicIds> = make(5).into_iter().collect::<Result<_>>().expect("small");
            prop_assert_eq!(once, again);
        }
    }
}
