//! Collaborative signal: what items' company in users' histories tells of them.
//!
//! [`Cooccurrence`] counts who is met with whom, [`CollaborativeVectors`] make a space of it,
//! and a [`Fusion`] joins that space with the embeddings before they are quantized.

mod cooccurrence;
mod dense;
mod fusion;
mod pca;
mod ppmi;
mod ridge;
mod search;
mod sparse;
mod svd;
mod users;
mod vectors;

pub use cooccurrence::Cooccurrence;
pub(crate) use cooccurrence::check_items;
pub use fusion::{FusedSpace, Fusion, FusionSource};
pub(crate) use pca::PrincipalAxes;
pub use search::{Trial, WeightSearch};
pub(crate) use sparse::SparseSymmetric;
pub(crate) use svd::Truncated;
pub use users::user_vectors;
pub use vectors::CollaborativeVectors;
