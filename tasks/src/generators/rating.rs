use super::{Over, Skip, Task};

/// What a user gives an item, as a number or as a like.
///
/// Source: P5 (arXiv 2203.13366), family 1, rating prediction; OpenOneRec, label prediction.
///
/// ```text
/// prompt  The user chose <a_1><b_7>. How many stars will <a_4><b_2> get?
/// answer  5
/// ```
pub(super) const TASK: Task = Task {
    name: "rating",
    over: Over::Targets,
    fill: |context, at, options, _, sample| {
        sample.ask_for(context, at)?;
        sample.show_history(context, at)?;
        let ratings = sample.user.and_then(|user| context.histories.ratings(user));
        let rating = ratings.and_then(|ratings| ratings.get(sample.target? as usize));
        let rating = *rating
            .filter(|rating| rating.is_finite())
            .ok_or(Skip::NoRating)?;
        sample.rating = Some(rating);
        sample.liked = Some(rating >= options.liked_from);
        Ok(())
    },
};
