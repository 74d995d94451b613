use super::Cooccurrence;
use super::sparse::SparseSymmetric;

/// Positive pointwise mutual information, natural log: `max(0, ln(c_ij T / (c_i c_j)))` with
/// `c_i` the sum of row `i` and `T` that of all rows.
///
/// How much more often two items meet than their popularity explains. Factoring it is what
/// skip-gram word vectors do implicitly (Levy and Goldberg, 2014).
pub(crate) fn ppmi(graph: &Cooccurrence) -> SparseSymmetric {
    let degrees = graph.degrees();
    let total: f64 = degrees.iter().sum();
    graph.counts().positive(|a, b, count| {
        let expected = degrees[a] * degrees[b] / total;
        (f64::from(count) / expected).ln() as f32
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;
    use semantic_id::ItemId;

    use super::super::sparse::tests::dense;
    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_formula_on_dense_counts(
            history in proptest::collection::vec(0_u32..8, 2..60)
        ) {
            let history: Vec<ItemId> = history.into_iter().map(ItemId).collect();
            let Ok(graph) = Cooccurrence::count(&[&history], 8, 2) else {
                return Ok(());
            };
            let count = |(a, b): (usize, usize)| {
                graph.between(ItemId(a as u32), ItemId(b as u32)) as f64
            };
            let counts = Array2::from_shape_fn((8, 8), count);
            let total = counts.sum();
            let (rows, columns) = (counts.sum_axis(ndarray::Axis(1)), counts.sum_axis(ndarray::Axis(0)));
            let expected = Array2::from_shape_fn((8, 8), |(a, b)| match counts[[a, b]] {
                0.0 => 0.0,
                count => (count * total / (rows[a] * columns[b])).ln().max(0.0),
            });
            let error = dense(&ppmi(&graph)) - expected;
            prop_assert!(error.iter().all(|e| e.abs() < 1e-6));
        }
    }
}
