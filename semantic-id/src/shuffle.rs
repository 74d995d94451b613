/// The numbers below `count` in the order of their hashes: as if drawn at random, and the same for
/// the same seed, purpose and number.
pub(crate) fn shuffled(count: usize, seed: u64, purpose: &str, number: u32) -> Vec<u32> {
    let hash = |&entry: &u32| {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&seed.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.update(&entry.to_le_bytes());
        *hasher.finalize().as_bytes()
    };
    let mut numbers: Vec<u32> = (0..count as u32).collect();
    numbers.sort_by_cached_key(hash);
    numbers
}
