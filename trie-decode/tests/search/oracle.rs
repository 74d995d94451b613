//! Small random catalogues, a model that is a hash of the prefix, and plain rankings.

use std::ops::Range;

use half::{bf16, f16};
use proptest::prelude::*;
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use trie_decode::{
    Beam, BeamParams, BeamSearch, Continuation, Filter, ItemTrie, Logits, Normalizer, Outcome,
    Request, Sample, SampleRequest, Scorer, Scores, Scratch, Slate, Step, StochasticSearch,
    TokenMap,
};

/// Tokens before those of the first level, between levels, and after the last.
const OTHERS: u32 = 2;

#[derive(Debug, Clone)]
pub(crate) struct Case {
    sizes: Vec<u32>,
    /// Unpadded.
    ids: Vec<Vec<Code>>,
    normalizer: Normalizer,
    length_penalty: f32,
    /// Allowed items of each request; `None`: all.
    allowed: Vec<Option<Vec<bool>>>,
    /// The number of each request, which the model knows.
    numbers: Vec<usize>,
    results: usize,
    beams: Vec<usize>,
    seed: u64,
}

/// Catalogues of up to 40 items on 1 to 4 levels; IDs may be short, or shared by two items.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    cases(1..6, 1..5, 40)
}

/// Catalogues in which a step has many more children than beams.
pub(crate) fn large_case() -> impl Strategy<Value = Case> {
    cases(20..50, 2..4, 600)
}

fn cases(sizes: Range<u32>, levels: Range<usize>, items: usize) -> impl Strategy<Value = Case> {
    let shape = (prop::collection::vec(sizes, levels), any::<bool>());
    shape.prop_flat_map(move |(sizes, ragged)| {
        let levels = sizes.len();
        let codes = prop::collection::vec(any::<prop::sample::Index>(), levels);
        let length = if ragged { 1..=levels } else { levels..=levels };
        let ids = prop::collection::vec((codes, length), items / 2..items);
        let normalizer = prop::sample::select(vec![
            Normalizer::FullVocab,
            Normalizer::SemanticIdVocab,
            Normalizer::Level,
            Normalizer::ValidChildren,
        ]);
        let penalty = prop::sample::select(vec![0.0_f32, 0.0, 0.7, 1.5]);
        let allowed = prop::option::of(prop::collection::vec(any::<bool>(), items));
        let requests = prop::collection::vec(allowed, 1..4);
        let widths = (1_usize..8, prop::collection::vec(1_usize..8, 1..4));
        (ids, normalizer, penalty, requests, widths, any::<u64>()).prop_map(
            move |(ids, normalizer, length_penalty, allowed, (results, beams), seed)| {
                let mut kept: Vec<Vec<Code>> = Vec::new();
                for (codes, length) in ids {
                    let code = |(code, &size): (prop::sample::Index, &u32)| {
                        Code(code.index(size as usize) as u16)
                    };
                    let mut id: Vec<Code> = codes.into_iter().zip(&sizes).map(code).collect();
                    id.truncate(length);
                    if kept.iter().filter(|known| **known == id).count() < 2 {
                        kept.push(id);
                    }
                }
                Case {
                    sizes: sizes.clone(),
                    ids: kept,
                    normalizer,
                    length_penalty,
                    numbers: (0..allowed.len()).collect(),
                    allowed,
                    results,
                    beams,
                    seed,
                }
            },
        )
    })
}

impl Case {
    pub(crate) fn items(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, item: ItemId) -> &[Code] {
        &self.ids[item.index()]
    }

    pub(crate) fn params(&self) -> BeamParams {
        BeamParams {
            results: self.results,
            beams: self.beams.clone(),
            normalizer: self.normalizer,
            length_penalty: self.length_penalty,
            exact: None,
        }
    }

    /// The most rows that a beam search asks for.
    pub(crate) fn beam_rows(&self) -> usize {
        1 + 8 * self.sizes.len()
    }

