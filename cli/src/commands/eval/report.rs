use std::fmt;

use semid_tasks::metrics::{self, Items, List, Predictions, Truth};
use serde::Serialize;

use crate::named::Named;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) users: usize,
    pub(super) metrics: Named<f64>,
    pub(super) slices: Named<Named<Slice>>,
    pub(super) lists: Lists,
    pub(super) comparison: Option<Compared>,
    /// The metrics that are shown of slices.
    #[serde(skip)]
    pub(super) headline: [String; 2],
}

#[derive(Debug, Serialize)]
pub(super) struct Slice {
    pub(super) users: usize,
    pub(super) metrics: Named<f64>,
}

/// What the lists of predictions are like.
#[derive(Debug, Serialize)]
pub(super) struct Lists {
    shortest: usize,
    longest: usize,
    /// Users without a line.
    missing_users: usize,
    /// Lines of users that the truth lacks, or has no true item for.
    other_users: usize,
    /// Entries that stand for no item.
    invalid: usize,
    repeats: usize,
    /// Entries, and true items, that the index lacks.
    unknown: usize,
    unknown_targets: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Compared {
    pub(super) baseline: String,
    pub(super) resamples: usize,
    pub(super) metrics: Named<Difference>,
    pub(super) lists: Lists,
}

#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) baseline: f64,
    #[serde(flatten)]
    pub(super) ours: metrics::Difference,
}

impl Lists {
    pub(super) fn of(predictions: &Predictions, truth: &Truth, items: &Items<'_>) -> Self {
        let lists = predictions.lists();
        let sum = |of: fn(&List) -> usize| lists.iter().map(of).sum();
        let is_unknown = |row: u32| items.has_index() && row as usize >= items.catalogue();
        let entries = lists.iter().flat_map(List::entries);
        let targets = truth.users().iter().flat_map(|user| &user.targets);
        Self {
            shortest: lists.iter().map(List::len).min().unwrap_or(0),
            longest: lists.iter().map(List::len).max().unwrap_or(0),
            missing_users: predictions.missing_users(),
            other_users: predictions.other_users(),
            invalid: sum(List::misses),
            repeats: sum(List::repeats),
            unknown: entries
                .filter(|entry| !entry.is_empty() && is_unknown(entry.start))
                .count(),
            unknown_targets: targets.filter(|&&row| is_unknown(row)).count(),
        }
    }
}

impl fmt::Display for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.shortest, self.longest) {
            (shortest, longest) if shortest == longest => write!(f, "lists of {longest}")?,
            (shortest, longest) => write!(f, "lists of {shortest} to {longest}")?,
        }
        for (what, count) in [
            ("users without a line, misses", self.missing_users),
            (
                "lines of users without a true item, left out",
                self.other_users,
            ),
            ("IDs of no item, misses", self.invalid),
            ("repeated entries, misses", self.repeats),
            ("entries that the index lacks", self.unknown),
            ("true items that the index lacks", self.unknown_targets),
        ] {
            if count > 0 {
                write!(f, "\n  {what}: {count}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users, {}", self.users, self.lists)?;
        self.metrics.fmt(f)?;
        if !self.slices.0.is_empty() {
            let [hits, gains] = &self.headline;
            write!(
                f,
                "\n\nslice                     users {hits:>9} {gains:>9}"
            )?;
        }
        for (family, slices) in &self.slices.0 {
            for (label, Slice { users, metrics }) in &slices.0 {
                write!(f, "\n{family:12} {label:11} {users:>7}")?;
                for name in &self.headline {
                    write!(
                        f,
                        " {:>9.4}",
                        metrics.get(name).copied().unwrap_or(f64::NAN)
                    )?;
                }
            }
        }
        match &self.comparison {
            Some(comparison) => comparison.fmt(f),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Named<f64> {
    /// A row for each name, a column for each cutoff.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        write!(f, "\n\n{:12}", "")?;
        for (name, _) in self.0.iter().filter(|(name, _)| name.starts_with("hr@")) {
            write!(f, " {:>8}", name.trim_start_matches("hr"))?;
        }
        for (name, value) in &self.0 {
            let name = name.split('@').next().unwrap_or(name);
            if name != last {
                write!(f, "\n{name:12}")?;
            }
            write!(f, " {value:>8.4}")?;
            last = name;
        }
        Ok(())
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n\nagainst {}: {}", self.baseline, self.lists)?;
        write!(
            f,
            "\n              baseline difference       95 % interval          p   p (Holm)"
        )?;
        for (name, difference) in &self.metrics.0 {
            let Difference { baseline, ours } = difference;
            let ([low, high], p_holm) = (ours.interval, ours.p_holm);
            let (difference, p) = (ours.difference, ours.p);
            write!(
                f,
                "\n{name:12} {baseline:>9.4} {difference:>+10.4}  [{low:>+8.4}, {high:>+8.4}] {p:>10.4} {p_holm:>10.4}"
            )?;
        }
        Ok(())
    }
}
