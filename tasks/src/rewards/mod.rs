//! Rewards of a model's answers, for training by reinforcement.
//!
//! Answers come in the groups in which training makes them: the rollouts or beams of one prompt,
//! or the places of one recommended list, best first. [`AnswerFormat`] makes IDs of texts; a text
//! that is no ID is `None`, and no reward but [`Reward::RankPenalty`] gives it anything.
//!
//! ```
//! use semantic_id::TokenFormat;
//! use semid_tasks::rewards::{AnswerFormat, Ladder, Reward};
//!
//! let tokens = TokenFormat::lc_rec(3);
//! let format = AnswerFormat::plain(&tokens);
//! let group = ["<a_1><b_7><c_0>", "<a_1><b_2><c_3>", "a lamp"].map(|text| format.read(text));
//! let truth = [tokens.parse("<a_1><b_2><c_3>")?];
//!
//! assert_eq!(Reward::Rule.of(&group, &truth), [0.0, 1.0, 0.0]);
//! assert_eq!(Reward::Prefix(Ladder::gream()).of(&group, &truth), [0.5, 1.0, 0.0]);
//! assert_eq!(Reward::Format.of(&group, &truth), [1.0, 1.0, 0.0]);
//! # Ok::<(), semantic_id::Error>(())
//! ```

mod answer;
mod ladder;

use semantic_id::SemanticId;

use crate::metrics::discount;

pub use answer::AnswerFormat;
pub use ladder::Ladder;

/// What an answer is worth.
#[derive(Debug, Clone, PartialEq)]
pub enum Reward {
    /// 1 for a true ID, else 0.
    Rule,
    /// By the codes that agree with a true ID; with several of these, the best.
    Prefix(Ladder),
    /// [`Reward::Rule`], and in a group with a hit every miss costs something, the more the higher
    /// it ranks: at rank `r` of `G`, from 0, `-d(r) / (d(0) + ... + d(G - 1))` with
    /// `d(r) = 1 / log2(r + 2)`. ReRe's and MiniOneRec's.
    RankPenalty,
    /// For the places of a list: 1 where a true ID stands for the first time, else 0.
    /// Rank-GRPO's `exp_inf`.
    RankHit,
    /// For the places of a list: its DCG from this place on. Rank-GRPO's `log_decay`.
    RankDcg,
    /// 1 for what is an ID at all, else 0.
    Format,
}

impl Reward {
    /// The rewards of one group of answers, `[G]`, given the IDs that are true.
    ///
    /// A rollout that repeats another is rewarded as that one; a place of a list that repeats
    /// another ([`Reward::RankHit`], [`Reward::RankDcg`]) is a miss.
    pub fn of(&self, group: &[Option<SemanticId>], truths: &[SemanticId]) -> Vec<f64> {
        let hits = || group.iter().map(|answer| is_hit(answer, truths));
        match self {
            Self::Rule => hits().map(f64::from).collect(),
            Self::Prefix(ladder) => group
                .iter()
                .map(|answer| best(ladder, answer.as_ref(), truths))
                .collect(),
            Self::RankPenalty if hits().any(|hit| hit) => {
                let all: f64 = (0..group.len()).map(discount).sum();
                let penalty = |rank| -discount(rank) / all;
                let reward = |(rank, hit)| if hit { 1.0 } else { penalty(rank) };
                hits().enumerate().map(reward).collect()
            }
            Self::RankPenalty => vec![0.0; group.len()],
            Self::RankHit => first_hits(group, truths).map(f64::from).collect(),
            Self::RankDcg => {
                let mut gains: Vec<f64> = first_hits(group, truths)
                    .enumerate()
                    .map(|(rank, hit)| f64::from(hit) * discount(rank))
                    .collect();
                for rank in (1..gains.len()).rev() {
                    gains[rank - 1] += gains[rank];
                }
                gains
            }
            Self::Format => group.iter().map(|id| f64::from(id.is_some())).collect(),
        }
    }
}

fn is_hit(answer: &Option<SemanticId>, truths: &[SemanticId]) -> bool {
    answer.as_ref().is_some_and(|id| truths.contains(id))
}

fn first_hits(list: &[Option<SemanticId>], truths: &[SemanticId]) -> impl Iterator<Item = bool> {
    (0..list.len())
        .map(move |rank| is_hit(&list[rank], truths) && !list[..rank].contains(&list[rank]))
}

fn best(ladder: &Ladder, answer: Option<&SemanticId>, truths: &[SemanticId]) -> f64 {
    let Some(answer) = answer else { return 0.0 };
    let scores = truths.iter().map(|truth| ladder.score(answer, truth));
    scores.reduce(f64::max).unwrap_or(0.0)
}
