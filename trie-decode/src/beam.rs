//! The beam search, level by level.

use rayon::prelude::*;
use semantic_id::{ItemId, SemanticId};

use crate::best_first::{Found, Frontier};
use crate::engine::{Engine, Family, Prefix, Scored};
use crate::top::{Candidate, Key, Top};
use crate::{Error, Filter, ItemTrie, Normalizer, Result, Scorer, TokenMap};

/// How to search; [`check`](Self::check) makes a [`BeamConfig`] of it.
#[derive(Debug, Clone, PartialEq)]
pub struct BeamParams {
    /// Items to return for each request.
    pub results: usize,
    /// Prefixes kept after each level but the last. One number serves all levels; of several,
    /// the last serves the levels beyond.
    pub beams: Vec<usize>,
    /// Over which tokens a step's probabilities sum to one.
    pub normalizer: Normalizer,
    /// An item's score is the sum of its log-probabilities over `length^penalty`, where the length
    /// is the number of its codes. 0 (none) where all IDs are equally long.
    pub length_penalty: f32,
    /// Go on, best first, until the answer is proven.
    pub exact: Option<Exact>,
}

impl Default for BeamParams {
    /// Ten results from 20 beams.
    fn default() -> Self {
        Self {
            results: 10,
            beams: vec![20],
            normalizer: Normalizer::default(),
            length_penalty: 0.0,
            exact: None,
        }
    }
}

/// A search that ends with the best items, or with its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exact {
    /// Rows that may be scored for a request, those of the beam search included.
    pub row_budget: usize,
}

/// Settings that hold together.
#[derive(Debug, Clone, PartialEq)]
pub struct BeamConfig(BeamParams);

impl BeamParams {
    /// # Errors
    ///
    /// [`Error::Setting`] without results or beams, or for a penalty that is negative or no number.
    pub fn check(self) -> Result<BeamConfig> {
        let positive = |name, ok: bool| match ok {
            true => Ok(()),
            false => Err(Error::Setting {
                name,
                got: "0 or none".to_owned(),
                expected: "at least 1",
            }),
        };
        positive("results", self.results > 0)?;
        positive("beams", !self.beams.is_empty() && !self.beams.contains(&0))?;
        if !(self.length_penalty >= 0.0 && self.length_penalty.is_finite()) {
            return Err(Error::Setting {
                name: "length penalty",
                got: self.length_penalty.to_string(),
                expected: "a number, 0 or more",
            });
        }
        Ok(BeamConfig(self))
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The items that may be given; all that were not removed, if `None`.
    pub filter: Option<&'a Filter>,
}

/// An item that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The item.
    pub item: ItemId,
    /// Its rank in the trie.
    pub rank: u32,
    /// Its semantic ID, without padding.
    pub codes: SemanticId,
    /// The sum of the log-probabilities of its codes, over the length penalty.
    pub score: f32,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The best items, best first; fewer than asked for where there are no more.
    pub hits: Vec<Hit>,
    /// Whether these are proven to be the best of all items that may be given.
    pub exact: bool,
    /// By how much an item that was not looked at may be better than the last hit: 0 if
    /// `exact`, `None` with fewer hits than were asked for.
    pub gap: Option<f32>,
    /// Rows that were scored.
    pub rows: usize,
}

