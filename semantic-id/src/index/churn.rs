use std::fmt;

use serde::Serialize;

use super::ItemIndex;
use crate::Result;

/// How much of what a model has learnt of one index is true of another.
///
/// Items are the same if they have the same key; only items that were not removed count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Churn {
    /// Items of both that have the same ID.
    pub kept: usize,
    /// Items of both whose ID changed, by the first level at which it differs.
    pub moved_by_level: Vec<usize>,
    /// Items of the second index that were never in the first.
    pub added: usize,
    /// Items of the second index that were removed in the first.
    pub revived: usize,
    /// Items of the first that are removed in the second, but hold their IDs.
    pub removed: usize,
    /// Items of the first that the second does not know.
    pub freed: usize,
}

impl Churn {
    /// Compares two indexes, in `O(N log N)`.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`](crate::Error::IndexFile) if a file is damaged.
    pub fn between<A, B>(before: &ItemIndex<A>, after: &ItemIndex<B>) -> Result<Self>
    where
        A: AsRef<[u8]>,
        B: AsRef<[u8]>,
    {
        let mut churn = Self {
            kept: 0,
            moved_by_level: vec![0; before.levels().max(after.levels())],
            added: 0,
            revived: 0,
            removed: 0,
            freed: 0,
        };
        let (old, new) = (before.codes()?, after.codes()?);
        for item in after.rows() {
            if !after.is_alive(item)? {
                continue;
            }
            let Some(was) = before.find(after.key(item)?)? else {
                churn.added += 1;
                continue;
            };
            if !before.is_alive(was)? {
                churn.revived += 1;
                continue;
            }
            let (old, new) = (old.row(was), new.row(item));
            let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
            match churn.moved_by_level.get_mut(same) {
                Some(moved) => *moved += 1,
                None => churn.kept += 1,
            }
        }
        for item in before.rows() {
            if before.is_alive(item)? {
                match after.find(before.key(item)?)? {
                    None => churn.freed += 1,
                    Some(item) => churn.removed += usize::from(!after.is_alive(item)?),
                }
            }
        }
        Ok(churn)
    }

    /// Items of both whose ID changed.
    pub fn moved(&self) -> usize {
        self.moved_by_level.iter().sum()
    }

    /// The share of the items of both whose ID changed; 0 if they have none in common.
    pub fn share(&self) -> f64 {
        self.moved() as f64 / (self.kept + self.moved()).max(1) as f64
    }
}

impl fmt::Display for Churn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} items have the ID they had, {} another ({:.1} %)",
            self.kept,
            self.moved(),
            100.0 * self.share()
        )?;
        for (level, moved) in self.moved_by_level.iter().enumerate() {
            let from = if level == 0 { "; from level " } else { ", " };
            write!(f, "{from}{level} on: {moved}")?;
        }
        write!(
            f,
            "\n{} items are new, {} back, {} removed, {} gone",
            self.added, self.revived, self.removed, self.freed
        )
    }
}
