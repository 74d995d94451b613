mod builder;
mod clean;
mod column;
mod format;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
mod table;
#[cfg(test)]
mod tests;

use semantic_id::{ItemId, ItemKeys};

use crate::input::decompressed;
use crate::{Error, Result};
use builder::Builder;
use column::Column;

pub use clean::{Cleaning, CleaningSteps};
pub use format::ItemFormat;

pub(crate) use format::is_recbole_header;
pub(crate) use json::reason;
#[cfg(feature = "parquet")]
pub(crate) use parquet::reason as parquet_reason;
pub(crate) use table::{check_names, csv_reason};

/// Names under which the field knows the same thing; the first is ours.
const SAME: [&[&str]; 3] = [
    &["title", "name", "movie_title", "item_name"],
    &["categories", "category", "class", "genres"],
    &["description"],
];

/// How to read an items file.
#[derive(Debug, Clone, Default)]
pub struct ItemOptions {
    /// The format; told by content and ending if `None`.
    pub format: Option<ItemFormat>,
    /// The field that holds the keys. If `None`: the outer key in an LC-Rec
    /// file, else the first there is of `item_id`, `id`, `parent_asin`, `asin`,
    /// `key`, `sku`, `product_id`, `movieid`, in any case of letters.
    pub key: Option<String>,
    /// What is done to texts.
    pub cleaning: CleaningSteps,
}

/// The items that there are: for each a key and its text fields, as far as it has them.
///
/// Texts are cleaned as they are read, as [`ItemOptions::cleaning`] says: HTML
/// entities decoded, white space made single spaces. Lists are joined by `", "`. A text of nothing but white space and
/// full stops (LC-Rec writes `"."` for a missing one) is missing. Numbers and
/// booleans are kept as texts; nested objects are left out and counted.
///
/// Memory: the texts, and 12 bytes for each.
#[derive(Debug, Clone)]
pub struct Catalogue {
    keys: ItemKeys,
    columns: Vec<Column>,
    cleaning: Cleaning,
}

impl Catalogue {
    /// Reads an items file, which may be compressed by gzip or zstd. `file` is
    /// its name, for its ending and for errors.
    ///
    /// Items keep the order of the file, but for LC-Rec files whose keys are all
    /// integers: these follow the numbers, as the rows of their embeddings do.
    ///
    /// # Errors
    ///
    /// If the format cannot be told, a record cannot be read or has no key, two
    /// items have one key, or there is no item. `O(bytes + N log N)`.
    pub fn read(file: &str, bytes: &[u8], options: &ItemOptions) -> Result<Self> {
        let mut builder = Builder::new(file, options);
        let plain = decompressed(bytes).map_err(|error| builder.unreadable(error.to_string()))?;
        let bytes = plain.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&plain);
        let format = match options.format {
            Some(format) => format,
            None => ItemFormat::detect(file, bytes)?,
        };
        match format {
            ItemFormat::Jsonl => json::read_lines(bytes, &mut builder)?,
            ItemFormat::LcRec => json::read_lc_rec(bytes, &mut builder)?,
            ItemFormat::Csv => table::read_csv(bytes, &mut builder)?,
            ItemFormat::RecBole => table::read_recbole(bytes, &mut builder)?,
            #[cfg(feature = "parquet")]
            ItemFormat::Parquet => parquet::read(bytes, &mut builder)?,
            #[cfg(not(feature = "parquet"))]
            ItemFormat::Parquet => {
                return Err(builder.unreadable("built without the feature `parquet`"));
            }
        }
        builder.finish()
    }

    /// Number of items `N`.
    #[expect(clippy::len_without_is_empty, reason = "never empty by construction")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The items' keys.
    pub fn keys(&self) -> &ItemKeys {
        &self.keys
    }

    /// The names of the fields that at least one item has, in order of appearance.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(Column::name)
    }

    /// Whether at least one item has the field, under this name or a usual
    /// other one: `title` is also called `name`, `movie_title` and `item_name`;
    /// `categories` also `category`, `class` and `genres`.
    pub fn has_field(&self, field: &str) -> bool {
        self.column(field).is_some()
    }

    /// The text of one field, found as by [`Catalogue::has_field`]; `None` if
    /// the item has none. `O(log N)`.
    pub fn text(&self, item: ItemId, field: &str) -> Option<&str> {
        self.column(field)?.get(item)
    }

    /// For each item its fields as one text, to be embedded: every field
    /// trimmed of white space, then of full stops at its end; empty ones
    /// dropped; the rest joined by `". "`. Empty for an item with none of them.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownField`] if no item has one of the fields.
    pub fn texts<S: AsRef<str>>(
        &self,
        fields: &[S],
    ) -> Result<impl ExactSizeIterator<Item = String>> {
        let columns = fields
            .iter()
            .map(|field| self.known_column(field.as_ref()))
            .collect::<Result<Vec<_>>>()?;
        Ok((0..self.len() as u32).map(move |row| sentence(&columns, ItemId(row))))
    }

    /// What was changed while reading.
    pub fn cleaning(&self) -> Cleaning {
        self.cleaning
    }

    fn column(&self, field: &str) -> Option<&Column> {
        let named = |name: &str| self.columns.iter().find(|column| column.name() == name);
        named(field).or_else(|| {
            let names = SAME.iter().find(|names| names.contains(&field))?;
            names.iter().find_map(|name| named(name))
        })
    }

    fn known_column(&self, field: &str) -> Result<&Column> {
        self.column(field).ok_or_else(|| Error::UnknownField {
            field: field.to_owned(),
            known: self.fields().map(str::to_owned).collect(),
        })
    }
}

fn sentence(columns: &[&Column], item: ItemId) -> String {
    let parts = columns
        .iter()
        .filter_map(|column| column.get(item))
        .map(|text| text.trim().trim_end_matches('.'))
        .filter(|text| !text.is_empty());
    parts.collect::<Vec<_>>().join(". ")
}
