use std::fmt;
use std::fs::File;
use std::io::Write;
use std::iter::repeat_with;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{ArgGroup, Args};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys, Manifest, TokenFormat,
};
use serde::Serialize;
use trie_decode::{
    BeamParams, BeamSearch, ItemTrie, Logits, Normalizer, Request, Scorer, Scores, Scratch, Step,
    TokenMap,
};

use crate::console::Console;
use crate::map::{self, Bytes};
use crate::tree::TreeShape;
use crate::usage_error;

/// Searches of each kind that are timed; one more goes before them.
const RUNS: usize = 21;

/// Logits that are ready, at least: 256 MiB, more than caches hold.
const READY: usize = 1 << 26;

/// Time each step of a beam search, without a model
///
/// The scorer in the model's place returns random logits that were ready before; they go round
/// through more memory than caches hold. What is timed is a level's own work, from the return of
/// its logits to the next call of the scorer: the median of 21 searches, in seconds, at each level.
///
///   full_vocab   normalize over a vocabulary, then search
///   level_only   the same over the codes of the level only
///   constraint   gather from a vocabulary and search; the model has normalized
///
/// It also times opening the index file and building the tree from its unsorted codes, and tells
/// the bytes of the tree, without the tables of items and keys.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, group = ArgGroup::new("catalogue").required(true))]
pub(crate) struct Decode {
    /// The index file
    #[arg(group = "catalogue")]
    index: Option<PathBuf>,
    /// No index file, but so many items with random IDs
    #[arg(long, value_name = "N", group = "catalogue")]
    items: Option<NonZeroUsize>,
    /// Levels of the random IDs
    #[arg(long, value_name = "N", default_value_t = 4)]
    levels: usize,
    /// Codes of a level of the random IDs
    #[arg(long, value_name = "N", default_value_t = 256)]
    codes: u32,
    /// Requests that are searched together
    #[arg(long, value_name = "N", default_value = "8")]
    batch: NonZeroUsize,
    /// Prefixes kept after each level, and items to find
    #[arg(long, value_name = "N", default_value = "50")]
    beams: NonZeroUsize,
    /// Tokens of the model; its last ones stand for the codes
    #[arg(long, value_name = "N", default_value_t = 33024)]
    vocab: usize,
    /// Seed of the random IDs and logits
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// What `bench decode` reports; times in seconds.
#[derive(Debug, Serialize)]
struct Report {
    items: usize,
    levels: usize,
    /// Of the largest level.
    codes: u32,
    batch: usize,
    beams: usize,
    vocab: usize,
    threads: usize,
    step_seconds: StepSeconds,
    build_seconds: f64,
    open_seconds: f64,
    bytes_per_item: f64,
}

/// Medians, `[L]`; null for a level without a step, where all IDs had ended.
#[derive(Debug, Serialize)]
struct StepSeconds {
    full_vocab: Vec<Option<f64>>,
    level_only: Vec<Option<f64>>,
    constraint: Vec<Option<f64>>,
}

impl Decode {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let generated = match self.items {
            Some(items) => Some(self.generate(items.get())?),
            None => None,
        };
        let (index, open_seconds) = timed(|| {
            let bytes = match (&generated, &self.index) {
                (Some(file), _) => map::of(file).context("cannot read the random index"),
                (None, path) => map::open(path.as_ref().expect("one of both is required")),
            };
            Ok(ItemIndex::open(bytes?)?)
        })?;
        let codes = index.codes()?;
        let (_, build_seconds) = timed(|| {
            let space = index.space().clone();
            Ok(ItemTrie::of_codes(space, &codes, index.items())?)
        })?;
        let shape = TreeShape::of(&index)?;
        let trie = ItemTrie::new(index);
        console.note("searching");
        console.report(&Report {
            items: trie.items(),
            levels: trie.levels(),
            codes: trie.space().sizes().iter().copied().max().unwrap_or(0),
            batch: self.batch.get(),
            beams: self.beams.get(),
            vocab: self.vocab,
            threads: rayon::current_num_threads(),
            step_seconds: self.step_seconds(&trie)?,
            build_seconds,
            open_seconds,
            bytes_per_item: shape.bytes_per_item.tree,
        })
    }

