use std::collections::HashSet;

use semantic_id::{Code, CodeMatrix};

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

/// How much of each item's ID training has seen, as that of the item or of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenColdness {
    depth: Vec<usize>,
    all_seen: Vec<bool>,
}

impl TokenColdness {
    /// Of ascending IDs, `[N, L]`, and for each whether training has its item. `O(N L)`.
    ///
    /// # Panics
    ///
    /// If `seen` does not have a value for each ID.
    pub fn of(paths: &CodeMatrix, seen: &[bool]) -> Self {
        assert_eq!(paths.len(), seen.len(), "one value for each ID");
        let rows: Vec<&[Code]> = paths.rows().collect();
        let mut depth = vec![0; rows.len()];
        // Of ascending IDs, those that agree most with one are the next before and after it.
        let mut compare = |order: &mut dyn Iterator<Item = usize>| {
            let mut nearest: &[Code] = &[];
            for row in order {
                if seen[row] {
                    nearest = rows[row];
                }
                depth[row] = depth[row].max(agreement(rows[row], nearest));
            }
        };
        compare(&mut (0..rows.len()));
        compare(&mut (0..rows.len()).rev());
        let places = |row: usize| rows[row].iter().copied().enumerate();
        let known = (0..rows.len()).filter(|&row| seen[row]);
        let known: HashSet<(usize, Code)> = known.flat_map(places).collect();
        let all_seen = |row| places(row).all(|place| known.contains(&place));
        Self {
            all_seen: (0..rows.len()).map(all_seen).collect(),
            depth,
        }
    }

    /// The codes of an ID, from the front, that are the beginning of a seen one.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn depth(&self, row: usize) -> usize {
        self.depth[row]
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

/// How many codes agree from the front.
fn agreement(a: &[Code], b: &[Code]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
