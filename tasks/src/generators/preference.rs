use super::{Over, Task};
use crate::Side;

/// From a history to what its user likes, in words.
///
/// Source: LC-Rec, section 3.3.2, personalised preference inference.
///
/// ```text
/// prompt  What does a user like who chose <a_1><b_7>, <a_4><b_2>?
/// answer  Quiet games of thought, one player or two.
/// ```
pub(super) const TASK: Task = Task {
    name: "preference",
    over: Over::Texts(Side::Preference),
    fill: |context, at, _, _, sample| sample.show_history(context, at),
};
