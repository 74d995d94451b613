//! Metrics against plain oracles, and the files of `semid eval`.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::ops::Range;

use proptest::prelude::*;
use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys, Manifest, TokenFormat,
};
use semid_tasks::Part;
use semid_tasks::metrics::{
    BINS, Comparison, Exposure, Hits, Items, List, Metric, Predictions, RankCorrelation, Scores,
    TokenColdness, Training, Truth, bin, holm, slices,
};

/// The metrics of a list of items, as a textbook has them: HR, recall, NDCG, MRR.
fn plain(list: &[u32], targets: &[u32], k: usize) -> [f64; 4] {
    let mut found = HashSet::new();
    let (mut dcg, mut mrr) = (0.0, 0.0);
    for (at, item) in list.iter().take(k).enumerate() {
        if targets.contains(item) && found.insert(item) {
            dcg += 1.0 / (at as f64 + 2.0).log2();
            if found.len() == 1 {
                mrr = 1.0 / (at as f64 + 1.0);
            }
        }
    }
    let ideal: f64 = (0..targets.len().min(k))
        .map(|at| 1.0 / (at as f64 + 2.0).log2())
        .sum();
    let ndcg = if k == 0 { 0.0 } else { dcg / ideal };
    let recall = found.len() as f64 / targets.len() as f64;
    [f64::from(u8::from(!found.is_empty())), recall, ndcg, mrr]
}

fn ours(hits: &Hits, k: usize) -> [f64; 4] {
    [hits.hit_rate(k), hits.recall(k), hits.ndcg(k), hits.mrr(k)]
}

fn assert_close(got: [f64; 4], expected: [f64; 4]) {
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() < 1e-9, "{got:?}, {expected:?}");
    }
}

#[test]
fn a_list_is_scored_by_where_the_true_items_are() {
    let list = List::of_items(&[5, 8, 2, 9]);
    let hits = Hits::of(&list, &[2]);
    assert_eq!(ours(&hits, 2), [0.0; 4]);
    assert_eq!(ours(&hits, 3), [1.0, 1.0, 0.5, 1.0 / 3.0]);

    let hits = Hits::of(&list, &[2, 5, 7]);
    let best = 1.0 + 1.0 / 3_f64.log2() + 0.5;
    assert_close(ours(&hits, 10), [1.0, 2.0 / 3.0, 1.5 / best, 1.0]);
}

/// LC-Rec would give this list an NDCG of 1.63.
#[test]
fn what_is_listed_twice_counts_once() {
    let list = List::of_items(&[3, 3, 4]);
    assert_eq!((list.len(), list.repeats(), list.misses()), (3, 1, 0));
    let hits = Hits::of(&list, &[3]);
    assert_eq!(ours(&hits, 3), [1.0; 4]);
    // It takes its place, though.
    assert_eq!(Hits::of(&list, &[4]).hit_rate(2), 0.0);
}

/// CollisionGenRec's formulas: with `P` places before an ID of `G` items,
/// `ItemHit@K = min(G, K - P) / G`.
#[test]
fn the_items_of_a_shared_id_earn_their_share() {
    // An ID of one item, one of none, one of four.
    let list = List::new([9..10, 0..0, 20..24]);
    assert_eq!(list.misses(), 1);
    for k in 0..10 {
        let within = k.clamp(2, 6) - 2;
        let dcg: f64 = (0..within).map(|at| 1.0 / (at as f64 + 4.0).log2()).sum();
        let hits = Hits::of(&list, &[22]);
        assert!((hits.hit_rate(k) - within as f64 / 4.0).abs() < 1e-12);
        assert!((hits.ndcg(k) - dcg / 4.0).abs() < 1e-12);
    }
    // Of `m` true items: m / g at the first place.
    assert_eq!(
        Hits::of(&List::new([20..24, 0..0]), &[20, 21, 23]).hit_rate(1),
        0.75
    );
}

