use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// Sequential prediction: the IDs of a history, then the ID of the next item.
///
/// Source: LC-Rec (arXiv 2311.09049), section 3.3.1; P5 (arXiv 2203.13366), family 2.
///
/// ```text
/// prompt  The user chose <a_1><b_7>, <a_4><b_2>. What comes next?
/// answer  <a_1><b_3>
/// ```
#[derive(Debug)]
pub(super) struct Sequential;

impl Task for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
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
