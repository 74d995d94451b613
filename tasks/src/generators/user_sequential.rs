use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// Sequential prediction with the user's own ID in the prompt.
///
/// Source: ULMRec and TTDS (arXiv 2409.09253), which index users too; P5, which names them.
///
/// ```text
/// prompt  User <u_12><v_3> chose <a_1><b_7>, <a_4><b_2>. What comes next?
/// answer  <a_1><b_3>
/// ```
#[derive(Debug)]
pub(super) struct UserSequential;

impl Task for UserSequential {
    fn name(&self) -> &'static str {
        "user-sequential"
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