/// Every order of every group's items.
fn orders(groups: &[Range<u32>]) -> Vec<Vec<u32>> {
    let mut lists = vec![Vec::new()];
    for group in groups {
        let miss = u32::MAX;
        let items: Vec<u32> = if group.is_empty() {
            vec![miss]
        } else {
            group.clone().collect()
        };
        let longer = |list: &Vec<u32>| -> Vec<Vec<u32>> {
            permutations(&items)
                .into_iter()
                .map(|order| [list.clone(), order].concat())
                .collect()
        };
        lists = lists.iter().flat_map(longer).collect();
    }
    lists
}

fn permutations(items: &[u32]) -> Vec<Vec<u32>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let begin = |at: usize| {
        let rest = [&items[..at], &items[at + 1..]].concat();
        permutations(&rest)
            .into_iter()
            .map(move |order| [vec![items[at]], order].concat())
    };
    (0..items.len()).flat_map(begin).collect()
}

/// Up to four IDs of up to three items, in any order and some of them without an item.
fn groups() -> impl Strategy<Value = Vec<Range<u32>>> {
    prop::collection::vec(0_u32..4, 1..5).prop_flat_map(|sizes| {
        let groups: Vec<_> = sizes
            .iter()
            .zip(0..)
            .map(|(size, at)| at * 10..at * 10 + size)
            .collect();
        Just(groups).prop_shuffle()
    })
}

fn lists() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0_u32..12, 0..12)
}

fn some_targets() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::btree_set(0_u32..12, 1..5).prop_map(|rows| rows.into_iter().collect())
}

