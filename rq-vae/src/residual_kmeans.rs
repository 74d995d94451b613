use ndarray::{Array2, ArrayView2};

use crate::kmeans::{KMeans, nearest};
use crate::quantizer::{Codebook, ResidualQuantizer, squared_norms};
use crate::random::generator;
use crate::{Error, Result, RqVaeConfig};

/// Residual k-means: each level clusters what the levels before it left over.
///
/// The start of every RQ-VAE here, and a quantizer in its own right (preset `rk-means`).
#[derive(Debug, Clone, Copy)]
pub struct ResidualKMeans {
    /// Number of levels `L`.
    pub levels: usize,
    /// Codes a level `K`.
    pub codes: usize,
    /// Lloyd iterations a level, at most.
    pub iterations: usize,
    /// 0 (plain) to 1 (shares of the codes as even as prices make them).
    pub balance: f32,
    /// Seed of all draws.
    pub seed: u64,
}

impl ResidualKMeans {
    /// The residual k-means that a configuration asks for.
    pub fn of(config: &RqVaeConfig) -> Self {
        Self {
            levels: config.levels,
            codes: config.codes,
            iterations: config.kmeans_iterations,
            balance: config.balance,
            seed: config.seed,
        }
    }

    /// Fits one codebook a level to `points` `[N, d]`, telling `progress` after each level.
    ///
    /// `O(L iterations N K d)`; holds a copy of the points. The result depends on the seed,
    /// not on threads or the instruction set.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without points; the errors of [`ResidualQuantizer::new`].
    pub fn fit(
        &self,
        points: ArrayView2<'_, f32>,
        mut progress: impl FnMut(usize),
    ) -> Result<ResidualQuantizer> {
        if points.nrows() == 0 {
            return Err(Error::Empty);
        }
        let kmeans = KMeans {
            codes: self.codes,
            iterations: self.iterations,
            balance: self.balance,
        };
        let mut residuals = points.to_owned();
        let mut codebooks = Vec::with_capacity(self.levels);
        for level in 0..self.levels {
            let mut rng = generator(self.seed, "k-means", level as u64);
            let codebook = kmeans.fit(residuals.view(), &mut rng);
            subtract_nearest(&mut residuals, &codebook);
            codebooks.push(codebook);
            progress(level);
        }
        ResidualQuantizer::new(codebooks)
    }
}

fn subtract_nearest(residuals: &mut Array2<f32>, codebook: &Codebook) {
    let norms = squared_norms(residuals.view());
    let nearest = nearest(
        residuals.view(),
        &norms,
        codebook.0.view(),
        &vec![0.0; codebook.len()],
    );
    for (mut residual, nearest) in residuals.outer_iter_mut().zip(nearest) {
        residual -= &codebook.0.row(nearest.code as usize);
    }
}
