//! The loop of constrained generation, step by step, with six items and a toy in place of a model:
//! `cargo run --release -p trie-decode --example minimal`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys, Manifest, TokenFormat,
};
use trie_decode::{
    BeamParams, BeamSearch, Exact, Filter, ItemTrie, Logits, Normalizer, Outcome, Request, Scorer,
    Scores, Scratch, Step, TokenMap, TokenMask,
};

fn main() -> Result<(), Box<dyn Error>> {
    // 1. A catalogue: each item has a semantic ID of two codes. The first tells what it is for
    //    (0 light, 1 work, 2 rest), the second sets items of a kind apart. `semid index` finds
    //    such IDs and writes the file; `ItemIndex::open` reads it.
    let keys = ItemKeys::new(["lamp", "torch", "candle", "desk", "sofa", "bed"])?;
    let ids = [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [2, 1]];
    let codes = CodeMatrix::new(ids.into_iter().flatten().map(Code).collect(), 2)?;
    let space = CodeSpace::uniform(2, 4)?;
    let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("minimal", ().into()));
    let index = ItemIndex::build(&space, &codes, &keys, 1, info)?;

    // 2. The index is a trie. A cursor is a place in it: the state of one beam.
    let trie = ItemTrie::new(index);
    let rest = trie.child(trie.root(), Code(2))?;
    let rest = rest.expect("two items are for rest");
    let next: Vec<Code> = trie.children(rest)?.codes().iter().collect();
    println!("after the code 2 may come {next:?}");
    assert_eq!(next, [Code(0), Code(1)]);

    // 3. A sampler that owns its loop needs no more than a mask over the model's tokens. This
    //    model's vocabulary of 100 was extended by four tokens a level.
    let tokens = TokenMap::ranges(&space, &[100, 104], 108)?;
    let mask = TokenMask::new(&trie, &tokens)?;
    let mut row = vec![0; mask.words()];
    mask.fill(rest, &mut row)?;
    let allowed: Vec<usize> = (0..108)
        .filter(|token| row[token / 32] >> (token % 32) & 1 == 1)
        .collect();
    println!("which are the tokens {allowed:?}");
    assert_eq!(allowed, [104, 105]);

    // 4. Or the search owns the loop: it asks the model, and returns items.
    let params = BeamParams {
        results: 3,
        beams: vec![2],
        normalizer: Normalizer::Level,
        ..BeamParams::default()
    };
    let mut toy = Toy::default();
    let mut scratch = Scratch::default();
    let anything = [Request::default()];
    let search = BeamSearch::new(&trie, None, params.clone().check()?)?;
    let found = search.run(&mut toy, &anything, &mut scratch)?;
    show("the best three items", &trie, &found[0])?;
    assert!(found[0].exact);

    // 5. A filter says what one request may be given. It changes no item's score.
    let seen = Filter::deny_keys(&trie, ["desk", "lamp"])?;
    let unseen = [Request {
        filter: Some(&seen),
    }];
    let found = search.run(&mut toy, &unseen, &mut scratch)?;
    show("neither desk nor lamp", &trie, &found[0])?;

    // 6. Too few beams may miss the best item. The outcome says that it is not proven, and an
    //    exact search goes on until it is.
    let narrow = BeamParams {
        results: 1,
        beams: vec![1],
        ..params
    };
    let search = BeamSearch::new(&trie, None, narrow.clone().check()?)?;
    let found = search.run(&mut toy, &anything, &mut scratch)?;
    show("one beam", &trie, &found[0])?;
    assert!(!found[0].exact);

    let exact = BeamParams {
        exact: Some(Exact { row_budget: 100 }),
        ..narrow
    };
    let search = BeamSearch::new(&trie, None, exact.check()?)?;
    let found = search.run(&mut toy, &anything, &mut scratch)?;
    show("one beam, then best first", &trie, &found[0])?;
    assert!(found[0].exact);
    Ok(())
}

/// What a model would be: for each prefix, how probable each next code is.
///
/// Light is likelier than work; but there are three lights and one desk, so that the desk is the
/// likeliest item.
#[derive(Default)]
struct Toy {
    logits: Vec<f32>,
}

impl Scorer for Toy {
    fn score(&mut self, step: &Step<'_>) -> Result<Scores<'_>, Box<dyn Error + Send + Sync>> {
        self.logits.clear();
        for row in step.rows() {
            let probabilities: [f32; 4] = match row.prefix {
                [] => [0.5, 0.4, 0.1, 0.0],
                [Code(0)] => [0.5, 0.3, 0.2, 0.0],
                [Code(1)] => [1.0, 0.0, 0.0, 0.0],
                _ => [0.6, 0.4, 0.0, 0.0],
            };
            self.logits.extend(probabilities.map(f32::ln));
        }
        Ok(Scores::level(Logits::F32(&self.logits)))
    }
}

fn show<D: AsRef<[u8]>>(
    what: &str,
    trie: &ItemTrie<D>,
    outcome: &Outcome,
) -> Result<(), Box<dyn Error>> {
    let index = trie.index().expect("the trie was made of an index");
    let proven = if outcome.exact {
        "proven"
    } else {
        "not proven"
    };
    println!("{what} ({proven}, {} rows scored):", outcome.rows);
    for hit in &outcome.hits {
        let probability = hit.score.exp();
        println!(
            "  {:6}  {}  {probability:.2}",
            index.key(hit.item)?,
            index.text(hit.item)?
        );
    }
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    main()
}
