use std::collections::HashMap;

use rayon::prelude::*;

use crate::{Code, CodeMatrix, CodeSpace, Error, ItemId, Result, Share};

/// Last-level codes of one prefix, each with a number of slots: places for one item on a path.
pub(super) type Slots = Vec<(Code, u32)>;

/// The paths that others hold, in ascending order, each as often as it is held.
pub(super) struct Taken {
    paths: CodeMatrix,
}

impl Taken {
    pub(super) fn none(space: &CodeSpace) -> Self {
        let paths = CodeMatrix::new(Vec::new(), space.levels()).expect("no rows are whole rows");
        Self { paths }
    }

    /// Those of `paths` that are of the space (a shorter one, which is padded, takes no slot), each
    /// up to `capacity` times, as it has no more slots.
    pub(super) fn new(paths: &CodeMatrix, space: &CodeSpace, capacity: usize) -> Result<Self> {
        if paths.levels() != space.levels() {
            return Err(Error::Shape {
                what: "levels of the taken paths",
                got: paths.levels(),
                expected: space.levels(),
            });
        }
        let mut rows: Vec<&[Code]> = paths.rows().filter(|path| space.contains(path)).collect();
        rows.par_sort_unstable();
        let same = rows.chunk_by(|a, b| a == b);
        let held = same.flat_map(|same| same.iter().take(capacity));
        let codes = held.flat_map(|path| path.iter().copied()).collect();
        Ok(Self {
            paths: CodeMatrix::new(codes, space.levels())?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    /// The taken slots of a prefix, in `O(log M)` and their number.
    pub(super) fn below(&self, prefix: &[Code]) -> Slots {
        let mut slots: Slots = Vec::new();
        let rows = self.first_from(prefix)..self.len();
        let rows = rows.map(|row| self.paths.row(ItemId(row as u32)));
        for path in rows.take_while(|path| path.starts_with(prefix)) {
            let code = path[prefix.len()];
            match slots.last_mut() {
                Some((last, slots)) if *last == code => *slots += 1,
                _ => slots.push((code, 1)),
            }
        }
        slots
    }

    /// How many hold a path, in `O(log M)` and that number.
    fn on(&self, path: &[Code]) -> u32 {
        let rows = self.first_from(path)..self.len();
        let same = rows.take_while(|&row| self.paths.row(ItemId(row as u32)) == path);
        same.count() as u32
    }

    /// The number of taken slots of each prefix that has any.
    fn by_prefix(&self) -> impl Iterator<Item = usize> {
        let last = self.paths.levels() - 1;
        let mut rows = self.paths.rows().peekable();
        std::iter::from_fn(move || {
            let first = rows.next()?;
            let mut slots = 1;
            while rows.next_if(|path| path[..last] == first[..last]).is_some() {
                slots += 1;
            }
            Some(slots)
        })
    }

    /// The first row that is not less than `prefix`.
    fn first_from(&self, prefix: &[Code]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.paths.row(ItemId(middle as u32)) < prefix {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The slots that no item may be given: those taken, and in every prefix a reserve.
///
/// Which slots a prefix holds in reserve is settled before the items compete: first those that
/// nobody wants, then others, the last codes first. The number of items that may stay in the
/// prefix is the same whatever slots they are.
pub(super) struct Closed<'a> {
    taken: &'a Taken,
    /// Slots of every path.
    capacity: u32,
    /// Last-level codes.
    codes: usize,
    /// Slots that each prefix holds in reserve, if there are as many.
    reserve: usize,
    /// Of the prefixes whose slots are wanted, which ones those are.
    reserved: HashMap<&'a [Code], Slots>,
}

impl<'a> Closed<'a> {
    /// The taken slots alone.
    pub(super) fn taken(taken: &'a Taken, capacity: u32, codes: usize) -> Self {
        Self {
            taken,
            capacity,
            codes,
            reserve: 0,
            reserved: HashMap::new(),
        }
    }

    /// With `reserve` slots more in every prefix; `wanted` tells prefixes and the slots that are
    /// wanted in each.
    pub(super) fn reserving(
        mut self,
        reserve: usize,
        wanted: impl Iterator<Item = (&'a [Code], Slots)>,
    ) -> Self {
        self.reserve = reserve;
        if reserve > 0 {
            let choose = |(prefix, wanted): (&'a [Code], Slots)| {
                (prefix, self.choose(&self.taken.below(prefix), &wanted))
            };
            self.reserved = wanted.map(choose).collect();
        }
        self
    }

    /// How many of the slots of a path are closed.
    pub(super) fn on(&self, path: &[Code]) -> u32 {
        let taken = self.taken.on(path);
        if self.reserve == 0 {
            return taken;
        }
        let (last, prefix) = path.split_last().expect("a path has a code");
        let reserved = self.reserved_below(prefix);
        let slots = reserved.iter().find(|(code, _)| code == last);
        taken + slots.map_or(0, |(_, slots)| *slots)
    }

    /// All closed slots of a prefix; a code may be listed twice.
    pub(super) fn below(&self, prefix: &[Code]) -> Slots {
        let mut slots = self.taken.below(prefix);
        if self.reserve > 0 {
            slots.extend(self.reserved_below(prefix));
        }
        slots
    }

    /// So many of all `paths` that one of them must have room beside `items`. A path without room
    /// is held or taken; or in reserve, of which every prefix has some: then it may take all.
    pub(super) fn enough(&self, items: usize, paths: usize) -> usize {
        match self.reserve {
            0 => paths.min(items + self.taken.len()),
            _ => paths,
        }
    }

    /// The share of all slots that are closed or that `items` need, about: the same number
    /// whichever of the items have been assigned before and are taken.
    pub(super) fn load(&self, items: usize, space: &CodeSpace) -> f64 {
        let slots = space.capacity() as f64 * f64::from(self.capacity);
        let reserve = self.reserve as f64 / (self.codes as f64 * f64::from(self.capacity));
        (items + self.taken.len()) as f64 / slots + reserve
    }

    fn reserved_below(&self, prefix: &[Code]) -> Slots {
        let unwanted = || self.choose(&self.taken.below(prefix), &[]);
        self.reserved.get(prefix).cloned().unwrap_or_else(unwanted)
    }

    /// The slots of one prefix to hold in reserve.
    fn choose(&self, taken: &[(Code, u32)], wanted: &[(Code, u32)]) -> Slots {
        let mut open = vec![self.capacity; self.codes];
        for &(code, slots) in taken {
            open[code.index()] = open[code.index()].saturating_sub(slots);
        }
        let mut spare = open.clone();
        for &(code, slots) in wanted {
            spare[code.index()] = spare[code.index()].saturating_sub(slots);
        }
        let mut left = u32::try_from(self.reserve).unwrap_or(u32::MAX);
        let mut chosen = vec![0; self.codes];
        for limit in [spare, open] {
            for (chosen, limit) in chosen.iter_mut().zip(limit).rev() {
                let more = (limit - *chosen).min(left);
                *chosen += more;
                left -= more;
            }
        }
        let codes = (0..=u16::MAX).map(Code).zip(chosen);
        codes.filter(|(_, slots)| *slots > 0).collect()
    }
}

/// Slots that are neither taken nor held in reserve, in all the space.
pub(super) fn open_slots(space: &CodeSpace, capacity: u32, reserve: Share, taken: &Taken) -> u128 {
    let last = space.size(space.levels() - 1);
    let of_prefix = last as u128 * u128::from(capacity);
    let open = of_prefix - reserve.of(of_prefix);
    let prefixes = space.capacity() / last as u128;
    let lost = taken.by_prefix().map(|slots| open.min(slots as u128));
    prefixes.saturating_mul(open).saturating_sub(lost.sum())
}
