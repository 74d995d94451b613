//! Held-out gain: against a plain implementation, and against figures of other tools' indexes.

use std::collections::HashMap;
use std::path::PathBuf;

use proptest::prelude::*;
use semantic_id::{Code, CodeMatrix, Error, HeldOutGain, ItemId};

/// The definition, word by word, with hash maps and no regard for time.
fn plain(paths: &CodeMatrix, histories: &[&[ItemId]]) -> Vec<f64> {
    let levels = paths.levels();
    let path = |item: ItemId| paths.row(item).to_vec();
    let held_out = |end: usize| {
        let pair = move |h: &&[ItemId]| {
            let at = h.len().checked_sub(end)?;
            Some((h[at.checked_sub(1)?], h[at]))
        };
        histories.iter().filter_map(pair).collect::<Vec<_>>()
    };
    let (validation, test) = (held_out(2), held_out(1));
    let training: Vec<_> = (histories.iter().filter(|h| h.len() >= 2))
        .map(|h| &h[..h.len() - 2])
        .collect();

    let mut items: HashMap<Vec<Code>, f64> = HashMap::new();
    let mut events: HashMap<Vec<Code>, f64> = HashMap::new();
    let mut pairs: HashMap<(Vec<Code>, Vec<Code>), f64> = HashMap::new();
    for path in paths.rows() {
        for l in 0..=levels {
            *items.entry(path[..l].to_vec()).or_default() += 1.0;
        }
    }
    for history in training {
        for (at, &a) in history.iter().enumerate() {
            for l in 0..=levels {
                *events.entry(path(a)[..l].to_vec()).or_default() += 1.0;
            }
            for &b in &history[at + 1..history.len().min(at + 4)] {
                for depth in 1..=levels {
                    for l in 0..=levels {
                        let key = (path(a)[..depth].to_vec(), path(b)[..l].to_vec());
                        *pairs.entry(key).or_default() += 1.0;
                    }
                }
            }
        }
    }
    let bucket = |total: f64| match total as u64 {
        0 => 0,
        1 => 1,
        2..4 => 2,
        4..16 => 3,
        16..64 => 4,
        _ => 5,
    };
    let mut gains = Vec::new();
    for l in 0..levels {
        // Step 0 is popularity; step d the context's first d codes.
        let evidence = |step: usize, (a, b): (ItemId, ItemId)| -> (f64, f64) {
            let (long, short) = (path(b)[..=l].to_vec(), path(b)[..l].to_vec());
            let count = |prefix: Vec<Code>| match step {
                0 => events.get(&prefix).copied(),
                _ => pairs.get(&(path(a)[..step].to_vec(), prefix)).copied(),
            };
            let total = count(short).unwrap_or(0.0);
            (total, count(long).unwrap_or(0.0) / total.max(1.0))
        };
        let start = |pair: (ItemId, ItemId)| items[&path(pair.1)[..=l]] / items[&path(pair.1)[..l]];
        let mut p_validation: Vec<f64> = validation.iter().map(|&pair| start(pair)).collect();
        let mut p_test: Vec<f64> = test.iter().map(|&pair| start(pair)).collect();
        let bits = |p: &[f64]| p.iter().map(|p| -p.log2()).sum::<f64>() / p.len() as f64;
        let mut after_popularity = 0.0;
        for step in 0..=levels {
            let mut weights = [0.0, 0.3, 0.3, 0.3, 0.3, 0.3];
            for _ in 0..25 {
                for (number, weight) in weights.iter_mut().enumerate().skip(1) {
                    let (mut sum, mut cases) = (0.0, 0.0);
                    for (&pair, &p) in validation.iter().zip(&p_validation) {
                        let (total, share) = evidence(step, pair);
                        if bucket(total) == number {
                            sum += *weight * share / (*weight * share + (1.0 - *weight) * p);
                            cases += 1.0;
                        }
                    }
                    if cases > 0.0 {
                        *weight = f64::min(sum / cases, cases / (cases + 1.0));
                    }
                }
            }
            for (pairs, p) in [(&validation, &mut p_validation), (&test, &mut p_test)] {
                for (&pair, p) in pairs.iter().zip(p) {
                    let (total, share) = evidence(step, pair);
                    let weight = weights[bucket(total)];
                    *p = weight * share + (1.0 - weight) * *p;
                }
            }
            if step == 0 {
                after_popularity = bits(&p_test);
            }
        }
        gains.push(after_popularity - bits(&p_test));
    }
    gains
}

