use std::collections::{HashMap, HashSet};

use super::check_distances;
use super::closed::Closed;
use crate::{Code, CodeMatrix, Draft, Error, ItemId, Result, SemanticId};

/// How many options an item is given at first, of each kind.
pub(super) const FIRST_OPTIONS: usize = 8;
/// Up to so many candidates, an item is given more until none could lower the total; beyond,
/// only if it cannot be placed without.
pub(super) const WORTHWHILE: usize = 128;

/// Paths that an item may take, besides its native one.
pub(super) struct Options {
    pub(super) paths: Vec<Choice>,
    /// The least distance of a path that is not listed, if there are any.
    pub(super) beyond: Option<f32>,
}

/// A path, how far it is, and how many items it has room for.
pub(super) struct Choice {
    pub(super) path: Box<[Code]>,
    pub(super) distance: f32,
    pub(super) room: u32,
}

/// The paths outside an item's own prefix.
pub(super) struct Elsewhere<'a> {
    /// Items that stay on a path.
    held: HashMap<&'a [Code], u32>,
    closed: &'a Closed<'a>,
    /// Candidates to begin with: about `FIRST_OPTIONS` of them have room.
    pub(super) first: usize,
    /// Candidates beyond which no item needs more.
    pub(super) enough: usize,
}

impl<'a> Elsewhere<'a> {
    /// Where `items` hold their paths already.
    pub(super) fn new(
        draft: &Draft,
        paths: &'a CodeMatrix,
        items: impl Iterator<Item = &'a ItemId>,
        closed: &'a Closed<'a>,
    ) -> Self {
        let mut held = HashMap::new();
        for item in items {
            *held.entry(paths.row(*item)).or_default() += 1;
        }
        let all = usize::try_from(draft.space().capacity()).unwrap_or(usize::MAX);
        let enough = all.min(FIRST_OPTIONS.max(closed.enough(paths.len(), all)));
        let load = closed.load(paths.len(), draft.space());
        let first = (FIRST_OPTIONS as f64 / (1.0 - load).max(0.0)) as usize;
        Self {
            held,
            closed,
            first: first.clamp(FIRST_OPTIONS, WORTHWHILE).min(enough),
            enough,
        }
    }

    /// What is left of the room of a path.
    fn room(&self, path: &[Code], capacity: u32) -> u32 {
        let held = self.held.get(path).copied().unwrap_or(0);
        capacity
            .saturating_sub(held)
            .saturating_sub(self.closed.on(path))
    }
}

/// An item that asks for its `count` nearest options.
pub(super) struct Inquiry<'a> {
    pub(super) draft: &'a Draft<'a>,
    pub(super) item: ItemId,
    pub(super) count: usize,
    /// Items allowed on one path.
    pub(super) capacity: u32,
}

/// Buffers of one thread, `[K_last]` each.
#[derive(Default)]
pub(super) struct Scratch {
    distances: Vec<f32>,
    rooms: Vec<u32>,
    nearest: Vec<(f32, Code)>,
}

impl Inquiry<'_> {
    /// The nearest last-level codes of the item's own prefix that have room beside their
    /// `residents` (and slots that are closed), the native code excepted.
    pub(super) fn at_home(
        &self,
        residents: &[(Code, u32)],
        scratch: &mut Scratch,
    ) -> Result<Options> {
        let Scratch {
            distances,
            rooms,
            nearest,
        } = scratch;
        let native = self.draft.paths().row(self.item);
        let (last, prefix) = native.split_last().expect("a path has a code");
        let codes = self.draft.space().size(prefix.len());
        distances.resize(codes, 0.0);
        let geometry = self.draft.distances();
        geometry.last_level(self.item, prefix, distances);
        check_distances(self.item, distances)?;

        rooms.clear();
        rooms.resize(codes, self.capacity);
        for &(code, items) in residents {
            rooms[code.index()] = rooms[code.index()].saturating_sub(items);
        }
        rooms[last.index()] = 0;

        let free = (0..=u16::MAX).zip(&*distances).zip(&*rooms);
        let free = free.filter(|(_, room)| **room > 0);
        nearest.clear();
        nearest.extend(free.map(|((code, &distance), _)| (distance, Code(code))));
        let beyond = keep_nearest(nearest, self.count);
        let choice = |&(distance, code): &(f32, Code)| Choice {
            path: prefix.iter().copied().chain([code]).collect(),
            distance,
            room: rooms[code.index()],
        };
        let paths = nearest.iter().map(choice).collect();
        Ok(Options { paths, beyond })
    }

    /// Adds the item's candidate paths that lie in other prefixes and have room.
    pub(super) fn elsewhere(&self, elsewhere: &Elsewhere, options: &mut Options) -> Result<()> {
        let candidates = self.candidates(self.count.min(elsewhere.enough))?;
        if self.count < WORTHWHILE.min(elsewhere.enough) {
            let farthest = candidates.last().map_or(0.0, |choice| choice.distance);
            options.beyond = Some(options.beyond.map_or(farthest, |own| own.min(farthest)));
        }
        let native = self.draft.paths().row(self.item);
        let (_, prefix) = native.split_last().expect("a path has a code");
        options
            .paths
            .extend(candidates.into_iter().filter_map(|mut choice| {
                choice.room = elsewhere.room(&choice.path, self.capacity);
                (choice.room > 0 && !choice.path.starts_with(prefix)).then_some(choice)
            }));
        Ok(())
    }

    /// At least `count` distinct paths of the space, nearest first, as if they were empty.
    fn candidates(&self, count: usize) -> Result<Vec<Choice>> {
        let mut candidates = self.draft.distances().candidates(self.item, count);
        candidates.retain(|(path, _)| self.draft.space().contains(path));
        let distinct: HashSet<_> = candidates.iter().map(|(path, _)| path).collect();
        if distinct.len() < count {
            return Err(Error::Candidates {
                item: self.item.index(),
                got: distinct.len(),
                expected: count,
            });
        }
        let choice = |(path, distance): (SemanticId, f32)| {
            check_distances(self.item, &[distance])?;
            Ok(Choice {
                path: path.0,
                distance,
                room: self.capacity,
            })
        };
        candidates.into_iter().map(choice).collect()
    }
}

/// Keeps the `count` nearest codes, in order of distance, then code. Returns the distance of
/// the nearest one left out.
fn keep_nearest(codes: &mut Vec<(f32, Code)>, count: usize) -> Option<f32> {
    let order = |a: &(f32, Code), b: &(f32, Code)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    let mut next = None;
    if count < codes.len() {
        let (_, left_out, _) = codes.select_nth_unstable_by(count, order);
        next = Some(left_out.0);
        codes.truncate(count);
    }
    codes.sort_unstable_by(order);
    next
}
