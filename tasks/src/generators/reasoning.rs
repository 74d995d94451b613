use super::{Over, Task};
use crate::Side;

/// The steps from a history to a recommendation: evidence, latent preference, intent, item; and
/// the history rewritten.
///
/// The traces are written by a teacher that never sees the item: its requests end before it.
///
/// Source: GREAM (arXiv 2510.20815), reasoning activation.
///
/// ```text
/// prompt  Given <a_1><b_7>, <a_9><b_2>: think step by step, then name the next item.
/// answer  Both are quiet puzzles. ... So: <a_4><b_2>
/// ```
pub(super) const TASK: Task = Task {
    name: "reasoning",
    over: Over::Texts(Side::Evidence),
    fill: |context, at, _, _, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)
    },
};
