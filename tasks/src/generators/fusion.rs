use super::{Over, Task};

/// The asymmetric tasks: the IDs of a history, then the next item's title or description; the
/// titles of a history, then the next item's ID.
///
/// Source: LC-Rec, section 3.3.2, asymmetric item prediction.
///
/// ```text
/// prompt  After "Chess" and "Go", which item comes next?
/// answer  <a_4><b_2>
/// ```
pub(super) const TASK: Task = Task {
    name: "fusion",
    over: Over::Targets,
    fill: |context, at, _, _, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)
    },
};
