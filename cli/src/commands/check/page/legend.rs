//! What the colours of the tree mean.

use semantic_id::ItemId;
use serde::Serialize;

use crate::commands::check::inputs::Inputs;

/// Categories with a colour of their own.
const CATEGORIES: usize = 8;

/// Least training events of the steps of traffic, and their names.
const TRAFFIC: [(u64, &str); 5] = [
    (0, "no event"),
    (1, "1 to 3"),
    (4, "4 to 15"),
    (16, "16 to 63"),
    (64, "64 and more"),
];

/// The colours, and the one of each item: categories if there are any, else steps of traffic, else
/// the same for all.
#[derive(Debug, Serialize)]
pub(super) struct Legend {
    title: &'static str,
    /// Whether the colours are steps of a scale.
    steps: bool,
    names: Vec<String>,
    #[serde(skip)]
    colours: Vec<usize>,
}

impl Legend {
    pub(super) fn of(inputs: &Inputs) -> Self {
        let texts = inputs.texts.as_ref();
        if let Some((texts, category)) = texts.and_then(|texts| Some((texts, texts.category()?))) {
            let colour = |&category: &Option<u32>| {
                category.map_or(CATEGORIES, |category| CATEGORIES.min(category as usize))
            };
            let names = texts.categories().iter().take(CATEGORIES).cloned();
            return Self {
                title: "Category of most items",
                steps: false,
                names: names.chain(["others".to_owned()]).collect(),
                colours: category.iter().map(colour).collect(),
            };
        }
        let Some(events) = &inputs.events else {
            return Self {
                title: "",
                steps: false,
                names: Vec::new(),
                colours: vec![0; inputs.keys.len()],
            };
        };
        let colour = |&events: &u64| TRAFFIC.partition_point(|&(least, _)| least <= events) - 1;
        Self {
            title: "Training events of most items",
            steps: true,
            names: TRAFFIC.map(|(_, name)| name.to_owned()).to_vec(),
            colours: events.training.iter().map(colour).collect(),
        }
    }

    /// The colour of most items, and their share.
    pub(super) fn most(&self, items: impl Iterator<Item = ItemId>) -> (usize, f64) {
        let mut counts = [0_usize; CATEGORIES + 1];
        for item in items {
            counts[self.colours[item.index()]] += 1;
        }
        let colours = counts.iter().enumerate().rev();
        let (colour, &most) = colours
            .max_by_key(|(_, count)| **count)
            .expect("some colours");
        (colour, most as f64 / counts.iter().sum::<usize>() as f64)
    }
}
