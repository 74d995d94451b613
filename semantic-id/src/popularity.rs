use serde::{Deserialize, Serialize};

use crate::{CodeMatrix, CodeSpace, Error, Result};

/// How unevenly events fall on items, and on the codes of level 0.
///
/// An index may use all its codes evenly by items and still put most of the traffic on a few.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Popularity {
    /// Events that were counted.
    pub events: u64,
    /// Share of the events that the most popular fifth of the items have, rounded up.
    pub head: f64,
    /// Share of the events that the less popular half of the items have, rounded down.
    pub tail: f64,
    /// Share of the items without an event.
    pub cold: f64,
    /// The least share of the `K_0` codes whose items have half of the events; evenly spread .5.
    pub codes_for_half: f64,
    /// The least share of the `K_0` codes whose items have four fifths of the events.
    pub codes_for_most: f64,
}

impl Popularity {
    /// Measures the events of each item, `[N]`, in `O(N log N)`; all shares but `cold` are 0
    /// without events. Codes outside the space are passed over.
    ///
    /// ```
    /// use semantic_id::{Code, CodeMatrix, CodeSpace, Popularity};
    ///
    /// let paths = CodeMatrix::new([0, 0, 1, 1, 2].map(Code).to_vec(), 1)?;
    /// let popularity = Popularity::of(&paths, &CodeSpace::uniform(1, 4)?, &[6, 1, 2, 1, 0])?;
    /// assert_eq!((popularity.events, popularity.head, popularity.tail), (10, 0.6, 0.1));
    /// assert_eq!((popularity.cold, popularity.codes_for_half), (0.2, 0.25));
    /// # Ok::<(), semantic_id::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one count an item.
    pub fn of(paths: &CodeMatrix, space: &CodeSpace, events: &[u64]) -> Result<Self> {
        if events.len() != paths.len() {
            return Err(Error::Shape {
                what: "counts of events",
                got: events.len(),
                expected: paths.len(),
            });
        }
        let mut codes = vec![0; space.size(0)];
        for (path, events) in paths.rows().zip(events) {
            if let Some(count) = codes.get_mut(path[0].index()) {
                *count += events;
            }
        }
        let (items, codes) = (descending(events.to_vec()), descending(codes));
        let total: u64 = items.iter().sum();
        let share = |events: &[u64]| events.iter().sum::<u64>() as f64 / total.max(1) as f64;
        let cold = items.iter().filter(|&&events| events == 0).count();
        Ok(Self {
            events: total,
            head: share(&items[..items.len().div_ceil(5)]),
            tail: share(&items[items.len().div_ceil(2)..]),
            cold: cold as f64 / items.len().max(1) as f64,
            codes_for_half: enough(&codes, total.div_ceil(2)),
            codes_for_most: enough(&codes, (total * 4).div_ceil(5)),
        })
    }
}

fn descending(mut counts: Vec<u64>) -> Vec<u64> {
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

/// The share of the counts, the largest first, that add up to `wanted`.
fn enough(counts: &[u64], wanted: u64) -> f64 {
    let sums = counts.iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    let taken = if wanted == 0 {
        0
    } else {
        sums.take_while(|&sum| sum < wanted).count() + 1
    };
    taken as f64 / counts.len() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Code;

    proptest! {
        #[test]
        fn so_many_codes_are_enough_and_fewer_are_not(
            items in prop::collection::vec((0_u16..6, 0_u64..9), 1..40),
        ) {
            let paths = items.iter().map(|item| Code(item.0)).collect();
            let paths = CodeMatrix::new(paths, 1).expect("one level");
            let events: Vec<u64> = items.iter().map(|item| item.1).collect();
            let space = CodeSpace::uniform(1, 6).expect("a space");
            let popularity = Popularity::of(&paths, &space, &events).expect("one an item");

            let of_code = |code| items.iter().filter(|item| item.0 == code).map(|item| item.1).sum();
            let mut codes: Vec<u64> = (0..6).map(of_code).collect();
            codes.sort_unstable();
            codes.reverse();
            let total: u64 = events.iter().sum();
            for (wanted, got) in [(0.5, popularity.codes_for_half), (0.8, popularity.codes_for_most)] {
                let taken = (got * 6.0).round() as usize;
                let held = |codes: &[u64]| codes.iter().sum::<u64>() as f64;
                prop_assert!(held(&codes[..taken]) >= wanted * total as f64 - 1e-9);
                if let Some(fewer) = taken.checked_sub(1) {
                    prop_assert!(held(&codes[..fewer]) < wanted * total as f64);
                }
            }
            prop_assert_eq!(popularity.events, total);
        }
    }
}
