use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use crate::shuffle::shuffled;
use crate::{Code, CodeMatrix, Error, ItemId, Result};

/// How far ahead of an event the targets of its training pairs lie.
const WINDOW: usize = 3;
/// Rounds of expectation maximization that fit the weights of one interpolation.
const ROUNDS: usize = 25;
/// The weight they start from.
const START: f64 = 0.3;
/// Shuffles whose mean is the control: a single one's gain is off by up to a fifth.
const CONTROLS: u32 = 4;
/// What their draws are keyed by.
const CONTROL: &str = "semid held-out gain control";
/// Least count of each bucket but the first, which is for none.
const BUCKETS: [u32; 5] = [1, 2, 4, 16, 64];

/// What semantic IDs tell about behaviour: by how many bits the last item's ID makes the next
/// item's ID more predictable than popularity does. No model is trained for it.
///
/// A user's last event is for the test, the one before for validation, the others for training.
/// Training pairs `(a, b)` are items one to three places apart; a user's test pair is that of the
/// last two events, the validation pair that of the two events before the last. Codes of the
/// target are predicted level by level, given its true prefix. The probability of a code is
/// first the share of the prefix's items that have it; then it is interpolated with the share of
/// the prefix's training events, and then, for depth 1 to `L`, with the share of the prefix's
/// training pairs whose first item agrees with the context in its first codes. The weight of an
/// interpolation depends on the level and on how many events or pairs there were to count (0, 1,
/// 2-3, 4-15, 16-63, 64 and more); it is fitted on the validation pairs by 25 rounds of
/// expectation maximization, one interpolation after the other (Jelinek and Mercer, *Interpolated
/// estimation of Markov source parameters from sparse data*, 1980).
///
/// Gains of two indexes can be compared where their levels have the same sizes: a coarser level
/// 0 alone is easier to predict.
///
/// ```
/// use semantic_id::{Code, CodeMatrix, HeldOutGain, ItemId};
///
/// // Items 0 to 3 have code 0, items 4 to 7 code 1; users stay with the code they began with.
/// let paths = [0, 0, 0, 1, 0, 2, 0, 3, 1, 0, 1, 1, 1, 2, 1, 3].map(Code);
/// let paths = CodeMatrix::new(paths.to_vec(), 2)?;
/// let history = |user: u32| (0..6).map(move |at| ItemId(user % 2 * 4 + (user / 2 + at * at) % 4));
/// let histories: Vec<Vec<ItemId>> = (0..200).map(|user| history(user).collect()).collect();
/// let histories: Vec<&[ItemId]> = histories.iter().map(Vec::as_slice).collect();
///
/// let gain = HeldOutGain::of(&paths, &histories, 0)?;
/// assert!(gain.per_level[0] > 0.95, "which half is worth a bit");
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldOutGain {
    /// Bits a test pair, over all levels.
    pub bits: f64,
    /// The same with the items shuffled over the same IDs, the mean of four shuffles: what an
    /// index without meaning gets.
    pub shuffled: f64,
    /// Bits of each level, `[L]`.
    pub per_level: Vec<f64>,
    /// Bits of each level with the items shuffled, `[L]`.
    pub shuffled_per_level: Vec<f64>,
    /// Bits that the target takes given popularity alone. Where `n` items share an ID, telling
    /// them apart takes `log2 n` more, with a context and without.
    pub popularity_bits: f64,
    /// Test pairs: users with two events or more.
    pub pairs: usize,
    /// The gain on targets that no user had before the last two events; null without such.
    pub unseen_bits: Option<f64>,
    /// Test pairs with such targets.
    pub unseen_pairs: usize,
}

