use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Rows of a product that one thread makes at a time.
const CHUNK: usize = 256;

/// A symmetric sparse matrix `[N, N]`, both halves stored: row by row, columns ascending.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SparseSymmetric {
    /// Where each row begins, and where the last one ends, `[N + 1]`.
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl SparseSymmetric {
    /// From the entries above the diagonal, ascending by (row, column).
    pub(crate) fn of_upper(size: usize, upper: &[(u32, u32, f32)]) -> Self {
        let mut offsets = vec![0; size + 1];
        for &(row, column, _) in upper {
            offsets[row as usize + 1] += 1;
            offsets[column as usize + 1] += 1;
        }
        (0..size).for_each(|row| offsets[row + 1] += offsets[row]);
        let mut next = offsets.clone();
        let mut columns = vec![0; 2 * upper.len()];
        let mut values = vec![0.0; 2 * upper.len()];
        // A row's entries before the diagonal come from earlier rows, so all arrive in order.
        for &(row, column, value) in upper {
            for (row, column) in [(row, column), (column, row)] {
                let at = &mut next[row as usize];
                (columns[*at], values[*at]) = (column, value);
                *at += 1;
            }
        }
        Self {
            offsets,
            columns,
            values,
        }
    }

    /// Number of rows `N`.
    pub(crate) fn size(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of entries stored, twice those above the diagonal.
    pub(crate) fn entries(&self) -> usize {
        self.columns.len()
    }

    /// The entries of a row: (column, value), columns ascending.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = self.offsets[row]..self.offsets[row + 1];
        let columns = self.columns[range.clone()].iter();
        columns
            .map(|&column| column as usize)
            .zip(self.values[range].iter().copied())
    }

    /// The sum of each row, `[N]`.
    pub(crate) fn row_sums(&self) -> Vec<f64> {
        let sum = |row| self.row(row).map(|(_, value)| f64::from(value)).sum();
        (0..self.size()).into_par_iter().map(sum).collect()
    }

    /// The sum of the squares of all entries.
    pub(crate) fn squared_norm(&self) -> f64 {
        self.values.iter().map(|&x| f64::from(x).powi(2)).sum()
    }

    /// The matrix of the entries that `change(row, column, value)`, itself symmetric, keeps
    /// above zero.
    pub(crate) fn positive(&self, change: impl Fn(usize, usize, f32) -> f32 + Sync) -> Self {
        let kept = |row| -> Vec<(u32, f32)> {
            self.row(row)
                .map(|(column, value)| (column as u32, change(row, column, value)))
                .filter(|&(_, value)| value > 0.0)
                .collect()
        };
        let rows: Vec<_> = (0..self.size()).into_par_iter().map(kept).collect();
        let mut offsets = vec![0];
        offsets.extend(rows.iter().scan(0, |end, row| {
            *end += row.len();
            Some(*end)
        }));
        let (columns, values) = rows.into_iter().flatten().unzip();
        Self {
            offsets,
            columns,
            values,
        }
    }

    /// The matrix of some rows and their columns alone; `rows` ascend.
    pub(crate) fn restricted(&self, rows: &[u32]) -> Self {
        let kept = |(at, &row): (usize, &u32)| {
            // Only the half above the diagonal: a row's later columns are found among later rows.
            let entries = self
                .row(row as usize)
                .filter(move |&(column, _)| column > row as usize);
            entries.filter_map(move |(column, value)| {
                let column = rows.binary_search(&(column as u32)).ok()?;
                Some((at as u32, column as u32, value))
            })
        };
        let upper: Vec<_> = rows.par_iter().enumerate().flat_map_iter(kept).collect();
        Self::of_upper(rows.len(), &upper)
    }

    /// The product with `x` `[N, k]`, on all threads. Each output is one sum in the order of
    /// the columns.
    pub(crate) fn times(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut out = Array2::zeros((self.size(), x.ncols()));
        out.axis_chunks_iter_mut(Axis(0), CHUNK)
            .into_par_iter()
            .enumerate()
            .for_each(|(chunk, mut rows)| {
                for (at, mut sum) in rows.outer_iter_mut().enumerate() {
                    for (column, value) in self.row(chunk * CHUNK + at) {
                        sum.scaled_add(value.into(), &x.row(column));
                    }
                }
            });
        out
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Some entries above the diagonal of a matrix of up to 30 rows.
    pub(in crate::collaborative) fn matrices() -> impl Strategy<Value = SparseSymmetric> {
        (2_usize..30).prop_flat_map(|size| {
            let size = size as u32;
            let entry = (0..size, 1..size).prop_map(move |(a, step)| {
                let b = (a + step) % size;
                (a.min(b), a.max(b))
            });
            proptest::collection::btree_map(entry, -2.0_f32..3.0, 1..60).prop_map(move |upper| {
                let upper: Vec<_> = upper.into_iter().map(|((a, b), v)| (a, b, v)).collect();
                SparseSymmetric::of_upper(size as usize, &upper)
            })
        })
    }

    pub(in crate::collaborative) fn dense(matrix: &SparseSymmetric) -> Array2<f64> {
        let mut dense = Array2::zeros((matrix.size(), matrix.size()));
        for row in 0..matrix.size() {
            for (column, value) in matrix.row(row) {
                dense[[row, column]] = f64::from(value);
            }
        }
        dense
    }

    #[test]
    fn both_halves_are_there() {
        let matrix = SparseSymmetric::of_upper(3, &[(0, 1, 2.0), (1, 2, 5.0)]);
        assert_eq!(
            dense(&matrix),
            ndarray::array![[0.0, 2.0, 0.0], [2.0, 0.0, 5.0], [0.0, 5.0, 0.0]]
        );
        assert_eq!(matrix.row_sums(), [2.0, 7.0, 5.0]);
        assert_eq!(matrix.row(1).collect::<Vec<_>>(), [(0, 2.0), (2, 5.0)]);
    }

    proptest! {
        #[test]
        fn products_and_maps_agree_with_dense_ones(matrix in matrices()) {
            let plain = dense(&matrix);
            prop_assert_eq!(&plain, &plain.t());
            let x = Array2::from_shape_fn((matrix.size(), 3), |(r, c)| (r * 3 + c) as f64);
            let error = matrix.times(x.view()) - plain.dot(&x);
            prop_assert!(error.iter().all(|e| e.abs() < 1e-9));
            let odd: Vec<u32> = (1..matrix.size() as u32).step_by(2).collect();
            let restricted = dense(&matrix.restricted(&odd));
            for (row, a) in odd.iter().enumerate() {
                for (column, b) in odd.iter().enumerate() {
                    prop_assert_eq!(restricted[[row, column]], plain[[*a as usize, *b as usize]]);
                }
            }
            let positive = dense(&matrix.positive(|_, _, value| value - 1.0));
            let expected = plain.mapv(|v| if v == 0.0 { 0.0 } else { f64::from(v as f32 - 1.0).max(0.0) });
            prop_assert_eq!(positive, expected);
        }
    }
}
