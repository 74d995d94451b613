use tch::Tensor;

use super::attention::Attend;
use super::linear::Linear;
use super::rotary::Angles;
use crate::{LlamaConfig, Result};

/// One layer: attention, then a feed-forward network, each added to what came in.
#[derive(Debug)]
pub(super) struct Block {
    /// Before the attention, and before the feed-forward network.
    norms: [Tensor; 2],
    /// Those of [`LINEARS`].
    linears: [Linear; 7],
    head_dim: i64,
    epsilon: f64,
}

/// What is dropped in training.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dropout {
    /// Share of embedded tokens' values.
    pub(crate) embedded: f64,
    /// Share of what is added to the residual stream.
    pub(crate) added: f64,
    /// Share of what adapters read.
    pub(crate) adapters: f64,
}

// Hugging Face's names.
const NORMS: [&str; 2] = ["input_layernorm", "post_attention_layernorm"];
const LINEARS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

fn name(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}

impl Block {
    pub(super) fn of(
        config: &LlamaConfig,
        layer: usize,
        weights: &mut dyn FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let asking = config.num_attention_heads * config.head_dim();
        let asked = config.key_value_heads() * config.head_dim();
        let shapes = [
            [asking, width],
            [asked, width],
            [asked, width],
            [width, asking],
            [inner, width],
            [inner, width],
            [width, inner],
        ];
        let mut norm = |part| weights(&name(layer, part), &[width]);
        let norms = [norm(NORMS[0])?, norm(NORMS[1])?];
        let linears = LINEARS.iter().zip(&shapes);
        let linears = linears.map(|(part, shape)| weights(&name(layer, part), shape));
        let linears: Vec<_> = linears
            .map(|weight| weight.map(Linear::new))
            .collect::<Result<_>>()?;
        Ok(Self {
            norms,
            linears: linears.try_into().expect("as many as names"),
            head_dim: config.head_dim() as i64,
            epsilon: config.rms_norm_eps,
        })
    }

    pub(super) fn norms(&self, layer: usize) -> impl Iterator<Item = (String, &Tensor)> {
        let names = NORMS.iter().map(move |part| name(layer, part));
        names.zip(&self.norms)
    }

    pub(super) fn linears(&self, layer: usize) -> impl Iterator<Item = (String, &Linear)> {
        let names = LINEARS.iter().map(move |part| name(layer, part));
        names.zip(&self.linears)
    }

    pub(super) fn norms_mut(&mut self) -> &mut [Tensor] {
        &mut self.norms
    }

    pub(super) fn linears_mut(&mut self) -> &mut [Linear] {
        &mut self.linears
    }

    pub(super) fn forward(
        &self,
        layer: usize,
        hidden: &Tensor,
        angles: &Angles,
        attend: &mut dyn Attend,
        dropout: Dropout,
    ) -> Tensor {
        let drop = |added: Tensor| added.dropout(dropout.added, dropout.added > 0.0);
        let read = norm(hidden, &self.norms[0], self.epsilon);
        let attended = self.attention(layer, &read, angles, attend, dropout.adapters);
        let hidden = hidden + drop(attended);
        let read = norm(&hidden, &self.norms[1], self.epsilon);
        let fed = self.feed_forward(&read, dropout.adapters);
        hidden + drop(fed)
    }

    fn attention(
        &self,
        layer: usize,
        hidden: &Tensor,
        angles: &Angles,
        attend: &mut dyn Attend,
        dropout: f64,
    ) -> Tensor {
        let [query, key, value, output, ..] = &self.linears;
        let heads = |linear: &Linear| {
            let all = linear.forward(hidden, dropout);
            all.unflatten(-1, [-1, self.head_dim])
        };
        let (queries, keys) = (angles.turn(&heads(query)), angles.turn(&heads(key)));
        let attended = attend.attend(layer, queries, keys, heads(value));
        output.forward(&attended.flatten(-2, -1), dropout)
    }

    /// SwiGLU (Shazeer, arXiv 2002.05202, equation 6).
    fn feed_forward(&self, hidden: &Tensor, dropout: f64) -> Tensor {
        let [.., gate, up, down] = &self.linears;
        let gate = gate.forward(hidden, dropout).silu();
        down.forward(&(gate * up.forward(hidden, dropout)), dropout)
    }
}

/// RMS norm over the last dimension (Zhang and Sennrich, arXiv 1910.07467, equation 4).
pub(super) fn norm(hidden: &Tensor, weight: &Tensor, epsilon: f64) -> Tensor {
    hidden.rms_norm(weight.size(), Some(weight), epsilon)
}
