//! Searches against a plain ranking of the whole catalogue.

mod oracle;
mod sampling;
mod slate;

use oracle::{Case, case, large_case};
use proptest::prelude::*;
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use trie_decode::{
    Beam, BeamParams, BeamSearch, Error, Exact, Filter, ItemTrie, Logits, Normalizer, Request,
    Scorer, Scores, Scratch, Step,
};

const TOLERANCE: f64 = 1e-4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// With as many beams as items nothing is dropped: the answer is the ranking.
    #[test]
    fn wide_beams_rank_the_catalogue(case in case()) {
        let params = BeamParams {
            results: case.items(),
            beams: vec![case.items()],
            ..case.params()
        };
        let outcomes = case.run(params);
        for (request, outcome) in outcomes.iter().enumerate() {
            let ranking = case.ranking(request);
            prop_assert!(outcome.exact);
            prop_assert_eq!(outcome.gap, Some(0.0));
            prop_assert_eq!(outcome.hits.len(), ranking.len());
            for (hit, (score, _)) in outcome.hits.iter().zip(&ranking) {
                prop_assert!((f64::from(hit.score) - score).abs() < TOLERANCE);
            }
        }
    }

    /// Every hit is an item that may be given, with its own score and ID, and none comes twice.
    #[test]
    fn hits_are_what_they_say(case in case()) {
        for (request, outcome) in case.run(case.params()).iter().enumerate() {
            let ranking = case.ranking(request);
            for hit in &outcome.hits {
                let known = ranking.iter().find(|(_, item)| *item == hit.item);
                let (score, _) = known.expect("the item may be given");
                prop_assert!((f64::from(hit.score) - score).abs() < TOLERANCE);
                prop_assert_eq!(&hit.codes[..], case.id(hit.item));
                prop_assert_eq!(case.trie().rank_to_item().get(hit.rank as usize), Some(hit.item.0));
            }
            let order = |hit: &trie_decode::Hit| (-hit.score, hit.rank);
            prop_assert!(outcome.hits.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])));
            prop_assert!(outcome.hits.len() <= case.params().results);
        }
    }

    /// What is called exact is: no item that may be given is better than the last hit.
    #[test]
    fn exact_is_never_wrong(case in case(), budget in prop::option::of(1_usize..40)) {
        let exact = budget.map(|row_budget| Exact { row_budget });
        let outcomes = case.run(BeamParams { exact, ..case.params() });
        for (request, outcome) in outcomes.iter().enumerate() {
            let ranking = case.ranking(request);
            let last = outcome.hits.len();
            if outcome.exact {
                prop_assert_eq!(last, ranking.len().min(case.params().results));
                prop_assert_eq!(outcome.gap, Some(0.0));
            }
            for (at, hit) in outcome.hits.iter().enumerate().filter(|_| outcome.exact) {
                prop_assert!(f64::from(hit.score) > ranking[at].0 - TOLERANCE);
            }
            // However far off it is, the gap tells.
            if let (Some(gap), Some(hit)) = (outcome.gap, outcome.hits.last()) {
                let best = ranking[last - 1].0;
                prop_assert!(f64::from(hit.score + gap) > best - TOLERANCE);
            }
            if let (Some(budget), false) = (budget, outcome.exact) {
                prop_assert!(outcome.rows <= budget.max(case.beam_rows()));
            }
        }
    }

    /// With rows enough, an exact search proves its answer.
    #[test]
    fn an_exact_search_ends_with_a_proof(case in case()) {
        let exact = Some(Exact { row_budget: usize::MAX });
        for outcome in case.run(BeamParams { exact, ..case.params() }) {
            prop_assert!(outcome.exact);
        }
    }

    /// A filtered search is the unfiltered ranking, filtered: scores do not depend on filters.
    #[test]
    fn filters_do_not_change_scores(case in case()) {
        let params = BeamParams {
            results: case.items(),
            beams: vec![case.items()],
            ..case.params()
        };
        let filtered = case.run(params.clone());
        let all = case.unfiltered().run(params);
        for (request, (filtered, all)) in filtered.iter().zip(all).enumerate() {
            let may = |hit: &trie_decode::Hit| case.may(request, hit.item);
            let expected: Vec<_> = all.hits.into_iter().filter(may).collect();
            prop_assert_eq!(&filtered.hits, &expected);
        }
    }

    /// Logits that all three precisions can hold give the same answers.
    #[test]
    fn precisions_agree(case in case()) {
        let single = case.run(case.params());
        for precision in [16, 17] {
            prop_assert_eq!(&single, &case.run_in(case.params(), precision));
        }
    }

    /// A loop of single steps finds what the search finds, to the bit.
    #[test]
    fn steps_make_up_a_search(case in case().prop_filter("IDs of one length", Case::is_plain)) {
        for (request, outcome) in case.run(case.params()).iter().enumerate() {
            let hits: Vec<_> = outcome.hits.iter().map(|hit| (hit.item, hit.score)).collect();
            prop_assert_eq!(hits, case.stepped(request));
        }
    }

    /// Neither the threads nor the other requests of a batch change an answer.
    #[test]
    fn requests_do_not_meet(case in case()) {
        let together = case.run(case.params());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a small pool");
        prop_assert_eq!(&together, &pool.install(|| case.run(case.params())));
        for (request, outcome) in together.iter().enumerate() {
            prop_assert_eq!(&case.alone(request).run(case.params())[0], outcome);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Where most candidates are dropped, those that stay are those of a plain beam search.
    #[test]
    fn beams_are_those_of_a_plain_search(case in large_case()) {
        for (request, outcome) in case.run(case.params()).iter().enumerate() {
            let expected = case.beam_scores(request);
            prop_assert_eq!(outcome.hits.len(), expected.len());
            for (hit, score) in outcome.hits.iter().zip(expected) {
                prop_assert!((f64::from(hit.score) - score).abs() < TOLERANCE);
            }
        }
    }

    #[test]
    fn large_answers_called_exact_are(case in large_case()) {
        let exact = Some(Exact { row_budget: 400 });
        for (request, outcome) in case.run(BeamParams { exact, ..case.params() }).iter().enumerate() {
            let ranking = case.ranking(request);
            for (hit, (score, _)) in outcome.hits.iter().zip(&ranking).filter(|_| outcome.exact) {
                prop_assert!((f64::from(hit.score) - score).abs() < TOLERANCE);
            }
        }
    }
}

/// Four items on two levels of two codes.
fn square() -> ItemTrie<Vec<u8>> {
    let space = CodeSpace::uniform(2, 2).expect("a small space");
    let codes = [0, 0, 0, 1, 1, 0, 1, 1].map(Code).to_vec();
    let codes = CodeMatrix::new(codes, 2).expect("whole rows");
    ItemTrie::of_codes(space, &codes, 1).expect("distinct paths")
}

/// The same level logits for every row.
struct Constant(Vec<f32>, Vec<f32>);

impl Scorer for Constant {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        self.1 = self.0.repeat(step.rows().len());
        Ok(Scores::level(Logits::F32(&self.1)))
    }
}

