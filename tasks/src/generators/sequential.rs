use super::{Over, Task};

/// Sequential prediction: the IDs of a history, then the ID of the next item.
///
/// Source: LC-Rec (arXiv 2311.09049), section 3.3.1; P5 (arXiv 2203.13366), family 2.
///
/// ```text
/// prompt  The user chose <a_1><b_7>, <a_4><b_2>. What comes next?
/// answer  <a_1><b_3>
/// ```
pub(super) const TASK: Task = Task {
    name: "sequential",
    over: Over::Targets,
    fill: |context, at, _, _, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)
    },
};
