use std::collections::HashMap;

use semantic_id::{ItemId, ItemKeys};

use super::record::{Record, Text};
use super::{Catalogue, Cleaning, CleaningSteps, Column, ItemOptions};
use crate::{Error, Place, Result};

/// The usual names of the field with the key, in lower case, first choice first.
const KEY_FIELDS: [&str; 8] = [
    "item_id",
    "id",
    "parent_asin",
    "asin",
    "key",
    "sku",
    "product_id",
    "movieid",
];

/// Takes records one by one and makes them a [`Catalogue`].
pub(super) struct Builder<'a> {
    file: &'a str,
    /// The field with the key, once known; stays `None` where keys are outer.
    key_field: Option<String>,
    keys: Vec<String>,
    places: Vec<Place>,
    columns: Vec<Column>,
    column_of: HashMap<String, usize>,
    steps: CleaningSteps,
    cleaning: Cleaning,
}

impl<'a> Builder<'a> {
    pub(super) fn new(file: &'a str, options: &ItemOptions) -> Self {
        Self {
            file,
            key_field: options.key.clone(),
            keys: Vec::new(),
            places: Vec::new(),
            columns: Vec::new(),
            column_of: HashMap::new(),
            steps: options.cleaning,
            cleaning: Cleaning::default(),
        }
    }

    /// Adds the next item.
    pub(super) fn push(&mut self, record: Record) -> Result<()> {
        let row = u32::try_from(self.keys.len())
            .map_err(|_| self.bad(record.place, "more than 2^32 - 1 items"))?;
        let key = self.key(&record)?;
        self.keys.push(key);
        self.places.push(record.place);
        for (name, text) in record.fields {
            if self.key_field.as_ref() != Some(&name) {
                self.push_text(ItemId(row), name, text);
            }
        }
        Ok(())
    }

    fn key(&mut self, record: &Record) -> Result<String> {
        if self.key_field.is_none() && record.outer_key.is_none() {
            self.key_field = Some(self.find_key_field(record)?);
        }
        let Some(field) = &self.key_field else {
            return Ok(record.outer_key.clone().unwrap_or_default());
        };
        let text = record.fields.iter().find(|(name, _)| name == field);
        match text.map(|(_, text)| text.parts.as_slice()) {
            Some([key]) if !key.is_empty() => Ok(key.clone()),
            Some([_, _, ..]) => Err(self.bad(record.place, format!("the key {field:?} is a list"))),
            _ => Err(self.bad(record.place, format!("the key {field:?} is missing"))),
        }
    }

    fn find_key_field(&self, record: &Record) -> Result<String> {
        let names = || record.fields.iter().map(|(name, _)| name);
        let usual = |key: &&str| names().find(|name| name.eq_ignore_ascii_case(key));
        KEY_FIELDS.iter().find_map(usual).cloned().ok_or_else(|| {
            let names: Vec<_> = names().map(String::as_str).collect();
            let names = names.join(", ");
            let problem = format!("no field looks like a key; name the one to use of: {names}");
            self.bad(record.place, problem)
        })
    }

    fn push_text(&mut self, item: ItemId, name: String, text: Text) {
        self.cleaning.nested_skipped += usize::from(text.has_nested);
        let steps = self.steps;
        let parts = text.parts.iter();
        let parts = parts.map(|part| self.cleaning.clean(part, steps));
        let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return;
        }
        let at = *self.column_of.entry(name).or_insert_with_key(|name| {
            self.columns.push(Column::new(name.clone()));
            self.columns.len() - 1
        });
        self.columns[at].push(item, &parts.join(", "));
    }

    /// The catalogue of all items given.
    pub(super) fn finish(self) -> Result<Catalogue> {
        if self.keys.is_empty() {
            return Err(self.unreadable("there are no items in it"));
        }
        let keys = ItemKeys::new(&self.keys).map_err(|error| match error {
            semantic_id::Error::DuplicateKey { key, first, second } => Error::DuplicateKey {
                file: self.file.to_owned(),
                key,
                first: self.places[first],
                second: self.places[second],
            },
            source => Error::Keys {
                file: self.file.to_owned(),
                source: Box::new(source),
            },
        })?;
        Ok(Catalogue {
            keys,
            columns: self.columns,
            cleaning: self.cleaning,
        })
    }

    /// The error of a file that cannot be read.
    pub(super) fn unreadable(&self, problem: impl Into<String>) -> Error {
        Error::Format {
            file: self.file.to_owned(),
            problem: problem.into(),
        }
    }

    /// The error of a record that cannot be read.
    pub(super) fn bad(&self, place: Place, problem: impl Into<String>) -> Error {
        Error::Record {
            file: self.file.to_owned(),
            place,
            problem: problem.into(),
        }
    }
}