fn search(normalizer: Normalizer, logits: &[f32]) -> Result<Vec<trie_decode::Outcome>, Error> {
    let trie = square();
    let params = BeamParams {
        normalizer,
        ..BeamParams::default()
    };
    let search = BeamSearch::new(&trie, None, params.check()?)?;
    let mut scorer = Constant(logits.to_vec(), Vec::new());
    search.run(&mut scorer, &[Request::default()], &mut Scratch::default())
}

#[test]
fn a_step_takes_beams_that_can_go_on() {
    let (trie, other) = (square(), square());
    let params = BeamParams {
        normalizer: Normalizer::Level,
        ..BeamParams::default()
    };
    let search = BeamSearch::new(&trie, None, params.check().unwrap()).unwrap();
    let step = |cursor, score, logits: &[f32]| {
        let scores = Scores::level(Logits::F32(logits));
        search.step(&[Beam { cursor, score }], scores, None, 9)
    };
    let root = trie.root();
    let best = step(root, -1.0, &[0.0, 0.0]).unwrap();
    assert_eq!((best.len(), best[1].code, best[1].parent), (2, Code(1), 0));
    assert!(best.iter().all(|best| best.beam.score < -1.0));
    assert!(
        step(root, f32::NEG_INFINITY, &[0.0, 0.0])
            .unwrap()
            .is_empty()
    );

    let leaf = trie.find(&[Code(0), Code(1)]).unwrap().unwrap();
    for (cursor, score, logits, words) in [
        (
            leaf,
            0.0,
            &[0.0, 0.0][..],
            "cursor: got one of a complete ID",
        ),
        (other.root(), 0.0, &[0.0, 0.0], "another trie"),
        (root, f32::NAN, &[0.0, 0.0], "score: got NaN"),
        (root, 0.0, &[0.0; 5], "logits of a step"),
        (root, 0.0, &[f32::NAN, 0.0], "NaN"),
    ] {
        let error = step(cursor, score, logits).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let space = CodeSpace::uniform(2, 2).unwrap();
    let ragged = CodeMatrix::new([0, 2, 0, 1].map(Code).to_vec(), 2).unwrap();
    let ragged = ItemTrie::of_codes(space, &ragged, 1).unwrap();
    let search = BeamSearch::new(
        &ragged,
        None,
        BeamParams {
            normalizer: Normalizer::Level,
            ..BeamParams::default()
        }
        .check()
        .unwrap(),
    )
    .unwrap();
    let cursor = ragged.find(&[Code(0)]).unwrap().unwrap();
    let scores = Scores::level(Logits::F32(&[0.0, 0.0]));
    let error = search
        .step(&[Beam { cursor, score: 0.0 }], scores, None, 2)
        .unwrap_err();
    assert!(error.to_string().contains("IDs of one length"), "{error}");
}

#[test]
fn ties_go_to_the_lower_rank() {
    let outcomes = search(Normalizer::Level, &[0.0, 0.0]).unwrap();
    let ranks: Vec<u32> = outcomes[0].hits.iter().map(|hit| hit.rank).collect();
    assert_eq!(ranks, [0, 1, 2, 3]);
}

#[test]
fn impossible_codes_give_fewer_hits() {
    let outcomes = search(Normalizer::Level, &[0.0, f32::NEG_INFINITY]).unwrap();
    assert_eq!(outcomes[0].hits.len(), 1);
    assert!(outcomes[0].exact);
}

#[test]
fn a_first_step_without_any_item_is_an_error() {
    let space = CodeSpace::uniform(2, 2).unwrap();
    let codes = CodeMatrix::new([1, 0, 1, 1].map(Code).to_vec(), 2).unwrap();
    let trie = ItemTrie::of_codes(space, &codes, 1).unwrap();
    let run = |normalizer, logits: &[f32]| {
        let params = BeamParams {
            normalizer,
            ..BeamParams::default()
        };
        let search = BeamSearch::new(&trie, None, params.check()?)?;
        let mut scorer = Constant(logits.to_vec(), Vec::new());
        search.run(&mut scorer, &[Request::default()], &mut Scratch::default())
    };
    let error = run(Normalizer::Level, &[0.0, f32::NEG_INFINITY]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoItem {
                request: 0,
                row: 0,
                children: 1
            }
        ),
        "{error}"
    );
    // The second step's dead end is none of the first.
    assert_eq!(
        run(Normalizer::Level, &[f32::NEG_INFINITY, 0.0]).unwrap()[0]
            .hits
            .len(),
        1
    );
}

