//! Embeddings in, drafts of semantic IDs out.
//!
//! [`Embeddings`] reads a catalogue's vectors from the bytes of a file. An [`Encoder`] turns them
//! into latents and, by the beam search of its [`ResidualQuantizer`], into paths of codes.
//! [`LatentDistances`] is the geometry behind a [`semantic_id::Draft`], of which
//! an assigner makes distinct paths. Models come from three places:
//!
//! - residual k-means, [`Encoder::residual_kmeans`];
//! - an RQ-VAE trained on libtorch, `Trainer`, with the feature `torch`;
//! - codes of another tool, explained by [`LeastSquares`] codebooks.
//!
//! Without the feature `torch` the crate links no libtorch, and encodes all the same. An item's
//! codes depend on the item and the model alone: not on the batch, threads or instruction set.
//!
//! ```
//! use ndarray::Array2;
//! use rq_vae::{BEAMS, Embeddings, Encoder, Preset, RqVaeParams, npy};
//! use semantic_id::{Assigner, Draft, ItemKeys, OptimalAssigner};
//!
//! let values = Array2::from_shape_fn((100, 4), |(item, at)| ((item * (at + 3)) as f32).sin());
//! let embeddings = Embeddings::open(npy(values.view()))?;
//!
//! let params = RqVaeParams { levels: 2, codes: 16, ..RqVaeParams::preset(Preset::RkMeans) };
//! let encoder = Encoder::residual_kmeans(&params.check()?, values.view(), |_level| ())?;
//!
//! let (paths, costs) = encoder.encode(values.view(), BEAMS)?;
//! let distances = encoder.distances(&embeddings)?;
//! let draft = Draft::new(encoder.quantizer().space().clone(), paths, costs, &distances)?;
//! let assignment = OptimalAssigner::default().assign(&draft, &ItemKeys::numbered(100)?)?;
//! assert_eq!(assignment.paths().unique(), 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod classic;
mod collaborative;
mod config;
mod continuation;
mod embeddings;
mod encoder;
mod error;
mod kmeans;
mod least_squares;
mod matmul;
mod neighbours;
mod network;
mod quantizer;
mod random;
mod residual_kmeans;
mod search;
mod siblings;
mod stretch;
mod tensors;
#[cfg(feature = "torch")]
mod torch;

pub use classic::{ClassicIds, Ending, SpectralClustering};
pub use collaborative::{
    CollaborativeVectors, Cooccurrence, FusedSpace, Fusion, FusionSource, Trial, WeightSearch,
    user_vectors,
};
pub use config::{Preset, RqVaeConfig, RqVaeParams, Schedule};
pub use continuation::{Continuation, OldPaths};
#[cfg(feature = "parquet")]
pub use embeddings::parquet_to_npy;
pub use embeddings::{Embeddings, npy};
pub use encoder::Encoder;
pub use error::{Error, Result};
pub use least_squares::LeastSquares;
pub use neighbours::PrefixNeighbourRecall;
pub use quantizer::{Codebook, LatentDistances, ResidualQuantizer};
pub use residual_kmeans::ResidualKMeans;
pub use siblings::{SiblingPair, Siblings};
#[cfg(feature = "torch")]
pub use torch::{EpochReport, Guidance, Losses, RqVae, Trainer, TrainingItems};

/// Width of the beam search wherever nothing else is asked for.
pub const BEAMS: usize = 8;
