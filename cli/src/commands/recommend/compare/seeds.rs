use std::collections::BTreeSet;
use std::str::FromStr;

/// The seeds of trainings: `3` stands for 1, 2 and 3; `3,` for 3 alone; `5,9` for these two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seeds(pub(super) Vec<u64>);

/// More trainings of one index than anybody waits for.
const MOST: u64 = 1000;

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.trim().parse::<u64>();
            number.map_err(|_| format!("got {text:?}, expected a number of seeds, or A,B,C"))
        };
        let Some((first, more)) = text.split_once(',') else {
            return match number(text)? {
                count @ 1..=MOST => Ok(Self((1..=count).collect())),
                count => Err(format!("got {count} seeds, expected 1 to {MOST}")),
            };
        };
        let more = Some(more).filter(|more| !more.is_empty());
        let listed = more.into_iter().flat_map(|more| more.split(','));
        let seeds: Vec<u64> = [first]
            .into_iter()
            .chain(listed)
            .map(number)
            .collect::<Result<_, _>>()?;
        match seeds.iter().collect::<BTreeSet<_>>().len() == seeds.len() {
            true => Ok(Self(seeds)),
            false => Err("a seed is there twice".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_or_a_list() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
        assert_eq!(seeds("3"), Ok(vec![1, 2, 3]));
        assert_eq!(seeds("3,"), Ok(vec![3]));
        assert_eq!(seeds("9, 5"), Ok(vec![9, 5]));
        for wrong in ["", "0", "1001", "x", "1,,2", "4,4", ",", "-1"] {
            seeds(wrong).expect_err(wrong);
        }
    }
}