#[test]
fn bad_scores_are_told() {
    let level = Normalizer::Level;
    let message = |logits: &[f32]| search(level, logits).unwrap_err().to_string();
    let bad = message(&[0.0, f32::NAN]);
    assert!(bad.contains("row 0") && bad.contains("column 1"), "{bad}");
    assert!(message(&[f32::INFINITY, 0.0]).contains("column 0"));
    assert!(message(&[f32::NEG_INFINITY; 2]).contains("-inf"));
    assert!(message(&[0.0; 5]).contains("got 5, expected 2"));
    let full = search(Normalizer::FullVocab, &[0.0; 2]).unwrap_err();
    assert!(matches!(
        full,
        Error::Setting {
            name: "normalizer",
            ..
        }
    ));
}

/// Level logits with sums of the model's own.
struct Summed(Vec<f32>, f32, [Vec<f32>; 2]);

impl Scorer for Summed {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        let rows = step.rows().len();
        self.2 = [self.0.repeat(rows), vec![self.1; rows]];
        let [logits, sums] = &self.2;
        Ok(Scores::level(Logits::F32(logits)).normalized_by(sums))
    }
}

/// A model that sums for itself is held to the same: no other step looks at its logits.
#[test]
fn bad_scores_with_sums_are_told() {
    let trie = square();
    let search = |logits: &[f32], sum| {
        let config = BeamParams::default().check().unwrap();
        let search = BeamSearch::new(&trie, None, config).unwrap();
        let mut scorer = Summed(logits.to_vec(), sum, Default::default());
        search.run(&mut scorer, &[Request::default()], &mut Scratch::default())
    };
    assert_eq!(search(&[0.0, 1.0], 2.0).unwrap()[0].hits[0].score, -2.0);
    let error = |logits: &[f32], sum| search(logits, sum).unwrap_err().to_string();
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(error(&[0.0, bad], 2.0).contains("row 0 of the step, column 1"));
        assert!(error(&[0.0, 1.0], bad).contains("normalizing sum"));
    }
}

