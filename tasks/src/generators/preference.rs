use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::Side;
use crate::corpus::Context;

/// From a history to what its user likes, in words.
///
/// Source: LC-Rec, section 3.3.2, personalised preference inference.
///
/// ```text
/// prompt  What does a user like who chose <a_1><b_7>, <a_4><b_2>?
/// answer  Quiet games of thought, one player or two.
/// ```
#[derive(Debug)]
pub(super) struct Preference;

impl Task for Preference {
    fn name(&self) -> &'static str {
        "preference"
    }

    fn over(&self) -> Over {
        Over::Texts(Side::Preference)
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
