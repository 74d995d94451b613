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

mod catalogue;
mod draw;
mod error;
mod events;
mod histories;
pub mod metrics;
pub mod rewards;

pub use catalogue::{Catalogue, Cleaning, ItemFormat, ItemOptions};
pub use draw::Draw;
pub use error::{Error, Place, Result};
pub use events::Event;
pub use histories::{
    Histories, HistoriesBuilder, HistoryOptions, Leakage, Part, Split, UnknownItems, UserId,
};