#[test]
fn an_empty_filter_gives_an_empty_answer() {
    let trie = square();
    let nothing = Filter::allow_items(&trie, []).unwrap();
    let params = BeamParams {
        normalizer: Normalizer::Level,
        ..BeamParams::default()
    };
    let search = BeamSearch::new(&trie, None, params.check().unwrap()).unwrap();
    let requests = [Request {
        filter: Some(&nothing),
    }];
    let mut scorer = Constant(vec![0.0; 2], Vec::new());
    let outcomes = search
        .run(&mut scorer, &requests, &mut Scratch::default())
        .unwrap();
    assert!(outcomes[0].hits.is_empty() && outcomes[0].exact);
    assert_eq!(outcomes[0].rows, 0);

    let other = Filter::allow_items(&square(), [ItemId(0)]).unwrap();
    let requests = [Request {
        filter: Some(&other),
    }];
    let error = search
        .run(&mut scorer, &requests, &mut Scratch::default())
        .unwrap_err();
    assert!(matches!(error, Error::Foreign { what: "filter", .. }));
}

#[test]
fn settings_are_checked() {
    let refused = |params: BeamParams| params.check().unwrap_err().to_string();
    let default = BeamParams::default;
    assert!(
        refused(BeamParams {
            results: 0,
            ..default()
        })
        .contains("results")
    );
    assert!(
        refused(BeamParams {
            beams: vec![4, 0],
            ..default()
        })
        .contains("beams")
    );
    assert!(
        refused(BeamParams {
            beams: Vec::new(),
            ..default()
        })
        .contains("beams")
    );
    assert!(
        refused(BeamParams {
            length_penalty: -1.0,
            ..default()
        })
        .contains("penalty")
    );
}

/// A certain code needs no model where children share all of the probability.
#[test]
fn forced_levels_are_skipped() {
    let space = CodeSpace::uniform(3, 2).unwrap();
    let codes = CodeMatrix::new([0, 1, 0, 1, 0, 1].map(Code).to_vec(), 3).unwrap();
    let trie = ItemTrie::of_codes(space, &codes, 1).unwrap();
    let rows = |normalizer| {
        let params = BeamParams {
            normalizer,
            ..BeamParams::default()
        };
        let search = BeamSearch::new(&trie, None, params.check().unwrap()).unwrap();
        let mut scorer = Constant(vec![0.0, -1.0], Vec::new());
        let outcomes = search.run(&mut scorer, &[Request::default()], &mut Scratch::default());
        outcomes.unwrap()[0].rows
    };
    assert_eq!(
        (rows(Normalizer::ValidChildren), rows(Normalizer::Level)),
        (1, 5)
    );
}
