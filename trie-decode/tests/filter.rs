//! Filters against plain sets of rows.

mod catalogue;

use catalogue::{Catalogue, catalogues};
use proptest::prelude::*;
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use trie_decode::{Error, Filter, ItemTrie};

#[test]
fn tutorial() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let paths: &[&[u16]] = &[&[0, 1], &[0, 3], &[2, 2]];
    let trie = Catalogue::new(space, paths).trie();

    // A category, and what the user has seen of it.
    let category = Filter::allow_keys(&trie, ["k0", "k2"]).unwrap();
    let unseen = Filter::deny_items(&trie, [ItemId(0)]).unwrap();
    let allowed = category.and(&unseen).unwrap();
    assert_eq!(allowed.len(), 1);

    // Nothing is left below the prefix 0, so no search need look there.
    let zero = trie.find(&[Code(0)]).unwrap().unwrap();
    assert!(!allowed.any(trie.ranks(zero).unwrap()));
    assert_eq!(unseen.count(trie.ranks(zero).unwrap()), 1);

    // A slate gives the last one and has no more.
    let mut left = allowed.clone();
    assert!(left.take(trie.rank(ItemId(2)).unwrap()));
    assert!(left.is_empty() && !allowed.is_empty());
}

#[test]
fn what_is_unknown_is_named() {
    let space = CodeSpace::uniform(1, 4).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0], &[3]]).trie();
    let message = |error: Error| error.to_string();

    let error = Filter::allow_items(&trie, [ItemId(2)]).unwrap_err();
    assert!(message(error).contains("there is no item 2; the index has 2"));
    let error = Filter::deny_keys(&trie, ["k1", "lamp"]).unwrap_err();
    assert!(message(error).contains("\"lamp\""));
    let error = Filter::deny_ranks(&trie, [u32::MAX]).unwrap_err();
    assert!(message(error).contains("expected one below 2"));

    let codes = CodeMatrix::new(vec![Code(1)], 1).unwrap();
    let other = ItemTrie::of_codes(space, &codes, 1).unwrap();
    assert!(matches!(
        Filter::allow_keys(&other, ["k1"]),
        Err(Error::NoKeys)
    ));
    let error = Filter::all(&trie).or(&Filter::all(&other)).unwrap_err();
    assert!(matches!(error, Error::Foreign { what: "filter", .. }));
}

#[test]
fn many_denials_become_a_bitmap() {
    let rows: Vec<u16> = (0..5000).collect();
    let paths: Vec<&[u16]> = rows.iter().map(std::slice::from_ref).collect();
    let trie = Catalogue::new(CodeSpace::uniform(1, 5000).unwrap(), &paths).trie();
    let mut taken = Filter::all(&trie);
    for rank in (0..5000).step_by(2) {
        assert!(taken.take(rank) && !taken.take(rank));
        let denied = Filter::deny_ranks(&trie, (0..=rank).step_by(2)).unwrap();
        assert_eq!(taken.len(), denied.len());
    }
    for rank in 0..4999 {
        assert_eq!(taken.contains(rank), rank % 2 == 1);
        assert_eq!(taken.count(rank..4999), (4999 - rank as usize) / 2);
        assert!(taken.any(rank..rank + 2));
    }
    assert_eq!(taken.not().len(), 2500);
}

/// How a filter came to be, and which rows it should allow.
#[derive(Debug, Clone)]
enum Rule {
    All,
    Allow(Vec<bool>),
    Deny(Vec<bool>),
    Not(Box<Rule>),
    And(Box<Rule>, Box<Rule>),
    Or(Box<Rule>, Box<Rule>),
    Take(Box<Rule>, Vec<bool>),
}

fn rules() -> impl Strategy<Value = Rule> {
    let rows = || prop::collection::vec(any::<bool>(), 30);
    let leaf = prop_oneof![
        Just(Rule::All),
        rows().prop_map(Rule::Allow),
        rows().prop_map(Rule::Deny),
    ];
    leaf.prop_recursive(4, 16, 2, move |rule| {
        let rule = rule.prop_map(Box::new).boxed();
        prop_oneof![
            rule.clone().prop_map(Rule::Not),
            (rule.clone(), rule.clone()).prop_map(|(a, b)| Rule::And(a, b)),
            (rule.clone(), rule.clone()).prop_map(|(a, b)| Rule::Or(a, b)),
            (rule, rows()).prop_map(|(rule, rows)| Rule::Take(rule, rows)),
        ]
    })
}

impl Rule {
    fn filter(&self, catalogue: &Catalogue, trie: &ItemTrie<Vec<u8>>) -> Filter {
        let items = |rows: &[bool]| catalogue.items(|row| rows[row]);
        let of = |rule: &Rule| rule.filter(catalogue, trie);
        match self {
            Self::All => Filter::all(trie),
            Self::Allow(rows) => Filter::allow_items(trie, items(rows)).unwrap(),
            Self::Deny(rows) => {
                let ranks = items(rows).into_iter().map(|item| trie.rank(item).unwrap());
                Filter::deny_ranks(trie, ranks).unwrap()
            }
            Self::Not(rule) => of(rule).not(),
            Self::And(a, b) => of(a).and(&of(b)).unwrap(),
            Self::Or(a, b) => of(a).or(&of(b)).unwrap(),
            Self::Take(rule, rows) => {
                let mut filter = of(rule);
                for item in items(rows) {
                    let rank = trie.rank(item).unwrap();
                    assert_eq!(filter.contains(rank), filter.take(rank));
                }
                filter
            }
        }
    }

    fn allows(&self, row: usize) -> bool {
        match self {
            Self::All => true,
            Self::Allow(rows) => rows[row],
            Self::Deny(rows) => !rows[row],
            Self::Not(rule) => !rule.allows(row),
            Self::And(a, b) => a.allows(row) && b.allows(row),
            Self::Or(a, b) => a.allows(row) || b.allows(row),
            Self::Take(rule, rows) => rule.allows(row) && !rows[row],
        }
    }
}

proptest! {
    #[test]
    fn a_filter_is_a_set_of_kept_items(
        catalogue in catalogues(),
        rule in rules(),
        spans in prop::collection::vec((0..40_u32, 0..40_u32), 10),
    ) {
        let trie = catalogue.trie();
        let filter = rule.filter(&catalogue, &trie);
        let allowed: Vec<u32> = catalogue
            .items(|row| !catalogue.removed[row] && rule.allows(row))
            .into_iter()
            .map(|item| trie.rank(item).unwrap())
            .collect();
        prop_assert_eq!(filter.len(), allowed.len());
        prop_assert_eq!(filter.is_empty(), allowed.is_empty());
        for (start, end) in spans {
            let count = allowed.iter().filter(|&&rank| start <= rank && rank < end).count();
            prop_assert_eq!(filter.count(start..end), count);
            prop_assert_eq!(filter.any(start..end), count > 0);
            prop_assert_eq!(filter.contains(start), allowed.contains(&start));
        }
    }

    #[test]
    fn removal_in_the_file_and_since_is_the_same(catalogue in catalogues()) {
        let removed = catalogue.items(|row| catalogue.removed[row]);
        let (early, late) = removed.split_at(removed.len() / 2);
        let index = catalogue.index().remove(early).unwrap();
        let trie = ItemTrie::new(index).without(late).unwrap();
        let (got, expected) = (Filter::all(&trie), Filter::all(&catalogue.trie()));
        prop_assert_eq!(got.len(), expected.len());
        for rank in 0..trie.items() as u32 {
            prop_assert_eq!(got.contains(rank), expected.contains(rank));
        }
    }
}
