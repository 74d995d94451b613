use rand::RngExt;

use super::{Over, Task};

/// Will the user choose this item? The next one and a negative, with equal chance.
///
/// Source: TALLRec (arXiv 2305.00447); P5, family 5, yes-or-no form.
///
/// ```text
/// prompt  The user chose <a_1><b_7>. Is <a_4><b_2> next?
/// answer  Yes
/// ```
pub(super) const TASK: Task = Task {
    name: "yes-no",
    over: Over::Targets,
    fill: |context, at, options, chance, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)?;
        let liked = chance.random::<bool>();
        sample.candidate = sample.item;
        if !liked {
            options.negatives.choose(context, 1, chance, sample)?;
            sample.candidate = sample.negatives.pop();
        }
        sample.liked = Some(liked);
        Ok(())
    },
};
