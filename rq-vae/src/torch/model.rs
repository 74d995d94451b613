use ndarray::{Array1, ArrayView2};
use tch::nn::{self, Init, ModuleT};
use tch::{Device, Kind, Reduction, Tensor};

use super::contrastive::{Guidance, alignment, diversity};
use super::sinkhorn::uniform_codes;
use super::{to_matrix, to_tensor, to_vector};
use crate::network::{Linear, Mlp};
use crate::{Codebook, Encoder, ResidualKMeans, ResidualQuantizer, Result, RqVaeConfig};

/// The RQ-VAE of LC-Rec (arXiv 2311.09049, section III-B, equations 1 to 5) and TIGER on
/// libtorch: an encoder, residual quantization with straight-through gradients, a decoder.
///
/// Networks are MLPs; with `latent_dim` unset they are `x + f(x)` with `f` zero at the start
/// and the latents have the embeddings' dimension.
#[derive(Debug)]
pub struct RqVae {
    config: RqVaeConfig,
    store: nn::VarStore,
    encoder: Network,
    decoder: Network,
    /// `[K, d]` a level.
    codebooks: Vec<Tensor>,
    /// From latents to the space of collaborative vectors, `[rank, d]`.
    projection: Option<Tensor>,
}

/// The losses of one batch, scalars with gradients, and what the batch chose.
#[derive(Debug)]
pub struct Losses {
    /// `reconstruction + quantization_weight * quantization`, and the next two by their weights.
    pub total: Tensor,
    /// Mean squared error of the decoder's output, in standardized units.
    pub reconstruction: Tensor,
    /// Mean over levels of codebook loss + commitment x commitment loss.
    pub quantization: Tensor,
    /// What keeps quantized items from telling their collaborative vectors from others, in nats;
    /// 0 without.
    pub alignment: Tensor,
    /// How hard it is to tell the other codes of a code's group from those of other groups, in
    /// nats, the mean over levels; 0 without groups.
    pub diversity: Tensor,
    /// Codes of each level, `[B]` i64.
    pub codes: Vec<Tensor>,
    /// What each level had to quantize, `[B, d]`.
    pub residuals: Vec<Tensor>,
}

#[derive(Debug)]
struct Network {
    layers: Vec<(nn::Linear, Option<nn::BatchNorm>)>,
    dropout: f64,
    skip: bool,
}

impl Network {
    /// Layers of the given widths, as LC-Rec has them: dropout, linear map, batch
    /// normalization and ReLU, the last two not after the last map.
    fn new(path: &nn::Path<'_>, widths: &[usize], config: &RqVaeConfig) -> Self {
        let skip = config.latent_dim.is_none();
        let last = widths.len() - 2;
        let layers = (0..=last)
            .map(|at| {
                let (input, output) = (widths[at] as i64, widths[at + 1] as i64);
                let xavier = (2.0 / (input + output) as f64).sqrt();
                let bound = 1.0 / (input as f64).sqrt();
                let ws_init = match skip {
                    true if at == last => Init::Const(0.0),
                    true => Init::Uniform {
                        lo: -bound,
                        up: bound,
                    },
                    false => Init::Randn {
                        mean: 0.0,
                        stdev: xavier,
                    },
                };
                let bs_init = Some(Init::Const(0.0));
                let linear = nn::LinearConfig {
                    ws_init,
                    bs_init,
                    bias: true,
                };
                let linear = nn::linear(path / at, input, output, linear);
                let norm = (config.batch_norm && at < last).then(|| {
                    let ws_init = Init::Const(1.0);
                    let norm = nn::BatchNormConfig {
                        ws_init,
                        ..Default::default()
                    };
                    nn::batch_norm1d(path / format!("{at}_norm"), output, norm)
                });
                (linear, norm)
            })
            .collect();
        Self {
            layers,
            dropout: config.dropout,
            skip,
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let mut hidden = x.shallow_clone();
        for (at, (linear, norm)) in self.layers.iter().enumerate() {
            if train && self.dropout > 0.0 {
                hidden = hidden.dropout(self.dropout, true);
            }
            hidden = hidden.apply(linear);
            if let Some(norm) = norm {
                // One row has no variance to normalize by.
                hidden = norm.forward_t(&hidden, train && hidden.size()[0] > 1);
            }
            if at + 1 < self.layers.len() {
                hidden = hidden.relu();
            }
        }
        if self.skip { hidden + x } else { hidden }
    }

    /// The network as plain arrays, with batch normalization folded into the linear maps.
    fn to_mlp(&self) -> Result<Mlp> {
        let layers = self.layers.iter().map(|(linear, norm)| {
            let weight = linear.ws.shallow_clone();
            let bias = linear
                .bs
                .as_ref()
                .expect("made with a bias")
                .shallow_clone();
            let (weight, bias) = match norm {
                None => (weight, bias),
                Some(norm) => folded(&weight, &bias, norm),
            };
            Linear {
                weight: to_matrix(&weight),
                bias: to_vector(&bias),
            }
        });
        Mlp::new(layers.collect(), self.skip)
    }
}

/// `norm(W x + b)` as one affine map.
fn folded(weight: &Tensor, bias: &Tensor, norm: &nn::BatchNorm) -> (Tensor, Tensor) {
    let gain = norm.ws.as_ref().expect("affine by default");
    let shift = norm.bs.as_ref().expect("affine by default");
    let epsilon = nn::BatchNormConfig::default().eps;
    let scale = gain / (&norm.running_var + epsilon).sqrt();
    (
        weight * scale.unsqueeze(1),
        (bias - &norm.running_mean) * scale + shift,
    )
}

impl RqVae {
    /// A model for embeddings of dimension `dim`: networks drawn from libtorch's generator
    /// (seed it with [`tch::manual_seed`]), codebooks zero until [`RqVae::start_codebooks`].
    pub fn new(config: RqVaeConfig, dim: usize, device: Device) -> Self {
        let store = nn::VarStore::new(device);
        let latent = config.latent_dim.unwrap_or(dim);
        let mut widths = vec![dim];
        widths.extend(&config.hidden);
        widths.push(latent);
        let encoder = Network::new(&(store.root() / "encoder"), &widths, &config);
        widths.reverse();
        let decoder = Network::new(&(store.root() / "decoder"), &widths, &config);
        let shape = [config.codes as i64, latent as i64];
        let codebooks = (0..config.levels)
            .map(|level| {
                store
                    .root()
                    .sub("codebook")
                    .zeros(&level.to_string(), &shape)
            })
            .collect();
        Self {
            config,
            store,
            encoder,
            decoder,
            codebooks,
            projection: None,
        }
    }