/// Beam search over a trie: the best items, as far as the beams see them.
///
/// Nothing is cut before the mask: each step looks at all children of all live prefixes. No
/// item comes twice. An answer says whether it is proven: step scores are at most 0, so no item
/// is better than any of its prefixes, and if the last hit is better than every prefix that was
/// dropped, nothing was missed.
///
/// Ties go to the lower rank. Requests are searched side by side on the threads of the pool, and
/// neither they nor the threads change each other's answers.
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
/// use trie_decode::{BeamParams, BeamSearch, ItemTrie, Logits, Normalizer, Request, Scores};
/// use trie_decode::{Scorer, Scratch, Step};
///
/// /// Likes high codes.
/// struct Toy(Vec<f32>);
///
/// impl Scorer for Toy {
///     fn score(
///         &mut self,
///         step: &Step<'_>,
///     ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
///         self.0 = [0.0, 1.0, 2.0, 3.0].repeat(step.rows().len());
///         Ok(Scores::level(Logits::F32(&self.0)))
///     }
/// }
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let trie = ItemTrie::of_codes(space, &codes, 1)?;
/// let params = BeamParams { results: 2, normalizer: Normalizer::Level, ..Default::default() };
/// let search = BeamSearch::new(&trie, None, params.check()?)?;
///
/// let requests = [Request::default()];
/// let outcomes = search.run(&mut Toy(Vec::new()), &requests, &mut Scratch::default())?;
/// let items: Vec<ItemId> = outcomes[0].hits.iter().map(|hit| hit.item).collect();
/// assert_eq!(items, [ItemId(0), ItemId(2)]);
/// assert!(outcomes[0].exact);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BeamSearch<'a, D> {
    pub(crate) engine: Engine<'a, D>,
    pub(crate) config: BeamParams,
    /// What scores are divided by, by length.
    pub(crate) penalties: Vec<f32>,
    /// What a request without a filter may be given, if not everything.
    pub(crate) kept: Option<Filter>,
}

impl<D: AsRef<[u8]>> std::fmt::Debug for BeamSearch<'_, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BeamSearch")
            .field("trie", self.engine.trie)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Working memory of searches, kept from one to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    prefixes: Vec<Prefix>,
    states: Vec<State>,
}

/// One request's part of a search.
#[derive(Debug, Default)]
struct State {
    /// Live prefixes, best first, as places among all.
    live: Vec<u32>,
    /// Candidates for the next level.
    next: Top,
    /// Items by penalised score and rank.
    results: Top,
    /// What bounds all that was dropped: penalised score and rank.
    dropped: Option<Key>,
    /// What was found and, if the search shall be exact, all that was dropped.
    frontier: Frontier,
    step_scores: Vec<f32>,
    rows: usize,
}

impl<'a, D: AsRef<[u8]> + Send + Sync> BeamSearch<'a, D> {
    /// A search of a trie. `tokens` tells where codes are among a model's logits; a scorer that
    /// gives logits of the level only needs none.
    ///
    /// # Errors
    ///
    /// [`Error::Space`] if the token map is for another code space.
    pub fn new(
        trie: &'a ItemTrie<D>,
        tokens: Option<&'a TokenMap>,
        config: BeamConfig,
    ) -> Result<Self> {
        let BeamConfig(config) = config;
        let engine = Engine::new(trie, tokens, config.normalizer)?;
        let length = |length: usize| (length as f32).powf(config.length_penalty);
        Ok(Self {
            penalties: (0..=trie.levels()).map(length).collect(),
            kept: trie.alive().map(|_| Filter::all(trie)),
            engine,
            config,
        })
    }

