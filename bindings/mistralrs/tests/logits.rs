//! The processor against plain lists of paths.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use candle_core::{DType, Device, Tensor};
use mistralrs_core::CustomLogitsProcessor;
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use semid_mistralrs::SemanticIdLogits;
use trie_decode::{DecodeSession, Filter, ItemTrie, SessionParams, TokenMap};

/// Codes are the tokens 10 to 13, 20 to 23 and 30 to 33; there are 40.
const PATHS: [&[u16]; 7] = [
    &[0, 1, 2],
    &[0, 1, 3],
    &[0, 2],
    &[1],
    &[1, 0, 0],
    &[3, 3, 3],
    &[3, 0, 3],
];
const PROMPT: [u32; 4] = [5, 6, 10, 5];
const END: u32 = 9;

type Processor = SemanticIdLogits<Arc<ItemTrie<Vec<u8>>>>;

/// A processor that may give all items but `denied`.
fn processor(trigger: &[u32], end: &[u32], denied: &[usize]) -> Processor {
    let space = CodeSpace::uniform(3, 4).unwrap();
    let padded = PATHS.iter().flat_map(|path| {
        let codes: Vec<Code> = path.iter().copied().map(Code).collect();
        space.padded(&codes).unwrap()
    });
    let codes = CodeMatrix::new(padded.collect(), 3).unwrap();
    let tokens = TokenMap::ranges(&space, &[10, 20, 30], 40).unwrap();
    let trie = Arc::new(ItemTrie::of_codes(space, &codes, 1).unwrap());
    let params = SessionParams {
        trigger: trigger.to_vec(),
        end: end.to_vec(),
        rollback: 0,
    };
    let config = params.check(&tokens).unwrap();
    let denied = denied.iter().map(|&item| ItemId(item as u32));
    let filter = Filter::deny_items(&trie, denied).unwrap();
    let session = DecodeSession::new(trie, tokens.into(), Some(filter), config).unwrap();
    SemanticIdLogits::new(session, PROMPT.to_vec())
}

/// The tokens that may come after the prompt and `generated`. All other logits must be as given.
fn allowed(processor: &Processor, generated: &[u32]) -> candle_core::Result<BTreeSet<u32>> {
    let given: Vec<f32> = (0..40).map(|token| (token as f32).sin()).collect();
    let logits = Tensor::new(given.clone(), &Device::Cpu)?;
    let context = [&PROMPT, generated].concat();
    let got: Vec<f32> = processor.apply(&logits, &context)?.to_vec1()?;
    let kept = (0..).zip(got.iter().zip(&given));
    let kept = kept.filter(|(_, (got, _))| **got != f32::NEG_INFINITY);
    Ok(kept
        .map(|(token, (got, given))| {
            assert_eq!(got, given, "token {token}");
            token
        })
        .collect())
}

#[test]
fn tutorial() {
    // The model thinks aloud until it says 7.
    let processor = processor(&[7], &[END], &[]);
    assert_eq!(allowed(&processor, &[1, 2]).unwrap().len(), 40);
    assert_eq!(
        allowed(&processor, &[1, 2, 7]).unwrap(),
        [10, 11, 13].into()
    );
    assert_eq!(
        allowed(&processor, &[1, 2, 7, 10]).unwrap(),
        [21, 22].into()
    );
    assert_eq!(
        allowed(&processor, &[1, 2, 7, 10, 22]).unwrap(),
        [END].into()
    );
}

/// Every text that can be generated, against the paths that begin with it.
#[test]
fn what_may_come_is_what_an_allowed_path_goes_on_with() {
    for denied in [&[][..], &[0], &[0, 1, 2], &[3], &[4], &[1, 2, 3, 5, 6]] {
        let processor = processor(&[], &[END], denied);
        let paths = (0..PATHS.len()).filter(|item| !denied.contains(item));
        let spell = |item: usize| {
            let codes = PATHS[item].iter().enumerate();
            let codes = codes.map(|(level, &code)| 10 * (level as u32 + 1) + u32::from(code));
            codes.chain([END]).collect()
        };
        let texts: Vec<Vec<u32>> = paths.map(spell).collect();
        for (text, length) in texts
            .iter()
            .flat_map(|text| (0..text.len()).map(move |n| (text, n)))
        {
            let (before, _) = text.split_at(length);
            let longer = texts.iter().filter(|other| other.starts_with(before));
            let expected: BTreeSet<u32> = longer.map(|other| other[length]).collect();
            assert_eq!(
                allowed(&processor, before).unwrap(),
                expected,
                "{before:?} {denied:?}"
            );
        }
    }
}

#[test]
fn a_context_may_lack_what_was_read_before() {
    let processor = processor(&[], &[END], &[]);
    let logits = Tensor::zeros(40, DType::F32, &Device::Cpu).unwrap();
    let constrained = |context: &[u32]| -> candle_core::Result<Vec<f32>> {
        processor.apply(&logits, context)?.to_vec1()
    };
    // A prompt whose beginning is cached, before the first token.
    assert_eq!(
        constrained(&PROMPT[2..]).unwrap(),
        constrained(&PROMPT).unwrap()
    );
    // Texts of other lengths, or of other words.
    for other in [
        &PROMPT[..3],
        &[5, 6, 10, 6],
        &[5, 6, 11, 5, 10],
        &[1, 5, 6, 10, 5],
    ] {
        let error = constrained(other).unwrap_err().to_string();
        let expected = format!(
            "context: got {} tokens that are neither the prompt's 4 and more, nor its last; \
             give the processor the prompt",
            other.len()
        );
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn what_cannot_be_is_named() {
    let session = processor(&[], &[END], &[0]);
    for (generated, expected) in [
        (&[12][..], "cannot go on with token 12 after 0 codes"),
        (&[10, 21, 32], "cannot go on with token 32 after 2 codes"),
        (&[10, 21, END], "cannot go on with token 9 after 2 codes"),
        (&[99], "cannot go on with token 99 after 0 codes"),
    ] {
        let error = allowed(&session, generated).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let place = format!("generated token {}", generated.len() - 1);
        assert!(error.contains(&place), "{error}");
    }

    let endless = processor(&[], &[], &[]);
    let error = allowed(&endless, &[10, 22]).unwrap_err().to_string();
    assert!(
        error.starts_with("the item is complete: give the session an end token"),
        "{error}"
    );

    for (shape, dtype, expected) in [
        (
            &[41][..],
            DType::F32,
            "logits: got 41, expected 40, the vocabulary of the token map",
        ),
        (&[1, 40], DType::F32, "unexpected rank, expected: 1, got: 2"),
        (
            &[40],
            DType::F16,
            "unexpected dtype, expected: F32, got: F16",
        ),
    ] {
        let logits = Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let error = session.apply(&logits, &PROMPT).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// One processor serves all sequences of a request, whichever thread they are on.
#[test]
fn sequences_share_a_processor() {
    let shared: Arc<dyn CustomLogitsProcessor> = Arc::new(processor(&[], &[END], &[]));
    let logits = Tensor::zeros(40, DType::F32, &Device::Cpu).unwrap();
    thread::scope(|scope| {
        for (code, expected) in [(10, 2), (11, 2), (13, 2)].repeat(4) {
            let (shared, logits) = (&shared, &logits);
            scope.spawn(move || {
                for _ in 0..100 {
                    let context = [&PROMPT[..], &[code]].concat();
                    let got: Vec<f32> = shared.apply(logits, &context).unwrap().to_vec1().unwrap();
                    assert_eq!(got.iter().filter(|&&x| x == 0.0).count(), expected);
                }
            });
        }
    });
}
