use super::{Over, Task};

/// The next item, chosen, and negatives, rejected: rows for DPO (one negative) and S-DPO (several).
///
/// Source: S-DPO (arXiv 2406.09215).
///
/// ```text
/// prompt    The user chose <a_1><b_7>. What comes next?
/// chosen    <a_4><b_2>
/// rejected  <a_4><b_9>
/// ```
pub(super) const TASK: Task = Task {
    name: "pairs",
    over: Over::Targets,
    fill: |context, at, options, chance, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)?;
        options
            .negatives
            .choose(context, options.negatives.count, chance, sample)?;
        sample.rejected.extend(&sample.negatives);
        Ok(())
    },
};
