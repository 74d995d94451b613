use std::collections::BTreeSet;

use super::Template;

/// The share of common groups of three letters from which two templates are too alike.
const ALIKE: f64 = 0.7;

/// Texts of a template in lower case, without white space and punctuation.
pub(super) fn skeleton(template: &Template) -> String {
    let letters = template.texts().flat_map(|text| text.source().chars());
    let letters = letters.filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// What is doubtful in the templates of one task.
pub(super) fn doubts(templates: &[Template]) -> Vec<(&Template, String)> {
    let mut doubts = Vec::new();
    let grams: Vec<_> = templates.iter().map(|one| grams(&skeleton(one))).collect();
    for (at, template) in templates.iter().enumerate() {
        let mut lines = template.texts().flat_map(|text| text.source().lines());
        if lines.any(|line| line != line.trim_end()) {
            doubts.push((template, "a line ends in white space".to_owned()));
        }
        for other in 0..at {
            let share = jaccard(&grams[at], &grams[other]);
            if share >= ALIKE {
                let (other, percent) = (&templates[other].name, 100.0 * share);
                doubts.push((template, format!("{percent:.0} % like {other:?}")));
            }
        }
    }
    doubts
}

fn grams(text: &str) -> BTreeSet<[char; 3]> {
    let letters: Vec<_> = text.chars().collect();
    letters
        .windows(3)
        .map(|gram| [gram[0], gram[1], gram[2]])
        .collect()
}

fn jaccard(one: &BTreeSet<[char; 3]>, other: &BTreeSet<[char; 3]>) -> f64 {
    let common = one.intersection(other).count();
    common as f64 / (one.len() + other.len() - common).max(1) as f64
}
