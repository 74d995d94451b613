use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::collaborative::{SparseSymmetric, Truncated};
use crate::kmeans::{KMeans, nearest};
use crate::quantizer::squared_norms;
use crate::random::generator;
use crate::{Cooccurrence, Error, Result};

/// Passes of the subspace iteration: the leading eigenvalues of a graph crowd together.
const PASSES: usize = 30;

/// Iterations of k-means at most.
const ITERATIONS: usize = 50;

/// Splits after which the items of a cluster are counted, however many they are.
const DEPTH: usize = 12;

/// Recursive spectral clustering of a co-occurrence graph: Ng, Jordan and Weiss, *On spectral
/// clustering* (2001), applied again to each cluster that is too large.
///
/// The items of a cluster are points in the space of the leading eigenvectors of
/// `D^-1/2 W D^-1/2` (those of the normalised Laplacian with the least eigenvalues), scaled to
/// length 1 and clustered by k-means. Everything is sparse: `O(entries + N clusters)` memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpectralClustering {
    /// Parts into which a cluster is split.
    pub clusters: u32,
    /// Items that a cluster may have without being split further.
    pub codes: u32,
    /// Seed of all draws.
    pub seed: u64,
}

impl SpectralClustering {
    /// The path of each item in the tree of clusters, `[N]`. Items that meet no other have a
    /// cluster of their own, the one after the last.
    pub(super) fn prefixes(&self, graph: &Cooccurrence) -> Result<Vec<Vec<u32>>> {
        if self.clusters < 2 {
            return Err(Error::Setting {
                name: "clusters",
                got: self.clusters.to_string(),
                expected: "at least 2".to_owned(),
            });
        }
        let degrees = graph.degrees();
        let (met, alone): (Vec<u32>, Vec<u32>) =
            (0..graph.items() as u32).partition(|&item| degrees[item as usize] > 0.0);
        let mut prefixes = vec![Vec::new(); graph.items()];
        for (item, path) in self.split(&graph.counts().restricted(&met), met, Vec::new()) {
            prefixes[item as usize] = path;
        }
        for item in alone {
            prefixes[item as usize] = vec![self.clusters];
        }
        Ok(prefixes)
    }

    /// The path of each of `items`, whose graph this is and whose paths begin with `prefix`.
    fn split(
        &self,
        graph: &SparseSymmetric,
        items: Vec<u32>,
        prefix: Vec<u32>,
    ) -> Vec<(u32, Vec<u32>)> {
        let end = |items: Vec<u32>| items.into_iter().map(|item| (item, prefix.clone()));
        if items.len() <= self.codes as usize || prefix.len() == DEPTH {
            return end(items).collect();
        }
        let parts = self.parts(graph, &prefix);
        if parts.iter().filter(|part| !part.is_empty()).count() < 2 {
            return end(items).collect();
        }
        let descend = |(code, part): (usize, Vec<u32>)| {
            let below = part.iter().map(|&row| items[row as usize]).collect();
            let prefix = [&prefix[..], &[code as u32]].concat();
            self.split(&graph.restricted(&part), below, prefix)
        };
        parts
            .into_par_iter()
            .enumerate()
            .flat_map_iter(descend)
            .collect()
    }

    /// The rows of each cluster of a graph, ascending.
    fn parts(&self, graph: &SparseSymmetric, prefix: &[u32]) -> Vec<Vec<u32>> {
        let clusters = self.clusters as usize;
        let key = prefix.iter().fold(1, |key: u64, &code| {
            key.wrapping_mul(1 << 20).wrapping_add(code.into())
        });
        let points = self.points(graph, key);
        let kmeans = KMeans {
            codes: clusters,
            iterations: ITERATIONS,
            balance: 0.0,
        };
        let mut rng = generator(self.seed, "spectral clusters", key);
        let centroids = kmeans.fit(points.view(), &mut rng).0;
        let norms = squared_norms(points.view());
        let nearest = nearest(
            points.view(),
            &norms,
            centroids.view(),
            &vec![0.0; clusters],
        );
        let mut parts = vec![Vec::new(); clusters];
        for (row, nearest) in nearest.into_iter().enumerate() {
            parts[nearest.code as usize].push(row as u32);
        }
        parts
    }

    /// The rows of the leading eigenvectors, scaled to length 1.
    fn points(&self, graph: &SparseSymmetric, key: u64) -> Array2<f32> {
        let root = |sum: f64| if sum > 0.0 { sum.sqrt().recip() } else { 0.0 };
        let roots: Vec<f64> = graph.row_sums().into_iter().map(root).collect();
        let normalised =
            graph.positive(|a, b, count| (f64::from(count) * roots[a] * roots[b]) as f32);
        // Shifted, eigenvalues lie in 0 to 1, and the largest are the largest in magnitude.
        let shifted = |x: ArrayView2<'_, f64>| (normalised.times(x) + x) * 0.5;
        let rank = self.clusters as usize;
        let seed = self.seed.wrapping_add(key);
        let found = Truncated::of(graph.size(), shifted, rank, PASSES, seed);
        let mut points = found.vectors.mapv(|x| x as f32);
        for mut point in points.outer_iter_mut() {
            let length = point.dot(&point).sqrt();
            if length > 0.0 {
                point /= length;
            }
        }
        points
    }
}