proptest! {
    #[test]
    fn shared_ids_are_scored_as_the_mean_over_all_orders(
        groups in groups(),
        picks in prop::collection::btree_set((0_u32..5, 0_u32..3), 1..5),
        k in 0_usize..12,
    ) {
        let targets: Vec<u32> = picks.iter().map(|(group, item)| group * 10 + item).collect();
        let orders = orders(&groups);
        let mut expected = [0.0; 4];
        for order in &orders {
            let scores = plain(order, &targets, k);
            expected.iter_mut().zip(scores).for_each(|(mean, score)| *mean += score / orders.len() as f64);
        }
        let list = List::new(groups);
        assert_close(ours(&Hits::of(&list, &targets), k), expected);
    }

    #[test]
    fn own_ids_are_scored_as_items(list in lists(), targets in some_targets(), k in 0_usize..14) {
        let hits = Hits::of(&List::of_items(&list), &targets);
        assert_close(ours(&hits, k), plain(&list, &targets, k));
    }

    #[test]
    fn scores_are_within_bounds_and_grow_with_k(
        groups in groups(),
        targets in some_targets(),
    ) {
        let hits = Hits::of(&List::new(groups), &targets);
        for k in 0..15 {
            let scores = ours(&hits, k);
            prop_assert!(scores.iter().all(|score| (0.0..=1.0 + 1e-12).contains(score)), "{:?}", scores);
            let next = ours(&hits, k + 1);
            // NDCG may fall, as its ideal grows too.
            prop_assert!(next[0] >= scores[0] && next[1] >= scores[1] && next[3] >= scores[3]);
        }
    }

    #[test]
    fn no_figure_depends_on_the_order_of_the_lines(
        users in prop::collection::vec((lists(), some_targets()), 2..20).prop_flat_map(|users| {
            let order: Vec<usize> = (0..users.len()).collect();
            (Just(users), Just(order).prop_shuffle())
        }),
    ) {
        let (users, order) = users;
        let line = |user: usize, rows: &[u32]| format!("{{\"user\": {user}, \"items\": {rows:?}}}\n");
        let means = |order: &[usize]| {
            let truth: String = order.iter().map(|&user| line(user, &users[user].1)).collect();
            let lists: String = order.iter().map(|&user| line(user, &users[user].0)).collect();
            let mut items = Items::default();
            let truth = Truth::read("t", truth.as_bytes(), Part::Test, &mut items).expect("truth");
            let lists = Predictions::read("p", lists.as_bytes(), &truth, &mut items).expect("lists");
            Scores::of(Metric::all(&[1, 5], true), &lists.paired(&truth)).means()
        };
        let in_order: Vec<usize> = (0..users.len()).collect();
        prop_assert_eq!(means(&in_order), means(&order));
    }

    #[test]
    fn the_randomisation_test_is_exact_for_few_users(
        pairs in prop::collection::vec((0_u8..5, 0_u8..5), 1..9),
    ) {
        let (a, b): (Vec<u8>, Vec<u8>) = pairs.iter().copied().unzip();
        let difference = compare(&a, &b, 1 << 9);
        let differences: Vec<i32> = pairs.iter().map(|&(a, b)| rank(a) - rank(b)).collect();
        let total: i32 = differences.iter().sum();
        let ways = 1_u32 << differences.len();
        let far = (0..ways).filter(|way| {
            let signed = |(user, d): (usize, &i32)| if way >> user & 1 == 1 { -d } else { *d };
            differences.iter().enumerate().map(signed).sum::<i32>().abs() >= total.abs()
        });
        prop_assert_eq!(difference.p, far.count() as f64 / f64::from(ways));
    }

    #[test]
    fn coldness_is_what_a_search_through_all_seen_ids_finds(
        ids in prop::collection::btree_map(prop::collection::vec(0_u16..3, 3), any::<bool>(), 1..20),
    ) {
        let rows: Vec<&Vec<u16>> = ids.keys().collect();
        let seen: Vec<bool> = ids.values().copied().collect();
        let codes = rows.iter().flat_map(|row| row.iter().copied().map(Code)).collect();
        let paths = CodeMatrix::new(codes, 3).expect("rows");
        let coldness = TokenColdness::of(&paths, &seen);
        for (at, row) in rows.iter().enumerate() {
            let others = || rows.iter().zip(&seen).filter(|(_, seen)| **seen).map(|(row, _)| row);
            let agree = |other: &&&Vec<u16>| row.iter().zip(**other).take_while(|(a, b)| a == b).count();
            let depth = others().map(|other| agree(&other)).max().unwrap_or(0);
            let all = (0..3).all(|level| others().any(|other| other[level] == row[level]));
            prop_assert_eq!(coldness.depth(at), depth);
            prop_assert_eq!(coldness.all_seen(at), all);
        }
    }
}

/// Of users whose item is at these ranks, from 0, of one list; MRR tells them apart.
fn scores(ranks: &[u8]) -> Scores {
    let list = List::of_items(&[0, 1, 2, 3, 4]);
    let targets: Vec<[u32; 1]> = ranks.iter().map(|&rank| [rank.into()]).collect();
    let users: Vec<(&List, &[u32])> = targets.iter().map(|row| (&list, &row[..])).collect();
    Scores::of(vec![Metric::Mrr(5)], &users)
}

/// 60 / (rank + 1): MRR as a whole number.
fn rank(rank: u8) -> i32 {
    60 / (i32::from(rank) + 1)
}

fn comparison(resamples: usize) -> Comparison {
    let resamples = NonZeroUsize::new(resamples).expect("some");
    Comparison { resamples, seed: 7 }
}

fn compare(a: &[u8], b: &[u8], resamples: usize) -> semid_tasks::metrics::Difference {
    comparison(resamples).of(&scores(a), &scores(b))[0]
}

