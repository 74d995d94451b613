use semantic_id::CodeMatrix;

use super::{List, Metric, Scores};

/// The bins of [`bin`].
pub const BINS: [&str; 7] = ["0", "1-4", "5-9", "10-19", "20-49", "50-99", "100+"];

/// The bin of a number of events, as a place in [`BINS`].
pub fn bin(events: u64) -> usize {
    [1, 5, 10, 20, 50, 100].partition_point(|&from| from <= events)
}

/// Scores of slices: for each label those users who have a true item with it, and of their true
/// items only these.
///
/// `label` tells the label, less than `labels`, of a user, by their place, and a row.
pub fn slices(
    metrics: &[Metric],
    users: &[(&List, &[u32])],
    labels: usize,
    label: impl Fn(usize, u32) -> Option<usize>,
) -> Vec<Scores> {
    let of_label = |wanted| {
        let kept = users.iter().enumerate().map(|(user, &(list, targets))| {
            let is_wanted = |&&row: &&u32| label(user, row) == Some(wanted);
            let targets: Vec<u32> = targets.iter().filter(is_wanted).copied().collect();
            (list, targets)
        });
        let kept: Vec<_> = kept.filter(|(_, targets)| !targets.is_empty()).collect();
        let kept: Vec<_> = kept
            .iter()
            .map(|(list, targets)| (*list, &**targets))
            .collect();
        Scores::of(metrics.to_vec(), &kept)
    };
    (0..labels).map(of_label).collect()
}

/// How much of each item's ID was seen as a training target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenColdness {
    depth: Vec<u8>,
    all_seen: Vec<bool>,
}

impl TokenColdness {
    /// Of ascending IDs, `[N, L]`, and for each whether its item was seen. `O(N L)`.
    ///
    /// # Panics
    ///
    /// If `seen` does not have a value for each ID.
    pub fn of(paths: &CodeMatrix, seen: &[bool]) -> Self {
        assert_eq!(paths.len(), seen.len(), "one value for each ID");
        let rows: Vec<_> = paths.rows().collect();
        let items = || rows.iter().zip(seen);
        // Of ascending IDs, those that agree most with one are next to it.
        let nearest = |order: &mut dyn Iterator<Item = usize>| {
            let mut depth = vec![0_u8; rows.len()];
            let mut last = None;
            for row in order {
                if seen[row] {
                    last = Some(rows[row]);
                }
                let agree = |seen: &[_]| {
                    rows[row]
                        .iter()
                        .zip(seen)
                        .take_while(|(a, b)| a == b)
                        .count()
                };
                depth[row] = last.map_or(0, agree) as u8;
            }
            depth
        };
        let before = nearest(&mut (0..rows.len()));
        let after = nearest(&mut (0..rows.len()).rev());
        let mut codes = vec![std::collections::HashSet::new(); paths.levels()];
        for (path, _) in items().filter(|(_, seen)| **seen) {
            for (codes, code) in codes.iter_mut().zip(*path) {
                codes.insert(*code);
            }
        }
        let is_seen = |path: &&[_]| {
            codes
                .iter()
                .zip(*path)
                .all(|(codes, code)| codes.contains(code))
        };
        Self {
            depth: before
                .into_iter()
                .zip(after)
                .map(|(a, b)| a.max(b))
                .collect(),
            all_seen: rows.iter().map(is_seen).collect(),
        }
    }

    /// The codes of an ID, from the front, that are the beginning of a seen one.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn depth(&self, row: usize) -> usize {
        self.depth[row].into()
    }

    /// Whether each code of an ID was seen at its level.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn all_seen(&self, row: usize) -> bool {
        self.all_seen[row]
    }
}
