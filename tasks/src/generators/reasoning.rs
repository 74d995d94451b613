use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::Side;
use crate::corpus::Context;

/// The steps from a history to a recommendation: evidence, latent preference, intent, item; and
/// the history rewritten.
///
/// The traces are written by a teacher that never sees the item: its requests end before it.
///
/// Source: GREAM (arXiv 2510.20815), reasoning activation.
///
/// ```text
/// prompt  Given <a_1><b_7>, <a_9><b_2>: think step by step, then name the next item.
/// answer  Both are quiet puzzles. ... So: <a_4><b_2>
/// ```
#[derive(Debug)]
pub(super) struct Reasoning;

impl Task for Reasoning {
    fn name(&self) -> &'static str {
        "reasoning"
    }

    fn over(&self) -> Over {
        Over::Texts(Side::Evidence)
    }

    fn fill(
        &self,
        context: &Context<'_>,
        at: At,
        _: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Result<(), Skip> {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)
    }
}