impl HeldOutGain {
    /// Measures `paths` `[N, L]` on users' histories, oldest event first. The seed is that of the
    /// shuffled control.
    ///
    /// `O(N L log N + E L^2 log E)` for `E` events, with memory for some 24 bytes an event and
    /// thread.
    ///
    /// # Errors
    ///
    /// [`Error::NoItem`] for an event outside of `paths`, [`Error::NoHeldOut`] if no user has three
    /// events.
    pub fn of(paths: &CodeMatrix, histories: &[&[ItemId]], seed: u64) -> Result<Self> {
        let items = paths.len();
        if let Some(item) = histories
            .iter()
            .copied()
            .flatten()
            .find(|item| item.index() >= items)
        {
            return Err(Error::NoItem {
                item: item.index(),
                items,
            });
        }
        if histories.iter().all(|history| history.len() < 3) {
            return Err(Error::NoHeldOut {
                users: histories.len(),
            });
        }
        let prefixes = Prefixes::of(paths);
        let own = Measure::of(&prefixes, histories);
        let mut control = vec![0.0; paths.levels()];
        for number in 0..CONTROLS {
            let shuffled = prefixes.permuted(&shuffled(items, seed, CONTROL, number));
            let gains = Measure::of(&shuffled, histories).per_level;
            let shares = gains.iter().map(|gain| gain / f64::from(CONTROLS));
            control
                .iter_mut()
                .zip(shares)
                .for_each(|(mean, share)| *mean += share);
        }
        Ok(Self {
            bits: own.per_level.iter().sum(),
            shuffled: control.iter().sum(),
            per_level: own.per_level,
            shuffled_per_level: control,
            popularity_bits: own.popularity_bits,
            pairs: own.pairs,
            unseen_bits: (own.unseen_pairs > 0).then(|| own.unseen_bits / own.unseen_pairs as f64),
            unseen_pairs: own.unseen_pairs,
        })
    }
}

/// The gain of one arrangement of the items.
struct Measure {
    per_level: Vec<f64>,
    popularity_bits: f64,
    pairs: usize,
    /// Summed over the pairs whose target is unseen.
    unseen_bits: f64,
    unseen_pairs: usize,
}

impl Measure {
    fn of(prefixes: &Prefixes, histories: &[&[ItemId]]) -> Self {
        let study = Study::new(prefixes, histories);
        let levels: Vec<LevelBits> = (0..prefixes.levels())
            .into_par_iter()
            .map(|level| study.level(level))
            .collect();
        let pairs = study.test().len();
        let mean = |bits: &[f64]| bits.iter().sum::<f64>() / pairs as f64;
        let leaves = prefixes.levels();
        let crowd = |&(_, target): &Pair| f64::from(prefixes.items(leaves, target)).log2();
        let crowding: Vec<f64> = study.test().iter().map(crowd).collect();
        let popularity = levels.iter().map(|level| mean(&level.popularity));
        let unseen: Vec<bool> = (study.test().iter())
            .map(|&(_, target)| study.seen[target.index()] == 0)
            .collect();
        let gain = |level: &LevelBits, at: usize| level.popularity[at] - level.context[at];
        let unseen_bits = |at: usize| levels.iter().map(|level| gain(level, at)).sum::<f64>();
        Self {
            per_level: levels
                .iter()
                .map(|level| mean(&level.popularity) - mean(&level.context))
                .collect(),
            popularity_bits: popularity.sum::<f64>() + mean(&crowding),
            pairs,
            unseen_bits: (0..pairs).filter(|&at| unseen[at]).map(unseen_bits).sum(),
            unseen_pairs: unseen.iter().filter(|&&unseen| unseen).count(),
        }
    }
}

/// A context and the target that follows it.
type Pair = (ItemId, ItemId);

/// The bits that one level of each test target takes.
struct LevelBits {
    popularity: Vec<f64>,
    context: Vec<f64>,
}

/// Histories, cut into training, validation and test.
struct Study<'a> {
    prefixes: &'a Prefixes,
    training: Vec<&'a [ItemId]>,
    /// Training events of each item, `[N]`.
    seen: Vec<u32>,
    /// The validation pairs, then the test pairs.
    held_out: Vec<Pair>,
    /// How many of them are for validation.
    validation: usize,
}

