use std::cmp::Reverse;
use std::collections::HashMap;

/// The base in which equal titles are counted.
pub(super) const COUNTER: u32 = 256;

/// The first `length` words of each title, as ranks by frequency; `most` for all further words.
/// Words are runs of letters and digits, in lower case; ties go to the word that comes first in
/// the alphabet.
pub(super) fn prefixes(titles: &[&str], most: u32, length: usize) -> Vec<Vec<u32>> {
    let titles: Vec<Vec<String>> = titles.iter().map(|title| words(title, length)).collect();
    let mut frequency: HashMap<&str, usize> = HashMap::new();
    for word in titles.iter().flatten() {
        *frequency.entry(word).or_default() += 1;
    }
    let mut by_rank: Vec<(&str, usize)> = frequency.into_iter().collect();
    by_rank.sort_unstable_by_key(|&(word, count)| (Reverse(count), word));
    let words = by_rank.into_iter().map(|(word, _)| word);
    let rank: HashMap<&str, u32> = words.zip((0..).map(|rank: u32| rank.min(most))).collect();
    let path = |title: &Vec<String>| title.iter().map(|word| rank[word.as_str()]).collect();
    titles.iter().map(path).collect()
}

fn words(title: &str, length: usize) -> Vec<String> {
    let words = title.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty()).take(length);
    words.map(str::to_lowercase).collect()
}
