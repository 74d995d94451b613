//! Candle's tensors against plain slices.

mod catalogue;

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use catalogue::{Catalogue, catalogues};
use proptest::prelude::*;
use semantic_id::{Code, CodeSpace, ItemId};
use trie_decode::candle::TensorScorer;
use trie_decode::{
    BeamParams, BeamSearch, DecodeSession, ItemTrie, Logits, Outcome, Request, Scorer, Scores,
    Scratch, SessionParams, Step, TokenMap, TokenMask, TrieCursor,
};

#[test]
fn tutorial() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0, 1], &[0, 3], &[2, 2]]).trie();
    let tokens = TokenMap::ranges(&space, &[1, 5], 9).unwrap();

    // A model that likes high tokens, whatever came before.
    let row: Vec<f32> = (0..9).map(|token| token as f32).collect();
    let row = Tensor::new(row, &Device::Cpu).unwrap();

    let search = search(&trie, &tokens);
    let mut model = TensorScorer::vocabulary(|step| row.broadcast_left(step.rows().len()));
    let outcome = run(&search, &mut model).unwrap();
    let items: Vec<ItemId> = outcome.hits.iter().map(|hit| hit.item).collect();
    assert_eq!(items, [ItemId(2), ItemId(1), ItemId(0)]);

    // Two beams of a loop of one's own: after nothing may come tokens 1 and 3, after code 0 tokens
    // 6 and 8.
    let mask = TokenMask::new(&trie, &tokens).unwrap();
    let zero = trie.find(&[Code(0)]).unwrap().unwrap();
    let logits = row.broadcast_left(2).unwrap();
    let logits = mask.constrain(&logits, &[trie.root(), zero]).unwrap();
    const NOT: f32 = f32::NEG_INFINITY;
    assert_eq!(
        logits.to_vec2::<f32>().unwrap(),
        [
            [NOT, 1.0, NOT, 3.0, NOT, NOT, NOT, NOT, NOT],
            [NOT, NOT, NOT, NOT, NOT, NOT, 6.0, NOT, 8.0],
        ]
    );
}

#[test]
fn other_shapes_and_types_are_named() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0, 1]]).trie();
    let tokens = TokenMap::ranges(&space, &[1, 5], 9).unwrap();
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let search = search(&trie, &tokens);
    let mask = TokenMask::new(&trie, &tokens).unwrap();
    let config = SessionParams::new(&tokens).check(&tokens).unwrap();
    let session = DecodeSession::new(&trie, tokens.clone().into(), None, config).unwrap();

    let types = "logits: got I64, expected F32, F16 or BF16";
    let shape = "logits of a step: got the shape [1, 3, 9], expected [1, columns]";
    let width = "logits of a step (rows times columns): got 10, expected 9";
    for (shape, dtype, expected) in [
        (&[1, 9][..], DType::I64, types),
        (&[1, 3, 9], DType::F32, shape),
        (&[1, 10], DType::F32, width),
    ] {
        let mut model = TensorScorer::vocabulary(|_| Ok(zeros(shape, dtype)));
        let error = run(&search, &mut model).unwrap_err();
        let error = error
            .source()
            .map_or(error.to_string(), ToString::to_string);
        assert!(error.starts_with(expected), "{error}");
    }

    for (shape, dtype, expected) in [
        (&[1, 9][..], DType::I64, types),
        (
            &[1, 10],
            DType::F32,
            "got the shape [1, 10], the token map expects [1, 9]",
        ),
        (
            &[2, 9],
            DType::F32,
            "got the shape [2, 9], the token map expects [1, 9]",
        ),
        (
            &[],
            DType::F32,
            "got the shape [], the token map expects [1, 9]",
        ),
    ] {
        let logits = zeros(shape, dtype);
        let error = mask.constrain(&logits, &[trie.root()]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let error = session.constrain(&logits).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // One row, as samplers of one sequence have it.
    assert!(session.constrain(&zeros(&[9], DType::BF16)).is_ok());
    // No beams.
    assert!(mask.constrain(&zeros(&[0, 9], DType::F16), &[]).is_ok());
    // A cursor of another trie, and a model that fails.
    let other = Catalogue::new(space, &[&[0, 1]]).trie();
    let error = mask.constrain(&zeros(&[1, 9], DType::F32), &[other.root()]);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("belongs to another trie")
    );
    let mut model = TensorScorer::level(|_| candle_core::bail!("out of memory"));
    assert!(matches!(
        run(&search, &mut model),
        Err(trie_decode::Error::Scorer(_))
    ));
}

fn search<'a>(trie: &'a ItemTrie<Vec<u8>>, tokens: &'a TokenMap) -> BeamSearch<'a, Vec<u8>> {
    BeamSearch::new(trie, Some(tokens), BeamParams::default().check().unwrap()).unwrap()
}

fn run(search: &BeamSearch<'_, Vec<u8>>, model: &mut impl Scorer) -> trie_decode::Result<Outcome> {
    let outcomes = search.run(model, &[Request::default()], &mut Scratch::default())?;
    Ok(outcomes.into_iter().next().expect("one request"))
}

/// Logits that depend on the prefix, `[rows, V]`; eighths below 12, so that they are the same in all
/// three precisions.
fn drawn(step: &Step<'_>, vocabulary: usize) -> Vec<f32> {
    let row = |prefix: &[Code]| {
        let seed = prefix
            .iter()
            .fold(1, |seed, code| seed * 31 % 1009 + usize::from(code.0));
        (0..vocabulary).map(move |token| ((seed + token) * 7919 % 97) as f32 / 8.0)
    };
    let rows = step.rows().iter();
    rows.flat_map(|at| row(at.prefix)).collect()
}

