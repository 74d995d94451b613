use rand::RngExt;

use super::{Over, Skip, Task};

/// An item that does not belong is planted in a history: name it, and what stood there.
///
/// Source: LLM4DSR (arXiv 2408.08208).
///
/// ```text
/// prompt  One of <a_1><b_7>, <a_9><b_9>, <a_4><b_2> is not the user's. Which, and what was it?
/// answer  <a_9><b_9> stands for <a_1><b_3>
/// ```
pub(super) const TASK: Task = Task {
    name: "denoising",
    over: Over::Users,
    fill: |context, at, options, chance, sample| {
        sample.show_history(context, at)?;
        if sample.history.len() < 2 {
            return Err(Skip::NoHistory);
        }
        let place = chance.random_range(0..sample.history.len());
        sample.item = Some(sample.history[place]);
        options.negatives.choose(context, 1, chance, sample)?;
        let noise = sample.negatives.pop().ok_or(Skip::NoNegatives)?;
        let replaced = std::mem::replace(&mut sample.history[place], noise);
        sample.planted = Some((place, replaced));
        Ok(())
    },
};
