use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{At, Negatives, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// Will the user choose this item? The next one and a negative, with equal chance.
///
/// Source: TALLRec (arXiv 2305.00447); P5, family 5, yes-or-no form.
///
/// ```text
/// prompt  The user chose <a_1><b_7>. Is <a_4><b_2> next?
/// answer  Yes
/// ```
#[derive(Debug)]
pub(super) struct YesNo {
    pub(super) negatives: Negatives,
}

impl Task for YesNo {
    fn name(&self) -> &'static str {
        "yes-no"
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
        let liked = chance.random::<bool>();
        sample.candidate = sample.item;
        if !liked {
            self.negatives.choose(context, 1, chance, sample)?;
            sample.candidate = sample.rejected.pop();
        }
        sample.liked = Some(liked);
        Ok(())
    }
}
