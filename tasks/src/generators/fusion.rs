use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// The asymmetric tasks: the IDs of a history, then the next item's title or description; the
/// titles of a history, then the next item's ID.
///
/// Source: LC-Rec, section 3.3.2, asymmetric item prediction.
///
/// ```text
/// prompt  After "Chess" and "Go", which item comes next?
/// answer  <a_4><b_2>
/// ```
#[derive(Debug)]
pub(super) struct Fusion;

impl Task for Fusion {
    fn name(&self) -> &'static str {
        "fusion"
    }

    fn over(&self) -> Over {
        Over::Targets
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