/// A model that never saw a tensor.
struct Plain {
    vocabulary: usize,
    logits: Vec<f32>,
}

impl Scorer for Plain {
    fn score(&mut self, step: &Step<'_>) -> Result<Scores<'_>, Box<dyn Error + Send + Sync>> {
        self.logits = drawn(step, self.vocabulary);
        Ok(Scores::vocabulary(Logits::F32(&self.logits)))
    }
}

/// Three words, the levels' codes one after the other, and the end of an ID.
fn token_map(space: &CodeSpace) -> TokenMap {
    let sizes = space.sizes().iter();
    let firsts: Vec<u32> = sizes
        .scan(3, |next, size| Some(std::mem::replace(next, *next + size)))
        .collect();
    let end = 3 + space.sizes().iter().sum::<u32>();
    let tokens = TokenMap::ranges(space, &firsts, end as usize + 1).unwrap();
    tokens.between(None, Some(end)).unwrap()
}

fn dtypes() -> impl Strategy<Value = DType> {
    prop::sample::select(vec![DType::F32, DType::F16, DType::BF16])
}

proptest! {
    /// Whatever the precision, and wherever the tensor has its values.
    #[test]
    fn a_search_finds_what_it_finds_in_slices(
        catalogue in catalogues(),
        dtype in dtypes(),
        transposed in any::<bool>(),
    ) {
        let (trie, tokens) = (catalogue.trie(), token_map(&catalogue.space));
        let vocabulary = tokens.vocabulary();
        let mut plain = Plain { vocabulary, logits: Vec::new() };
        let mut model = TensorScorer::vocabulary(|step| {
            let shape = (step.rows().len(), vocabulary);
            let logits = Tensor::from_vec(drawn(step, vocabulary), shape, &Device::Cpu)?;
            let logits = logits.to_dtype(dtype)?;
            match transposed {
                true => logits.t()?.contiguous()?.t(),
                false => Ok(logits),
            }
        });
        let search = search(&trie, &tokens);
        let (got, expected) = (run(&search, &mut model), run(&search, &mut plain));
        // Where all items are removed, both say so.
        prop_assert_eq!(format!("{got:?}"), format!("{expected:?}"));
    }

    /// What the mask has not is negative infinity, and all else as it was, NaN included.
    #[test]
    fn constrained_logits_are_those_of_the_mask(
        catalogue in catalogues(),
        dtype in dtypes(),
        draws in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (trie, tokens) = (catalogue.trie(), token_map(&catalogue.space));
        let vocabulary = tokens.vocabulary();
        let mask = TokenMask::new(&trie, &tokens).unwrap();
        let cursors: Vec<TrieCursor> = draws.iter().map(|draw| {
            let path = draw.get(&catalogue.paths);
            trie.find(&path[..draw.index(path.len() + 1)]).unwrap().unwrap()
        }).collect();
        let odd = [1.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0];
        let values: Vec<f32> = odd.into_iter().cycle().take(cursors.len() * vocabulary).collect();
        let logits = Tensor::from_slice(&values, (cursors.len(), vocabulary), &Device::Cpu);
        let logits = logits.unwrap().to_dtype(dtype).unwrap();

        let got = mask.constrain(&logits, &cursors).unwrap();
        prop_assert_eq!(got.dtype(), dtype);
        let got: Vec<Vec<f32>> = got.to_dtype(DType::F32).unwrap().to_vec2().unwrap();
        for ((cursor, got), given) in cursors.iter().zip(&got).zip(values.chunks(vocabulary)) {
            let mut expected = vec![f32::NEG_INFINITY; vocabulary];
            let allow = |token: u32| expected[token as usize] = given[token as usize];
            mask.each(*cursor, allow).unwrap();
            let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(got), bits(&expected));
        }
    }
}

#[test]
fn a_session_constrains_each_of_its_beams() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0, 1], &[0, 3], &[2, 2]]).trie();
    let tokens = TokenMap::ranges(&space, &[10, 20], 40).unwrap();
    let params = SessionParams {
        trigger: vec![5],
        end: vec![9],
        rollback: 0,
    };
    let config = params.check(&tokens).unwrap();
    let mut session = DecodeSession::new(&trie, tokens.into(), None, config).unwrap();
    // One thinks, one begins an item, one is in it, one is behind it.
    session.advance(&[0, 0, 0, 0], &[7, 7, 7, 5]).unwrap();
    session.advance(&[0, 1, 2, 3], &[7, 7, 5, 12]).unwrap();
    session.advance(&[0, 1, 2, 3], &[7, 5, 10, 22]).unwrap();

    let logits = Tensor::zeros((4, 40), DType::F32, &Device::Cpu).unwrap();
    let got: Vec<Vec<f32>> = session.constrain(&logits).unwrap().to_vec2().unwrap();
    for (beam, row) in got.iter().enumerate() {
        let mask = session.mask(beam).unwrap();
        for (token, &value) in row.iter().enumerate() {
            let allowed = mask[token / 32] >> (token % 32) & 1 == 1;
            assert_eq!(value == 0.0, allowed, "beam {beam}, token {token}");
        }
    }
}
