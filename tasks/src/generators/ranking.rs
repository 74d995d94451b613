use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{At, Negatives, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// The next item among candidates, all others of which are negatives.
///
/// Source: P5 (arXiv 2203.13366), family 5, direct recommendation from a list.
///
/// ```text
/// prompt  The user chose <a_1><b_7>. Best of <a_9><b_9>, <a_4><b_2>, <a_3><b_3>?
/// answer  <a_4><b_2>
/// ```
#[derive(Debug)]
pub(super) struct Ranking {
    pub(super) negatives: Negatives,
}

impl Task for Ranking {
    fn name(&self) -> &'static str {
        "ranking"
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
            .choose(context, self.negatives.count, chance, sample)?;
        sample.candidates.extend(sample.item);
        sample.candidates.extend(&sample.rejected);
        sample.candidates.shuffle(chance);
        Ok(())
    }
}