    /// An index of random IDs, in a file without a name.
    fn generate(&self, items: usize) -> anyhow::Result<File> {
        let space = CodeSpace::uniform(self.levels, self.codes).map_err(usage_error)?;
        // Fuller than that, drawing at random would take long to find the last free ones.
        if items as u128 > space.capacity().div_ceil(2) {
            return Err(usage_error(format!(
                "--items {items}: expected at most half of the {} IDs that {space} codes make",
                space.capacity()
            )));
        }
        let codes = random_ids(&space, items, self.seed)?;
        let info = IndexInfo::new(
            TokenFormat::lc_rec(self.levels),
            Manifest::new("bench decode", ().into()),
        );
        let keys = ItemKeys::numbered(items)?;
        let index = ItemIndex::build(&space, &codes, &keys, 1, info)?;
        let write = || {
            let mut file = tempfile::tempfile()?;
            file.write_all(index.bytes())?;
            std::io::Result::Ok(file)
        };
        write().context("cannot write a temporary file")
    }

    fn step_seconds(&self, trie: &ItemTrie<Bytes>) -> anyhow::Result<StepSeconds> {
        let tokens = self.token_map(trie.space())?;
        let rows = self
            .batch
            .get()
            .saturating_mul(self.beams.get().min(trie.items()));
        let mut ready = ReadyLogits::new(rows.saturating_mul(self.vocab), self.seed)?;
        let mut time = |kind| self.time(trie, &tokens, kind, &mut ready);
        Ok(StepSeconds {
            full_vocab: time(Kind::FullVocab)?,
            level_only: time(Kind::LevelOnly)?,
            constraint: time(Kind::Constraint)?,
        })
    }

    /// The last tokens stand for the codes, level after level.
    fn token_map(&self, space: &CodeSpace) -> anyhow::Result<TokenMap> {
        let codes: u32 = space.sizes().iter().sum();
        let first = self.vocab.checked_sub(codes as usize);
        let mut first = first.and_then(|first| u32::try_from(first).ok()).ok_or_else(|| {
            usage_error(format!(
                "--vocab {}: expected at least {codes}, the codes of all levels, and less than 2^32",
                self.vocab
            ))
        })?;
        let firsts = space.sizes().iter().map(|&size| {
            let this = first;
            first += size;
            this
        });
        let firsts: Vec<u32> = firsts.collect();
        TokenMap::ranges(space, &firsts, self.vocab).map_err(usage_error)
    }

    /// The median time of each level's step.
    fn time(
        &self,
        trie: &ItemTrie<Bytes>,
        tokens: &TokenMap,
        kind: Kind,
        ready: &mut ReadyLogits,
    ) -> anyhow::Result<Vec<Option<f64>>> {
        let params = BeamParams {
            results: self.beams.get(),
            beams: vec![self.beams.get()],
            normalizer: match kind {
                Kind::LevelOnly => Normalizer::Level,
                Kind::FullVocab | Kind::Constraint => Normalizer::FullVocab,
            },
            ..BeamParams::default()
        };
        let search = BeamSearch::new(trie, Some(tokens), params.check()?)?;
        let requests = vec![Request::default(); self.batch.get()];
        let mut scratch = Scratch::default();
        let mut stopwatch = Stopwatch {
            kind,
            vocabulary: self.vocab,
            sizes: trie.space().sizes(),
            ready,
            sums: Vec::new(),
            begun: None,
            steps: vec![Vec::new(); trie.levels()],
        };
        for _ in 0..=RUNS {
            search.run(&mut stopwatch, &requests, &mut scratch)?;
            stopwatch.stop();
        }
        // The first search of all is slower: it makes the scratch.
        let steps = stopwatch.steps.into_iter();
        Ok(steps
            .map(|steps| median(steps.get(1..).unwrap_or(&[])))
            .collect())
    }
}

/// Distinct IDs in random order.
fn random_ids(space: &CodeSpace, items: usize, seed: u64) -> anyhow::Result<CodeMatrix> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut paths: Vec<u128> = Vec::new();
    while paths.len() < items {
        let missing = items - paths.len();
        let path = || rng.random_range(0..space.capacity());
        paths.extend(repeat_with(path).take(missing));
        paths.sort_unstable();
        paths.dedup();
    }
    paths.shuffle(&mut rng);
    let codes = paths.iter().flat_map(|&path| {
        let mut rest = path;
        space.sizes().iter().map(move |&size| {
            let code = (rest % u128::from(size)) as u16;
            rest /= u128::from(size);
            Code(code)
        })
    });
    Ok(CodeMatrix::new(codes.collect(), space.levels())?)
}

