//! What a semantic-ID index *is*: item ids, codes, drafts, the collision-free
//! assignment of codes to items, and the one file that holds the result.
//!
//! A quantizer proposes a [`Draft`]: for every item the code paths it would
//! like to have, nearest first. Drafts collide. An [`Assigner`] turns a draft
//! into an [`Assignment`], in which no two items share a path, and an
//! [`ItemIndex`] stores that bijection together with the item keys.
//!
//! The crate knows nothing of neural networks and links no libtorch.

mod assign;
mod code;
mod codes;
mod draft;
mod error;
mod gain;
mod index;
pub mod interchange;
mod item;
mod manifest;
mod popularity;
mod purity;
mod share;
mod shuffle;
mod statistics;
mod token;

pub use assign::{
    Affinity, Assigner, Assignment, Certificate, Objective, OptimalAssigner, Overfull, Relabelling,
    Scope, SinkhornAssigner, Stage, SuffixAssigner,
};
pub use code::{Code, CodeSpace, SemanticId};
pub use codes::CodeMatrix;
pub use draft::{Distances, Draft};
pub use error::{Error, Result};
pub use gain::HeldOutGain;
pub use index::{
    Change, Churn, Codes, Delta, IndexInfo, IndexWriter, ItemIndex, Level, Tree, U32s,
};
pub use item::{ItemId, ItemKeys};
pub use manifest::{Digest, Manifest};
pub use popularity::Popularity;
pub use purity::Purity;
pub use share::Share;
pub use statistics::{Collisions, LevelStatistics};
pub use token::TokenFormat;
