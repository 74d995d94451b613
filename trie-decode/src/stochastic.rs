//! Stochastic beam search: items drawn without replacement.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::best_first::Found;
use crate::engine::{Engine, NONE, Prefix, Scored};
use crate::top::Key;
use crate::{Error, Filter, Hit, ItemTrie, Normalizer, Result, Scorer, TokenMap};

/// Draws distinct items from a model's distribution, as rollouts of reinforcement learning need.
///
/// Kool, van Hoof and Welling, *Stochastic Beams and Where to Find Them: The Gumbel-Top-k Trick
/// for Sampling Sequences Without Replacement* (ICML 2019), algorithm 1: each item's
/// log-probability plus a Gumbel draw of its own ranks all items, and the first `k` are a sample
/// without replacement. The draws of the items below a prefix are made together, as their
/// maximum, and handed down: a child's draw is conditioned on the maximum being its parent's.
///
/// The distribution is the model's, step by step renormalised over the children that may be
/// given, so that children carry their parent's mass and the draw never runs dry.
///
/// Draws are keyed by (seed, request key, node): they depend neither on threads nor on the other
/// requests.
pub struct StochasticSearch<'a, D> {
    engine: Engine<'a, D>,
    kept: Option<Filter>,
    samples: usize,
    seed: u64,
}

/// Who asks for a sample.
#[derive(Debug, Clone, Copy, Default)]
pub struct SampleRequest<'a> {
    /// The items that may be given; all that were not removed, if `None`.
    pub filter: Option<&'a Filter>,
    /// Sets the draws of this request apart from those of others.
    pub key: u64,
}

/// An item that was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The item; its score is the model's log-probability under the normalizer.
    pub hit: Hit,
    /// Its log-probability in the distribution that was drawn from: renormalised over the items
    /// that may be given.
    pub log_probability: f64,
    /// The probability that it is among the samples, given the threshold that the next item in
    /// order set: `1 - exp(-exp(log_probability - threshold))` (section 4.2 of the paper). Its
    /// inverse weighs the sample in an unbiased estimate.
    pub inclusion: f64,
}

/// A prefix or item, and its draw.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    /// The place of a prefix among all or, for an item, of the prefix that it continues.
    place: u32,
    /// The rank of an item; `NONE` for a prefix.
    rank: u32,
    /// The node of a prefix that is not among all yet.
    node: u32,
    /// The model's log-probability.
    score: f32,
    /// Log-probability in the distribution drawn from.
    log_probability: f64,
    /// The largest of the log-probabilities plus Gumbel draws below it.
    perturbed: f64,
}

impl<'a, D: AsRef<[u8]> + Send + Sync> StochasticSearch<'a, D> {
    /// A search that draws `samples` items a request. `tokens` is as for
    /// [`BeamSearch::new`](crate::BeamSearch::new).
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for no samples, [`Error::Space`] if the token map is for another code
    /// space.
    pub fn new(
        trie: &'a ItemTrie<D>,
        tokens: Option<&'a TokenMap>,
        normalizer: Normalizer,
        samples: usize,
        seed: u64,
    ) -> Result<Self> {
        if samples == 0 {
            return Err(Error::Setting {
                name: "samples",
                got: "0".to_owned(),
                expected: "at least 1",
            });
        }
        Ok(Self {
            engine: Engine::new(trie, tokens, normalizer)?,
            kept: trie.alive().map(|_| Filter::all(trie)),
            samples,
            seed,
        })
    }