/// Random logits, made before they are asked for.
struct ReadyLogits {
    values: Vec<f32>,
    at: usize,
}

impl ReadyLogits {
    /// Enough for four steps of which the largest takes `step` values.
    fn new(step: usize, seed: u64) -> anyhow::Result<Self> {
        let count = READY.max(step.saturating_mul(4));
        let mut values = Vec::new();
        let room = values.try_reserve_exact(count);
        room.with_context(|| format!("no memory for {count} logits; use less --batch or --beams"))?;
        values.resize(count, 0.0_f32);
        let chunks = values.par_chunks_mut(1 << 16).enumerate();
        chunks.for_each(|(stream, chunk)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream as u64);
            // Below 0, as those are that the model has normalized.
            chunk.fill_with(|| rng.random_range(-8.0..0.0) + rng.random_range(-8.0..0.0));
        });
        Ok(Self { values, at: 0 })
    }

    fn next(&mut self, count: usize) -> &[f32] {
        if self.at + count > self.values.len() {
            self.at = 0;
        }
        let start = self.at;
        // The next ones begin with a cache line.
        self.at = (start + count).next_multiple_of(16);
        &self.values[start..start + count]
    }
}

/// What a step is given to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    FullVocab,
    LevelOnly,
    Constraint,
}

/// A model that takes no time, and notes how much the search takes between its calls.
struct Stopwatch<'a> {
    kind: Kind,
    vocabulary: usize,
    sizes: &'a [u32],
    ready: &'a mut ReadyLogits,
    sums: Vec<f32>,
    /// The level of the step that runs, and when its logits were returned.
    begun: Option<(usize, Instant)>,
    /// Times of all steps so far, by level.
    steps: Vec<Vec<Duration>>,
}

impl Stopwatch<'_> {
    /// Ends the step that runs.
    fn stop(&mut self) {
        if let Some((level, start)) = self.begun.take() {
            self.steps[level].push(start.elapsed());
        }
    }
}

impl Scorer for Stopwatch<'_> {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        self.stop();
        let rows = step.rows().len();
        let level = step.rows()[0].prefix.len();
        let columns = match self.kind {
            Kind::LevelOnly => self.sizes[level] as usize,
            Kind::FullVocab | Kind::Constraint => self.vocabulary,
        };
        self.sums.resize(rows, 0.0);
        let logits = Logits::F32(self.ready.next(rows * columns));
        let scores = match self.kind {
            Kind::FullVocab => Scores::vocabulary(logits),
            Kind::LevelOnly => Scores::level(logits),
            Kind::Constraint => Scores::vocabulary(logits).normalized_by(&self.sums),
        };
        self.begun = Some((level, Instant::now()));
        Ok(scores)
    }
}

fn timed<T>(run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
    let start = Instant::now();
    let made = run()?;
    Ok((made, start.elapsed().as_secs_f64()))
}

fn median(times: &[Duration]) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).map(Duration::as_secs_f64)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} items, {} levels of {} codes; {} requests x {} beams, {} tokens, {} threads",
            self.items, self.levels, self.codes, self.batch, self.beams, self.vocab, self.threads
        )?;
        writeln!(f, "milliseconds a step")?;
        writeln!(f, "level  full_vocab  level_only  constraint")?;
        let StepSeconds {
            full_vocab,
            level_only,
            constraint,
        } = &self.step_seconds;
        for level in 0..self.levels {
            let [full, only, constraint] = [full_vocab, level_only, constraint].map(|steps| {
                steps[level].map_or("-".to_owned(), |step| format!("{:.3}", 1e3 * step))
            });
            writeln!(f, "{level:>5}  {full:>10}  {only:>10}  {constraint:>10}")?;
        }
        write!(
            f,
            "built in {:.1} ms, opened in {:.3} ms; {:.2} bytes an item",
            1e3 * self.build_seconds,
            1e3 * self.open_seconds,
            self.bytes_per_item
        )
    }
}
