//! Files cut, flipped and spliced: shared by the tests that run the bodies of the fuzz targets.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

/// Where the seeds of a target lie.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder(target))
        .expect("every target has seeds")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("readable"))
        .collect()
}

/// Damage to a file, at places given as shares of its length.
#[derive(Debug, Clone)]
enum Damage {
    Cut(f64),
    Put(f64, u8),
    Copy(f64, f64, usize),
    Insert(f64, Vec<u8>),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let at = |share: f64| (share * length as f64) as usize;
        match self {
            Self::Cut(share) => bytes.truncate(at(*share)),
            Self::Put(share, value) => {
                if let Some(byte) = bytes.get_mut(at(*share)) {
                    *byte = *value;
                }
            }
            Self::Copy(from, to, count) => {
                let count = (*count).min(length - at(*from)).min(length - at(*to));
                bytes.copy_within(at(*from)..at(*from) + count, at(*to));
            }
            Self::Insert(share, more) => {
                bytes.splice(at(*share)..at(*share), more.iter().copied());
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let interesting = prop_oneof![Just(0), Just(1), Just(0x7f), Just(0xff), any::<u8>()];
    prop_oneof![
        1 => (0.0..1.0).prop_map(Damage::Cut),
        6 => (0.0..1.0, interesting).prop_map(|(at, value)| Damage::Put(at, value)),
        2 => (0.0..1.0, 0.0..1.0, 1..32_usize).prop_map(|(a, b, n)| Damage::Copy(a, b, n)),
        1 => (0.0..1.0, prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, more)| Damage::Insert(at, more)),
    ]
}

/// Runs a target over its seeds, over every prefix of each, and over damaged copies.
pub fn survives(target: &str, body: fn(&[u8])) {
    let seeds = seeds(target);
    for seed in &seeds {
        body(seed);
        for end in 0..seed.len() {
            body(&seed[..end]);
        }
    }
    let input = (
        prop::sample::select(seeds),
        prop::collection::vec(damage(), 1..4),
    );
    let config = ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |((mut bytes, damages) in input)| {
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        body(&bytes);
    });
}
