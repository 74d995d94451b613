//! Slates against the ranking of the whole catalogue.

use proptest::prelude::*;
use trie_decode::{BeamParams, Exact};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Item after item, a slate is the ranking; restarting it changes nothing while the model
    /// says the same.
    #[test]
    fn slates_are_the_ranking(case in crate::oracle::case(), restart in any::<bool>()) {
        let slate = case.slate(case.params(), usize::MAX, restart);
        let ranking = case.ranking(0);
        prop_assert_eq!(slate.len(), ranking.len());
        let mut seen = Vec::new();
        for (outcome, (score, _)) in slate.iter().zip(&ranking) {
            let hit = &outcome.hits[0];
            prop_assert!(outcome.exact);
            prop_assert!((f64::from(hit.score) - score).abs() < 1e-4);
            prop_assert!(case.may(0, hit.item) && !seen.contains(&hit.item));
            prop_assert_eq!(&hit.codes[..], case.id(hit.item));
            seen.push(hit.item);
        }
    }

    /// With few rows an item a slate may be out of order, and says so; it holds no duplicates.
    #[test]
    fn short_budgets_are_told(case in crate::oracle::case(), row_budget in 1_usize..6) {
        let exact = Some(Exact { row_budget });
        let slate = case.slate(BeamParams { exact, ..case.params() }, 5, false);
        let ranking = case.ranking(0);
        let mut left = ranking;
        for outcome in &slate {
            prop_assert!(outcome.rows <= row_budget);
            let Some(hit) = outcome.hits.first() else {
                prop_assert!(!outcome.exact);
                continue;
            };
            let best = left.first().expect("an item is left").0;
            if outcome.exact {
                prop_assert!((f64::from(hit.score) - best).abs() < 1e-4);
            }
            let at = left.iter().position(|(_, item)| *item == hit.item);
            left.remove(at.expect("the item was not taken before"));
        }
    }
}
