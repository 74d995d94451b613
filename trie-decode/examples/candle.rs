//! A candle model that recommends items. The prompts of two users are read once, as a batch; beams
//! share what was read, and go on with the keys and values of their parents:
//! `cargo run --release -p trie-decode --features candle --example candle`.
//!
//! The model is a small Llama that was never trained. All it says is nonsense, but for one thing:
//! every item exists.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;

use candle_core::{D, DType, Device, IndexOp, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder, ops::log_softmax};
use candle_transformers::generation::LogitsProcessor;
use candle_transformers::models::llama2_c::{Cache, Config, Llama};
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use trie_decode::candle::TensorScorer;
use trie_decode::{
    BeamParams, BeamSearch, DecodeSession, Filter, Hit, ItemTrie, Request, Row, Scratch,
    SessionParams, Step, TokenMap,
};

const WORDS: u32 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    // 1. A catalogue of 500 items, and a vocabulary of words and codes.
    let space = CodeSpace::uniform(3, 32)?;
    let ids = (0..500).flat_map(|item| [item % 32, item / 32, item * 7 % 32].map(Code));
    let codes = CodeMatrix::new(ids.collect(), 3)?;
    let vocabulary = WORDS as usize + 3 * 32;
    let tokens = TokenMap::ranges(&space, &[WORDS, WORDS + 32, WORDS + 64], vocabulary)?;
    let trie = ItemTrie::of_codes(space, &codes, 1)?;

    // 2. Two users who have bought an item each. One shall not be offered it again.
    let model = LanguageModel::untrained(vocabulary)?;
    let bought = [ItemId(17), ItemId(320)];
    let prompts = bought.map(|item| prompt(&tokens, codes.row(item)));
    let other = Filter::deny_items(&trie, [bought[1]])?;
    let requests = [
        Request::default(),
        Request {
            filter: Some(&other),
        },
    ];

    // 3. The search asks for the logits of some prefixes at a time.
    let params = BeamParams {
        results: 5,
        ..BeamParams::default()
    };
    let search = BeamSearch::new(&trie, Some(&tokens), params.check()?)?;
    let mut beams = Beams::new(&model, &tokens, &prompts)?;
    let mut scorer = TensorScorer::vocabulary(|step| beams.forward(step));
    let outcomes = search.run(&mut scorer, &requests, &mut Scratch::default())?;
    for (user, outcome) in outcomes.iter().enumerate() {
        println!("user {user}, {} prefixes scored:", outcome.rows);
        for hit in &outcome.hits {
            println!("  {:.3}  item {}, {}", hit.score, hit.item.0, hit.codes);
            // The item exists, and has the score that its ID has when all is read at once.
            assert_eq!(&hit.codes[..], codes.row(hit.item));
            let plain = model.score(&prompts[user], &tokens, hit)?;
            assert!((hit.score - plain).abs() < 1e-4, "{} {plain}", hit.score);
        }
        assert_eq!(outcome.hits.len(), 5);
    }
    assert!(outcomes[1].hits.iter().all(|hit| hit.item != bought[1]));

    // 4. Or a loop of one's own: a session tells what may come, candle draws from that.
    let config = SessionParams::new(&tokens).check(&tokens)?;
    let mut session = DecodeSession::new(&trie, tokens.into(), None, config)?;
    let mut sampler = LogitsProcessor::new(42, Some(1.0), None);
    let mut text = prompts[0].clone();
    for _ in 0..trie.levels() {
        let logits = model.logits(&text)?.i(text.len() - 1)?;
        let token = sampler.sample(&session.constrain(&logits)?)?;
        session.advance(&[0], &[token])?;
        text.push(token);
    }
    println!("sampled: {:?}", session.finish()?);
    Ok(())
}

/// Some words, and what the user has bought.
fn prompt(tokens: &TokenMap, id: &[Code]) -> Vec<u32> {
    let words = (0..20).map(|at| at * at % WORDS);
    let codes = id.iter().enumerate();
    let codes = codes.filter_map(|(level, &code)| tokens.token(level, code));
    words.chain(codes).collect()
}

/// What the model has read: all prompts, then the prefix of each row of the last step.
struct Beams<'a> {
    model: &'a LanguageModel,
    tokens: &'a TokenMap,
    prompts: Tensor,
    cache: Cache,
    /// Tokens of each sequence in the cache.
    read: usize,
    /// The number of the first row of the last step.
    first: u32,
}

