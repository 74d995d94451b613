use tch::{Kind, Tensor};

/// A matrix `[out, in]`, and what is learnt beside it where it stays as it is.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    adapter: Option<Adapter>,
}

/// What a matrix of low rank adds to another: `scale up down` (Hu et al., "LoRA", arXiv
/// 2106.09685, equation 3).
#[derive(Debug)]
struct Adapter {
    /// `[rank, in]`.
    down: Tensor,
    /// `[out, rank]`; all 0 in the beginning, so that nothing is added.
    up: Tensor,
    scale: f64,
}

impl Linear {
    pub(super) fn new(weight: Tensor) -> Self {
        let adapter = None;
        Self { weight, adapter }
    }

    /// Of `[..., in]`; `dropout` is the share of what an adapter reads that is dropped.
    pub(super) fn forward(&self, input: &Tensor, dropout: f64) -> Tensor {
        let output = input.linear::<&Tensor>(&self.weight, None);
        let Some(adapter) = &self.adapter else {
            return output;
        };
        let read = input.dropout(dropout, dropout > 0.0);
        let low = read.linear::<&Tensor>(&adapter.down, None);
        output + low.linear::<&Tensor>(&adapter.up, None) * adapter.scale
    }

    /// Freezes the weight, and puts an adapter beside it that adds nothing yet.
    pub(super) fn adapt(&mut self, rank: usize, scale: f64) {
        let (rank, kind, device) = (rank as i64, self.weight.kind(), self.weight.device());
        let (outputs, inputs) = self.weight.size2().expect("a matrix");
        // Drawn on the CPU, so that a seed means the same weights on every device.
        let down = Tensor::randn([rank, inputs], (Kind::Float, tch::Device::Cpu));
        let down = down * (inputs as f64).powf(-0.5);
        let up = Tensor::zeros([outputs, rank], (kind, device));
        let _ = self.weight.set_requires_grad(false);
        self.adapter = Some(Adapter {
            down: down.to_kind(kind).to_device(device).set_requires_grad(true),
            up: up.set_requires_grad(true),
            scale,
        });
    }

    /// Puts what the adapter adds into the weight, and does away with it.
    pub(super) fn merge(&mut self) {
        self.weight = self.whole().detach().set_requires_grad(true);
        self.adapter = None;
    }

    /// The one matrix that does the same, `[out, in]`.
    pub(super) fn whole(&self) -> Tensor {
        match &self.adapter {
            None => self.weight.shallow_clone(),
            Some(adapter) => &self.weight + adapter.up.matmul(&adapter.down) * adapter.scale,
        }
    }

    /// The matrices there are, by PEFT's names: `name` ends in `.weight`.
    pub(super) fn parts(&self, name: &str) -> Vec<(String, Tensor)> {
        let mut parts = vec![(name.to_owned(), self.weight.shallow_clone())];
        if let Some(adapter) = &self.adapter {
            let module = name.trim_end_matches(".weight");
            for (part, tensor) in [("lora_A", &adapter.down), ("lora_B", &adapter.up)] {
                parts.push((format!("{module}.{part}.weight"), tensor.shallow_clone()));
            }
        }
        parts
    }
}
