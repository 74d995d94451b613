use tch::{Kind, Tensor};

/// Codes `[B]` from squared distances `[B, K]` such that a batch uses all codes about equally:
/// the row-wise argmax of the entropic optimal transport plan between items and codes with
/// uniform margins (Cuturi, 2013; as used by LC-Rec, arXiv 2311.09049, section III-B).
///
/// Distances are mapped to [-1, 1] over the whole block. The iterations run on logarithms: with
/// an epsilon of 0.003 the plan itself spans `e^-333` to `e^333`, which no f32 holds.
pub(super) fn uniform_codes(distances: &Tensor, epsilon: f64, iterations: usize) -> Tensor {
    let distances = distances.detach().to_kind(Kind::Float);
    let (least, most) = (distances.min(), distances.max());
    let middle = (&most + least) / 2.0;
    let amplitude = most - &middle + 1e-5;
    let mut plan = (middle - distances) / amplitude / epsilon;
    for _ in 0..iterations {
        plan = &plan - plan.logsumexp([1].as_slice(), true);
        plan = &plan - plan.logsumexp([0].as_slice(), true);
    }
    plan.argmax(1, false)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// The formulas in the exp domain, in f64, as they are published.
    fn plain(distances: &Tensor, epsilon: f64, iterations: usize) -> Tensor {
        let d = distances.to_kind(Kind::Double);
        let middle = (d.max() + d.min()) / 2.0;
        let amplitude = d.max() - &middle + 1e-5;
        let mut q = (-((d - middle) / amplitude) / epsilon).exp();
        q = &q / q.sum(Kind::Double);
        let (rows, columns) = q.size2().expect("a matrix");
        for _ in 0..iterations {
            q = &q / q.sum_dim_intlist([1].as_slice(), true, Kind::Double) / rows as f64;
            q = &q / q.sum_dim_intlist([0].as_slice(), true, Kind::Double) / columns as f64;
        }
        q.argmax(1, false)
    }

    #[test]
    fn agrees_with_the_exp_domain() {
        tch::manual_seed(1);
        let distances = Tensor::rand([64, 8], (Kind::Float, Device::Cpu));
        for epsilon in [0.003, 0.05, 0.5] {
            let ours = uniform_codes(&distances, epsilon, 50);
            let same = ours
                .eq_tensor(&plain(&distances, epsilon, 50))
                .sum(Kind::Int64);
            assert!(
                same.int64_value(&[]) >= 63,
                "epsilon {epsilon}: {same:?} of 64 rows agree"
            );
        }
    }

    #[test]
    fn a_crowded_code_is_shared_out() {
        // All items are nearest to code 0, by differing margins.
        let margins = Tensor::arange(32, (Kind::Float, Device::Cpu)) / 32.0;
        let zeros = margins.zeros_like();
        let distances = Tensor::stack(&[zeros, &margins + 0.1, margins * 2.0 + 0.1], 1);
        let codes = uniform_codes(&distances, 0.01, 100);
        let used = codes.bincount::<Tensor>(None, 3);
        assert!(used.min().int64_value(&[]) >= 5, "{used:?}");
    }
}
