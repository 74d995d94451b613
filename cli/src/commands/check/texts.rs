//! What people call the items of an index, and what kind of thing they are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

use anyhow::bail;
use semantic_id::{ItemId, ItemKeys};
use semid_tasks::{Catalogue, ItemOptions};

use crate::map;

/// A part of the categories that so many of the items share tells nothing.
const COMMON: f64 = 0.9;

/// Titles and categories of an index's items.
pub(super) struct Texts {
    titles: Vec<Option<String>>,
    /// For each item the place of its category in `categories`.
    category: Vec<Option<u32>>,
    /// The categories' names, that of most items first.
    categories: Vec<String>,
    /// Items that the file does not have.
    pub(super) missing: usize,
}

impl Texts {
    pub(super) fn read(path: &Path, keys: &ItemKeys) -> anyhow::Result<Self> {
        let file = path.display().to_string();
        let catalogue = Catalogue::read(&file, &map::open(path)?, &ItemOptions::default())?;
        let found: Vec<_> = keys.iter().map(|key| catalogue.keys().find(key)).collect();
        let missing = found.iter().filter(|item| item.is_none()).count();
        if missing == found.len() {
            bail!(
                "{file}: none of its keys, such as {:?}, is one of the index, such as {:?}",
                catalogue.keys().get(ItemId(0)),
                keys.get(ItemId(0))
            );
        }
        let texts = |field| {
            let text = |item: &Option<ItemId>| catalogue.text((*item)?, field);
            found.iter().map(text).collect::<Vec<_>>()
        };
        let (category, categories) = categories(&texts("categories"));
        let titles = texts("title")
            .into_iter()
            .map(|title| title.map(str::to_owned));
        Ok(Self {
            titles: titles.collect(),
            category,
            categories,
            missing,
        })
    }

    /// For each item its category, if any item has one.
    pub(super) fn category(&self) -> Option<&[Option<u32>]> {
        (!self.categories.is_empty()).then_some(&self.category)
    }

    /// The names of the categories.
    pub(super) fn categories(&self) -> &[String] {
        &self.categories
    }

    pub(super) fn title(&self, item: ItemId) -> Option<&str> {
        self.titles[item.index()].as_deref()
    }
}

/// Each item's category and the categories' names: the first part of the texts, between commas,
/// in which items differ. "Video Games" in "Video Games, PC, Accessories" tells nothing where
/// nearly all items have it.
fn categories(texts: &[Option<&str>]) -> (Vec<Option<u32>>, Vec<String>) {
    let mut parts = nth(texts, 0);
    let mut ranked = rank(&parts);
    for number in 1.. {
        let labelled: usize = ranked.iter().map(|(_, items)| items).sum();
        let tells = |&(_, items): &(&str, usize)| (items as f64) < COMMON * labelled as f64;
        let next = nth(texts, number);
        if ranked.first().is_none_or(tells) || next.iter().all(Option::is_none) {
            break;
        }
        (ranked, parts) = (rank(&next), next);
    }
    let places: HashMap<&str, u32> = ranked.iter().map(|&(name, _)| name).zip(0..).collect();
    let category = parts.iter().map(|part| Some(places[(*part)?]));
    let names = ranked.iter().map(|&(name, _)| name.to_owned());
    (category.collect(), names.collect())
}

fn nth<'t>(texts: &[Option<&'t str>], number: usize) -> Vec<Option<&'t str>> {
    let part = |text: &Option<&'t str>| Some((*text)?.split(',').nth(number)?.trim());
    texts.iter().map(part).collect()
}

/// The distinct names and how many items have them, the most frequent first.
fn rank<'t>(parts: &[Option<&'t str>]) -> Vec<(&'t str, usize)> {
    let mut names: Vec<&str> = parts.iter().copied().flatten().collect();
    names.sort_unstable();
    let counts = names.chunk_by(|a, b| a == b);
    let mut ranked: Vec<_> = counts.map(|same| (same[0], same.len())).collect();
    ranked.sort_by_key(|&(_, items)| Reverse(items));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_nearly_all_items_share_is_no_category() {
        let texts = ["Games, PC", "Games,Wii, Used", "Games, PC, New", "Games"].map(Some);
        let (category, names) = categories(&texts);
        assert_eq!(names, ["PC", "Wii"]);
        assert_eq!(category, [Some(0), Some(1), Some(0), None]);

        let (category, names) = categories(&[Some("Toys"), None, Some("Toys")]);
        assert_eq!(names, ["Toys"], "there is no other part");
        assert_eq!(category, [Some(0), None, Some(0)]);
        assert_eq!(categories(&[None, None]), (vec![None, None], vec![]));
    }
}
