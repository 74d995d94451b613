use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// A history told again: its IDs as they are, or as titles.
///
/// Source: GREAM (arXiv 2510.20815), history reconstruction.
///
/// ```text
/// prompt  Give the titles of <a_1><b_7>, <a_4><b_2>.
/// answer  "Chess", "Tetris"
/// ```
#[derive(Debug)]
pub(super) struct Reconstruction;

impl Task for Reconstruction {
    fn name(&self) -> &'static str {
        "reconstruction"
    }

    fn over(&self) -> Over {
        Over::Users
    }

    fn fill(
        &self,
        context: &Context<'_>,
        at: At,
        _: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Result<(), Skip> {
        sample.show_history(context, at)
    }
}
