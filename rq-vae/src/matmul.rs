//! Products of f32 matrices whose every bit is the same on any machine.
//!
//! A code must not depend on the batch an item came in, nor on the processor.
//! General matrix products give no such promise: they cut the inner dimension
//! into cache-sized blocks, and where the cut falls changes the rounding. Here
//! each output is one chain of fused multiply-adds over the inner dimension,
//! in order; vector width and tiling only decide how many chains run side by
//! side. The price is small: see `benches/README.md` for the measured rate.

use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Output columns that are computed together, whatever the vector width.
const PANEL: usize = 32;

/// Rows that one thread takes at a time.
const CHUNK: usize = 192;

/// The right factor `w` `[M, D]` of the product `x . w^T + start`, laid out so that the kernel
/// reads it front to back: panels of 32 rows of `w`, transposed.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    panels: Vec<f32>,
    /// What the sum of each output starts from, filled up to whole panels.
    start: Vec<f32>,
    outputs: usize,
    depth: usize,
}

impl Packed {
    /// Packs `w` `[M, D]`; the last panel is filled up with zeros, and sums start from zero.
    pub(crate) fn new(w: ArrayView2<'_, f32>) -> Self {
        let (outputs, depth) = w.dim();
        let mut panels = vec![0.0; outputs.div_ceil(PANEL) * depth * PANEL];
        for (row, weights) in w.axis_iter(Axis(0)).enumerate() {
            let panel = &mut panels[row / PANEL * depth * PANEL..][..depth * PANEL];
            for (slot, &weight) in panel
                .iter_mut()
                .skip(row % PANEL)
                .step_by(PANEL)
                .zip(weights)
            {
                *slot = weight;
            }
        }
        let start = vec![0.0; outputs.next_multiple_of(PANEL)];
        Self {
            panels,
            start,
            outputs,
            depth,
        }
    }

    /// Number of outputs `M`.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Lets the sum of output `m` start from `start[m]`, `[M]`.
    pub(crate) fn starting_from<'a>(mut self, start: impl IntoIterator<Item = &'a f32>) -> Self {
        self.start
            .iter_mut()
            .zip(start)
            .for_each(|(slot, &value)| *slot = value);
        self
    }

    /// `out = x . w^T + start`: `x` `[N, D]`, `out` `[N, M]`. Runs on all threads of the pool.
    pub(crate) fn product(&self, x: ArrayView2<'_, f32>, mut out: ArrayViewMut2<'_, f32>) {
        assert_eq!(x.ncols(), self.depth, "inner dimensions agree");
        assert_eq!(
            out.dim(),
            (x.nrows(), self.outputs),
            "the output has the product's shape"
        );
        x.axis_chunks_iter(Axis(0), CHUNK)
            .into_par_iter()
            .zip(out.axis_chunks_iter_mut(Axis(0), CHUNK))
            .for_each(|(x, out)| self.product_here(x, out));
    }

    /// [`Packed::product`] on this thread alone.
    pub(crate) fn product_here(&self, x: ArrayView2<'_, f32>, out: ArrayViewMut2<'_, f32>) {
        pulp::Arch::new().dispatch(Product { x, w: self, out });
    }
}

