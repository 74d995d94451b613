//! Proof that a corpus knows nothing it must not, from what its rows say of themselves and from
//! their texts.
//!
//! An [`Audit`] is made of the corpus's `split.jsonl` and, for the rules about texts, of the index
//! and the items. It checks one shard at a time, on any number of threads, and makes one
//! [`AuditReport`] of what it found in all.
//!
//! ```
//! use semid_tasks::audit::{Audit, Rule, Sources};
//!
//! let split = br#"{"user": "ann", "events": 4, "train_end": 2, "valid_end": 3, "valid": ["chess"], "test": ["go"]}"#;
//! let shard = br#"{"prompt": "Next?", "completion": "<a_1>", "provenance": {"task": "sequential",
//!     "template": "en/sequential/next-1", "part": "train", "epoch": 0, "sample": 0,
//!     "user": "ann", "reads": [0, 2], "target": 2, "horizon": 2}}"#;
//! let shard: Vec<u8> = shard.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }).collect();
//!
//! let audit = Audit::new("split.jsonl", &split[..], Sources::default())?;
//! let found = audit.shard("part-0.jsonl", shard.as_slice().into())?;
//! let report = audit.finish([found])?;
//! let split = &report.rules[Rule::Split as usize];
//! assert_eq!(split.findings, 1);
//! assert_eq!(split.places[0].problem, "target 2 is not among the events 0..2 of train");
//! # Ok::<(), semid_tasks::Error>(())
//! ```

mod provenance;
mod repeats;
mod report;
#[cfg(test)]
mod tests;
mod texts;
mod users;

use std::io::BufRead;

use semantic_id::ItemIndex;

use crate::stored::{StoredRow, read_rows};
use crate::{Catalogue, Histories, Input, Place, Result};
use repeats::Repeats;
use texts::Texts;
use users::Users;

pub use repeats::{Contradictions, RepeatedRows};
pub use report::{AuditReport, Found, Rule, RuleReport, ShardFindings};

/// What a corpus was made of, as far as it is still there. The more, the more rules are checked.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// The index whose IDs the rows hold.
    pub index: Option<ItemIndex<&'a [u8]>>,
    /// The items, whose titles a trace of reasoning may give away.
    pub items: Option<&'a Catalogue>,
    /// The histories, over these items: to hold the IDs of a prompt against the events that the
    /// row says it has read, and to tell from a leak what a user chose again.
    pub histories: Option<&'a Histories>,
}

/// The checker of one corpus.
#[derive(Debug)]
pub struct Audit<'a> {
    users: Users,
    texts: Texts<'a>,
    repeats: Repeats,
}

impl<'a> Audit<'a> {
    /// Begins with the corpus's `split.jsonl`, one user a line. Memory: each user's key, about 50
    /// bytes, and 4 for each held-out item.
    ///
    /// # Errors
    ///
    /// With file and line, a line that is no user of a split; an index that is damaged.
    pub fn new(file: &str, split: impl BufRead, sources: Sources<'a>) -> Result<Self> {
        let users = Users::read(file, split)?;
        Ok(Self {
            texts: Texts::new(sources, &users)?,
            users,
            repeats: Repeats::new(),
        })
    }

    /// Checks a shard, row by row.
    ///
    /// # Errors
    ///
    /// With file and line, what is no row of a corpus; a temporary file that cannot be written.
    pub fn shard(&self, file: &str, input: Input<'_>) -> Result<ShardFindings> {
        let mut found = ShardFindings::new(file);
        let mut batch = self.repeats.batch();
        read_rows(file, input, |place, row| {
            self.row(place, &row, &mut found)?;
            batch.add(&row)
        })?;
        batch.finish()?;
        Ok(found)
    }

    /// Makes one report of all shards, in their order.
    ///
    /// # Errors
    ///
    /// If a temporary file cannot be read.
    pub fn finish(self, shards: impl IntoIterator<Item = ShardFindings>) -> Result<AuditReport> {
        let lacking = |rule| self.texts.lacks(rule);
        let mut report = AuditReport::new(self.users.len(), lacking);
        shards.into_iter().for_each(|shard| report.add(shard));
        (report.contradictions, report.duplicates) = self.repeats.finish()?;
        Ok(report)
    }

    fn row(&self, place: Place, row: &StoredRow<'_>, found: &mut ShardFindings) -> Result<()> {
        let of = row.provenance;
        found.rows += 1;
        found.check(Rule::Provenance, place, provenance::holds_together(of));
        if of.horizon.is_some() {
            found.check(Rule::Horizon, place, provenance::within_horizon(of));
        }
        if provenance::SIDE_TEXT_TASKS.contains(&&*of.task) {
            found.check(Rule::SideTexts, place, provenance::side_texts(of));
        }
        let user = of.user.as_deref().and_then(|key| self.users.find(key));
        if of.user.is_some() {
            found.check(Rule::Split, place, provenance::within_split(of, user));
        }
        self.texts.check(place, row, user, found)
    }
}