#[test]
fn equal_systems_do_not_differ() {
    let ranks: Vec<u8> = (0..200).map(|user| user % 5).collect();
    let difference = compare(&ranks, &ranks, 500);
    assert_eq!(difference.difference, 0.0);
    assert_eq!(difference.interval, [0.0, 0.0]);
    assert_eq!(
        (difference.p_bootstrap, difference.p, difference.p_holm),
        (1.0, 1.0, 1.0)
    );

    // As good on the whole, though not for each user.
    let turned: Vec<u8> = ranks.iter().rev().copied().collect();
    let difference = compare(&ranks, &turned, 2000);
    assert!(difference.difference.abs() < 1e-9);
    assert!(
        difference.p > 0.9 && difference.p_bootstrap > 0.8,
        "{difference:?}"
    );
}

#[test]
fn a_better_system_is_told_from_chance() {
    let worse: Vec<u8> = (0..300).map(|user| (user % 5) as u8).collect();
    let better: Vec<u8> = worse.iter().map(|rank| rank.saturating_sub(1)).collect();
    let difference = compare(&better, &worse, 1000);
    assert!(difference.difference > 0.0 && difference.interval[0] > 0.0);
    assert_eq!(difference.p, 1.0 / 1001.0, "no swap comes near");
    assert_eq!(difference.p_bootstrap, 2.0 / 1001.0);
    let back = compare(&worse, &better, 1000);
    assert_eq!(back.difference, -difference.difference);
    let [low, high] = difference.interval;
    assert_eq!(back.interval, [-high, -low]);
}

/// The standard error of a mean, and with it the normal interval, for many users.
#[test]
fn the_bootstrap_interval_is_as_wide_as_it_should_be() {
    let a: Vec<u8> = (0..2000).map(|user| (user * 7 % 5) as u8).collect();
    let b: Vec<u8> = (0..2000).map(|user| (user * 11 % 17 % 5) as u8).collect();
    let difference = compare(&a, &b, 4000);
    let values: Vec<f64> = a
        .iter()
        .zip(&b)
        .map(|(&a, &b)| f64::from(rank(a) - rank(b)) / 60.0)
        .collect();
    let mean = values.iter().sum::<f64>() / 2000.0;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2000.0;
    let error = (variance / 2000.0).sqrt();
    assert!((difference.difference - mean).abs() < 1e-9);
    for (end, expected) in difference
        .interval
        .iter()
        .zip([mean - 1.96 * error, mean + 1.96 * error])
    {
        assert!(
            (end - expected).abs() < 0.1 * error,
            "{difference:?}, {expected}"
        );
    }
}

/// Against a system that finds nothing, a difference is the mean itself.
#[test]
fn the_interval_of_one_system_is_that_of_its_difference_from_nothing() {
    let ranks: Vec<u8> = (0..300).map(|user| (user * 7 % 5) as u8).collect();
    let (nothing, target) = (List::default(), [0]);
    let nothing = vec![(&nothing, &target[..]); ranks.len()];
    let nothing = Scores::of(vec![Metric::Mrr(5)], &nothing);
    let comparison = comparison(500);
    let alone = comparison.intervals(&scores(&ranks));
    assert_eq!(
        alone,
        [comparison.of(&scores(&ranks), &nothing)[0].interval]
    );
    assert!(alone[0][0] < alone[0][1]);
}

#[test]
fn threads_change_nothing() {
    let a: Vec<u8> = (0..500).map(|user| (user * 7 % 5) as u8).collect();
    let b: Vec<u8> = (0..500).map(|user| (user * 11 % 17 % 5) as u8).collect();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads");
        pool.install(|| compare(&a, &b, 300))
    };
    assert_eq!(on(1), on(3));
}

