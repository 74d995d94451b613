use tch::{Device, Kind, Tensor};

/// Rotary positions (Su et al., "RoFormer", arXiv 2104.09864, equation 34): each pair of a head's
/// dimensions is turned by an angle that grows with the position. Halves are paired, not
/// neighbours, as Hugging Face stores weights.
#[derive(Debug)]
pub(super) struct Rotary {
    /// Radians a position, `[head_dim / 2]`.
    frequencies: Tensor,
}

/// How far some tokens' heads are turned, `[..., 1, head_dim]`.
#[derive(Debug)]
pub(super) struct Angles {
    cosine: Tensor,
    sine: Tensor,
}

impl Rotary {
    pub(super) fn new(head_dim: usize, base: f64, device: Device) -> Self {
        let places = Tensor::arange(head_dim as i64 / 2, (Kind::Float, device));
        let exponents = places * (-2.0 / head_dim as f64);
        Self {
            frequencies: Tensor::pow_scalar(base, &exponents),
        }
    }

    /// Of tokens at `positions`, `[...]`.
    pub(super) fn at(&self, positions: &Tensor) -> Angles {
        let angles = positions.to_kind(Kind::Float).unsqueeze(-1) * &self.frequencies;
        let angles = Tensor::cat(&[&angles, &angles], -1).unsqueeze(-2);
        Angles {
            cosine: angles.cos(),
            sine: angles.sin(),
        }
    }
}

impl Angles {
    /// Turns heads `[..., heads, head_dim]`.
    pub(super) fn turn(&self, heads: &Tensor) -> Tensor {
        let halves = heads.chunk(2, -1);
        let swapped = Tensor::cat(&[&-&halves[1], &halves[0]], -1);
        (heads * &self.cosine + swapped * &self.sine).to_kind(heads.kind())
    }
}
