use super::{Over, Skip, Task};
use crate::Side;

/// From what a user is after, with or without the history, to the item that was chosen.
///
/// The intention is written from the review of that very item, so it knows the event, and is all
/// that a model is told of it: training only ever meets intentions about events of training.
///
/// Source: LC-Rec, section 3.3.2, item prediction based on user intention.
///
/// ```text
/// prompt  Somebody looks for a short game of falling blocks. Which item fits?
/// answer  <a_4><b_2>
/// ```
pub(super) const TASK: Task = Task {
    name: "intention",
    over: Over::Texts(Side::Intention),
    fill: |context, at, _, _, sample| {
        sample.ask_for(context, at)?;
        let shown = sample.show_history(context, at);
        sample.know_event(at);
        match shown {
            // A first event has no history, and templates for it.
            Err(Skip::NoHistory) => Ok(()),
            shown => shown,
        }
    },
};