/// Three metrics of which two differ alike: Holm counts them once.
#[test]
fn more_metrics_need_more_proof() {
    let list = List::of_items(&[0, 1, 2, 3, 4, 5]);
    let scores = |ranks: [u32; 8]| {
        let targets = ranks.map(|rank| [rank]);
        let users: Vec<(&List, &[u32])> = targets.iter().map(|row| (&list, &row[..])).collect();
        Scores::of(
            vec![Metric::HitRate(1), Metric::Mrr(1), Metric::HitRate(3)],
            &users,
        )
    };
    let (a, b) = (
        scores([0, 0, 0, 0, 0, 0, 0, 5]),
        scores([1, 1, 1, 1, 3, 3, 0, 0]),
    );
    let differences = comparison(1 << 8).of(&a, &b);
    let p: Vec<f64> = differences.iter().map(|difference| difference.p).collect();
    let holm: Vec<f64> = differences
        .iter()
        .map(|difference| difference.p_holm)
        .collect();
    // Six wins and one loss of seven; two wins and one loss of three.
    assert_eq!(p, [16.0 / 128.0, 16.0 / 128.0, 1.0]);
    assert_eq!(holm, [32.0 / 128.0, 32.0 / 128.0, 1.0]);
}

#[test]
fn holm_keeps_the_order_of_the_tests() {
    let no_tests: [f64; 0] = [];
    assert_eq!(holm(&no_tests), no_tests);
    // 3 x .25; 2 x .25 would be less than that; the last is as it is.
    assert_eq!(holm(&[1.0, 0.25, 0.25]), [1.0, 0.75, 0.75]);
}

#[test]
fn runs_are_averaged_user_by_user() {
    let runs = [scores(&[0, 1, 7]), scores(&[1, 1, 4])];
    let mean = Scores::mean(&runs);
    let rows: Vec<f64> = mean.rows().map(|row| row[0]).collect();
    assert_eq!(rows, [0.75, 0.5, 0.1]);
    assert_eq!(Scores::mean(&runs[..1]), runs[0]);
}

#[test]
#[should_panic(expected = "the same users")]
fn runs_of_other_users_are_not_averaged() {
    Scores::mean(&[scores(&[0, 1]), scores(&[0])]);
}

fn rank_correlation(a: &[f64], b: &[f64], resamples: usize) -> RankCorrelation {
    let told = comparison(resamples).rank_correlation(a, b);
    told.expect("neither is constant")
}

/// By hand: ranks 1, 2.5, 2.5, 4 and 3, 1, 2, 4, less their mean 2.5; the sum of products is
/// -.75 + 0 + 0 + 2.25, those of squares are 4.5 and 5. Of the one only the ends count, and two
/// ranks of the other are always as far apart as 3 and 4: no order is less far from 0.
#[test]
fn equal_values_share_their_ranks() {
    let told = rank_correlation(&[0.1, 0.2, 0.2, 7.0], &[30.0, -1.0, 2.0, 31.0], 24);
    assert!((told.rho - 1.5 / 22.5_f64.sqrt()).abs() < 1e-15, "{told:?}");
    assert_eq!(told.p, 1.0);
}

#[test]
fn ranks_that_run_against_each_other() {
    let told = rank_correlation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[9.0, 7.0, 6.0, 2.0, 0.0], 120);
    assert_eq!(told.rho, -1.0);
    assert_eq!(told.p, 2.0 / 120.0);
    let comparison = comparison(10);
    assert_eq!(comparison.rank_correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
    assert_eq!(comparison.rank_correlation(&[1.0], &[1.0]), None);
    assert_eq!(comparison.rank_correlation(&[], &[]), None);
}

