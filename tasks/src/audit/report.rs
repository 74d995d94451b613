use serde::Serialize;

use super::{Contradictions, RepeatedRows};
use crate::Place;

/// Findings of a rule that a report shows with their places.
const SHOWN: usize = 5;

/// What every row is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A row's provenance does not contradict itself.
    Provenance,
    /// Nothing is read at or beyond the horizon or the target.
    Horizon,
    /// Target and horizon are those of the row's part, in the split of the corpus.
    Split,
    /// Side texts say what their writer knew, and it was nothing beyond the horizon.
    SideTexts,
    /// No trace of reasoning names an item that is held out from its user.
    Traces,
    /// No row of training holds the ID of an item that is held out from its user.
    HeldOut,
    /// Every ID is one of the index.
    Ids,
    /// Every ID of a prompt is of an event that the row says it has read.
    Reads,
}

impl Rule {
    /// All rules, in order.
    pub const ALL: [Self; 8] = [
        Self::Provenance,
        Self::Horizon,
        Self::Split,
        Self::SideTexts,
        Self::Traces,
        Self::HeldOut,
        Self::Ids,
        Self::Reads,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provenance => "provenance",
            Self::Horizon => "horizon",
            Self::Split => "split",
            Self::SideTexts => "side-texts",
            Self::Traces => "traces",
            Self::HeldOut => "held-out",
            Self::Ids => "ids",
            Self::Reads => "reads",
        }
    }

    /// What to do about a finding.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Provenance => "build the corpus again; rows were edited or made by another tool",
            Self::Horizon => "leave these rows out: they read what they must predict",
            Self::Split => "build the corpus and its split.jsonl by one recipe",
            Self::SideTexts => "have these texts written anew from events before the horizon",
            Self::Traces => "have these traces written anew; their teacher knew the answer",
            Self::HeldOut => "leave these rows out; chosen again? audit with the histories",
            Self::Ids => "give the index that the corpus was built with, or build it again",
            Self::Reads => "leave these rows out: they show other events than they say",
        }
    }
}

/// A row that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The shard.
    pub file: String,
    /// Where in it, `line 7`.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

/// What was found in a shard.
#[derive(Debug)]
pub struct ShardFindings {
    file: String,
    pub(super) rows: u64,
    tallies: [Tally; Rule::ALL.len()],
    pub(super) chosen_again: u64,
    pub(super) drawn: u64,
}

#[derive(Debug, Default)]
struct Tally {
    checked: u64,
    findings: u64,
    places: Vec<Found>,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditReport {
    /// Rows of all shards.
    pub rows: u64,
    /// Users of the split.
    pub users: usize,
    /// For each of [`Rule::ALL`] what broke it.
    pub rules: Vec<RuleReport>,
    /// Rows of training with the ID of an item that is held out from the user, who had chosen it
    /// before the horizon too: no leak.
    pub chosen_again: u64,
    /// Rows of training with the ID of such an item in a task that draws items by chance
    /// (negatives, candidates, noise). To leave them out would tell.
    pub drawn: u64,
    /// Same prompts with different answers.
    pub contradictions: Contradictions,
    /// Same prompts with the same answers.
    pub duplicates: RepeatedRows,
}

/// What broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// Its name.
    pub rule: &'static str,
    /// Rows that it concerns.
    pub checked: u64,
    /// Rows that broke it.
    pub findings: u64,
    /// The first few of them.
    pub places: Vec<Found>,
    /// What to do about them.
    pub advice: &'static str,
    /// What is missing, if the rule could not be checked.
    pub needs: Option<&'static str>,
}

impl ShardFindings {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            rows: 0,
            tallies: Default::default(),
            chosen_again: 0,
            drawn: 0,
        }
    }

    /// Enters that a row was held to a rule, and how it came out.
    pub(super) fn check(&mut self, rule: Rule, place: Place, outcome: Result<(), String>) {
        let tally = &mut self.tallies[rule as usize];
        tally.checked += 1;
        if let Err(problem) = outcome {
            tally.findings += 1;
            if tally.places.len() < SHOWN {
                let (file, place) = (self.file.clone(), place.to_string());
                tally.places.push(Found {
                    file,
                    place,
                    problem,
                });
            }
        }
    }
}

impl AuditReport {
    pub(super) fn new(users: usize, needs: impl Fn(Rule) -> Option<&'static str>) -> Self {
        let rule = |rule: Rule| RuleReport {
            rule: rule.name(),
            checked: 0,
            findings: 0,
            places: Vec::new(),
            advice: rule.advice(),
            needs: needs(rule),
        };
        Self {
            rows: 0,
            users,
            rules: Rule::ALL.map(rule).into(),
            chosen_again: 0,
            drawn: 0,
            contradictions: Contradictions::default(),
            duplicates: RepeatedRows::default(),
        }
    }

    pub(super) fn add(&mut self, shard: ShardFindings) {
        self.rows += shard.rows;
        self.chosen_again += shard.chosen_again;
        self.drawn += shard.drawn;
        for (rule, tally) in self.rules.iter_mut().zip(shard.tallies) {
            rule.checked += tally.checked;
            rule.findings += tally.findings;
            let room = SHOWN.saturating_sub(rule.places.len());
            rule.places.extend(tally.places.into_iter().take(room));
        }
    }

    /// Whether no row broke a rule.
    pub fn ok(&self) -> bool {
        self.rules.iter().all(|rule| rule.findings == 0)
    }
}
