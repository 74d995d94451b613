use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// From an item's ID to its texts: title, description or both.
///
/// Source: LC-Rec, section 3.3.2, explicit index-language alignment (index to item).
///
/// ```text
/// prompt  What is <a_4><b_2> called?
/// answer  Tetris
/// ```
#[derive(Debug)]
pub(super) struct ItemToText;

impl Task for ItemToText {
    fn name(&self) -> &'static str {
        "item-to-text"
    }

    fn over(&self) -> Over {
        Over::Items
    }

    fn fill(
        &self,
        context: &Context<'_>,
        at: At,
        _: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Result<(), Skip> {
        sample.ask_for(context, at)
    }
}