proptest! {
    /// Pearson's correlation of mean ranks; and p by a loop over all orders, which draws come near.
    #[test]
    fn rank_correlations_are_the_textbooks(
        pairs in prop::collection::vec((0_u8..5, 0_u8..5), 2..6)
    ) {
        let (a, b): (Vec<f64>, Vec<f64>) =
            pairs.into_iter().map(|(a, b)| (f64::from(a), f64::from(b))).unzip();
        let ranks = |values: &[f64]| -> Vec<f64> {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            let mean = |value: &f64| {
                let at: Vec<usize> = (0..sorted.len()).filter(|&at| sorted[at] == *value).collect();
                at.iter().sum::<usize>() as f64 / at.len() as f64
            };
            values.iter().map(mean).collect()
        };
        let pearson = |a: &[f64], b: &[f64]| {
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let (mean_a, mean_b) = (mean(a), mean(b));
            let mut sums = [0.0; 3];
            for (a, b) in a.iter().zip(b) {
                let (a, b) = (a - mean_a, b - mean_b);
                sums[0] += a * b;
                sums[1] += a * a;
                sums[2] += b * b;
            }
            sums[0] / (sums[1] * sums[2]).sqrt()
        };
        let expected = pearson(&ranks(&a), &ranks(&b));
        let Some(exact) = comparison(120).rank_correlation(&a, &b) else {
            prop_assert!(expected.is_nan());
            return Ok(());
        };
        prop_assert!((exact.rho - expected).abs() < 1e-12);
        let items: Vec<u32> = (0..a.len() as u32).collect();
        let orders = permutations(&items);
        let far = orders.iter().filter(|order| {
            let b: Vec<f64> = order.iter().map(|&at| b[at as usize]).collect();
            pearson(&ranks(&a), &ranks(&b)).abs() > expected.abs() - 1e-9
        });
        let p = far.count() as f64 / orders.len() as f64;
        prop_assert_eq!(exact.p, p);
        if a.len() == 5 {
            let drawn = rank_correlation(&a, &b, 119);
            prop_assert!((drawn.p - p).abs() < 0.25, "{} and {}", drawn.p, p);
        }
    }
}

#[test]
fn exposure_counts_what_is_shown() {
    let lists = [List::new([0..1, 1..3]), List::new([0..1, 0..0, 3..4])];
    let exposure = Exposure::of(&lists, 2, 5);
    // Item 0 twice, items 1 and 2 half a time each, 3 and 4 never.
    assert_eq!(exposure.coverage(), (1.0 + 0.5 + 0.5) / 5.0);
    let pairs = [2.0, 0.5, 0.5, 0.0, 0.0_f64];
    let apart: f64 = pairs
        .iter()
        .flat_map(|a| pairs.iter().map(move |b| (a - b).abs()))
        .sum();
    assert!((exposure.gini() - apart / (2.0 * 25.0 * 3.0 / 5.0)).abs() < 1e-12);
    // (c + 1) / (C + N) with C = 11 and N = 5.
    let novelty = exposure
        .novelty(&[7, 3, 1, 0, 0])
        .expect("something is shown");
    assert_eq!(novelty, (2.0 * 1.0 + 0.5 * 2.0 + 0.5 * 3.0) / 3.0);
    assert_eq!(Exposure::of(&lists, 0, 5).novelty(&[0; 5]), None);
    assert_eq!(Exposure::of(&lists, 0, 5).gini(), 0.0);
}

#[test]
fn slices_look_at_their_targets_only() {
    for (events, label) in [
        (0, "0"),
        (1, "1-4"),
        (4, "1-4"),
        (5, "5-9"),
        (99, "50-99"),
        (100, "100+"),
    ] {
        assert_eq!(BINS[bin(events)], label);
    }
    let list = List::of_items(&[1, 2]);
    let users: [(&List, &[u32]); 3] = [(&list, &[1, 2]), (&list, &[2]), (&list, &[9])];
    let slices = slices(&[Metric::HitRate(1)], &users, 3, |_, row| match row {
        1 => Some(0),
        2 => Some(1),
        _ => None,
    });
    let users: Vec<usize> = slices.iter().map(Scores::users).collect();
    assert_eq!(users, [1, 2, 0]);
    assert_eq!(slices[0].means(), [1.0]);
    assert_eq!(slices[1].means(), [0.0]);
}

