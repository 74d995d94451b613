//! One step of a beam search whose loop the caller owns.

use semantic_id::Code;

use crate::engine::{NONE, Prefix};
use crate::top::{Candidate, Key, Top};
use crate::{BeamSearch, Error, Filter, Result, Scores, TrieCursor};

/// A prefix that a caller keeps, and the sum of the log-probabilities of its codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beam {
    /// Where it stands in the trie.
    pub cursor: TrieCursor,
    /// Its score, 0 at the root; negative infinity for one that is dead.
    pub score: f32,
}

/// A prefix one code longer than one of the step before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Continuation {
    /// The prefix and its score.
    pub beam: Beam,
    /// Its last code.
    pub code: Code,
    /// The place of the beam it continues, for its key-value cache.
    pub parent: u32,
}

impl<D: AsRef<[u8]> + Send + Sync> BeamSearch<'_, D> {
    /// The best continuations of one request's beams, at most `width`, best first; ties go to the
    /// lower node. All children of all beams are looked at. No more are given than can be.
    ///
    /// `scores` are the logits that follow the beams, a row each. The normalizer is that of the
    /// search; its results and beams do not matter. The first step is that of one beam at
    /// [`ItemTrie::root`](crate::ItemTrie::root), the last leads to leaves, where
    /// [`ItemTrie::items_below`](crate::ItemTrie::items_below) has the items.
    /// `O(rows K log K)` besides the sum of the logits.
    ///
    /// ```
    /// use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
    /// use trie_decode::{Beam, BeamParams, BeamSearch, ItemTrie, Logits, Normalizer, Scores};
    ///
    /// let space = CodeSpace::uniform(2, 4)?;
    /// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
    /// let trie = ItemTrie::of_codes(space, &codes, 1)?;
    /// let params = BeamParams { normalizer: Normalizer::Level, ..Default::default() };
    /// let search = BeamSearch::new(&trie, None, params.check()?)?;
    ///
    /// let mut beams = vec![Beam { cursor: trie.root(), score: 0.0 }];
    /// for _level in 0..trie.levels() {
    ///     // A model that likes high codes.
    ///     let logits = [0.0, 1.0, 2.0, 3.0].repeat(beams.len());
    ///     let best = search.step(&beams, Scores::level(Logits::F32(&logits)), None, 2)?;
    ///     beams = best.iter().map(|best| best.beam).collect();
    /// }
    /// let items: Vec<ItemId> = trie.items_below(beams[0].cursor)?.collect();
    /// assert_eq!(items, [ItemId(0)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`run`](BeamSearch::run) for a filter and for scores;
    /// [`Error::Foreign`] for a cursor of another trie, [`Error::Setting`] for one of a complete
    /// ID, for a score that is no number, and where IDs of different length begin alike.
    pub fn step(
        &self,
        beams: &[Beam],
        scores: Scores<'_>,
        filter: Option<&Filter>,
        width: usize,
    ) -> Result<Vec<Continuation>> {
        let engine = &self.engine;
        if let Some(filter) = filter {
            filter.check(engine.trie.stamp())?;
        }
        let filter = filter.or(self.kept.as_ref());
        let prefixes: Vec<Prefix> = (0..)
            .zip(beams)
            .map(|(row, beam)| self.prefix(row, beam))
            .collect::<Result<_>>()?;
        let families = prefixes.iter().map(|prefix| engine.children(prefix));
        let families = families.collect::<Result<_>>()?;
        let scored = engine.scored(scores, &prefixes, families, 0)?;

        let (mut top, mut step_scores) = (Top::default(), Vec::new());
        top.restart(width, false);
        for (row, prefix) in (0..).zip(&prefixes) {
            let family = engine.step_scores(Some(&scored), prefix, &mut step_scores)?;
            if family.ends {
                return Err(unfit("IDs", "some that end here", "IDs of one length"));
            }
            for (node, score) in (family.first..).zip(&step_scores) {
                let key = Key::new(prefix.score + score, node);
                if key.score() > f32::NEG_INFINITY
                    && top.wants(key)
                    && engine.alive(filter, prefix.depth as usize + 1, node)?
                {
                    top.offer(Candidate { key, parent: row });
                }
            }
        }
        let (best, _) = top.finish();
        let continued = |&Candidate { key, parent }: &Candidate| {
            let cursor = (beams[parent as usize].cursor).below(key.number());
            Ok(Continuation {
                beam: Beam {
                    cursor,
                    score: key.score(),
                },
                code: engine.code(cursor)?,
                parent,
            })
        };
        best.iter().map(continued).collect()
    }

    fn prefix(&self, row: u32, beam: &Beam) -> Result<Prefix> {
        let Beam { cursor, score } = *beam;
        self.engine.trie.check(cursor)?;
        if cursor.depth() == self.engine.depth() {
            return Err(unfit(
                "cursor",
                "one of a complete ID",
                "one that can go on",
            ));
        }
        if score.is_nan() || score == f32::INFINITY {
            return Err(unfit("score", &score.to_string(), "a number"));
        }
        Ok(Prefix {
            request: 0,
            depth: cursor.depth() as u32,
            node: cursor.node(),
            parent: NONE,
            row,
            score,
        })
    }
}

fn unfit(name: &'static str, got: &str, expected: &'static str) -> Error {
    Error::Setting {
        name,
        got: got.to_owned(),
        expected,
    }
}
