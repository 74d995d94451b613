use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Over, Skip, Task};

/// One step of ranking by elimination: which of the candidates that are left is the worst.
///
/// The negatives leave in the order of their distance from the next item, by common prefix: the
/// farthest first. A sample is one step of that row of steps, drawn at random.
///
/// Source: IRanker (arXiv 2506.21638).
///
/// ```text
/// prompt  The user chose <a_1><b_7>. Drop the worst of <a_9><b_9>, <a_4><b_2>, <a_4><b_3>.
/// answer  <a_9><b_9>
/// ```
pub(super) const TASK: Task = Task {
    name: "elimination",
    over: Over::Targets,
    fill: |context, at, options, chance, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)?;
        options
            .negatives
            .choose(context, options.negatives.count, chance, sample)?;
        let target = sample.item.ok_or(Skip::NoId)?;
        let common = |item| {
            let codes = context
                .ids
                .codes(target)
                .iter()
                .zip(context.ids.codes(item));
            codes.take_while(|(a, b)| a == b).count()
        };
        // Stable: those equally far leave in the order they were drawn.
        sample.negatives.sort_by_key(|&item| common(item));
        let gone = chance.random_range(0..sample.negatives.len());
        sample.candidate = Some(sample.negatives[gone]);
        sample.candidates.push(target);
        sample.candidates.extend(&sample.negatives[gone..]);
        sample.candidates.shuffle(chance);
        Ok(())
    },
};
