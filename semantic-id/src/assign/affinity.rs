use std::collections::HashMap;

use crate::{Code, Distances, Draft, Error, ItemId, Result, SemanticId};

/// Training events so far apart, at most, are companions.
const WINDOW: usize = 3;

/// A geometry in which items are drawn to the items that users choose with them.
///
/// Where an item may stay it does, as moves count first; but one that must leave its path goes,
/// of places about as far, where its companions are. The squared distance of item `i` to a path `p`
/// is that of the geometry beneath, times
///
/// ```text
/// 1 - strength * mean over companions j of i, by how often they met, of |c(p, native(j))| / (L - 1)
/// ```
///
/// where `c` is the common prefix, of at most `L - 1` codes: the last code says nothing of nearness.
/// Distances within a prefix keep their order, and none grows.
pub struct Affinity<'a> {
    draft: &'a Draft<'a>,
    strength: f32,
    /// By item: its companions, and how often they met. Sums over them are of integers, so that
    /// their order does not matter.
    met: Vec<HashMap<ItemId, u32>>,
}

impl<'a> Affinity<'a> {
    /// Draws the items of a draft, with `strength` from 0 to 1, to those that stand at most three
    /// places from them in `histories`, the training events of each user in order of time.
    ///
    /// # Errors
    ///
    /// [`Error::NoItem`] for an event with an item that the draft does not have.
    pub fn new(draft: &'a Draft<'a>, histories: &[&[ItemId]], strength: f32) -> Result<Self> {
        let natives = draft.paths();
        let mut met: Vec<HashMap<ItemId, u32>> = vec![HashMap::new(); natives.len()];
        let mut events = histories.iter().copied().flatten();
        if let Some(stranger) = events.find(|item| item.index() >= natives.len()) {
            return Err(Error::NoItem {
                item: stranger.index(),
                items: natives.len(),
            });
        }
        for history in histories {
            for (at, &item) in history.iter().enumerate() {
                for &other in history.iter().skip(at + 1).take(WINDOW) {
                    if item != other {
                        *met[item.index()].entry(other).or_default() += 1;
                        *met[other.index()].entry(item).or_default() += 1;
                    }
                }
            }
        }
        Ok(Self {
            draft,
            strength: strength.clamp(0.0, 1.0),
            met,
        })
    }

    /// The same draft, with these distances.
    ///
    /// # Errors
    ///
    /// Those of [`Draft::new`].
    pub fn draft(&self) -> Result<Draft<'_>> {
        self.draft.with_distances(self)
    }

    /// What remains of a distance of an item to the paths of a prefix of `L - 1` codes.
    fn rest(&self, item: ItemId, prefix: &[Code]) -> f32 {
        if prefix.is_empty() {
            return 1.0;
        }
        let natives = self.draft.paths();
        let (mut near, mut all) = (0_u64, 0_u64);
        for (&other, &times) in &self.met[item.index()] {
            let pairs = natives.row(other).iter().zip(prefix);
            let common = pairs.take_while(|(a, b)| a == b).count();
            near += u64::from(times) * common as u64;
            all += u64::from(times) * prefix.len() as u64;
        }
        1.0 - self.strength * near as f32 / all.max(1) as f32
    }
}

impl Distances for Affinity<'_> {
    fn path(&self, item: ItemId, path: &[Code]) -> f32 {
        self.rest(item, prefix(path)) * self.draft.distances().path(item, path)
    }

    fn last_level(&self, item: ItemId, prefix: &[Code], out: &mut [f32]) {
        self.draft.distances().last_level(item, prefix, out);
        let rest = self.rest(item, prefix);
        out.iter_mut().for_each(|distance| *distance *= rest);
    }

    /// The candidates of the geometry beneath, in the order of these distances.
    fn candidates(&self, item: ItemId, count: usize) -> Vec<(SemanticId, f32)> {
        let mut candidates = self.draft.distances().candidates(item, count);
        for (path, distance) in &mut candidates {
            *distance *= self.rest(item, prefix(path));
        }
        candidates.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        candidates
    }
}

fn prefix(path: &[Code]) -> &[Code] {
    path.split_last().map_or(&[], |(_, prefix)| prefix)
}

impl std::fmt::Debug for Affinity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Affinity")
            .field("draft", &self.draft)
            .field("strength", &self.strength)
            .finish_non_exhaustive()
    }
}
