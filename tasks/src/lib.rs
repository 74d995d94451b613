//! Items and histories: what a generative recommender learns from.
//!
//! A [`Catalogue`] is read from the bytes of an items file, in any of the
//! formats that the field uses. Files are the caller's affair; this crate takes
//! bytes, and a name to put into its errors.
//!
//! ```
//! use semid_tasks::{Catalogue, ItemOptions};
//!
//! let items = br#"
//!     {"asin": "B01", "title": "Pok&eacute;mon Blue.", "categories": ["Games", "Game Boy"]}
//!     {"asin": "B02", "title": "Tetris", "categories": []}
//! "#;
//! let catalogue = Catalogue::read("items.jsonl", items, &ItemOptions::default())?;
//!
//! assert_eq!(catalogue.keys().iter().collect::<Vec<_>>(), ["B01", "B02"]);
//! let texts: Vec<String> = catalogue.texts(&["title", "categories"])?.collect();
//! assert_eq!(texts, ["Pokémon Blue. Games, Game Boy", "Tetris"]);
//! # Ok::<(), semid_tasks::Error>(())
//! ```

pub mod audit;
mod catalogue;
pub mod corpus;
mod draw;
mod error;
mod events;
mod format;
pub mod generators;
mod histories;
mod input;
pub mod metrics;
mod question;
mod recipe;
pub mod rewards;
mod row;
mod side;
mod stored;
mod template;
pub mod tokens;

pub use catalogue::{Catalogue, Cleaning, CleaningSteps, ItemFormat, ItemOptions};
pub use draw::Draw;
pub use error::{Error, Place, Result};
pub use events::{Event, EventFormat, EventOptions};
pub use format::{
    ChatTemplate, Container, CorpusFolder, DatasetCard, Folder, Need, RowFormat, RowWriter, Shard,
    ShardWriter, dataset_info, new_tokens, shard_name,
};
pub use histories::{
    Duplicates, Filter, Filtering, Histories, HistoriesBuilder, HistoryOptions, Leakage, Part,
    Split, UnknownItems, UserId, UserOrder,
};
pub use input::Input;
pub use question::Question;
pub use recipe::{
    ChatTable, HistoryTable, Inputs, Interactions, InteractionsTable, ItemsTable, NegativesTable,
    OutputTable, Policy, Recipe, RecipeParams, SplitTable, TaskTable, TokensTable,
};
pub use row::{Provenance, Row, SequenceItem, Target};
pub use side::{Ingested, SideAnswer, SideRecord, SideRequest, SideText, SideTexts};
pub use stored::{StoredRow, read_rows};
pub use template::{Finding, Side, Slot, Template, Templates, Text, Values};
