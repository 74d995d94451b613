use rand::seq::SliceRandom;

use super::{Over, Task};

/// The next item among candidates, all others of which are negatives.
///
/// Source: P5 (arXiv 2203.13366), family 5, direct recommendation from a list.
///
/// ```text
/// prompt  The user chose <a_1><b_7>. Best of <a_9><b_9>, <a_4><b_2>, <a_3><b_3>?
/// answer  <a_4><b_2>
/// ```
pub(super) const TASK: Task = Task {
    name: "ranking",
    over: Over::Targets,
    fill: |context, at, options, chance, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)?;
        options
            .negatives
            .choose(context, options.negatives.count, chance, sample)?;
        sample.candidates.extend(sample.item);
        sample.candidates.extend(&sample.negatives);
        sample.candidates.shuffle(chance);
        Ok(())
    },
};
