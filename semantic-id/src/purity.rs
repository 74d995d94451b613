use serde::{Deserialize, Serialize};

use crate::shuffle::shuffled;
use crate::{Code, CodeMatrix, Error, Result};

/// How far items that begin alike are of one category.
///
/// Of the items that have a category, the share that has the one which most items of their prefix
/// have. Small groups are pure by chance and single items always are, so it says something only
/// beside the control.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Purity {
    /// The share, 0 to 1.
    pub value: f64,
    /// The same with the categories dealt out at random among the items that have one.
    pub shuffled: f64,
}

impl Purity {
    /// The purity below the prefixes of 1, 2, ... `L` codes, `[L]`; 0 if no item has a category.
    /// `O(N L log N)`.
    ///
    /// ```
    /// use semantic_id::{Code, CodeMatrix, Purity};
    ///
    /// // Below code 0 are two items of category 5 and one of 6, below code 1 one of 6.
    /// let paths = CodeMatrix::new([0, 0, 0, 1, 1].map(Code).to_vec(), 1)?;
    /// let categories = [Some(5), Some(5), Some(6), Some(6), None];
    /// assert_eq!(Purity::of(&paths, &categories, 0)?[0].value, 3.0 / 4.0);
    /// # Ok::<(), semantic_id::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one entry an item.
    pub fn of(paths: &CodeMatrix, categories: &[Option<u32>], seed: u64) -> Result<Vec<Self>> {
        if categories.len() != paths.len() {
            return Err(Error::Shape {
                what: "categories",
                got: categories.len(),
                expected: paths.len(),
            });
        }
        let all = paths.rows().zip(categories);
        let mut labelled: Vec<Labelled<'_>> = all
            .filter_map(|(path, &category)| Some((path, category?)))
            .collect();
        let dealt = shuffled(labelled.len(), seed, "semid purity control", 0);
        let dealt = dealt.into_iter().map(|from| labelled[from as usize].1);
        let of_all = labelled.iter().map(|item| item.0);
        let mut control: Vec<Labelled<'_>> = of_all.zip(dealt).collect();
        labelled.sort_unstable();
        control.sort_unstable();
        let of = |depth| Self {
            value: share(&labelled, depth),
            shuffled: share(&control, depth),
        };
        Ok((1..=paths.levels()).map(of).collect())
    }
}

/// An item's path and its category.
type Labelled<'a> = (&'a [Code], u32);

/// The share of sorted items that have the most frequent category of their prefix.
fn share(items: &[Labelled<'_>], depth: usize) -> f64 {
    let prefixes = items.chunk_by(|a, b| a.0[..depth] == b.0[..depth]);
    let majorities = prefixes.map(|items| {
        let mut categories: Vec<u32> = items.iter().map(|item| item.1).collect();
        categories.sort_unstable();
        let counts = categories.chunk_by(|a, b| a == b).map(<[u32]>::len);
        counts.max().expect("a chunk is not empty")
    });
    majorities.sum::<usize>() as f64 / items.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_that_follow_the_codes_are_purer_than_dealt_ones() {
        // Ten categories of 30 items; the first code is the category, the second is not.
        let codes = (0..300).flat_map(|item: u16| [Code(item / 30), Code(item % 3)]);
        let paths = CodeMatrix::new(codes.collect(), 2).expect("whole rows");
        let categories: Vec<_> = (0..300).map(|item| Some(item / 30)).collect();
        let purity = Purity::of(&paths, &categories, 7).expect("one an item");
        assert_eq!(purity.len(), 2);
        for level in &purity {
            assert_eq!(level.value, 1.0);
            assert!(level.shuffled < 0.5, "{level:?}");
        }
        assert_eq!(purity, Purity::of(&paths, &categories, 7).expect("again"));
        assert_ne!(purity, Purity::of(&paths, &categories, 8).expect("again"));

        let one = Purity::of(&paths, &[Some(3); 300], 7).expect("one an item");
        assert_eq!(
            one[0],
            Purity {
                value: 1.0,
                shuffled: 1.0
            }
        );
        let none = Purity::of(&paths, &[None; 300], 7).expect("one an item");
        assert_eq!(
            none[0],
            Purity {
                value: 0.0,
                shuffled: 0.0
            }
        );
        assert!(Purity::of(&paths, &[None; 299], 7).is_err());
    }
}
