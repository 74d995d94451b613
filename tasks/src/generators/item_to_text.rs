use super::{Over, Task};

/// From an item's ID to its texts: title, description or both.
///
/// Source: LC-Rec, section 3.3.2, explicit index-language alignment (index to item).
///
/// ```text
/// prompt  What is <a_4><b_2> called?
/// answer  Tetris
/// ```
pub(super) const TASK: Task = Task {
    name: "item-to-text",
    over: Over::Items,
    fill: |context, at, _, _, sample| sample.ask_for(context, at),
};
