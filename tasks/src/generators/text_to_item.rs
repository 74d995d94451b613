use rand_chacha::ChaCha8Rng;

use super::{At, Over, Sample, Skip, Task};
use crate::corpus::Context;

/// From an item's texts (title, description or both) to its ID.
///
/// Source: LC-Rec, section 3.3.2, explicit index-language alignment (item to index).
///
/// ```text
/// prompt  Which item is called "Tetris"?
/// answer  <a_4><b_2>
/// ```
#[derive(Debug)]
pub(super) struct TextToItem;

impl Task for TextToItem {
    fn name(&self) -> &'static str {
        "text-to-item"
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