    /// Draws for some requests, in their order; the samples of each are in the order of a draw
    /// one after the other, and fewer where there are no more items.
    ///
    /// # Errors
    ///
    /// Those of [`BeamSearch::run`](crate::BeamSearch::run).
    pub fn run(
        &self,
        scorer: &mut (impl Scorer + ?Sized),
        requests: &[SampleRequest<'_>],
    ) -> Result<Vec<Vec<Sample>>> {
        let mut prefixes: Vec<Prefix> = (0..requests.len()).map(Prefix::root).collect();
        let mut beams = Vec::with_capacity(requests.len());
        for (place, request) in (0..).zip(requests) {
            if let Some(filter) = request.filter {
                filter.check(self.engine.trie.stamp())?;
            }
            let some = self.filter(request).is_none_or(|filter| !filter.is_empty());
            beams.push(Vec::from_iter(some.then(|| self.root(request, place))));
        }
        let mut row = 0;
        for _ in 0..self.engine.depth() {
            let mut chosen = Vec::new();
            for drawn in beams.iter().flatten().filter(|drawn| drawn.rank == NONE) {
                if !self.engine.forced(&prefixes[drawn.place as usize])? {
                    chosen.push(drawn.place);
                }
            }
            let scored = match chosen.is_empty() {
                true => None,
                false => Some(self.engine.score(scorer, &mut prefixes, &chosen, row)?),
            };
            row += chosen.len() as u32;
            beams
                .par_iter_mut()
                .zip(requests)
                .try_for_each(|(beam, request)| {
                    self.draw(&prefixes, scored.as_ref(), request, beam)
                })?;
            for drawn in beams
                .iter_mut()
                .flatten()
                .filter(|drawn| drawn.node != NONE)
            {
                let parent = prefixes[drawn.place as usize];
                prefixes.push(parent.child(drawn.place, drawn.node, drawn.score));
                (drawn.place, drawn.node) = (prefixes.len() as u32 - 1, NONE);
            }
        }
        beams
            .into_iter()
            .map(|beam| self.samples(&prefixes, beam))
            .collect()
    }

    fn filter<'f>(&'f self, request: &SampleRequest<'f>) -> Option<&'f Filter> {
        request.filter.or(self.kept.as_ref())
    }

    fn root(&self, request: &SampleRequest<'_>, place: u32) -> Drawn {
        Drawn {
            place,
            rank: NONE,
            node: NONE,
            score: 0.0,
            log_probability: 0.0,
            perturbed: gumbel(&mut self.generator(request, 0, 0)),
        }
    }

    /// Replaces the prefixes of a beam by their children, and keeps one more than the samples.
    fn draw(
        &self,
        prefixes: &[Prefix],
        scored: Option<&Scored<'a, '_>>,
        request: &SampleRequest<'_>,
        beam: &mut Vec<Drawn>,
    ) -> Result<()> {
        let filter = self.filter(request);
        let (prefix_drawn, mut next): (Vec<Drawn>, Vec<Drawn>) =
            beam.drain(..).partition(|drawn| drawn.rank == NONE);
        let mut scores = Vec::new();
        for parent in prefix_drawn {
            let prefix = &prefixes[parent.place as usize];
            let family = self.engine.step_scores(scored, prefix, &mut scores)?;
            let depth = prefix.depth as usize + 1;
            let mut generator = self.generator(request, depth, prefix.node);
            let mut children = Vec::new();
            for (at, &score) in scores.iter().enumerate() {
                let node = family.first + at as u32;
                // Drawn for every child: a filter does not shift the draws of the others.
                let noise = gumbel(&mut generator);
                let ends = family.ends && at + 1 == scores.len();
                if score == f32::NEG_INFINITY {
                    continue;
                }
                let child = Drawn {
                    node,
                    score: parent.score + score,
                    log_probability: f64::from(score),
                    perturbed: noise,
                    ..parent
                };
                if ends || depth == self.engine.depth() {
                    let ranks = self.engine.ranks(depth, node)?;
                    let given = ranks.filter(|&rank| filter.is_none_or(|f| f.contains(rank)));
                    children.extend(items(child, given, &mut generator));
                } else if self.engine.alive(filter, depth, node)? {
                    children.push(child);
                }
            }
            condition(parent, &mut children);
            next.extend(children);
        }
        next.sort_by(|a, b| b.perturbed.total_cmp(&a.perturbed));
        next.truncate(self.samples + 1);
        *beam = next;
        Ok(())
    }

    /// The samples of a beam of items, whose last one sets the threshold.
    fn samples(&self, prefixes: &[Prefix], beam: Vec<Drawn>) -> Result<Vec<Sample>> {
        let threshold = beam
            .get(self.samples)
            .map_or(f64::NEG_INFINITY, |last| last.perturbed);
        let sample = |drawn: Drawn| {
            let found = Found {
                key: Key::new(drawn.score, drawn.rank),
                prefix: None,
                parent: drawn.place,
            };
            Ok(Sample {
                hit: self.engine.hit(prefixes, &found)?,
                log_probability: drawn.log_probability,
                inclusion: -(-(drawn.log_probability - threshold).exp()).exp_m1(),
            })
        };
        beam.into_iter().take(self.samples).map(sample).collect()
    }

    /// The draws for the children of a node.
    fn generator(&self, request: &SampleRequest<'_>, depth: usize, node: u32) -> ChaCha8Rng {
        let mut key = *b"................stochastic beams";
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&request.key.to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream((depth as u64) << 32 | u64::from(node));
        generator
    }
}

impl<D: AsRef<[u8]>> std::fmt::Debug for StochasticSearch<'_, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StochasticSearch")
            .field("trie", self.engine.trie)
            .field("samples", &self.samples)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// The items that share an ID, each as probable as the others.
fn items(leaf: Drawn, ranks: impl Iterator<Item = u32>, generator: &mut ChaCha8Rng) -> Vec<Drawn> {
    let ranks: Vec<u32> = ranks.collect();
    let share = (ranks.len() as f64).ln();
    let item = |(at, rank)| Drawn {
        rank,
        node: NONE,
        log_probability: leaf.log_probability - share,
        perturbed: if at == 0 {
            leaf.perturbed
        } else {
            gumbel(generator)
        },
        ..leaf
    };
    ranks.into_iter().enumerate().map(item).collect()
}

/// Makes probabilities of steps those of whole prefixes, renormalised, and Gumbel draws those of
/// the children whose largest is their parent's (appendix B.3 of the paper).
fn condition(parent: Drawn, children: &mut [Drawn]) {
    let largest = |of: fn(&Drawn) -> f64, children: &[Drawn]| {
        children.iter().map(of).fold(f64::NEG_INFINITY, f64::max)
    };
    let most = largest(|child| child.log_probability, children);
    let mass: f64 = children
        .iter()
        .map(|child| (child.log_probability - most).exp())
        .sum();
    for child in &mut *children {
        child.log_probability += parent.log_probability - most - mass.ln();
        child.perturbed += child.log_probability;
    }
    let first = largest(|child| child.perturbed, children);
    for child in children {
        let below = (child.perturbed - first).exp_m1();
        let v = parent.perturbed - child.perturbed + (-below).ln();
        child.perturbed = parent.perturbed - v.max(0.0) - (-v.abs()).exp().ln_1p();
    }
}

/// A draw of the standard Gumbel distribution: `-ln(-ln(u))`, `0 < u < 1`.
fn gumbel(generator: &mut ChaCha8Rng) -> f64 {
    let u = ((generator.next_u64() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -(-u.ln()).ln()
}
