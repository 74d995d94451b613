use std::collections::HashMap;

use super::flow::{Edge, Fare, Row, Transport};
use crate::{Code, CodeMatrix, CodeSpace, Error, Result};

/// Other names for the codes of each level.
///
/// What a model calls its codes means nothing: two models with the same codebooks in another
/// order give the same index under other IDs. So a retrained model takes over the names of the
/// model before it, such that as many items as possible have the codes that they had.
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace, Relabelling};
///
/// let space = CodeSpace::uniform(1, 3)?;
/// let old = CodeMatrix::new([0, 0, 1, 2].map(Code).to_vec(), 1)?;
/// let new = CodeMatrix::new([2, 2, 0, 0].map(Code).to_vec(), 1)?;
/// let names = Relabelling::of(&old, &new, &space)?;
/// // Code 2 was 0; of the items of code 0 one was 1, one was 2; code 1 gets what is left.
/// assert_eq!(names.apply(&new).rows().flatten().collect::<Vec<_>>(), [0, 0, 1, 1].map(Code).each_ref());
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relabelling {
    names: Vec<Vec<Code>>,
}

/// How many items have a pair of codes.
#[derive(Default)]
struct Agreement {
    /// Of those that agree on all levels before.
    so_far: u32,
    all: u32,
}

impl Relabelling {
    /// The names for the codes of `new` that bring its paths `[N, L]` nearest to `old`, the paths
    /// that the same items had.
    ///
    /// Level by level the most items that agree on all levels so far, then the most that agree on
    /// this one: an assignment problem (Kuhn, *The Hungarian method*, 1955), solved exactly. Codes
    /// that share no items get the names that are left, in order.
    ///
    /// `O(N)` and, for `E` pairs of codes that share items, at worst `O(K E log E)` a level.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there are not as many paths in both; those of [`CodeMatrix::check`].
    pub fn of(old: &CodeMatrix, new: &CodeMatrix, space: &CodeSpace) -> Result<Self> {
        if old.len() != new.len() {
            return Err(Error::Shape {
                what: "paths to relabel",
                got: new.len(),
                expected: old.len(),
            });
        }
        old.check(space)?;
        new.check(space)?;
        let mut agrees = vec![true; old.len()];
        let mut names = Vec::with_capacity(space.levels());
        for level in 0..space.levels() {
            let mut pairs: HashMap<(Code, Code), Agreement> = HashMap::new();
            for ((old, new), agrees) in old.rows().zip(new.rows()).zip(&agrees) {
                let pair = pairs.entry((new[level], old[level])).or_default();
                pair.so_far += u32::from(*agrees);
                pair.all += 1;
            }
            let of_level = best_names(&pairs, space.size(level));
            for ((old, new), agrees) in old.rows().zip(new.rows()).zip(&mut agrees) {
                *agrees &= of_level[new[level].index()] == old[level];
            }
            names.push(of_level);
        }
        Ok(Self { names })
    }

    /// The new names of the codes of each level, `[L][K_l]`: a permutation of them.
    pub fn names(&self) -> &[Vec<Code>] {
        &self.names
    }

    /// The same paths under the new names.
    ///
    /// # Panics
    ///
    /// If a code is none of the space.
    pub fn apply(&self, paths: &CodeMatrix) -> CodeMatrix {
        let names = self.names.iter().cycle();
        let codes = paths.rows().flatten().zip(names);
        let codes = codes.map(|(code, names)| names[code.index()]).collect();
        CodeMatrix::new(codes, paths.levels()).expect("as many codes as before")
    }
}