    pub(crate) fn unfiltered(&self) -> Self {
        Self {
            allowed: vec![None; self.allowed.len()],
            ..self.clone()
        }
    }

    pub(crate) fn alone(&self, request: usize) -> Self {
        Self {
            allowed: vec![self.allowed[request].clone()],
            numbers: vec![self.numbers[request]],
            ..self.clone()
        }
    }

    pub(crate) fn may(&self, request: usize, item: ItemId) -> bool {
        let allowed = self.allowed[request].as_ref();
        allowed.is_none_or(|allowed| allowed[item.index()])
    }

    fn space(&self) -> CodeSpace {
        CodeSpace::new(self.sizes.clone()).expect("a small space")
    }

    pub(crate) fn trie(&self) -> ItemTrie<Vec<u8>> {
        let padded = self.ids.iter().flat_map(|id| {
            let code = |level| {
                id.get(level)
                    .copied()
                    .unwrap_or(Code(self.sizes[level] as u16))
            };
            (0..self.sizes.len()).map(code)
        });
        let codes = CodeMatrix::new(padded.collect(), self.sizes.len()).expect("whole rows");
        ItemTrie::of_codes(self.space(), &codes, 2).expect("at most two items an ID")
    }

    /// The first token of each level, and the size of the vocabulary.
    fn tokens(&self) -> (Vec<u32>, usize) {
        let mut next = OTHERS;
        let firsts = self.sizes.iter().map(|size| {
            let first = next;
            next += size + OTHERS;
            first
        });
        (firsts.collect(), next as usize)
    }

    pub(crate) fn run(&self, params: BeamParams) -> Vec<Outcome> {
        self.run_in(params, 32)
    }

    /// The first items of a slate for the first request, forgetting all scores in between or not.
    pub(crate) fn slate(&self, params: BeamParams, items: usize, restart: bool) -> Vec<Outcome> {
        let trie = self.trie();
        let tokens = self.token_map();
        let config = params.check().expect("sound settings");
        let search = BeamSearch::new(&trie, Some(&tokens), config).expect("the map fits");
        let filters = self.filters(&trie);
        let mut slate = Slate::new(&search, filters[0].as_ref()).expect("a filter of the trie");
        let mut model = self.model(32);
        let mut outcomes = Vec::new();
        while outcomes.len() < items {
            let outcome = slate.next(&mut model).expect("sound scores");
            if outcome.hits.is_empty() && outcome.exact {
                break;
            }
            outcomes.push(outcome);
            if restart {
                slate.restart();
            }
        }
        outcomes
    }

    pub(crate) fn sample(&self, samples: usize, seed: u64) -> Vec<Vec<Sample>> {
        let trie = self.trie();
        let tokens = self.token_map();
        let search = StochasticSearch::new(&trie, Some(&tokens), self.normalizer, samples, seed);
        let filters = self.filters(&trie);
        let requests: Vec<SampleRequest<'_>> = filters
            .iter()
            .zip(&self.numbers)
            .map(|(filter, &number)| SampleRequest {
                filter: filter.as_ref(),
                key: number as u64,
            })
            .collect();
        let search = search.expect("sound settings");
        search
            .run(&mut self.model(32), &requests)
            .expect("sound scores")
    }

