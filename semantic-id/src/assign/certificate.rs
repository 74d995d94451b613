use serde::{Deserialize, Serialize};

/// What competes with what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Every prefix whose items fit is settled alone, inside the prefix; the items of the
    /// overfull prefixes follow, together.
    #[default]
    Prefix,
    /// All items compete for all paths at once.
    Global,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The number of items that leave their native path, then the total squared distance.
    #[default]
    MovesThenDistance,
    /// The total squared distance.
    Distance,
}

/// A problem that was solved on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Prefixes that hold their items: each alone, over all its last-level codes.
    Prefix,
    /// The items of all overfull prefixes, over the last-level codes of their prefix and the
    /// paths that other prefixes left free.
    Overfull,
    /// All items, over the last-level codes of their prefix and their candidate paths.
    Global,
}

/// How good an assignment is, and for which problem: `optimal` claims nothing beyond it.
///
/// In [`Stage::Prefix`] an item may take every last-level code of its prefix. In the other
/// stages it may also take the paths of its own list of candidates that have room. The lists
/// are the draft's answers for 8 candidates (in a crowded space up to 128), and longer for items
/// that could not be placed and, up to 128, for items that a farther path might serve better.
///
/// Paths that others hold, and slots in reserve, are no choice in any stage.
///
/// The bound comes from dual prices that are made feasible by construction, so it holds
/// whatever the solver did. Distances enter the proof rounded to 2^-30 of the largest one of
/// their problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// What competed with what.
    pub scope: Scope,
    /// What was minimised.
    pub objective: Objective,
    /// Items allowed on one path.
    pub capacity: u32,
    /// The problems solved, in order; each takes the result of those before as given.
    pub stages: Vec<Stage>,
    /// The longest list of candidate paths that an item was given; 0 without such a stage.
    pub candidates: usize,
    /// Whether the assignment attains the bound in every stage.
    pub optimal: bool,
    /// Items that left their native path.
    pub moves: usize,
    /// Items that must: those in excess of the room of their native path (`N - unique`
    /// with capacity 1, where nothing is taken or in reserve).
    pub moves_bound: usize,
    /// Total squared distance of all items to their paths.
    pub cost: f64,
    /// No assignment of this problem (with as few moves, where they are counted) costs less.
    pub lower_bound: f64,
    /// `(cost - lower_bound) / cost`, or 0 where the cost is 0.
    pub gap: f64,
}

impl Certificate {
    /// In words: `optimal`, or how far from it at most.
    pub fn verdict(&self) -> String {
        match self.optimal {
            true => "optimal".to_owned(),
            false => format!("gap {:.2e}", self.gap),
        }
    }
}
