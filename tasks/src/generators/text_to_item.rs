use super::{Over, Task};

/// From an item's texts (title, description or both) to its ID.
///
/// Source: LC-Rec, section 3.3.2, explicit index-language alignment (item to index).
///
/// ```text
/// prompt  Which item is called "Tetris"?
/// answer  <a_4><b_2>
/// ```
pub(super) const TASK: Task = Task {
    name: "text-to-item",
    over: Over::Items,
    fill: |context, at, _, _, sample| sample.ask_for(context, at),
};
