//! What is generated, against all items scored one by one without any cache.

use proptest::prelude::*;
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use semid_recommender::{Generator, Llama, LlamaConfig, Prompt, Vocabulary};
use tch::{Device, Kind, Tensor};
use trie_decode::{BeamParams, Exact, Filter, ItemTrie, Normalizer};

const SIZES: [u32; 3] = [4, 5, 3];

fn catalogue(paths: &[[u16; 3]]) -> (CodeSpace, CodeMatrix) {
    let codes = paths.concat().into_iter().map(Code).collect();
    let space = CodeSpace::new(SIZES.to_vec()).expect("a space");
    (space, CodeMatrix::new(codes, 3).expect("three levels"))
}

fn model(vocabulary: &Vocabulary, seed: i64) -> Llama {
    let mut config = LlamaConfig::small(vocabulary.len(), 32, 64);
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.num_key_value_heads = Some(2);
    config.initializer_range = 0.4;
    Llama::new(config, Device::Cpu, seed).expect("a small model")
}

/// The score of every item after a prompt, each from a text of its own.
fn scores(
    model: &Llama,
    vocabulary: &Vocabulary,
    prompt: &[u32],
    ids: &CodeMatrix,
    normalizer: Normalizer,
) -> Vec<f32> {
    let tokens = vocabulary.tokens();
    let score = |id: &[Code]| {
        let mut text: Vec<i64> = prompt.iter().map(|&token| token.into()).collect();
        let mut sum = 0.0;
        for (level, &code) in id.iter().enumerate() {
            let read = Tensor::from_slice(&text).unsqueeze(0);
            let logits = model
                .logits(&model.hidden(&read))
                .get(0)
                .get(text.len() as i64 - 1);
            let logits: Vec<f32> = logits.to_kind(Kind::Float).try_into().expect("a row");
            let logit =
                |code: u16| logits[tokens.token(level, Code(code)).expect("a token") as usize];
            let rivals: Vec<f32> = match normalizer {
                Normalizer::FullVocab => logits.clone(),
                Normalizer::SemanticIdVocab => logits[1..].to_vec(),
                Normalizer::Level => (0..SIZES[level] as u16)
                    .map(logit)
                    .chain([logits[1]])
                    .collect(),
                Normalizer::ValidChildren => {
                    let siblings = ids.rows().filter(|other| other[..level] == id[..level]);
                    let mut codes: Vec<u16> = siblings.map(|other| other[level].0).collect();
                    codes.sort_unstable();
                    codes.dedup();
                    codes.into_iter().map(logit).collect()
                }
            };
            sum += logit(code.0) - rivals.iter().map(|logit| logit.exp()).sum::<f32>().ln();
            text.push(tokens.token(level, code).expect("a token").into());
        }
        sum
    };
    tch::no_grad(|| ids.rows().map(score).collect())
}

const NORMALIZERS: [Normalizer; 4] = [
    Normalizer::FullVocab,
    Normalizer::SemanticIdVocab,
    Normalizer::Level,
    Normalizer::ValidChildren,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// With beams for all prefixes, or an exact search of few beams, the items are those that
    /// were scored best one by one; scores agree. Prompts differ in length, and one is filtered.
    #[test]
    fn generated_items_are_the_best_of_all(
        paths in proptest::collection::hash_set((0..4_u16, 0..5_u16, 0..3_u16), 8..30),
        seed in 0..1000_i64,
        lengths in [0..5_usize, 0..5, 0..5],
        which in 0..4_usize,
        exact in any::<bool>(),
    ) {
        tch::set_num_threads(1);
        let mut paths: Vec<[u16; 3]> = paths.into_iter().map(|(a, b, c)| [a, b, c]).collect();
        paths.sort_unstable();
        let (space, ids) = catalogue(&paths);
        let trie = ItemTrie::of_codes(space.clone(), &ids, 1).expect("a catalogue");
        let vocabulary = Vocabulary::new(&space).expect("a vocabulary");
        let model = model(&vocabulary, seed);
        let normalizer = NORMALIZERS[which];
        let params = BeamParams {
            results: 5,
            beams: vec![if exact { 1 } else { 100 }],
            normalizer,
            exact: exact.then_some(Exact { row_budget: 1000 }),
            ..BeamParams::default()
        };
        let generator = Generator::new(&model, vocabulary.tokens(), &space, params).expect("they fit");

        let denied = Filter::deny_items(&trie, [ItemId(0), ItemId(3)]).expect("items");
        let prompts: Vec<Prompt<'_>> = (0..3).map(|at| {
            let history: Vec<&[Code]> = ids.rows().skip(at).take(lengths[at]).collect();
            Prompt {
                tokens: vocabulary.prompt(&history, 10),
                filter: (at == 1).then_some(&denied),
            }
        }).collect();
        let outcomes = generator.run(&trie, &prompts).expect("items");
        for (at, (prompt, outcome)) in prompts.iter().zip(&outcomes).enumerate() {
            let scores = scores(&model, &vocabulary, &prompt.tokens, &ids, normalizer);
            let allowed = |item: &usize| at != 1 || ![0, 3].contains(item);
            let mut order: Vec<usize> = (0..scores.len()).filter(allowed).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            prop_assert!(outcome.exact);
            prop_assert_eq!(outcome.hits.len(), 5);
            for (hit, &best) in outcome.hits.iter().zip(&order) {
                prop_assert!((hit.score - scores[hit.item.index()]).abs() < 1e-3);
                prop_assert!((hit.score - scores[best]).abs() < 1e-3, "{hit:?}");
            }
        }
    }
}