    /// Answers some requests, in their order.
    ///
    /// Asks the scorer at most once a level, and again for each round of an exact search.
    /// `O(rows K log K)` besides the scorer and the sum of its logits.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] for a filter of another trie, [`Error::Scorer`] if the model failed,
    /// [`Error::Shape`], [`Error::BadLogit`] and [`Error::NoMass`] for scores that are none,
    /// [`Error::NoItem`] if no first code can be,
    /// [`Error::Setting`] if they do not go with the normalizer, and [`Error::Index`] if the file
    /// is damaged.
    pub fn run(
        &self,
        scorer: &mut (impl Scorer + ?Sized),
        requests: &[Request<'_>],
        scratch: &mut Scratch,
    ) -> Result<Vec<Outcome>> {
        for filter in requests.iter().filter_map(|request| request.filter) {
            filter.check(self.engine.trie.stamp())?;
        }
        let Scratch { prefixes, states } = scratch;
        prefixes.clear();
        states.resize_with(requests.len(), State::default);
        for (request, state) in states.iter_mut().enumerate() {
            state.restart(self.config.results);
            if self
                .filter(requests, request)
                .is_none_or(|filter| !filter.is_empty())
            {
                state.live.push(prefixes.len() as u32);
            }
            prefixes.push(Prefix::root(request));
        }
        let mut row = 0;
        let mut chosen = Vec::new();
        for level in 0..self.engine.depth() {
            self.choose(prefixes, states, &mut chosen)?;
            let scored = match chosen.is_empty() {
                true => None,
                false => Some(self.engine.score(scorer, prefixes, &chosen, row)?),
            };
            row += chosen.len() as u32;
            let beams = self.config.beams[level.min(self.config.beams.len() - 1)];
            states
                .par_iter_mut()
                .enumerate()
                .try_for_each(|(request, state)| {
                    let filter = self.filter(requests, request);
                    self.expand(prefixes, scored.as_ref(), filter, beams, state)
                })?;
            for state in &mut *states {
                self.go_on(prefixes, state)?;
            }
        }
        for state in &mut *states {
            for item in state.results.finish().0 {
                state.frontier.add(Found {
                    key: item.key,
                    prefix: None,
                    parent: item.parent,
                });
            }
        }
        if let Some(Exact { row_budget }) = self.config.exact {
            self.prove(row_budget, scorer, requests, scratch, row)?;
        }
        let Scratch { prefixes, states } = scratch;
        let outcome = |state| self.outcome(prefixes, state);
        states.iter_mut().map(outcome).collect()
    }

    fn filter<'f>(&'f self, requests: &[Request<'f>], request: usize) -> Option<&'f Filter> {
        requests[request].filter.or(self.kept.as_ref())
    }

    /// The live prefixes for which the model must be asked.
    fn choose(
        &self,
        prefixes: &[Prefix],
        states: &mut [State],
        chosen: &mut Vec<u32>,
    ) -> Result<()> {
        chosen.clear();
        for state in states {
            let before = chosen.len();
            for &place in &state.live {
                if !self.engine.forced(&prefixes[place as usize])? {
                    chosen.push(place);
                }
            }
            state.rows += chosen.len() - before;
        }
        Ok(())
    }

    /// Offers all children of a request's live prefixes.
    fn expand(
        &self,
        prefixes: &[Prefix],
        scored: Option<&Scored<'a, '_>>,
        filter: Option<&Filter>,
        beams: usize,
        state: &mut State,
    ) -> Result<()> {
        state.next.restart(beams, self.config.exact.is_some());
        for at in 0..state.live.len() {
            let place = state.live[at];
            let prefix = &prefixes[place as usize];
            let family = (self.engine).step_scores(scored, prefix, &mut state.step_scores)?;
            self.offer(prefix, family, place, filter, state)?;
        }
        Ok(())
    }

    /// Offers the children of the prefix at a place, whose scores are in the state.
    fn offer(
        &self,
        prefix: &Prefix,
        family: Family<'_>,
        place: u32,
        filter: Option<&Filter>,
        state: &mut State,
    ) -> Result<()> {
        let engine = &self.engine;
        let depth = prefix.depth as usize + 1;
        let last = depth == engine.depth();
        let open = family.codes.len() - usize::from(family.ends);
        let State {
            next,
            results,
            step_scores,
            ..
        } = state;
        let top = if last { &mut *results } else { &mut *next };
        let penalty = if last { self.penalties[depth] } else { 1.0 };
        for (block, scores) in step_scores[..open].chunks(BLOCK).enumerate() {
            let floor = top.floor() * penalty * SLACK;
            let matters = |&score: &f32| prefix.score + score >= floor;
            // Most blocks of later prefixes hold nothing of interest; a sum of flags is found by
            // vectors, the first of them is not.
            if !scores.iter().fold(false, |any, score| any | matters(score)) {
                continue;
            }
            for (at, &score) in (block * BLOCK..).zip(scores) {
                let node = family.first + at as u32;
                if !matters(&score) || score == f32::NEG_INFINITY {
                    continue;
                }
                let score = prefix.score + score;
                if last {
                    self.give(
                        score / penalty,
                        engine.ranks(depth, node)?,
                        place,
                        filter,
                        top,
                    );
                    continue;
                }
                let key = Key::new(score, node);
                if top.wants(key) && engine.alive(filter, depth, node)? {
                    top.offer(Candidate { key, parent: place });
                }
            }
        }
        if family.ends {
            let score = prefix.score + step_scores[open];
            let ranks = engine.ranks(depth, family.first + open as u32)?;
            if score > f32::NEG_INFINITY {
                let score = score / self.penalties[depth - 1];
                self.give(score, ranks, place, filter, results);
            }
        }
        Ok(())
    }

    /// Offers the items of one ID.
    fn give(
        &self,
        score: f32,
        ranks: std::ops::Range<u32>,
        parent: u32,
        filter: Option<&Filter>,
        results: &mut Top,
    ) {
        for rank in ranks {
            let key = Key::new(score, rank);
            if results.wants(key) && filter.is_none_or(|filter| filter.contains(rank)) {
                results.offer(Candidate { key, parent });
            }
        }
    }

    /// Makes the best candidates the live prefixes.
    fn go_on(&self, prefixes: &mut Vec<Prefix>, state: &mut State) -> Result<()> {
        state.live.clear();
        let (best, dropped) = state.next.finish();
        for &Candidate { key, parent } in best {
            state.live.push(prefixes.len() as u32);
            let child = prefixes[parent as usize].child(parent, key.number(), key.score());
            prefixes.push(child);
        }
        let depth = |candidate: &Candidate| prefixes[candidate.parent as usize].depth as usize + 1;
        let bound = |depth, key: Key| {
            (self.engine).bound(&self.penalties, depth, key.score(), key.number())
        };
        if let Some(all) = dropped.all.take() {
            for candidate in all {
                state.frontier.add(Found {
                    key: bound(depth(&candidate), candidate.key)?,
                    prefix: Some(candidate.key),
                    parent: candidate.parent,
                });
            }
        } else if let Some((dropped, first)) = dropped.best.zip(best.first()) {
            let bound = bound(depth(first), dropped)?;
            state.dropped = Some(state.dropped.map_or(bound, |before| before.min(bound)));
        }
        Ok(())
    }

    /// Goes on, best first, with the requests whose answers are not proven.
    fn prove(
        &self,
        budget: usize,
        scorer: &mut (impl Scorer + ?Sized),
        requests: &[Request<'_>],
        Scratch { prefixes, states }: &mut Scratch,
        mut row: u32,
    ) -> Result<()> {
        let width = self.config.beams.iter().copied().max().unwrap_or(1);
        loop {
            let mut chosen = Vec::new();
            for (request, state) in states.iter_mut().enumerate() {
                let given = (self.filter(requests, request), &self.penalties[..]);
                let before = chosen.len();
                let width = width.min(budget.saturating_sub(state.rows));
                let wanted = (self.config.results, width);
                (self.engine).take(prefixes, wanted, given, &mut state.frontier, &mut chosen)?;
                state.rows += chosen.len() - before;
            }
            if chosen.is_empty() {
                return Ok(());
            }
            let scored = self.engine.score(scorer, prefixes, &chosen, row)?;
            row += chosen.len() as u32;
            for &place in &chosen {
                let prefix = prefixes[place as usize];
                let request = prefix.request as usize;
                let given = (self.filter(requests, request), &self.penalties[..]);
                let frontier = &mut states[request].frontier;
                (self.engine).look_into(Some(&scored), &prefix, place, given, frontier)?;
            }
        }
    }

    /// What was found for a request.
    fn outcome(&self, prefixes: &[Prefix], state: &mut State) -> Result<Outcome> {
        let wanted = self.config.results;
        let (best, bound) = state.frontier.finish(wanted);
        let bound = bound.or(state.dropped);
        let hit = |found: &Found| self.engine.hit(prefixes, found);
        let hits = best.iter().map(hit).collect::<Result<Vec<_>>>()?;
        let last = best.last().filter(|_| best.len() == wanted);
        let beaten = |bound: Key| last.is_some_and(|last| last.key < bound);
        let exact = bound.is_none_or(beaten);
        let difference = |(bound, last): (Key, &Found)| bound.score() - last.key.score();
        Ok(Outcome {
            gap: match exact {
                true => Some(0.0),
                false => bound.zip(last).map(difference),
            },
            hits,
            exact,
            rows: state.rows,
        })
    }
}

impl State {
    fn restart(&mut self, results: usize) {
        self.live.clear();
        self.results.restart(results, false);
        self.frontier.clear();
        self.dropped = None;
        self.rows = 0;
    }
}

/// Lowers a floor by more than rounding moves a score.
const SLACK: f32 = 1.000_001;

/// Scores that are compared together.
const BLOCK: usize = 16;
