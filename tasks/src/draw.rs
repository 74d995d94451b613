use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Counter-based chance: a stream of random numbers for every purpose and sample.
///
/// Equal arguments give equal streams, so a sample can be made alone, by any thread, and again
/// after a resume.
#[derive(Debug)]
pub struct Draw;

impl Draw {
    /// The stream of one sample, e.g. `(seed, "template", row)`.
    #[expect(clippy::new_ret_no_self, reason = "the stream is what is drawn from")]
    pub fn new(seed: u64, purpose: &str, sample: u64) -> ChaCha8Rng {
        let mut key = blake3::Hasher::new();
        key.update(&seed.to_le_bytes());
        key.update(&sample.to_le_bytes());
        key.update(purpose.as_bytes());
        ChaCha8Rng::from_seed(*key.finalize().as_bytes())
    }
}
