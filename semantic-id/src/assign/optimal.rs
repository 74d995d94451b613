use std::cmp::Reverse;
use std::num::NonZeroU32;

use rayon::prelude::*;

use super::certificate::{Certificate, Objective, Scope, Stage};
use super::closed::{Closed, Slots, Taken, open_slots};
use super::contest::{Contest, Settled};
use super::options::Elsewhere;
use super::{Assigner, Assignment, Overfull, by_path, check_keys};
use crate::{Code, CodeMatrix, Draft, Error, ItemId, ItemKeys, Result, Share};

/// The fewest moves, then the least total squared distance, with a proof.
///
/// **Stage A** settles every prefix (the first `L - 1` codes) whose items fit its last-level
/// codes: alone, in parallel, over all these codes. **Stage B** settles the items of all
/// overfull prefixes together: they may take the last-level codes of their own prefix and,
/// elsewhere, those of their candidate paths that have room. Lists of candidates begin short and
/// grow for the items that cannot be placed, so that any draft within capacity is assigned.
/// [`Scope::Global`] treats all prefixes as if they were overfull.
///
/// ```
/// use semantic_id::{Assigner, Code, CodeMatrix, CodeSpace, Draft, ItemKeys, OptimalAssigner};
/// # use semantic_id::{Distances, ItemId, SemanticId};
/// # struct Line;
/// # impl Distances for Line {
/// #     fn path(&self, item: ItemId, path: &[Code]) -> f32 {
/// #         (item.0 as f32 * 0.1 - f32::from(path[0].0)).powi(2)
/// #     }
/// #     fn last_level(&self, item: ItemId, _: &[Code], out: &mut [f32]) {
/// #         for (code, out) in out.iter_mut().enumerate() {
/// #             *out = self.path(item, &[Code(code as u16)]);
/// #         }
/// #     }
/// #     fn candidates(&self, _: ItemId, _: usize) -> Vec<(SemanticId, f32)> {
/// #         Vec::new()
/// #     }
/// # }
/// // Items at 0.0, 0.1 and 0.2 on a line, codes at 0, 1, 2 and 3: all want code 0.
/// let space = CodeSpace::new(vec![4])?;
/// let native = CodeMatrix::new(vec![Code(0); 3], 1)?;
/// let draft = Draft::new(space, native, vec![0.0, 0.01, 0.04], &Line)?;
///
/// let assignment = OptimalAssigner::default().assign(&draft, &ItemKeys::numbered(3)?)?;
///
/// let codes: Vec<u16> = assignment.paths().rows().map(|path| path[0].0).collect();
/// assert_eq!(codes, [0, 1, 2]);
/// assert_eq!(assignment.moved(), 2);
/// assert!(assignment.certificate().is_some_and(|proof| proof.optimal));
/// # Ok::<(), semantic_id::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::OverCapacity`] if the items outnumber `capacity * prod K_l`, less what is taken and
/// held in reserve;
/// [`Error::BadDistance`] and [`Error::Candidates`] if the draft's geometry breaks its word.
///
/// # Complexity
///
/// Sorting, `O(N log N)`; then, as a rule, about linear in the items of colliding paths, and
/// memory for some ten options each. With [`Objective::Distance`] all items take part. The
/// worst case, a space that is nearly full, is that of dense assignment, cubic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimalAssigner {
    /// Items allowed on one path.
    pub capacity: NonZeroU32,
    /// What competes with what.
    pub scope: Scope,
    /// What is minimised.
    pub objective: Objective,
    /// The share of its slots that every prefix leaves free, for items to come. A slot is a place
    /// for one item on a path.
    pub reserve: Share,
}

impl Default for OptimalAssigner {
    fn default() -> Self {
        Self {
            capacity: NonZeroU32::MIN,
            scope: Scope::default(),
            objective: Objective::default(),
            reserve: Share::NONE,
        }
    }
}

impl Assigner for OptimalAssigner {
    fn assign(&self, draft: &Draft, keys: &ItemKeys) -> Result<Assignment> {
        self.place(draft, keys, &Taken::none(draft.space()))
    }
}

