//! Embeddings in, drafts of semantic IDs out.
mod embeddings;
mod error;
mod kmeans;
mod matmul;
mod quantizer;
mod random;
mod residual_kmeans;

pub use embeddings::{Embeddings, npy};
pub use error::{Error, Result};
pub use quantizer::{Codebook, LatentDistances, ResidualQuantizer};
pub use residual_kmeans::ResidualKMeans;