/// `lamp` and `desk` share an ID; `sofa` has a shorter one.
fn index() -> ItemIndex<Vec<u8>> {
    let space = CodeSpace::uniform(2, 4).expect("sizes");
    let codes = [3, 1, 0, 2, 0, 2, 2, 4].map(Code).to_vec();
    let codes = CodeMatrix::new(codes, 2).expect("rows");
    let keys = ItemKeys::new(["rug", "lamp", "desk", "sofa"]).expect("keys");
    let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("test", ().into()));
    ItemIndex::build(&space, &codes, &keys, 2, info).expect("an index")
}

#[test]
fn ids_are_looked_up_in_the_index() {
    let index = index();
    let items = Items::of_index(&index).expect("items");
    assert_eq!(items.catalogue(), 4);
    let row = |key| items.find(key).expect("an item");
    let shared = items.rows_of_id("<a_0><b_2>").expect("sound");
    assert_eq!(shared.len(), 2);
    assert!(shared.contains(&row("lamp")) && shared.contains(&row("desk")));
    assert_eq!(
        items.rows_of_id("<a_2>").expect("sound"),
        row("sofa")..row("sofa") + 1
    );
    for id in [
        "",
        "<a_0>",
        "<a_3>",
        "<a_2><b_0>",
        "<a_0><b_2><c_0>",
        "lamp",
        "<a_9><b_9>",
    ] {
        assert!(items.rows_of_id(id).expect("sound").is_empty(), "{id}");
    }
    let paths = items.paths().expect("sound").expect("an index");
    assert_eq!(
        paths.row(semantic_id::ItemId(row("rug"))),
        [Code(3), Code(1)]
    );

    // What was removed is no item any more; what shared its ID has it alone.
    let lamp = index.find("lamp").expect("sound").expect("an item");
    let smaller = index.remove(&[lamp]).expect("an index");
    let items = Items::of_index(&smaller).expect("items");
    assert_eq!(items.catalogue(), 3);
    assert_eq!(items.find("lamp"), None);
    assert_eq!(items.rows_of_id("<a_0><b_2>").expect("sound").len(), 1);
    assert_eq!(items.paths().expect("sound").expect("an index").len(), 3);
}

const SPLIT: &str = r#"{"user": "ada", "events": 5, "train_end": 3, "valid_end": 4, "valid": ["lamp"], "test": ["rug"]}
{"user": 7, "events": 2, "train_end": 2, "valid_end": 2, "valid": [], "test": []}
"#;

#[test]
fn a_split_is_a_truth() {
    let index = index();
    let mut items = Items::of_index(&index).expect("items");
    let truth =
        Truth::read("split.jsonl", SPLIT.as_bytes(), Part::Test, &mut items).expect("truth");
    let [ada] = truth.users() else {
        panic!("{truth:?}")
    };
    assert_eq!((ada.key.as_str(), ada.history), ("ada", Some(4)));
    assert_eq!(ada.targets, [items.find("rug").expect("an item")]);
    assert_eq!(truth.idle()[0].key, "7");
    let valid =
        Truth::read("split.jsonl", SPLIT.as_bytes(), Part::Valid, &mut items).expect("truth");
    assert_eq!(valid.users()[0].history, Some(3));

    // Training sees all but what is held out: of two times rug, one.
    let mut training = Training::new(&items, &truth);
    for item in ["rug", "sofa", "rug", "lamp", "unknown"] {
        training.push("ada", item);
    }
    training.push("7", "lamp");
    training.push("somebody", "rug");
    let events = training.finish();
    let of = |key| events[items.find(key).expect("an item") as usize];
    assert_eq!(
        [of("rug"), of("sofa"), of("lamp"), of("desk")],
        [2, 1, 1, 0]
    );
}

