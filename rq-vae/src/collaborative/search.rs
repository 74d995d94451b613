use ndarray::{Array2, ArrayView2};
use semantic_id::{Assigner, Draft, HeldOutGain, ItemId, ItemKeys, OptimalAssigner};
use serde::Serialize;

use super::{CollaborativeVectors, FusedSpace, Fusion, FusionSource};
use crate::{BEAMS, Encoder, LatentDistances, Preset, Result, RqVaeParams};

/// Lloyd iterations at most: a ranking of weights needs no more, and they take most of the time.
const ITERATIONS: usize = 10;

/// Finds the weight at which a [`Fusion`] makes the IDs that tell most about behaviour.
///
/// The last event of a user is for the test and is not given. The last but one is what the
/// search predicts: vectors are learnt without it, fused at each weight of a grid, quantized by
/// residual k-means of 4 levels x 256 codes, assigned, and measured by [`HeldOutGain`].
#[derive(Debug)]
pub struct WeightSearch<'a, 's> {
    sources: &'a [FusionSource<'s>],
    histories: &'a [&'a [ItemId]],
    vectors: CollaborativeVectors,
    space: FusedSpace,
    seed: u64,
}

/// A weight and the validation gain of its IDs, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trial {
    /// The weight of the histories, to 1 for the sources.
    pub weight: f32,
    /// [`HeldOutGain::bits`] on the validation events.
    pub bits: f64,
}

impl<'a, 's> WeightSearch<'a, 's> {
    /// The weights that are tried unless others are asked for. At 0 the histories count for
    /// nothing.
    pub const GRID: [f32; 7] = [0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0];

    /// Prepares a search over `histories`, all events but those of the test; `window`, `rank`
    /// and `seed` as in [`CollaborativeVectors::learn`], `space` as in [`Fusion::learn`].
    ///
    /// # Errors
    ///
    /// Those of [`CollaborativeVectors::learn`].
    pub fn new(
        sources: &'a [FusionSource<'s>],
        histories: &'a [&'a [ItemId]],
        (window, rank): (usize, usize),
        space: FusedSpace,
        seed: u64,
    ) -> Result<Self> {
        let items = sources
            .first()
            .map_or(0, |source| source.embeddings.nrows());
        let training = |events: &&'a [ItemId]| &events[..events.len().saturating_sub(2)];
        let training: Vec<&[ItemId]> = histories.iter().map(training).collect();
        Ok(Self {
            sources,
            histories,
            vectors: CollaborativeVectors::learn(&training, items, window, rank, seed)?,
            space,
            seed,
        })
    }

    /// Tries a weight.
    ///
    /// # Errors
    ///
    /// Those of [`Fusion::learn`] and [`HeldOutGain::of`].
    pub fn try_weight(&self, weight: f32) -> Result<Trial> {
        let (_, fused) = Fusion::learn(self.sources, &self.vectors, weight, self.space)?;
        let paths = quantize(fused.view(), self.seed)?;
        let bits = HeldOutGain::of(&paths, self.histories, self.seed)?.bits;
        Ok(Trial { weight, bits })
    }
}

/// The IDs that `embeddings` get: residual k-means, then the optimal assigner.
fn quantize(embeddings: ArrayView2<'_, f32>, seed: u64) -> Result<semantic_id::CodeMatrix> {
    let params = RqVaeParams {
        seed,
        kmeans_iterations: ITERATIONS,
        ..RqVaeParams::preset(Preset::RkMeans)
    };
    let encoder = Encoder::residual_kmeans(&params.check()?, embeddings, |_level| ())?;
    let latents: Array2<f32> = encoder.latents(embeddings)?;
    let quantizer = encoder.quantizer();
    let (paths, costs) = quantizer.encode(latents.view(), BEAMS);
    let distances = LatentDistances::new(quantizer, latents)?;
    let draft = Draft::new(quantizer.space().clone(), paths, costs, &distances)?;
    let keys = ItemKeys::numbered(embeddings.nrows())?;
    Ok(OptimalAssigner::default()
        .assign(&draft, &keys)?
        .into_paths())
}
