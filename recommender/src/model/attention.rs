use tch::Tensor;

/// What new tokens attend to: those before them in the same pass, those of a cache, or both.
pub(crate) trait Attend {
    /// Of one layer's new tokens the queries `[..., H, d]`, keys and values `[..., G, d]`, where
    /// `H` is a multiple of `G`; gives what the heads found, `[..., H, d]`.
    fn attend(&mut self, layer: usize, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor;
}

/// Texts `[B, S]` in which each token sees itself and those before it.
#[derive(Debug, Default)]
pub(crate) struct Causal {
    /// Which tokens see which, `[B, 1, S, S]`, true where they do; all earlier ones if `None`.
    pub(crate) visible: Option<Tensor>,
    /// Share of the attention that is dropped in training.
    pub(crate) dropout: f64,
}

impl Attend for Causal {
    fn attend(&mut self, _: usize, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor {
        let heads = queries.size()[2];
        let [keys, values] = [keys, values].map(|asked| repeat_heads(&heads_first(&asked), heads));
        let found = Tensor::scaled_dot_product_attention(
            &heads_first(&queries),
            &keys,
            &values,
            self.visible.as_ref(),
            self.dropout,
            self.visible.is_none(),
            None,
            false,
        );
        heads_first(&found)
    }
}

/// The same, and what its keys and values were is remembered: one pair a layer, `[B, G, S, d]`.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    causal: Causal,
    pub(crate) layers: Vec<(Tensor, Tensor)>,
}

impl Attend for Remembered {
    fn attend(&mut self, layer: usize, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor {
        let kept = [&keys, &values].map(|asked| heads_first(asked).contiguous());
        self.layers.push(kept.into());
        self.causal.attend(layer, queries, keys, values)
    }
}

/// `[B, S, heads, d]` to `[B, heads, S, d]`, and back.
pub(crate) fn heads_first(tensor: &Tensor) -> Tensor {
    tensor.transpose(1, 2)
}

/// Each head of `[B, G, ...]` as often as there are heads that ask it, `[B, heads, ...]`.
fn repeat_heads(tensor: &Tensor, heads: i64) -> Tensor {
    let groups = tensor.size()[1];
    match heads / groups {
        1 => tensor.shallow_clone(),
        times => tensor.repeat_interleave_self_int(times, 1, heads),
    }
}
