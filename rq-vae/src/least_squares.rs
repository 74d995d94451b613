use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use ndarray::{Array2, ArrayView2, Axis};
use semantic_id::{CodeMatrix, CodeSpace};

use crate::{Codebook, Encoder, Error, ResidualQuantizer, Result};

/// Added to the diagonal, in items: a code of few items is drawn a little towards zero, and
/// levels that determine each other stay solvable.
const RIDGE: f64 = 1e-3;

/// Codes without items are put this many times farther out than the farthest item.
const FAR: f32 = 8.0;

/// Codebooks for codes that came without any, and how well they explain the embeddings.
#[derive(Debug)]
pub struct LeastSquares {
    /// A model whose networks are the identity.
    pub encoder: Encoder,
    /// The share of the embeddings' variance that the codes explain; 1 is perfect.
    pub r2: f64,
}

impl LeastSquares {
    /// Fits one codebook a level, pooled over all prefixes, by ridge regression of the centred
    /// embeddings `[N, D]` on the one-hot codes of `paths` `[N, L]`.
    ///
    /// A code that no item has says nothing about where it lies. It is put far outside, the
    /// farther the higher its number, so that it is chosen last.
    ///
    /// `O(U^3 + N L (L + D))` for `U` codes in use over all levels; holds `8 U^2` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one path an embedding.
    pub fn fit(
        embeddings: ArrayView2<'_, f32>,
        paths: &CodeMatrix,
        space: &CodeSpace,
    ) -> Result<Self> {
        if paths.len() != embeddings.nrows() {
            return Err(Error::Shape {
                what: "number of embeddings",
                got: embeddings.nrows(),
                expected: paths.len(),
            });
        }
        let mean = embeddings.mean_axis(Axis(0)).ok_or(Error::Empty)?;
        let centred = &embeddings - &mean;
        let columns = Columns::of(paths, space);
        let centroids = solve(&columns, centred.view());
        let farthest = centred
            .outer_iter()
            .map(|x| x.dot(&x))
            .fold(0.0, f32::max)
            .sqrt();
        let codebooks = columns.codebooks(space, centroids.view(), FAR * farthest.max(1.0));
        let quantizer = ResidualQuantizer::new(codebooks)?;
        let encoder = Encoder::of_quantizer((mean, 1.0), quantizer)?;
        let variance = centred.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let unexplained = encoder.mse(embeddings, paths)? * centred.len() as f64;
        let r2 = if variance > 0.0 {
            1.0 - unexplained / variance
        } else {
            1.0
        };
        Ok(Self { encoder, r2 })
    }
}

/// The columns of the one-hot design matrix: codes in use, level after level.
struct Columns {
    /// Column of each (level, code).
    of_code: Vec<Vec<Option<usize>>>,
    /// Columns of each item, `[N, L]`.
    of_item: Vec<usize>,
    levels: usize,
    count: usize,
}

impl Columns {
    fn of(paths: &CodeMatrix, space: &CodeSpace) -> Self {
        let levels = space.levels();
        let mut of_code: Vec<_> = (0..levels).map(|l| vec![None; space.size(l)]).collect();
        let mut count = 0;
        let mut of_item = Vec::with_capacity(paths.len() * levels);
        for path in paths.rows() {
            for (level, code) in path.iter().enumerate() {
                let column = of_code[level][code.index()].get_or_insert_with(|| {
                    count += 1;
                    count - 1
                });
                of_item.push(*column);
            }
        }
        Self {
            of_code,
            of_item,
            levels,
            count,
        }
    }

    fn items(&self) -> std::slice::ChunksExact<'_, usize> {
        self.of_item.chunks_exact(self.levels)
    }

    fn codebooks(
        &self,
        space: &CodeSpace,
        centroids: ArrayView2<'_, f32>,
        far: f32,
    ) -> Vec<Codebook> {
        let dim = centroids.ncols();
        let book = |(level, columns): (usize, &Vec<Option<usize>>)| {
            let mut book = Array2::zeros((space.size(level), dim));
            for (code, (mut row, column)) in book.outer_iter_mut().zip(columns).enumerate() {
                match column {
                    Some(column) => row.assign(&centroids.row(*column)),
                    None => row[0] = far * (1.0 + code as f32 / columns.len() as f32),
                }
            }
            Codebook(book)
        };
        self.of_code.iter().enumerate().map(book).collect()
    }
}

/// `(A^T A + ridge I)^-1 A^T X`, `[columns, D]`, for the one-hot matrix `A` `[N, columns]`.
fn solve(columns: &Columns, x: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut gram = Mat::<f64>::zeros(columns.count, columns.count);
    let mut right = Mat::<f64>::zeros(columns.count, x.ncols());
    for (own, x) in columns.items().zip(x.outer_iter()) {
        for &row in own {
            own.iter().for_each(|&column| gram[(row, column)] += 1.0);
            x.iter()
                .enumerate()
                .for_each(|(at, &x)| right[(row, at)] += f64::from(x));
        }
    }
    (0..columns.count).for_each(|at| gram[(at, at)] += RIDGE);
    let solved = gram
        .llt(Side::Lower)
        .expect("a ridge makes it positive definite")
        .solve(&right);
    Array2::from_shape_fn((columns.count, x.ncols()), |(row, at)| {
        solved[(row, at)] as f32
    })
}

#[cfg(test)]
mod tests {
    use semantic_id::Code;

    use super::*;

    #[test]
    fn sums_of_centroids_are_explained_fully() {
        let (first, second) = (
            [[0.0, 4.0], [8.0, 0.0]],
            [[1.0, 0.0], [0.0, -1.0], [2.0, 2.0]],
        );
        let paths: Vec<[usize; 2]> = (0..60).map(|i| [i % 2, (i / 2) % 3]).collect();
        let embeddings = Array2::from_shape_fn((60, 2), |(item, at)| {
            first[paths[item][0]][at] + second[paths[item][1]][at]
        });
        let codes = paths
            .iter()
            .flatten()
            .map(|&code| Code(code as u16))
            .collect();
        let codes = CodeMatrix::new(codes, 2).expect("whole rows");
        let space = CodeSpace::uniform(2, 4).expect("a space");
        let fit = LeastSquares::fit(embeddings.view(), &codes, &space).expect("shapes agree");
        assert!(fit.r2 > 0.9999, "{}", fit.r2);
        let (found, _) = fit
            .encoder
            .encode(embeddings.view(), 4)
            .expect("dimensions agree");
        assert_eq!(found, codes, "unused codes are never nearest");
    }
}
