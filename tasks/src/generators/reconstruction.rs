use super::{Over, Task};

/// A history told again: its IDs as they are, or as titles.
///
/// Source: GREAM (arXiv 2510.20815), history reconstruction.
///
/// ```text
/// prompt  Give the titles of <a_1><b_7>, <a_4><b_2>.
/// answer  "Chess", "Tetris"
/// ```
pub(super) const TASK: Task = Task {
    name: "reconstruction",
    over: Over::Users,
    fill: |context, at, _, _, sample| sample.show_history(context, at),
};