struct Product<'a> {
    x: ArrayView2<'a, f32>,
    w: &'a Packed,
    out: ArrayViewMut2<'a, f32>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    /// As many rows at once as leave registers for the operands; no more than there are.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 && self.x.nrows() > 8 {
            self.rows::<S, 12>(simd);
        } else if S::REGISTER_COUNT >= 32 {
            self.rows::<S, 8>(simd);
        } else {
            self.rows::<S, 6>(simd);
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn rows<S: Simd, const ROWS: usize>(mut self, simd: S) {
        let mut block = vec![[0.0; ROWS]; self.w.depth];
        for (x, mut out) in self
            .x
            .axis_chunks_iter(Axis(0), ROWS)
            .zip(self.out.axis_chunks_iter_mut(Axis(0), ROWS))
        {
            // Transposed, so that the kernel reads the block front to back too.
            // Rows beyond the last keep old values; their outputs are dropped.
            for (row, values) in x.axis_iter(Axis(0)).enumerate() {
                for (column, &value) in block.iter_mut().zip(values) {
                    column[row] = value;
                }
            }
            let panels = self.w.panels.chunks_exact((self.w.depth * PANEL).max(1));
            for (at, (panel, start)) in panels.zip(self.w.start.chunks_exact(PANEL)).enumerate() {
                let mut tile = [[0.0; PANEL]; ROWS];
                for strip in 0..PANEL / (2 * S::F32_LANES) {
                    multiply(simd, &block, panel, start, strip, &mut tile);
                }
                let columns = at * PANEL..self.w.outputs.min((at + 1) * PANEL);
                for (mut out, tile) in out.axis_iter_mut(Axis(0)).zip(&tile) {
                    let out = out
                        .as_slice_mut()
                        .expect("rows of the output are contiguous");
                    out[columns.clone()].copy_from_slice(&tile[..columns.len()]);
                }
            }
        }
    }
}

/// Two vectors of columns times `ROWS` rows: the accumulators stay in registers.
#[inline(always)]
fn multiply<S: Simd, const ROWS: usize>(
    simd: S,
    block: &[[f32; ROWS]],
    panel: &[f32],
    start: &[f32],
    strip: usize,
    tile: &mut [[f32; PANEL]; ROWS],
) {
    let two = |row| -> [S::f32s; 2] {
        let vectors = S::as_simd_f32s(row).0;
        [vectors[2 * strip], vectors[2 * strip + 1]]
    };
    let mut sums = [two(start); ROWS];
    for (x, w) in block.iter().zip(panel.chunks_exact(PANEL)) {
        let w = two(w);
        for (sums, &x) in sums.iter_mut().zip(x) {
            let x = simd.splat_f32s(x);
            sums[0] = simd.mul_add_f32s(x, w[0], sums[0]);
            sums[1] = simd.mul_add_f32s(x, w[1], sums[1]);
        }
    }
    for (tile, sums) in tile.iter_mut().zip(&sums) {
        S::as_mut_simd_f32s(tile).0[2 * strip..][..2].copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;

    fn product(x: &Array2<f32>, w: &Array2<f32>) -> Array2<f32> {
        let mut out = Array2::zeros((x.nrows(), w.nrows()));
        Packed::new(w.view()).product(x.view(), out.view_mut());
        out
    }

    fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Array2<f32>> {
        proptest::collection::vec(-2.0_f32..2.0, rows * columns)
            .prop_map(move |v| Array2::from_shape_vec((rows, columns), v).expect("sizes agree"))
    }

    #[test]
    fn rows_of_w_are_dotted_with_rows_of_x() {
        let x = ndarray::array![[1.0, 2.0], [3.0, 4.0]];
        let w = ndarray::array![[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
        assert_eq!(
            product(&x, &w),
            ndarray::array![[1.0, 2.0, 3.0], [3.0, 4.0, 7.0]]
        );
    }

    proptest! {
        /// Bit for bit the plain chain of fused multiply-adds.
        #[test]
        fn equals_the_plain_chain(
            (x, w) in (1_usize..30, 1_usize..70, 1_usize..40)
                .prop_flat_map(|(n, m, d)| (matrix(n, d), matrix(m, d)))
        ) {
            let start: Vec<f32> = (0..w.nrows()).map(|row| 0.3 * row as f32 - 1.0).collect();
            let mut out = Array2::zeros((x.nrows(), w.nrows()));
            let packed = Packed::new(w.view()).starting_from(&start);
            packed.product(x.view(), out.view_mut());
            for (row, x) in x.outer_iter().enumerate() {
                for (column, w) in w.outer_iter().enumerate() {
                    let chain = x.iter().zip(w).fold(start[column], |sum, (&x, &w)| x.mul_add(w, sum));
                    prop_assert_eq!(out[[row, column]].to_bits(), chain.to_bits());
                }
            }
        }
    }
}