impl<'a> Study<'a> {
    fn new(prefixes: &'a Prefixes, histories: &[&'a [ItemId]]) -> Self {
        let training = histories
            .iter()
            .filter_map(|h| Some(h.split_last_chunk::<2>()?.0));
        let training: Vec<_> = training.collect();
        let mut seen = vec![0; prefixes.of_item[0].len()];
        for item in training.iter().copied().flatten() {
            seen[item.index()] += 1;
        }
        let before_last = histories.iter().filter_map(|h| match h {
            [.., context, target, _] => Some((*context, *target)),
            _ => None,
        });
        let last = histories.iter().filter_map(|h| match h {
            [.., context, target] => Some((*context, *target)),
            _ => None,
        });
        let mut held_out: Vec<Pair> = before_last.collect();
        let validation = held_out.len();
        held_out.extend(last);
        Self {
            prefixes,
            training,
            seen,
            held_out,
            validation,
        }
    }

    fn test(&self) -> &[Pair] {
        &self.held_out[self.validation..]
    }

    fn level(&self, level: usize) -> LevelBits {
        let prefixes = self.prefixes;
        let share = |&(_, target): &Pair| {
            let of_code = prefixes.items(level + 1, target);
            f64::from(of_code) / f64::from(prefixes.items(level, target))
        };
        let mut probabilities: Vec<f64> = self.held_out.iter().map(share).collect();
        let mut refine = |evidence: Vec<Evidence>| {
            interpolate(&mut probabilities, &evidence, self.validation);
            let test = &probabilities[self.validation..];
            test.iter().map(|p| -p.log2()).collect()
        };
        let popularity = refine(self.popularity(level));
        let mut context = Vec::new();
        for depth in 1..=prefixes.levels() {
            context = refine(self.followers(level, depth));
        }
        LevelBits {
            popularity,
            context,
        }
    }

    /// The training events of each target's prefix.
    fn popularity(&self, level: usize) -> Vec<Evidence> {
        let count = |depth: usize| {
            let mut counts = vec![0; self.prefixes.nodes(depth)];
            for (node, seen) in self.prefixes.of_item[depth].iter().zip(&self.seen) {
                counts[*node as usize] += seen;
            }
            counts
        };
        let (of_prefix, of_code) = (count(level), count(level + 1));
        let evidence = |&(_, target): &Pair| Evidence {
            total: of_prefix[self.prefixes.node(level, target) as usize],
            of_code: of_code[self.prefixes.node(level + 1, target) as usize],
        };
        self.held_out.iter().map(evidence).collect()
    }

    /// The training pairs to each target's prefix from items that share `depth` codes with its
    /// context.
    fn followers(&self, level: usize, depth: usize) -> Vec<Evidence> {
        let prefixes = self.prefixes;
        let key = |from: u32, to: u32| u64::from(from) << 32 | u64::from(to);
        let mut keys = Vec::new();
        for history in &self.training {
            for (at, &context) in history.iter().enumerate() {
                let from = prefixes.node(depth, context);
                for &target in history[at + 1..].iter().take(WINDOW) {
                    keys.push(key(from, prefixes.node(level + 1, target)));
                }
            }
        }
        keys.sort_unstable();
        let before = |key: u64| keys.partition_point(|&other| other < key) as u32;
        let evidence = |&(context, target): &Pair| {
            let from = prefixes.node(depth, context);
            // The children of a node are numbered in a row.
            let within =
                |nodes: Range<u32>| before(key(from, nodes.end)) - before(key(from, nodes.start));
            let node = prefixes.node(level + 1, target);
            Evidence {
                total: within(prefixes.children(level, target)),
                of_code: within(node..node + 1),
            }
        };
        self.held_out.par_iter().map(evidence).collect()
    }
}

/// What was counted for a target's prefix, and for its code there.
struct Evidence {
    total: u32,
    of_code: u32,
}

impl Evidence {
    fn bucket(&self) -> usize {
        BUCKETS.partition_point(|&least| least <= self.total)
    }

    fn share(&self) -> f64 {
        f64::from(self.of_code) / f64::from(self.total.max(1))
    }
}

