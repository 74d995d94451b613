//! Generation that can only produce real items.
//!
//! A generative recommender names an item by generating its semantic ID, code by code. This
//! crate tells which codes may come next and finds the best items: a trie over the index file,
//! masks for samplers that own their loop, and searches for those that do not.
//!
//! | I have | I want | use |
//! |---|---|---|
//! | an index file | which codes may follow a prefix | [`ItemTrie`] |
//! | a beam's state | the items below it | [`TrieCursor`], [`ItemTrie::items_below`] |
//!
//! Nothing here needs libtorch, a tokenizer or a model: a few arrays in, codes and items out.

mod error;
mod trie;

pub use error::{Error, Result};
pub use trie::{Children, ItemTrie, TrieCursor};