#[test]
fn predictions_that_do_not_fit_are_refused_or_counted() {
    let index = index();
    let mut items = Items::of_index(&index).expect("items");
    let truth = br#"{"user": "ada", "items": ["desk", "desk"]}
        {"user": "bob", "items": ["chair"]}"#;
    let truth = Truth::read("truth.jsonl", truth, Part::Test, &mut items).expect("truth");
    let mut read = |lines: &str| {
        let predictions = Predictions::read("p.jsonl", lines.as_bytes(), &truth, &mut items);
        predictions.map_err(|error| error.to_string())
    };

    let lines = "\u{feff}{\"user\": \"ada\", \"ids\": [\"<a_1><b_1>\", \"<a_0><b_2>\", \"<a_0><b_2>\"], \"scores\": [-1, -1, -2.5]}\n\n{\"user\": \"eve\", \"items\": []}\r\n";
    let predictions = read(lines).expect("predictions");
    assert_eq!(
        (predictions.missing_users(), predictions.other_users()),
        (1, 1)
    );
    let ada = &predictions.lists()[0];
    assert_eq!((ada.len(), ada.misses(), ada.repeats()), (3, 1, 1));
    let scores = Scores::of(
        vec![Metric::HitRate(2), Metric::BeamCeiling],
        &predictions.paired(&truth),
    );
    assert_eq!(scores.means(), [0.25, 0.5]);

    for (lines, message) in [
        (
            "{\"user\": \"ada\"}",
            "p.jsonl, line 1: expected either a field `items` or a field `ids`",
        ),
        (
            "{\"user\": \"ada\", \"items\": [], \"ids\": []}",
            "p.jsonl, line 1: expected either a field",
        ),
        (
            "\n{\"items\": []}",
            "p.jsonl, line 2: column 13: missing field `user`",
        ),
        (
            "{\"user\": \"ada\", \"items\": [\"rug\"], \"scores\": [1, 2]}",
            "got 2 scores for 1 entries",
        ),
        (
            "{\"user\": \"ada\", \"items\": [\"rug\", \"lamp\"], \"scores\": [1, 2]}",
            "score 2 is higher",
        ),
        (
            "{\"user\": \"ada\", \"items\": [1.5]}",
            "expected a string or an integer",
        ),
        (
            "{\"user\": \"ada\", \"items\": [\"rug\"",
            "p.jsonl, line 1: column",
        ),
        ("[]", "p.jsonl, line 1: column"),
        (
            "{\"user\": \"ada\", \"items\": []}\n{\"user\": \"ada\", \"items\": []}",
            "p.jsonl, line 2: user \"ada\" has a line already, line 1",
        ),
        (
            "{\"user\": \"eve\", \"items\": []}",
            "p.jsonl: none of its 1 users is among the 2 of the truth, such as \"ada\"",
        ),
        ("", "none of its 0 users"),
    ] {
        let error = read(lines).expect_err(lines);
        assert!(error.contains(message), "{error}");
    }
    assert!(Predictions::read("p", b"{\"user\": \"\xff\"}", &truth, &mut items).is_err());

    let mut none = Items::default();
    for (lines, message) in [
        (
            "{\"user\": 1}",
            "t, line 1: expected a field `valid` and a field `test`, or `items`",
        ),
        (
            "{\"user\": 1, \"items\": []}",
            "t: none of its 1 users has a true item",
        ),
        ("", "t: none of its 0 users has a true item"),
        (
            "{\"user\": 1, \"items\": [1]}\n{\"user\": \"1\", \"items\": [1]}",
            "t, line 2: user \"1\" has a line already, line 1",
        ),
    ] {
        let error = Truth::read("t", lines.as_bytes(), Part::Test, &mut none)
            .expect_err(lines)
            .to_string();
        assert!(error.contains(message), "{error}");
    }
    let ids = b"{\"user\": 1, \"ids\": [\"<a_1>\"]}";
    let truth =
        Truth::read("t", b"{\"user\": 1, \"items\": [1]}", Part::Test, &mut none).expect("truth");
    let error = Predictions::read("p", ids, &truth, &mut none)
        .expect_err("no index")
        .to_string();
    assert!(error.contains("give the index"), "{error}");
}
