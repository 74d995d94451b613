use super::{Over, Task};
use crate::Side;

/// Why a user chose an item, in the words of the review.
///
/// Source: P5 (arXiv 2203.13366), family 3, explanation generation.
///
/// ```text
/// prompt  After <a_1><b_7>, why did the user choose <a_4><b_2>?
/// answer  I wanted something that takes five minutes, and it does.
/// ```
pub(super) const TASK: Task = Task {
    name: "explanation",
    over: Over::Texts(Side::Review),
    fill: |context, at, _, _, sample| {
        sample.ask_for(context, at)?;
        let shown = sample.show_history(context, at);
        sample.know_event(at);
        shown
    },
};
