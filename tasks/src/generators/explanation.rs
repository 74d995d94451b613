use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::Side;
use crate::corpus::Context;

/// Why a user chose an item, in the words of the review.
///
/// Source: P5 (arXiv 2203.13366), family 3, explanation generation.
///
/// ```text
/// prompt  After <a_1><b_7>, why did the user choose <a_4><b_2>?
/// answer  I wanted something that takes five minutes, and it does.
/// ```
#[derive(Debug)]
pub(super) struct Explanation;

impl Task for Explanation {
    fn name(&self) -> &'static str {
        "explanation"
    }

    fn over(&self) -> Over {
        Over::Texts(Side::Review)
    }

    fn fill(
        &self,
        context: &Context<'_>,
        at: At,
        _: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Result<(), Skip> {
        sample.ask_for(context, at)?;
        let shown = sample.show_history(context, at);
        sample.know_event(at);
        shown
    }
}
