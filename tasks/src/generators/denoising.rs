use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{At, Negatives, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// An item that does not belong is planted in a history: name it, and what stood there.
///
/// Source: LLM4DSR (arXiv 2408.08208).
///
/// ```text
/// prompt  One of <a_1><b_7>, <a_9><b_9>, <a_4><b_2> is not the user's. Which, and what was it?
/// answer  <a_9><b_9> stands for <a_1><b_3>
/// ```
#[derive(Debug)]
pub(super) struct Denoising {
    pub(super) negatives: Negatives,
}

impl Task for Denoising {
    fn name(&self) -> &'static str {
        "denoising"
    }

    fn over(&self) -> Over {
        Over::Users
    }

    fn fill(
        &self,
        context: &Context<'_>,
        at: At,
        chance: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Result<(), Skip> {
        sample.show_history(context, at)?;
        if sample.history.len() < 2 {
            return Err(Skip::NoHistory);
        }
        let place = chance.random_range(0..sample.history.len());
        sample.item = Some(sample.history[place]);
        self.negatives.choose(context, 1, chance, sample)?;
        let noise = sample.rejected.pop().ok_or(Skip::NoNegatives)?;
        let replaced = std::mem::replace(&mut sample.history[place], noise);
        sample.planted = Some((place, replaced));
        Ok(())
    }
}
