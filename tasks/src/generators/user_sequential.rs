use super::{Over, Task};

/// Sequential prediction with the user's own ID in the prompt.
///
/// Source: ULMRec and TTDS (arXiv 2409.09253), which index users too; P5, which names them.
///
/// ```text
/// prompt  User <u_12><v_3> chose <a_1><b_7>, <a_4><b_2>. What comes next?
/// answer  <a_1><b_3>
/// ```
pub(super) const TASK: Task = Task {
    name: "user-sequential",
    over: Over::Targets,
    fill: |context, at, _, _, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)
    },
};