    /// The items of a request and their scores, found step by step by a loop of its own.
    pub(crate) fn stepped(&self, request: usize) -> Vec<(ItemId, f32)> {
        let (trie, tokens) = (self.trie(), self.token_map());
        let config = self.params().check().expect("sound settings");
        let search = BeamSearch::new(&trie, Some(&tokens), config).expect("the map fits");
        let filters = self.filters(&trie);
        let mut live = vec![(
            Vec::new(),
            Beam {
                cursor: trie.root(),
                score: 0.0,
            },
        )];
        for level in 0..self.sizes.len() {
            let width = match level + 1 == self.sizes.len() {
                true => self.results,
                false => self.beams[level.min(self.beams.len() - 1)],
            };
            let logits: Vec<f32> = live
                .iter()
                .flat_map(|(prefix, _)| self.logits(request, prefix))
                .collect();
            let beams: Vec<Beam> = live.iter().map(|(_, beam)| *beam).collect();
            let scores = Scores::vocabulary(Logits::F32(&logits));
            let best = search.step(&beams, scores, filters[request].as_ref(), width);
            let longer = |next: &Continuation| {
                let mut prefix = live[next.parent as usize].0.clone();
                prefix.push(next.code);
                (prefix, next.beam)
            };
            live = best.expect("sound scores").iter().map(longer).collect();
        }
        let items = live.iter().flat_map(|(_, beam)| {
            let items = trie.items_below(beam.cursor).expect("a cursor of the trie");
            items.map(|item| (item, beam.score))
        });
        let may = |(item, _): &(ItemId, f32)| self.may(request, *item);
        items.filter(may).take(self.results).collect()
    }

    /// Whether all IDs have all levels, and length changes no score.
    pub(crate) fn is_plain(&self) -> bool {
        self.length_penalty == 0.0 && self.ids.iter().all(|id| id.len() == self.sizes.len())
    }

    fn token_map(&self) -> TokenMap {
        let (firsts, vocabulary) = self.tokens();
        TokenMap::ranges(&self.space(), &firsts, vocabulary).expect("in range")
    }

    fn filters(&self, trie: &ItemTrie<Vec<u8>>) -> Vec<Option<Filter>> {
        let filter = |allowed: &Option<Vec<bool>>| {
            let allowed = allowed.as_ref()?;
            let items = (0..self.items()).filter(|&item| allowed[item]);
            Some(Filter::allow_items(trie, items.map(|item| ItemId(item as u32))).expect("known"))
        };
        self.allowed.iter().map(filter).collect()
    }

