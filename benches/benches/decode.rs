//! A decoding step beside the work that no step can do without, and beside its rivals.
//!
//! Not criterion: what matters is ratios within one run, so the contenders take turns and the
//! medians are compared. `cargo bench -p semid-benches --bench decode [ITEMS ...]`

#![expect(clippy::print_stdout, reason = "the tables are the result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use rayon::prelude::*;
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use tch::{Kind, Tensor};
use trie_decode::{
    BeamParams, BeamSearch, Filter, ItemTrie, Logits, Normalizer, Request, Scorer, Scores, Scratch,
    Step, TokenMap,
};

const LEVELS: usize = 4;
const CODES: u32 = 256;
const BATCH: usize = 8;
const VOCABULARY: usize = 33_024;
/// Tokens before those of level 0.
const OTHERS: u32 = 32_000;
/// Buffers that steps read in turn, so that none is in a cache that the last one left.
const BUFFERS: usize = 4;

/// What a model says.
#[derive(Clone, Copy)]
enum Mode {
    Vocabulary,
    /// With the sums it found itself: what is left is the constraint alone.
    Normalized,
    Level,
}

/// Gives prepared logits, and notes the time between its calls: that of a step.
struct Stopwatch<'a> {
    buffers: &'a [Vec<f32>],
    mode: Mode,
    zeros: Vec<f32>,
    next: usize,
    left: Option<Instant>,
    steps: Vec<Duration>,
}

impl Stopwatch<'_> {
    fn mark(&mut self) {
        self.steps
            .extend(self.left.take().map(|left| left.elapsed()));
    }
}

impl Scorer for Stopwatch<'_> {
    fn score(&mut self, step: &Step<'_>) -> Result<Scores<'_>, Box<dyn Error + Send + Sync>> {
        self.mark();
        self.next = (self.next + 1) % self.buffers.len();
        let rows = step.rows().len();
        self.zeros.resize(rows, 30.0);
        let width = match self.mode {
            Mode::Level => CODES as usize,
            _ => VOCABULARY,
        };
        let logits = Logits::F32(&self.buffers[self.next][..rows * width]);
        self.left = Some(Instant::now());
        Ok(match self.mode {
            Mode::Vocabulary => Scores::vocabulary(logits),
            Mode::Normalized => Scores::vocabulary(logits).normalized_by(&self.zeros),
            Mode::Level => Scores::level(logits),
        })
    }
}

/// A catalogue and what is asked of it.
struct Setting<'a> {
    trie: &'a ItemTrie<Vec<u8>>,
    tokens: &'a TokenMap,
    beams: usize,
    buffers: &'a [Vec<f32>],
}

impl Setting<'_> {
    /// Seconds of each level's step.
    fn steps(&self, mode: Mode, filter: Option<&Filter>) -> Vec<f64> {
        let normalizer = match mode {
            Mode::Level => Normalizer::Level,
            _ => Normalizer::FullVocab,
        };
        let params = BeamParams {
            beams: vec![self.beams],
            results: self.beams,
            normalizer,
            ..BeamParams::default()
        };
        let config = params.check().expect("sound settings");
        let search = BeamSearch::new(self.trie, Some(self.tokens), config).expect("one space");
        let mut stopwatch = Stopwatch {
            buffers: self.buffers,
            mode,
            zeros: Vec::new(),
            next: 0,
            left: None,
            steps: Vec::new(),
        };
        let requests = [Request { filter }; BATCH];
        let mut scratch = Scratch::default();
        // Once to fill the scratch.
        for _ in 0..2 {
            stopwatch.steps.clear();
            let found = search.run(&mut stopwatch, &requests, &mut scratch);
            stopwatch.mark();
            found.expect("sound scores");
        }
        stopwatch.steps.iter().map(Duration::as_secs_f64).collect()
    }

    /// The mean over the levels after the first.
    fn step(&self, mode: Mode, filter: Option<&Filter>) -> f64 {
        let steps = self.steps(mode, filter);
        steps[1..].iter().sum::<f64>() / (steps.len() - 1) as f64
    }
}

/// Random distinct IDs: a bijection of the 2^32 of them (the finalizer of MurmurHash3).
fn codes(items: u32) -> CodeMatrix {
    let path = |row: u32| {
        let row = (row ^ row >> 16).wrapping_mul(0x85eb_ca6b);
        let row = (row ^ row >> 13).wrapping_mul(0xc2b2_ae35);
        (row ^ row >> 16).to_be_bytes()
    };
    let codes = (0..items).flat_map(path).map(|code| Code(code.into()));
    CodeMatrix::new(codes.collect(), LEVELS).expect("whole rows")
}

