//! Stochastic beams against the distribution of draws without replacement.

use std::collections::HashMap;

use proptest::prelude::*;
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use trie_decode::StochasticSearch;
use trie_decode::{Filter, ItemTrie, Logits, Normalizer, SampleRequest, Scorer, Scores, Step};

/// Level logits that depend on the prefix.
struct Uneven(Vec<f32>);

impl Uneven {
    fn logits(prefix: &[Code]) -> [f32; 3] {
        match prefix {
            [] => [0.7, -0.4, 0.1],
            [Code(0)] => [0.0, 1.5, -1.0],
            [Code(1)] => [2.0, 0.3, 0.0],
            _ => [-0.5, 0.0, 1.0],
        }
    }
}

impl Scorer for Uneven {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        self.0 = step
            .rows()
            .iter()
            .flat_map(|row| Self::logits(row.prefix))
            .collect();
        Ok(Scores::level(Logits::F32(&self.0)))
    }
}

const IDS: [[u16; 2]; 7] = [[0, 0], [0, 1], [0, 1], [1, 0], [1, 2], [2, 1], [2, 2]];

/// Seven items, two of which share an ID.
fn seven() -> ItemTrie<Vec<u8>> {
    let space = CodeSpace::uniform(2, 3).expect("a small space");
    let codes = IDS.as_flattened().iter().map(|&code| Code(code)).collect();
    let codes = CodeMatrix::new(codes, 2).expect("whole rows");
    ItemTrie::of_codes(space, &codes, 2).expect("two items share a path")
}

/// Probabilities step by step renormalised over the children of allowed items.
fn probabilities(allowed: &[bool]) -> Vec<f64> {
    let given = || {
        IDS.iter()
            .zip(allowed)
            .filter(|(_, allowed)| **allowed)
            .map(|(id, _)| id)
    };
    let share = |prefix: &[u16], code: u16| {
        let path: Vec<Code> = prefix.iter().copied().map(Code).collect();
        let logits = Uneven::logits(&path).map(|x| f64::from(x).exp());
        let alive =
            |code: &u16| given().any(|id| id.starts_with(prefix) && id[prefix.len()] == *code);
        let mass: f64 = (0..3)
            .filter(alive)
            .map(|code| logits[usize::from(code)])
            .sum();
        logits[usize::from(code)] / mass
    };
    let of = |(id, allowed): (&[u16; 2], &bool)| match allowed {
        false => 0.0,
        true => {
            let same = given().filter(|other| *other == id).count() as f64;
            share(&[], id[0]) * share(&id[..1], id[1]) / same
        }
    };
    IDS.iter().zip(allowed).map(of).collect()
}

/// Ordered pairs come as often as draws one after the other say, and weights by the inverse of
/// the inclusion probability are unbiased.
fn agrees(allowed: [bool; 7]) {
    const DRAWS: usize = 20_000;
    let trie = seven();
    let items = (0..7)
        .filter(|&item| allowed[item])
        .map(|item| ItemId(item as u32));
    let filter = Filter::allow_items(&trie, items).expect("known items");
    let request = |key| SampleRequest {
        filter: Some(&filter),
        key,
    };
    let requests: Vec<_> = (0..DRAWS as u64).map(request).collect();
    let search = StochasticSearch::new(&trie, None, Normalizer::Level, 2, 5).expect("sound");
    let drawn = search
        .run(&mut Uneven(Vec::new()), &requests)
        .expect("sound scores");

    let probabilities = probabilities(&allowed);
    let mut pairs: HashMap<(usize, usize), f64> = HashMap::new();
    let mut weights = [0.0; 7];
    for samples in &drawn {
        let [a, b] = [0, 1].map(|at| samples[at].hit.item.index());
        *pairs.entry((a, b)).or_default() += 1.0;
        for sample in samples {
            let p = probabilities[sample.hit.item.index()];
            assert!((sample.log_probability - p.ln()).abs() < 1e-5);
            weights[sample.hit.item.index()] += 1.0 / sample.inclusion / DRAWS as f64;
        }
    }
    let mut chi_square = 0.0;
    let mut cells: f64 = 0.0;
    for (a, &p) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        for (b, &q) in probabilities
            .iter()
            .enumerate()
            .filter(|(b, q)| *b != a && **q > 0.0)
        {
            let expected = DRAWS as f64 * p * q / (1.0 - p);
            let got = pairs.get(&(a, b)).copied().unwrap_or(0.0);
            chi_square += (got - expected).powi(2) / expected;
            cells += 1.0;
        }
    }
    // Four standard deviations above the mean of the distribution.
    let freedom = cells - 1.0;
    let limit = freedom + 4.0 * (2.0 * freedom).sqrt();
    assert!(
        chi_square < limit,
        "chi-square {chi_square} of {freedom} degrees"
    );
    for (item, weight) in weights
        .into_iter()
        .enumerate()
        .filter(|(item, _)| allowed[*item])
    {
        assert!((weight - 1.0).abs() < 0.1, "item {item} weighs {weight}");
    }
}

#[test]
fn draws_are_without_replacement() {
    agrees([true; 7]);
}

#[test]
fn filtered_draws_share_the_whole_mass() {
    agrees([true, false, true, false, true, true, false]);
}

#[test]
fn all_items_are_certain_when_all_are_drawn() {
    let trie = seven();
    let search = StochasticSearch::new(&trie, None, Normalizer::Level, 9, 1).expect("sound");
    let requests = [SampleRequest::default()];
    let drawn = search
        .run(&mut Uneven(Vec::new()), &requests)
        .expect("sound scores");
    let mut items: Vec<u32> = drawn[0].iter().map(|sample| sample.hit.item.0).collect();
    items.sort_unstable();
    assert_eq!(items, [0, 1, 2, 3, 4, 5, 6]);
    assert!(drawn[0].iter().all(|sample| sample.inclusion == 1.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Samples are distinct items that may be given, with the model's own score; they depend on
    /// the request's key alone.
    #[test]
    fn samples_are_items(case in crate::oracle::case(), seed in any::<u64>()) {
        let drawn = case.sample(4, seed);
        for (request, samples) in drawn.iter().enumerate() {
            let ranking = case.plain_ranking(request);
            prop_assert_eq!(samples.len(), ranking.len().min(4));
            let mut seen: Vec<ItemId> = samples.iter().map(|sample| sample.hit.item).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), samples.len());
            for sample in samples {
                let known = ranking.iter().find(|(_, item)| *item == sample.hit.item);
                let (score, _) = known.expect("the item may be given");
                prop_assert!((f64::from(sample.hit.score) - score).abs() < 1e-4);
                prop_assert!(sample.inclusion > 0.0 && sample.inclusion <= 1.0);
            }
            prop_assert_eq!(&case.alone(request).sample(4, seed)[0], samples);
        }
    }
}