    fn model(&self, precision: u32) -> Model<'_> {
        Model {
            case: self,
            precision,
            single: Vec::new(),
            half: Vec::new(),
            brain: Vec::new(),
        }
    }

    /// [`Case::ranking`] without the length penalty.
    pub(crate) fn plain_ranking(&self, request: usize) -> Vec<(f64, ItemId)> {
        let plain = Self {
            length_penalty: 0.0,
            ..self.clone()
        };
        plain.ranking(request)
    }

    /// Runs with logits of so many bits; 17 for bf16.
    pub(crate) fn run_in(&self, params: BeamParams, precision: u32) -> Vec<Outcome> {
        let trie = self.trie();
        let tokens = self.token_map();
        let config = params.check().expect("sound settings");
        let search = BeamSearch::new(&trie, Some(&tokens), config).expect("the map fits");
        let filters = self.filters(&trie);
        let requests: Vec<Request<'_>> = filters
            .iter()
            .map(|filter| Request {
                filter: filter.as_ref(),
            })
            .collect();
        let found = search.run(
            &mut self.model(precision),
            &requests,
            &mut Scratch::default(),
        );
        found.expect("sound scores")
    }

    /// Logits of the whole vocabulary after a prefix: numbers that all precisions hold.
    pub(crate) fn logits(&self, request: usize, prefix: &[Code]) -> Vec<f32> {
        let mut state = self.seed ^ (self.numbers[request] as u64 + 1) << 40;
        for code in prefix {
            state = mixed(state.wrapping_add(u64::from(code.0) + 1));
        }
        let logit = |token: u64| (mixed(state.wrapping_add(token << 17)) % 512) as f32 / 64.0 - 4.0;
        (0..self.tokens().1 as u64).map(logit).collect()
    }

    /// All items that a request may be given with their scores, best first.
    pub(crate) fn ranking(&self, request: usize) -> Vec<(f64, ItemId)> {
        let items = (0..self.items() as u32).map(ItemId);
        let may = items.filter(|&item| self.may(request, item));
        let mut ranking: Vec<_> = may.map(|item| (self.score(request, item), item)).collect();
        ranking.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranking
    }

    /// The scores of what a plain beam search of the same widths finds, best first.
    pub(crate) fn beam_scores(&self, request: usize) -> Vec<f64> {
        let may = |id: &&Vec<Code>| {
            let same = |item: &usize| self.ids[*item] == **id;
            (0..self.items())
                .filter(same)
                .any(|item| self.may(request, ItemId(item as u32)))
        };
        let ids: Vec<&Vec<Code>> = self.ids.iter().filter(may).collect();
        let mut live: Vec<Vec<Code>> = vec![Vec::new()];
        let mut reached = Vec::new();
        for level in 0..self.sizes.len() {
            let mut next: Vec<Vec<Code>> = Vec::new();
            for prefix in &live {
                let below = ids.iter().filter(|id| id.starts_with(prefix));
                let (ended, longer): (Vec<&Vec<Code>>, _) = below.partition(|id| id.len() == level);
                reached.extend(ended.into_iter().cloned());
                next.extend(longer.into_iter().map(|id| id[..=level].to_vec()));
            }
            next.sort();
            next.dedup();
            if level + 1 < self.sizes.len() {
                let order = |a: &Vec<Code>, b: &Vec<Code>| {
                    self.total(request, b).total_cmp(&self.total(request, a))
                };
                next.sort_by(order);
                next.truncate(self.beams[level.min(self.beams.len() - 1)]);
            }
            live = next;
        }
        reached.extend(live);
        let found = self.ranking(request).into_iter();
        let found = found.filter(|(_, item)| reached.iter().any(|id| id == self.id(*item)));
        found.map(|(score, _)| score).take(self.results).collect()
    }

    fn score(&self, request: usize, item: ItemId) -> f64 {
        let id = self.id(item);
        self.total(request, id) / (id.len() as f64).powf(f64::from(self.length_penalty))
    }

    /// The sum of the log-probabilities of some codes.
    fn total(&self, request: usize, id: &[Code]) -> f64 {
        let (firsts, vocabulary) = self.tokens();
        let mut score = 0.0;
        for level in 0..id.len() {
            let prefix = &id[..level];
            let logits = self.logits(request, prefix);
            let of = |level: usize| firsts[level]..firsts[level] + self.sizes[level];
            let summed: Vec<u32> = match self.normalizer {
                Normalizer::FullVocab => (0..vocabulary as u32).collect(),
                Normalizer::SemanticIdVocab => (0..firsts.len()).flat_map(of).collect(),
                Normalizer::Level => of(level).collect(),
                Normalizer::ValidChildren => {
                    let below = |id: &&Vec<Code>| id.len() > level && id[..level] == *prefix;
                    let code = |id: &Vec<Code>| firsts[level] + u32::from(id[level].0);
                    let mut codes: Vec<u32> = self.ids.iter().filter(below).map(code).collect();
                    codes.sort_unstable();
                    codes.dedup();
                    codes
                }
            };
            let mass = summed
                .iter()
                .map(|&token| f64::from(logits[token as usize]).exp());
            let own = firsts[level] + u32::from(id[level].0);
            score += f64::from(logits[own as usize]) - mass.sum::<f64>().ln();
        }
        score
    }
}

pub(crate) struct Model<'a> {
    case: &'a Case,
    precision: u32,
    single: Vec<f32>,
    half: Vec<f16>,
    brain: Vec<bf16>,
}

impl Scorer for Model<'_> {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        self.single.clear();
        for row in step.rows() {
            self.single
                .extend(self.case.logits(row.request, row.prefix));
        }
        self.half = self.single.iter().map(|&x| f16::from_f32(x)).collect();
        self.brain = self.single.iter().map(|&x| bf16::from_f32(x)).collect();
        Ok(Scores::vocabulary(match self.precision {
            16 => Logits::F16(&self.half),
            17 => Logits::Bf16(&self.brain),
            _ => Logits::F32(&self.single),
        }))
    }
}

fn mixed(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}