    /// Adds the map from latents to collaborative vectors of dimension `rank`, drawn from
    /// libtorch's generator, that [`Guidance::vectors`] need. Only training uses it.
    pub fn add_projection(&mut self, rank: usize) {
        let latent = self.codebooks[0].size()[1];
        let bound = 1.0 / (latent as f64).sqrt();
        let (lo, up) = (-bound, bound);
        let shape = [rank as i64, latent];
        let init = Init::Uniform { lo, up };
        self.projection = Some(self.store.root().var("projection", &shape, init));
    }

    /// Sets the codebooks to residual k-means on the latents of `sample` `[n, D]`.
    ///
    /// # Errors
    ///
    /// Those of [`ResidualKMeans::fit`].
    pub fn start_codebooks(&mut self, sample: &Tensor, progress: impl FnMut(usize)) -> Result<()> {
        let latents = tch::no_grad(|| self.encoder.forward(sample, self.config.batch_norm));
        let quantizer =
            ResidualKMeans::of(&self.config).fit(to_matrix(&latents).view(), progress)?;
        self.set_codebooks(quantizer.codebooks());
        Ok(())
    }

    fn set_codebooks(&mut self, codebooks: &[Codebook]) {
        let device = self.store.device();
        tch::no_grad(|| {
            for (tensor, codebook) in self.codebooks.iter_mut().zip(codebooks) {
                tensor.copy_(&to_tensor(codebook.0.view(), device));
            }
        });
    }

    /// All tensors in order of their names: `encoder.0.weight`, `encoder.0_norm.running_mean`,
    /// `codebook.0` and so on. They share the model's memory, so that weights are loaded by
    /// copying into them, under [`tch::no_grad`].
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors: Vec<_> = self.store.variables().into_iter().collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    }