impl OptimalAssigner {
    /// Assigns all items beside others that hold the paths `taken` `[M, L]` and keep them: each
    /// row counts against the capacity of its path. What is proven is the best under that
    /// condition.
    ///
    /// # Errors
    ///
    /// Those of [`Assigner::assign`], and [`Error::Shape`] if the paths have another number of
    /// levels.
    ///
    /// ```
    /// # use semantic_id::{Code, CodeMatrix, CodeSpace, Distances, Draft, ItemId, ItemKeys};
    /// # use semantic_id::{OptimalAssigner, SemanticId};
    /// # struct Line;
    /// # impl Distances for Line {
    /// #     fn path(&self, _: ItemId, path: &[Code]) -> f32 {
    /// #         f32::from(path[0].0).powi(2)
    /// #     }
    /// #     fn last_level(&self, item: ItemId, _: &[Code], out: &mut [f32]) {
    /// #         for (code, out) in out.iter_mut().enumerate() {
    /// #             *out = self.path(item, &[Code(code as u16)]);
    /// #         }
    /// #     }
    /// #     fn candidates(&self, _: ItemId, _: usize) -> Vec<(SemanticId, f32)> {
    /// #         Vec::new()
    /// #     }
    /// # }
    /// // A new item at 0 on a line, with codes at 0, 1, 2 and 3, of which the first two are taken.
    /// let native = CodeMatrix::new(vec![Code(0)], 1)?;
    /// let draft = Draft::new(CodeSpace::new(vec![4])?, native, vec![0.0], &Line)?;
    /// let taken = CodeMatrix::new(vec![Code(0), Code(1)], 1)?;
    /// let assignment =
    ///     OptimalAssigner::default().assign_beside(&taken, &draft, &ItemKeys::numbered(1)?)?;
    /// assert_eq!(assignment.paths().row(ItemId(0)), [Code(2)]);
    /// # Ok::<(), semantic_id::Error>(())
    /// ```
    pub fn assign_beside(
        &self,
        taken: &CodeMatrix,
        draft: &Draft,
        keys: &ItemKeys,
    ) -> Result<Assignment> {
        let taken = Taken::new(taken, draft.space(), self.capacity())?;
        self.place(draft, keys, &taken)
    }

    fn place(&self, draft: &Draft, keys: &ItemKeys, taken: &Taken) -> Result<Assignment> {
        check_keys(draft, keys)?;
        self.check_capacity(draft, taken)?;
        let order = by_path(draft.paths(), keys);
        let (fitting, overfull) = self.split(draft, &order, taken);
        let codes = draft.space().size(draft.space().levels() - 1);
        let closed = || Closed::taken(taken, self.capacity.get(), codes);
        let fitting_closed = closed();

        let mut paths = draft.paths().clone();
        let mut settled: Vec<Settled> = fitting
            .par_iter()
            .map(|&prefix| Contest::new(self, draft, &[prefix], &fitting_closed, None))
            .filter(|contest| !contest.is_empty())
            .map(Contest::settle)
            .collect::<Result<_>>()?;
        settled.iter().for_each(|part| part.write(&mut paths));
        if !overfull.is_empty() {
            let placed = fitting.iter().copied().flatten();
            let waiting = overfull.iter().copied().flatten();
            // Where moves are not counted, those that wait hold no path yet.
            let held = placed.chain(waiting.filter(|_| self.counts_moves()));
            let wanted = fitting.iter().chain(&overfull);
            let wanted = wanted.map(|prefix| wanted_slots(&paths, prefix));
            let closed = closed().reserving(self.reserved(codes), wanted);
            let elsewhere = Elsewhere::new(draft, &paths, held, &closed);
            let part = Contest::new(self, draft, &overfull, &closed, Some(elsewhere)).settle()?;
            part.write(&mut paths);
            settled.push(part);
        }

        let added_distance = settled.iter().map(|part| part.added_distance).sum();
        let space = draft.space().clone();
        let mut assignment =
            Assignment::new(space, paths, self.capacity())?.moved_from(draft, added_distance);
        let stages = self.stages(&fitting, &overfull);
        let certificate = self.certify(draft, &order, &assignment, &settled, stages);
        assignment.certificate = Some(certificate);
        if self.scope == Scope::Prefix {
            assignment.overfull = self.overfull(draft, &overfull, taken);
        }
        Ok(assignment)
    }
}

/// The items of one prefix, by path, then key.
pub(super) type Prefix<'a> = &'a [ItemId];

impl OptimalAssigner {
    pub(super) fn capacity(&self) -> usize {
        self.capacity.get() as usize
    }

    pub(super) fn counts_moves(&self) -> bool {
        self.objective == Objective::MovesThenDistance
    }