/// Values of a trained model's spread: roughly normal, standard deviation 4.
fn logits(seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let rows = BATCH * 50;
    (0..rows * VOCABULARY)
        .map(|_| 8.0 * (uniform() + uniform() + uniform()))
        .collect()
}

/// One level's step over the children table of STATIC (compressed sparse rows): log-softmax,
/// gather, top-k and next state by whole-tensor operations, level logits only.
struct SparseRows {
    offsets: Tensor,
    codes: Tensor,
    most: i64,
}

impl SparseRows {
    fn new(trie: &ItemTrie<Vec<u8>>, level: usize) -> Self {
        let parents = trie.level(level - 1).expect("a level before");
        let offsets: Vec<i64> = match parents.first_child {
            Some(offsets) => offsets.iter().map(i64::from).collect(),
            None => Vec::new(),
        };
        let codes = trie.level(level).expect("a level").codes;
        let codes: Vec<i64> = codes.iter().map(|code| code.index() as i64).collect();
        let most = offsets.windows(2).map(|pair| pair[1] - pair[0]).max();
        Self {
            most: most.unwrap_or(1),
            offsets: Tensor::from_slice(&offsets),
            codes: Tensor::from_slice(&codes),
        }
    }

    fn step(&self, logits: &Tensor, states: &Tensor, scores: &Tensor, beams: i64) -> Tensor {
        let log_probabilities = logits.log_softmax(-1, Kind::Float);
        let start = self.offsets.index_select(0, states);
        let end = self.offsets.index_select(0, &(states + 1));
        let edges = start.unsqueeze(1) + Tensor::arange(self.most, (Kind::Int64, tch::Device::Cpu));
        let real = edges.lt_tensor(&end.unsqueeze(1));
        let edges = edges.clamp_max(self.codes.size()[0] - 1);
        let codes = self.codes.take(&edges);
        let children = log_probabilities.gather(1, &codes, false);
        let candidates =
            (children + scores.unsqueeze(1)).masked_fill(&real.logical_not(), f64::NEG_INFINITY);
        let candidates = candidates.view([BATCH as i64, -1]);
        let (_, best) = candidates.topk(beams, 1, true, true);
        edges.view([BATCH as i64, -1]).gather(1, &best, false)
    }
}

/// Contenders take turns; the median of each.
fn medians(
    rounds: usize,
    contenders: &mut [(&str, &mut dyn FnMut() -> f64)],
) -> BTreeMap<String, f64> {
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for (name, run) in &mut *contenders {
            times.entry((*name).to_owned()).or_default().push(run());
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times
        .into_iter()
        .map(|(name, times)| (name, median(times)))
        .collect()
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64()
}

fn threads(count: usize) -> ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
    pool.expect("a small pool")
}

