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
//! | a request's rules | which items it may be given | [`Filter`] |
//! | a model's tokenizer | its tokens for our codes | [`TokenMap`] |
//! | a sampler | which tokens it may draw next | [`TokenMask`] |
//! | a server that owns the loop | masks and items for its beams | [`DecodeSession`] |
//! | a model that scores prefixes | the best items, and whether they are | [`BeamSearch`] |
//! | the same | distinct items drawn at random | [`StochasticSearch`] |
//! | the same | a list that grows item by item | [`Slate`] |
//! | items that come and go | a snapshot for each request | [`Catalog`] |
//!
//! Nothing here needs libtorch, a tokenizer or a model: a few arrays in, codes and items out. The
//! feature `candle` adds a module for models that run on candle, with its tensors for arrays.

mod beam;
mod best_first;
mod bitmap;
#[cfg(feature = "candle")]
pub mod candle;
mod catalog;
mod engine;
mod error;
mod filter;
mod logits;
mod mask;
mod normalizer;
mod prefetch;
mod scorer;
mod session;
mod slate;
mod step;
mod stochastic;
mod token_map;
mod top;
mod trie;

pub use beam::{BeamConfig, BeamParams, BeamSearch, Exact, Hit, Outcome, Request, Scratch};
pub use catalog::Catalog;
pub use error::{Error, Result};
pub use filter::Filter;
pub use logits::Logits;
pub use mask::TokenMask;
pub use normalizer::Normalizer;
pub use scorer::{Row, RowId, Scorer, Scores, Step};
pub use session::{DecodeSession, Phase, SessionConfig, SessionParams};
pub use slate::Slate;
pub use step::{Beam, Continuation};
pub use stochastic::{Sample, SampleRequest, StochasticSearch};
pub use token_map::TokenMap;
pub use trie::{Children, ItemTrie, TrieCursor};
