use rand_chacha::ChaCha8Rng;

use super::{At, Negatives, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// The next item, chosen, and negatives, rejected: rows for DPO (one negative) and S-DPO (several).
///
/// Source: S-DPO (arXiv 2406.09215).
///
/// ```text
/// prompt    The user chose <a_1><b_7>. What comes next?
/// chosen    <a_4><b_2>
/// rejected  <a_4><b_9>
/// ```
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) negatives: Negatives,
}

impl Task for Pairs {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn over(&self) -> Over {
        Over::Targets
    }

    fn fill(
        &self,
        context: &Context<'_>,
        at: At,
        chance: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Result<(), Skip> {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)?;
        self.negatives
            .choose(context, self.negatives.count, chance, sample)
    }
}
