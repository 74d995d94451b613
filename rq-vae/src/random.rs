//! Counter-based randomness: every draw is keyed by what it is for.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A generator for one purpose, e.g. `("shuffle", epoch)`. Equal arguments give
/// equal streams, so any part of a run can be done again alone.
pub(crate) fn generator(seed: u64, purpose: &str, key: u64) -> ChaCha8Rng {
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes());
    hash.update(&key.to_le_bytes());
    hash.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(*hash.finalize().as_bytes())
}

/// The numbers `0..count` in an order drawn for one purpose.
pub(crate) fn shuffled(count: usize, seed: u64, purpose: &str, key: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..count).collect();
    rows.shuffle(&mut generator(seed, purpose, key));
    rows
}