    /// Whether all weights are finite numbers.
    pub(super) fn is_finite(&self) -> bool {
        let finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) == 1;
        self.tensors().iter().all(|(_, tensor)| finite(tensor))
    }

    pub(super) fn codebooks(&mut self) -> &mut [Tensor] {
        &mut self.codebooks
    }

    /// Losses of one batch `x` `[B, D]`, standardized, in training mode.
    ///
    /// # Panics
    ///
    /// For vectors without [`RqVae::add_projection`], and where numbers of items, dimensions or
    /// levels differ.
    pub fn losses(&self, x: &Tensor, guidance: &Guidance) -> Losses {
        let config = &self.config;
        let input = match config.noise {
            0.0 => x.shallow_clone(),
            noise => x + x.randn_like() * noise,
        };
        let latent = self.encoder.forward(&input, true);
        let mut residual = latent.shallow_clone();
        let mut quantized = latent.zeros_like();
        let mut quantization = Tensor::zeros([], (Kind::Float, x.device()));
        let mut apart = quantization.copy();
        let (mut codes, mut residuals) = (Vec::new(), Vec::new());
        for (level, codebook) in self.codebooks.iter().enumerate() {
            let chosen = self.choose(level, &residual);
            let centroids = codebook.index_select(0, &chosen);
            let mse = |a: &Tensor, b: &Tensor| a.mse_loss(&b.detach(), Reduction::Mean);
            quantization +=
                mse(&centroids, &residual) + mse(&residual, &centroids) * config.commitment;
            if let Some(partners) = &guidance.partners {
                apart += diversity(&centroids, &chosen, codebook, &partners[level]);
            }
            residuals.push(residual.detach());
            let left = &residual - centroids.detach();
            residual = if config.deep_commitment {
                left
            } else {
                left.detach()
            };
            quantized += centroids;
            codes.push(chosen);
        }
        let quantization = quantization / self.codebooks.len() as f64;
        let diversity = apart / self.codebooks.len() as f64;
        // Straight through: the encoder sees the decoder's gradient as if nothing had been
        // quantized. The codebooks see it too where the configuration says so.
        let quantized = match config.reconstruct_codebooks {
            true => quantized + &latent - latent.detach(),
            false => &latent + (quantized - &latent).detach(),
        };
        let reconstruction = self
            .decoder
            .forward(&quantized, true)
            .mse_loss(x, Reduction::Mean);
        let alignment = guidance.vectors.as_ref().map(|vectors| {
            let projection = self.projection.as_ref().expect("added for the vectors");
            alignment(&quantized.matmul(&projection.tr()), vectors)
        });
        let alignment = alignment.unwrap_or_else(|| diversity.zeros_like());
        let total = &reconstruction
            + &quantization * config.quantization_weight
            + &alignment * config.alignment
            + &diversity * config.diversity;
        Losses {
            total,
            reconstruction,
            quantization,
            alignment,
            diversity,
            codes,
            residuals,
        }
    }

    /// The code of each residual `[B, d]`: the nearest, or at the last level, where the
    /// configuration says so, one of a uniform assignment.
    fn choose(&self, level: usize, residual: &Tensor) -> Tensor {
        let codebook = self.codebooks[level].detach();
        let residual = residual.detach();
        let squares = |t: &Tensor| {
            t.square()
                .sum_dim_intlist([1].as_slice(), true, Kind::Float)
        };
        let products = residual.matmul(&codebook.tr());
        let distances = squares(&codebook).tr() - products * 2.0;
        if level + 1 == self.codebooks.len() && self.config.sinkhorn_epsilon > 0.0 {
            let distances = distances + squares(&residual);
            let iterations = self.config.sinkhorn_iterations;
            return uniform_codes(&distances, self.config.sinkhorn_epsilon, iterations);
        }
        distances.argmin(1, false)
    }

    /// Greedy codes `[N, L]` i64 of standardized embeddings, by libtorch.
    pub fn codes(&self, x: &Tensor) -> Tensor {
        tch::no_grad(|| {
            let mut residual = self.encoder.forward(x, false);
            let mut codes = Vec::new();
            for codebook in &self.codebooks {
                let distances = Tensor::cdist(&residual, codebook, 2.0, 2);
                let chosen = distances.argmin(1, false);
                residual -= codebook.index_select(0, &chosen);
                codes.push(chosen);
            }
            Tensor::stack(&codes, 1)
        })
    }

    /// The model as it stands, without libtorch; `standard` is the mean and scale that its
    /// inputs were standardized with.
    ///
    /// # Errors
    ///
    /// Those of [`ResidualQuantizer::new`].
    pub fn to_encoder(&self, standard: (Array1<f32>, f32)) -> Result<Encoder> {
        let codebooks = self.codebooks.iter().map(|book| Codebook(to_matrix(book)));
        let quantizer = ResidualQuantizer::new(codebooks.collect())?;
        Encoder::new(
            standard,
            self.encoder.to_mlp()?,
            self.decoder.to_mlp()?,
            quantizer,
        )
    }

    /// Copies standardized embeddings `[N, D]` to the model's device.
    pub fn tensor(&self, x: ArrayView2<'_, f32>) -> Tensor {
        to_tensor(x, self.store.device())
    }
}