/// Mixes shares into probabilities, with one weight a bucket, fitted on the first `validation`.
fn interpolate(probabilities: &mut [f64], evidence: &[Evidence], validation: usize) {
    let mut weights = [START; BUCKETS.len() + 1];
    weights[0] = 0.0;
    for _ in 0..ROUNDS {
        let mut responsibility = [0.0; BUCKETS.len() + 1];
        let mut cases = [0.0; BUCKETS.len() + 1];
        for (p, evidence) in probabilities.iter().zip(evidence).take(validation) {
            let bucket = evidence.bucket();
            let new = weights[bucket] * evidence.share();
            responsibility[bucket] += new / (new + (1.0 - weights[bucket]) * p);
            cases[bucket] += 1.0;
        }
        for bucket in (1..weights.len()).filter(|&bucket| cases[bucket] > 0.0) {
            // Never certain, or one surprise in the test would take infinitely many bits.
            let most = cases[bucket] / (cases[bucket] + 1.0);
            weights[bucket] = (responsibility[bucket] / cases[bucket]).min(most);
        }
    }
    for (p, evidence) in probabilities.iter_mut().zip(evidence) {
        let weight = weights[evidence.bucket()];
        *p = weight * evidence.share() + (1.0 - weight) * *p;
    }
}

/// The prefixes of all paths, numbered in lexicographic order at each depth, 0 to `L`.
#[derive(Clone)]
struct Prefixes {
    /// `[L + 1][N]`
    of_item: Vec<Vec<u32>>,
    /// Items below each, `[L + 1][n]`.
    items: Vec<Vec<u32>>,
    /// The first of the next depth below each, `[L][n + 1]`.
    first_child: Vec<Vec<u32>>,
}

impl Prefixes {
    fn of(paths: &CodeMatrix) -> Self {
        let mut order: Vec<u32> = (0..paths.len() as u32).collect();
        let path = |item: u32| paths.row(ItemId(item));
        order.par_sort_unstable_by_key(|&item| path(item));
        let shared = |pair: &[u32]| common(path(pair[0]), path(pair[1]));
        let shared: Vec<usize> = order.windows(2).map(shared).collect();
        let mut prefixes = Self {
            of_item: Vec::new(),
            items: Vec::new(),
            first_child: Vec::new(),
        };
        for depth in 0..=paths.levels() {
            let mut of_item = vec![0; paths.len()];
            let mut items: Vec<u32> = Vec::new();
            let mut first_child = Vec::new();
            let mut below = 0;
            for (rank, &item) in order.iter().enumerate() {
                let common = rank.checked_sub(1).map(|before| shared[before]);
                if common.is_none_or(|common| common < depth) {
                    items.push(0);
                    first_child.push(below);
                }
                below += u32::from(common.is_none_or(|common| common < depth + 1));
                of_item[item as usize] = items.len() as u32 - 1;
                *items.last_mut().expect("the first item opens a node") += 1;
            }
            first_child.push(below);
            prefixes.of_item.push(of_item);
            prefixes.items.push(items);
            prefixes.first_child.push(first_child);
        }
        prefixes
    }

    fn levels(&self) -> usize {
        self.of_item.len() - 1
    }

    fn nodes(&self, depth: usize) -> usize {
        self.items[depth].len()
    }

    fn node(&self, depth: usize, item: ItemId) -> u32 {
        self.of_item[depth][item.index()]
    }

    fn items(&self, depth: usize, item: ItemId) -> u32 {
        self.items[depth][self.node(depth, item) as usize]
    }

    /// The nodes one deeper below an item's node.
    fn children(&self, depth: usize, item: ItemId) -> Range<u32> {
        let node = self.node(depth, item) as usize;
        self.first_child[depth][node]..self.first_child[depth][node + 1]
    }

    /// Each item in the place of another.
    fn permuted(&self, places: &[u32]) -> Self {
        let moved = |nodes: &Vec<u32>| places.iter().map(|&place| nodes[place as usize]).collect();
        Self {
            of_item: self.of_item.iter().map(moved).collect(),
            ..self.clone()
        }
    }
}

/// How many first codes two paths share.
fn common(a: &[Code], b: &[Code]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
