use super::{Over, Task};

/// Between an item's ID and its features (tags, categories), both ways.
///
/// Source: GREAM (arXiv 2510.20815), item features.
///
/// ```text
/// prompt  Which categories is <a_4><b_2> in?
/// answer  Games, Puzzle
/// ```
pub(super) const TASK: Task = Task {
    name: "features",
    over: Over::Items,
    fill: |context, at, _, _, sample| sample.ask_for(context, at),
};
