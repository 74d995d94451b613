//! Paths of different lengths, and numbers as codes.

use std::collections::BTreeMap;

use semantic_id::{Code, CodeMatrix, CodeSpace};

use super::ClassicIds;
use crate::{Error, Result};

/// Codes that a level may have and still pad: one number is for the end.
const MOST: usize = (CodeSpace::MAX_CODES - 1) as usize;

/// Numbers below a bound, written with equally many digits, the most significant first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter {
    base: usize,
    digits: u32,
}

impl Counter {
    /// For the numbers `0..count`.
    pub(super) fn below(count: usize, base: u32) -> Result<Self> {
        if base < 2 || base as usize > MOST {
            return Err(Error::Setting {
                name: "codes",
                got: base.to_string(),
                expected: format!("2 to {MOST}, to count items with"),
            });
        }
        let base = base as usize;
        let enough = |digits: &u32| base.checked_pow(*digits).is_none_or(|all| all >= count);
        let digits = (1..).find(enough).expect("powers of two or more grow");
        Ok(Self { base, digits })
    }

    /// Appends a number; its first digit begins at `offset`.
    pub(super) fn write(&self, number: usize, offset: u32, path: &mut Vec<u32>) {
        let first = path.len();
        for digit in (0..self.digits).rev() {
            path.push((number / self.base.pow(digit) % self.base) as u32);
        }
        path[first] += offset;
    }
}

/// Tells the items of each prefix apart by a counter in base `codes`, which begins after the
/// codes that go on from there to longer prefixes. An item alone at the end of its prefix needs
/// none.
pub(super) fn counted(mut prefixes: Vec<Vec<u32>>, codes: u32) -> Result<Vec<Vec<u32>>> {
    let mut next: BTreeMap<&[u32], u32> = BTreeMap::new();
    let mut members: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
    for (item, path) in prefixes.iter().enumerate() {
        for (level, &code) in path.iter().enumerate() {
            let next = next.entry(&path[..level]).or_default();
            *next = (*next).max(code + 1);
        }
        members.entry(path.clone()).or_default().push(item);
    }
    let offsets = members
        .keys()
        .map(|path| next.get(&path[..]).copied().unwrap_or(0));
    let offsets: Vec<u32> = offsets.collect();
    for ((path, items), offset) in members.iter().zip(offsets) {
        let counter = Counter::below(items.len(), codes)?;
        if items.len() == 1 && offset == 0 && !path.is_empty() {
            continue;
        }
        for (number, &item) in items.iter().enumerate() {
            counter.write(number, offset, &mut prefixes[item]);
        }
    }
    Ok(prefixes)
}

/// Appends to each prefix the number of its item in the catalogue, beyond all codes of prefixes.
pub(super) fn numbered(mut prefixes: Vec<Vec<u32>>) -> Result<Vec<Vec<u32>>> {
    let offset = prefixes.iter().flatten().max().map_or(0, |&code| code + 1);
    let base = MOST
        .saturating_sub(offset as usize)
        .min(prefixes.len().max(2));
    let counter = Counter::below(prefixes.len(), base as u32)?;
    for (item, path) in prefixes.iter_mut().enumerate() {
        counter.write(item, offset, path);
    }
    Ok(prefixes)
}

/// Pads the paths to one length, in a space as large as they ask for.
pub(super) fn ragged(paths: Vec<Vec<u32>>, unknown: usize) -> Result<ClassicIds> {
    let levels = paths.iter().map(Vec::len).max().unwrap_or(0);
    let code_at = |level: usize| paths.iter().filter_map(move |path| path.get(level));
    let size = |level| {
        code_at(level)
            .max()
            .map_or(1, |&code| code.saturating_add(1))
    };
    let space = CodeSpace::new((0..levels).map(size).collect())?;
    let mut codes = Vec::with_capacity(paths.len() * levels);
    for path in &paths {
        let fits = "a level's size was taken from its largest code";
        codes.extend(
            path.iter()
                .map(|&code| Code(u16::try_from(code).expect(fits))),
        );
        for level in path.len()..levels {
            let end = space.end(level).ok_or_else(|| Error::Setting {
                name: "codes",
                got: format!("{} at level {level}", space.size(level)),
                expected: format!("at most {MOST} where IDs may have ended"),
            })?;
            codes.push(end);
        }
    }
    Ok(ClassicIds {
        paths: CodeMatrix::new(codes, levels)?,
        space,
        unknown,
    })
}