impl<'a> Beams<'a> {
    fn new(
        model: &'a LanguageModel,
        tokens: &'a TokenMap,
        prompts: &[Vec<u32>],
    ) -> candle_core::Result<Self> {
        Ok(Self {
            model,
            tokens,
            prompts: Tensor::new(prompts.to_vec(), &Device::Cpu)?,
            cache: model.cache(true)?,
            read: 0,
            first: 0,
        })
    }

    /// The logits that follow each row's prefix, `[rows, V]`. The first step has a row a prompt.
    /// Each later row goes on from one of the step before by one code: the search asks about every
    /// prefix unless it normalizes over valid children only, and in order of depth unless it is
    /// exact.
    fn forward(&mut self, step: &Step<'_>) -> candle_core::Result<Tensor> {
        let rows = step.rows();
        let next = match rows[0].parent {
            None => self.prompts.clone(),
            Some(_) => self.follow(rows)?,
        };
        self.first = rows[0].id.0;
        let logits = self
            .model
            .llama
            .forward(&next, self.read, &mut self.cache)?;
        let length = next.dim(1)?;
        self.read += length;
        logits.i((.., length - 1))
    }

    /// The last token of each row, `[rows, 1]`. The keys and values of its parent come into the
    /// cache, in place of those of all rows of the step before.
    fn follow(&mut self, rows: &[Row<'_>]) -> candle_core::Result<Tensor> {
        let parents = rows
            .iter()
            .filter_map(|row| Some(row.parent?.0 - self.first));
        let parents = Tensor::new(parents.collect::<Vec<u32>>(), &Device::Cpu)?;
        for (keys, values) in self.cache.kvs.iter_mut().flatten() {
            *keys = keys.index_select(&parents, 0)?;
            *values = values.index_select(&parents, 0)?;
        }
        let last = |row: &Row<'_>| {
            let (&code, before) = row.prefix.split_last()?;
            self.tokens.token(before.len(), code)
        };
        let tokens: Vec<u32> = rows.iter().filter_map(last).collect();
        Tensor::new(tokens, &Device::Cpu)?.unsqueeze(1)
    }
}

struct LanguageModel {
    llama: Llama,
}

impl LanguageModel {
    fn untrained(vocabulary: usize) -> candle_core::Result<Self> {
        let config = Config {
            dim: 64,
            hidden_dim: 128,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            vocab_size: vocabulary,
            seq_len: 64,
            norm_eps: 1e-5,
        };
        let weights = VarBuilder::from_backend(Box::new(Untrained), DType::F32, Device::Cpu);
        let llama = Llama::load(weights, config)?;
        Ok(Self { llama })
    }

    fn cache(&self, keeps: bool) -> candle_core::Result<Cache> {
        // Without the file of a trained model, the rotations are computed.
        let nothing = VarBuilder::from_tensors(HashMap::new(), DType::F32, &Device::Cpu);
        Cache::new(keeps, &self.llama.config, nothing)
    }

    /// The logits that follow each token of a text, `[tokens, V]`.
    fn logits(&self, text: &[u32]) -> candle_core::Result<Tensor> {
        let text = Tensor::new(text, &Device::Cpu)?.unsqueeze(0)?;
        self.llama
            .forward(&text, 0, &mut self.cache(false)?)?
            .squeeze(0)
    }

    /// The log-probability of an item's ID after a prompt.
    fn score(&self, prompt: &[u32], tokens: &TokenMap, hit: &Hit) -> candle_core::Result<f32> {
        let codes = hit.codes.iter().enumerate();
        let id: Vec<u32> = codes
            .filter_map(|(level, &code)| tokens.token(level, code))
            .collect();
        let logits = self.logits(&[prompt, &id].concat())?;
        let logits = logits.narrow(0, prompt.len() - 1, id.len())?;
        let scores = log_softmax(&logits, D::Minus1)?;
        let id = Tensor::new(id, &Device::Cpu)?.unsqueeze(1)?;
        scores.gather(&id, 1)?.sum_all()?.to_scalar()
    }
}

/// Weights as if drawn at random, the same in each run.
struct Untrained;

impl SimpleBackend for Untrained {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let seed: u32 = name.bytes().map(u32::from).sum();
        let weight = |at| (f64::from(seed * 10_007 + at).sin() * 43_758.5).fract() as f32 / 4.0;
        let weights = (0..shape.elem_count() as u32).map(weight);
        Tensor::from_iter(weights, device)?
            .reshape(shape)?
            .to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name} has no shape of its own")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    main()
}
