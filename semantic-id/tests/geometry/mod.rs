//! A small residual quantizer, written as plainly as possible: the geometry behind the drafts
//! of the tests and benches.

use std::cmp::Ordering;

use semantic_id::{Code, CodeMatrix, CodeSpace, Distances, Draft, ItemId, SemanticId};

/// Latents `[N, d]` and codebooks `[L][K_l, d]`; a path stands for the sum of its centroids.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    pub(crate) dim: usize,
    pub(crate) latents: Vec<f32>,
    pub(crate) codebooks: Vec<Vec<f32>>,
}

impl Geometry {
    pub(crate) fn space(&self) -> CodeSpace {
        let sizes = self.codebooks.iter().map(|book| book.len() / self.dim);
        CodeSpace::new(sizes.map(|size| size as u32).collect()).expect("codebooks are not empty")
    }

    pub(crate) fn items(&self) -> usize {
        self.latents.len() / self.dim
    }

    /// The draft that takes the nearest code level by level.
    pub(crate) fn draft(&self) -> Draft<'_> {
        let (mut codes, mut costs) = (Vec::new(), Vec::new());
        for item in 0..self.items() as u32 {
            let (path, cost) = self.candidates(ItemId(item), 1).swap_remove(0);
            codes.extend_from_slice(&path);
            costs.push(cost);
        }
        let paths = CodeMatrix::new(codes, self.codebooks.len()).expect("whole rows");
        Draft::new(self.space(), paths, costs, self).expect("a draft of this geometry")
    }

    fn latent(&self, item: ItemId) -> &[f32] {
        &self.latents[item.index() * self.dim..][..self.dim]
    }

    fn residual(&self, item: ItemId, prefix: &[Code]) -> Vec<f32> {
        let mut residual = self.latent(item).to_vec();
        for (code, book) in prefix.iter().zip(&self.codebooks) {
            for (r, c) in residual.iter_mut().zip(&book[code.index() * self.dim..]) {
                *r -= c;
            }
        }
        residual
    }

    fn to_codes(&self, residual: &[f32], level: usize, out: &mut [f32]) {
        let book = &self.codebooks[level];
        for (out, centroid) in out.iter_mut().zip(book.chunks_exact(self.dim)) {
            *out = residual
                .iter()
                .zip(centroid)
                .map(|(r, c)| (r - c) * (r - c))
                .sum();
        }
    }
}

impl Distances for Geometry {
    fn path(&self, item: ItemId, path: &[Code]) -> f32 {
        self.residual(item, path).iter().map(|r| r * r).sum()
    }

    fn last_level(&self, item: ItemId, prefix: &[Code], out: &mut [f32]) {
        self.to_codes(&self.residual(item, prefix), prefix.len(), out);
    }

    fn candidates(&self, item: ItemId, count: usize) -> Vec<(SemanticId, f32)> {
        let mut beam: Vec<(Vec<Code>, f32)> = vec![(Vec::new(), 0.0)];
        for level in 0..self.codebooks.len() {
            let mut distances = vec![0.0; self.codebooks[level].len() / self.dim];
            let mut next = Vec::new();
            for (prefix, _) in &beam {
                self.to_codes(&self.residual(item, prefix), level, &mut distances);
                next.extend(
                    distances
                        .iter()
                        .enumerate()
                        .map(|(code, &distance)| (prefix, Code(code as u16), distance)),
                );
            }
            let nearest = |a: &(&Vec<Code>, Code, f32), b: &(&Vec<Code>, Code, f32)| -> Ordering {
                a.2.total_cmp(&b.2)
                    .then_with(|| (a.0, a.1).cmp(&(b.0, b.1)))
            };
            if next.len() > count {
                next.select_nth_unstable_by(count - 1, nearest);
                next.truncate(count);
            }
            next.sort_unstable_by(nearest);
            let grown = next.into_iter().map(|(prefix, code, distance)| {
                (prefix.iter().copied().chain([code]).collect(), distance)
            });
            beam = grown.collect();
        }
        let named = beam
            .into_iter()
            .map(|(path, distance)| (path.into_iter().collect(), distance));
        named.collect()
    }

    fn identical(&self, a: ItemId, b: ItemId) -> bool {
        self.latent(a) == self.latent(b)
    }
}