/// Reads all values of a buffer, as fast as the memory gives them.
fn read(values: &[f32]) -> f32 {
    let lanes = |values: &[f32]| {
        let mut lanes = [0.0_f32; 64];
        for values in values.chunks_exact(64) {
            lanes
                .iter_mut()
                .zip(values)
                .for_each(|(lane, value)| *lane += value);
        }
        lanes.iter().sum::<f32>()
    };
    values.par_chunks(VOCABULARY).map(lanes).sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test` runs benches once, to see that they work.
    let timed = arguments.iter().any(|argument| argument == "--bench");
    let mut sizes: Vec<u32> = arguments
        .iter()
        .filter_map(|item| item.parse().ok())
        .collect();
    if sizes.is_empty() {
        sizes = if timed {
            vec![100_000, 1_000_000]
        } else {
            vec![1000]
        };
    }
    let rounds = if timed { 9 } else { 1 };
    let buffers: Vec<Vec<f32>> = (0..BUFFERS).map(|seed| logits(seed as u64 + 1)).collect();
    let space = CodeSpace::uniform(LEVELS, CODES).expect("a small space");
    let firsts = [0, 1, 2, 3].map(|level| OTHERS + level * CODES);
    let tokens = TokenMap::ranges(&space, &firsts, VOCABULARY).expect("in range");
    let (one, two) = (threads(1), threads(2));
    for items in sizes {
        let codes = codes(items);
        let of_codes = || ItemTrie::of_codes(space.clone(), &codes, 1).expect("distinct paths");
        let mut builds: Vec<f64> = (0..5).map(|_| one.install(|| seconds(of_codes))).collect();
        builds.sort_by(f64::total_cmp);
        let trie = of_codes();
        println!(
            "{items} items, {LEVELS} x {CODES} codes: {:.2} bytes an item, built in {:.1} ms on one thread",
            bytes(&trie) as f64 / f64::from(items),
            builds[2] * 1e3
        );
        let some = (0..items)
            .step_by((items as usize / 10_000).max(1))
            .map(ItemId);
        let some: Vec<ItemId> = some.collect();
        let filter = || Filter::allow_items(&trie, some.iter().copied()).expect("known items");
        println!(
            "  a filter of {} items: {:.3} ms",
            some.len(),
            seconds(filter) * 1e3
        );
        let filters = [
            filter(),
            Filter::allow_items(&trie, (0..items).step_by(5).map(ItemId)).expect("known items"),
        ];
        for beams in [20, 50] {
            let setting = Setting {
                trie: &trie,
                tokens: &tokens,
                beams,
                buffers: &buffers,
            };
            table(&setting, &filters, (&one, &two), rounds);
        }
    }
}

/// Bytes of the tree, without the tables of items.
fn bytes(trie: &ItemTrie<Vec<u8>>) -> usize {
    let level = |level| {
        let level = trie.level(level).expect("one of the levels");
        let code = if matches!(level.codes, semantic_id::Codes::U8(_)) {
            1
        } else {
            2
        };
        level.codes.len() * code + level.first_child.map_or(0, |offsets| 4 * offsets.len())
    };
    (0..LEVELS).map(level).sum()
}

fn table(
    setting: &Setting<'_>,
    filters: &[Filter; 2],
    (one, two): (&ThreadPool, &ThreadPool),
    rounds: usize,
) {
    let rows = BATCH * setting.beams;
    let tensors: Vec<Tensor> = (setting.buffers.iter())
        .map(|buffer| Tensor::from_slice(&buffer[..rows * VOCABULARY]).view([rows as i64, -1]))
        .collect();
    let out = Tensor::empty(
        [rows as i64, VOCABULARY as i64],
        (Kind::Float, tch::Device::Cpu),
    );
    let mut turn = 0;
    let mut softmax = || {
        turn = (turn + 1) % BUFFERS;
        tch::set_num_threads(1);
        seconds(|| tensors[turn].internal_log_softmax_out(&out, -1, false))
    };
    let sparse: Vec<SparseRows> = (1..LEVELS)
        .map(|level| SparseRows::new(setting.trie, level))
        .collect();
    let small = Tensor::rand(
        [rows as i64, i64::from(CODES)],
        (Kind::Float, tch::Device::Cpu),
    );
    let sums = Tensor::zeros([rows as i64], (Kind::Float, tch::Device::Cpu));
    let mut csr = || {
        let mut states = Tensor::arange(rows as i64, (Kind::Int64, tch::Device::Cpu))
            .remainder(i64::from(CODES));
        let mut total = 0.0;
        for level in &sparse {
            total += seconds(|| {
                states = level
                    .step(&small, &states, &sums, setting.beams as i64)
                    .view([-1]);
            });
        }
        total / sparse.len() as f64
    };
    let read_all = |pool: &ThreadPool| {
        let values = &setting.buffers[0][..rows * VOCABULARY];
        pool.install(|| seconds(|| read(values)))
    };
    let step = |pool: &ThreadPool, mode, filter| pool.install(|| setting.step(mode, filter));
    let times = medians(
        rounds,
        &mut [
            ("torch log_softmax", &mut softmax),
            ("full vocabulary", &mut || step(one, Mode::Vocabulary, None)),
            ("full vocabulary, two threads", &mut || {
                step(two, Mode::Vocabulary, None)
            }),
            ("plain read", &mut || read_all(one)),
            ("plain read, two threads", &mut || read_all(two)),
            ("constraint alone", &mut || {
                step(one, Mode::Normalized, None)
            }),
            ("level logits", &mut || step(one, Mode::Level, None)),
            ("level logits, tensor CSR", &mut csr),
            ("full vocabulary, 10,000 allowed", &mut || {
                step(one, Mode::Vocabulary, Some(&filters[0]))
            }),
            ("full vocabulary, 20 % allowed", &mut || {
                step(one, Mode::Vocabulary, Some(&filters[1]))
            }),
        ],
    );
    println!(
        "  {BATCH} requests, {} beams, {VOCABULARY} tokens; ms a step after level 0",
        setting.beams
    );
    for (name, seconds) in &times {
        println!("    {name:32} {:8.3}", seconds * 1e3);
    }
    let ratio = |a: &str, b: &str| times[a] / times[b];
    println!(
        "    of torch's log_softmax: {:.2}",
        ratio("full vocabulary", "torch log_softmax")
    );
    let scaling = ratio("full vocabulary", "full vocabulary, two threads");
    let plain = ratio("plain read", "plain read, two threads");
    println!("    two threads: {scaling:.2} times as fast, a plain read {plain:.2}");
    println!(
        "    level logits faster than tensor CSR: {:.1}",
        ratio("level logits, tensor CSR", "level logits")
    );
    println!(
        "    filtered: {:.2}",
        ratio("full vocabulary, 10,000 allowed", "full vocabulary")
    );
}