    fn check_capacity(&self, draft: &Draft, taken: &Taken) -> Result<()> {
        let (items, space) = (draft.paths().len(), draft.space());
        let capacity = space.capacity().saturating_mul(self.capacity.get().into());
        let open = open_slots(space, self.capacity.get(), self.reserve, taken);
        if items as u128 > open {
            let taken = taken.len();
            return Err(Error::OverCapacity {
                items,
                open,
                capacity,
                taken,
                reserved: capacity - open.saturating_add(taken as u128).min(capacity),
                sizes: space.to_string(),
                per_path: self.capacity(),
            });
        }
        Ok(())
    }

    /// The prefixes to settle alone, and those to settle together.
    fn split<'a>(
        &self,
        draft: &Draft,
        order: &'a [ItemId],
        taken: &Taken,
    ) -> (Vec<Prefix<'a>>, Vec<Prefix<'a>>) {
        let last = draft.space().levels() - 1;
        let prefix = |item: &ItemId| &draft.paths().row(*item)[..last];
        order
            .chunk_by(|a, b| prefix(a) == prefix(b))
            .partition(|items| {
                self.scope == Scope::Prefix
                    && items.len() <= self.room(draft, prefix(&items[0]), taken)
            })
    }

    /// How many items a prefix may hold.
    fn room(&self, draft: &Draft, prefix: &[Code], taken: &Taken) -> usize {
        let codes = draft.space().size(prefix.len());
        let open = codes.saturating_mul(self.capacity()) - self.reserved(codes);
        let taken = taken.below(prefix);
        open.saturating_sub(taken.iter().map(|(_, slots)| *slots as usize).sum())
    }

    /// Slots that a prefix of so many last-level codes holds in reserve.
    fn reserved(&self, codes: usize) -> usize {
        let slots = codes.saturating_mul(self.capacity());
        self.reserve.of(slots as u128) as usize
    }

    /// The overfull prefixes, those that lack the most room first.
    fn overfull(&self, draft: &Draft, prefixes: &[Prefix], taken: &Taken) -> Vec<Overfull> {
        let describe = |items: &Prefix| {
            let (_, prefix) = split_last(draft.paths(), items[0]);
            Overfull {
                prefix: prefix.iter().copied().collect(),
                items: items.len(),
                room: self.room(draft, prefix, taken),
            }
        };
        let mut overfull: Vec<_> = prefixes.iter().map(describe).collect();
        // Stable: those that lack the same stay in the order of their codes.
        overfull.sort_by_key(|full| Reverse(full.items - full.room));
        overfull
    }

    fn stages(&self, fitting: &[Prefix], overfull: &[Prefix]) -> Vec<Stage> {
        let mut stages = Vec::new();
        if !fitting.is_empty() {
            stages.push(Stage::Prefix);
        }
        if !overfull.is_empty() {
            stages.push(match self.scope {
                Scope::Prefix => Stage::Overfull,
                Scope::Global => Stage::Global,
            });
        }
        stages
    }

    fn certify(
        &self,
        draft: &Draft,
        order: &[ItemId],
        assignment: &Assignment,
        settled: &[Settled],
        stages: Vec<Stage>,
    ) -> Certificate {
        // Summed in the order of paths and keys, not of the input.
        let costs = order.iter().map(|item| draft.costs()[item.index()]);
        let cost = costs.map(f64::from).sum::<f64>() + assignment.added_distance;
        let slack: f64 = settled.iter().map(|part| part.slack).sum();
        let lower_bound = (cost - slack).max(0.0);
        Certificate {
            scope: self.scope,
            objective: self.objective,
            capacity: self.capacity.get(),
            stages,
            candidates: settled
                .iter()
                .map(|part| part.candidates)
                .max()
                .unwrap_or(0),
            optimal: slack == 0.0,
            moves: assignment.moved,
            moves_bound: settled.iter().map(|part| part.excess).sum(),
            cost,
            lower_bound,
            gap: if cost > 0.0 {
                (cost - lower_bound) / cost
            } else {
                0.0
            },
        }
    }
}

fn split_last(paths: &CodeMatrix, item: ItemId) -> (Code, &[Code]) {
    let (&last, prefix) = paths.row(item).split_last().expect("a path has a code");
    (last, prefix)
}

/// A prefix, and the slots that its items hold or want.
fn wanted_slots<'a>(paths: &'a CodeMatrix, items: &[ItemId]) -> (&'a [Code], Slots) {
    let (_, prefix) = split_last(paths, items[0]);
    let slots = items.iter().map(|&item| (split_last(paths, item).0, 1));
    (prefix, slots.collect())
}