fn views(histories: &[Vec<ItemId>]) -> Vec<&[ItemId]> {
    histories.iter().map(Vec::as_slice).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_gain_is_that_of_the_plain_definition(
        codes in prop::collection::vec(0_u16..3, 3 * 12),
        mut histories in prop::collection::vec(prop::collection::vec(0_u32..12, 0..9), 1..60),
        seed: u64,
    ) {
        histories.push(vec![0, 1, 2]);
        let paths = CodeMatrix::new(codes.into_iter().map(Code).collect(), 3).unwrap();
        let histories: Vec<Vec<ItemId>> =
            histories.into_iter().map(|h| h.into_iter().map(ItemId).collect()).collect();
        let histories = views(&histories);
        let gain = HeldOutGain::of(&paths, &histories, seed).unwrap();
        let plain = plain(&paths, &histories);
        for (got, expected) in gain.per_level.iter().zip(&plain) {
            prop_assert!((got - expected).abs() < 1e-9, "{:?} {plain:?}", gain.per_level);
        }
        prop_assert!((gain.bits - plain.iter().sum::<f64>()).abs() < 1e-9);
        prop_assert!(gain.bits.is_finite() && gain.shuffled.is_finite());
        prop_assert_eq!(gain.pairs, histories.iter().filter(|h| h.len() >= 2).count());
    }
}

#[test]
fn a_shared_id_takes_the_bits_that_tell_its_items_apart() {
    let alone = CodeMatrix::new([0, 1, 2, 3].map(Code).to_vec(), 1).expect("whole rows");
    let shared = CodeMatrix::new([0, 0, 0, 0].map(Code).to_vec(), 1).expect("whole rows");
    let history: Vec<ItemId> = [0, 1, 2, 3].map(ItemId).to_vec();
    let of = |paths| HeldOutGain::of(paths, &[&history], 0).expect("four events");
    assert_eq!(of(&shared).popularity_bits, 2.0);
    assert_eq!(of(&shared).bits, 0.0);
    assert_eq!(of(&alone).unseen_pairs, 1, "item 3 is in no training event");
}

#[test]
fn histories_that_tell_nothing_are_refused() {
    let paths = CodeMatrix::new([0, 1].map(Code).to_vec(), 1).expect("whole rows");
    let short = [ItemId(0), ItemId(1)];
    let error = HeldOutGain::of(&paths, &[&short, &[]], 0).expect_err("two events at most");
    assert!(matches!(error, Error::NoHeldOut { users: 2 }), "{error}");
    let unknown = [ItemId(0), ItemId(1), ItemId(2)];
    let error = HeldOutGain::of(&paths, &[&unknown], 0).expect_err("there is no item 2");
    assert!(error.to_string().contains("no item 2"), "{error}");
}

/// Gains that another implementation measured: each within .01.
#[test]
fn known_indexes_have_their_known_gains() {
    let Some(data) = std::env::var_os("SEMID_DATA").map(PathBuf::from) else {
        println!("not run: SEMID_DATA is not set");
        return;
    };
    let read = |path: &str| std::fs::read(data.join("scientific").join(path)).expect("it is there");
    let users: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&read("Scientific.inter.json")).expect("JSON");
    let items = |user: &serde_json::Value| -> Vec<ItemId> {
        let events = user.as_array().expect("a list").iter();
        let row = |event: &serde_json::Value| event.to_string().trim_matches('"').parse();
        events
            .map(|event| ItemId(row(event).expect("a row")))
            .collect()
    };
    let histories: Vec<Vec<ItemId>> = users.values().map(items).collect();
    for (name, known) in [
        ("rkmeans_native", 0.720),
        ("rkmeans_zcr", 0.759),
        ("letter_native", 0.744),
        ("letter_zcr", 0.783),
        ("rqvae_native", 0.822),
        ("rqvae_zcr", 0.822),
        ("quasid_native", 0.575),
        ("quasid_zcr", 0.592),
        ("mql4grec", 0.608),
        ("rkmeans_zcr_cf", 0.821),
    ] {
        let file = read(&format!("indexes/{name}/Scientific.index.json"));
        let table = semantic_id::interchange::index_json::read(&file, None).expect("an index");
        let rows = (0..table.keys().len()).map(|row| table.keys().find(&row.to_string()));
        let codes = rows.flat_map(|row| table.codes().row(row.expect("numbered")).to_vec());
        let paths = CodeMatrix::new(codes.collect(), 4).expect("four levels");
        let gain = HeldOutGain::of(&paths, &views(&histories), 0).expect("long histories");
        println!(
            "{name}: {:.3} (known {known}), shuffled {:.3}",
            gain.bits, gain.shuffled
        );
        assert!((gain.bits - known).abs() < 0.01, "{name}: {}", gain.bits);
        assert!(
            (gain.shuffled - 0.25).abs() < 0.08,
            "{name}: {}",
            gain.shuffled
        );
    }
}