/// A name for every code of a level, at the most agreement.
fn best_names(pairs: &HashMap<(Code, Code), Agreement>, codes: usize) -> Vec<Code> {
    let most = |of: fn(&Agreement) -> u32| pairs.values().map(of).max().unwrap_or(0);
    let (so_far, all) = (most(|a| a.so_far), most(|a| a.all));
    // What is lacking to the best pair is what a pair costs; a code without a name costs that much.
    let fare = |agreement: &Agreement| Fare {
        moves: so_far - agreement.so_far,
        distance: (all - agreement.all) as f32,
    };
    let nameless = Edge {
        column: codes as u32,
        fare: fare(&Agreement::default()),
    };
    let row = Row {
        supply: 1,
        edges: Vec::new(),
        beyond: None,
    };
    let mut rows = vec![row; codes];
    for ((new, old), agreement) in pairs {
        rows[new.index()].edges.push(Edge {
            column: old.0.into(),
            fare: fare(agreement),
        });
    }
    for row in &mut rows {
        row.edges.sort_unstable_by(|a, b| {
            let by_distance = a.fare.distance.total_cmp(&b.fare.distance);
            let by_moves = a.fare.moves.cmp(&b.fare.moves);
            by_moves.then(by_distance).then(a.column.cmp(&b.column))
        });
        row.edges.push(nameless);
    }
    let mut room = vec![1; codes];
    room.push(codes as u32);
    let plan = Transport::new(&rows, &room).solve(None);

    let mut free = vec![true; codes];
    let names: Vec<Option<usize>> = (0..codes)
        .map(|new| {
            let edge = rows[new].edges[plan.choices(new)[0] as usize];
            let name = Some(edge.column as usize).filter(|&name| name < codes);
            name.inspect(|&name| free[name] = false)
        })
        .collect();
    let mut left = (0..codes).filter(|&name| free[name]);
    let names = names.into_iter().map(|name| {
        let name = name.or_else(|| left.next());
        Code(name.expect("as many names as codes") as u16)
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All orders of the numbers below `count`.
    fn permutations(count: usize) -> Vec<Vec<u16>> {
        match count.checked_sub(1) {
            None => vec![vec![]],
            Some(last) => permutations(last)
                .into_iter()
                .flat_map(|order| {
                    (0..=last).map(move |at| {
                        let mut order = order.clone();
                        order.insert(at, last as u16);
                        order
                    })
                })
                .collect(),
        }
    }

    fn paths(codes: &[u16]) -> CodeMatrix {
        CodeMatrix::new(codes.iter().map(|&code| Code(code)).collect(), 2).expect("whole rows")
    }

    proptest! {
        #[test]
        fn names_are_those_that_brute_force_finds(
            codes in 1u16..7,
            items in prop::collection::vec((0u16..6, 0u16..6, 0u16..6, 0u16..6), 1..40),
        ) {
            let space = CodeSpace::uniform(2, codes.into()).expect("a space");
            let pick = |of: fn(&(u16, u16, u16, u16)) -> [u16; 2]| -> Vec<u16> {
                items.iter().flat_map(of).map(|code| code % codes).collect()
            };
            let (old, new) = (paths(&pick(|i| [i.0, i.1])), paths(&pick(|i| [i.2, i.3])));
            let relabelling = Relabelling::of(&old, &new, &space).expect("they fit");

            let mut agrees = vec![true; items.len()];
            for level in 0..2 {
                let score = |name: &dyn Fn(Code) -> u16| {
                    let same = |item: &usize| {
                        let item = crate::ItemId(*item as u32);
                        name(new.row(item)[level]) == old.row(item)[level].0
                    };
                    let all: Vec<usize> = (0..items.len()).filter(same).collect();
                    (all.iter().filter(|&&item| agrees[item]).count(), all.len())
                };
                let names = &relabelling.names()[level];
                let best = permutations(codes.into()).into_iter();
                let best = best.map(|order| score(&|code| order[code.index()])).max();
                prop_assert_eq!(Some(score(&|code| names[code.index()].0)), best);

                let mut sorted = names.clone();
                sorted.sort_unstable();
                prop_assert!(sorted.into_iter().eq((0..codes).map(Code)), "a permutation");
                for (item, agrees) in agrees.iter_mut().enumerate() {
                    let item = crate::ItemId(item as u32);
                    *agrees &= names[new.row(item)[level].index()] == old.row(item)[level];
                }
            }
        }
    }
}
