use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// Between an item's ID and its features (tags, categories), both ways.
///
/// Source: GREAM (arXiv 2510.20815), item features.
///
/// ```text
/// prompt  Which categories is <a_4><b_2> in?
/// answer  Games, Puzzle
/// ```
#[derive(Debug)]
pub(super) struct Features;

impl Task for Features {
    fn name(&self) -> &'static str {
        "features"
    }

    fn over(&self) -> Over {
        Over::Items
    }

    fn fill(
        &self,
        context: &Context<'_>,
        at: At,
        _: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Result<(), Skip> {
        sample.ask_for(context, at)
    }
}
