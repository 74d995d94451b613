//! Embeddings in, drafts of semantic IDs out.
mod config;
mod embeddings;
mod encoder;
mod error;
mod kmeans;
mod least_squares;
mod matmul;
mod network;
mod quantizer;
mod random;
mod residual_kmeans;
#[cfg(feature = "torch")]
mod torch;

pub use config::{Preset, RqVaeConfig, RqVaeParams, Schedule};
pub use embeddings::{Embeddings, npy};
pub use encoder::Encoder;
pub use error::{Error, Result};
pub use least_squares::LeastSquares;
pub use quantizer::{Codebook, LatentDistances, ResidualQuantizer};
pub use residual_kmeans::ResidualKMeans;
#[cfg(feature = "torch")]
pub use torch::{EpochReport, Losses, RqVae, Trainer};

/// Width of the beam search wherever nothing else is asked for.
pub const BEAMS: usize = 8;
