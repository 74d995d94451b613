use std::collections::BTreeMap;

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;
use safetensors::SafeTensors;
use semantic_id::{CodeMatrix, ItemId};
use serde::{Deserialize, Serialize};

use crate::blocks::by_blocks;
use crate::network::{Linear, Mlp};
use crate::random::shuffled;
use crate::stretch::stretch;
use crate::tensors::{Tensors, serialize, tensor};
use crate::{Codebook, Embeddings, Error, LatentDistances, ResidualQuantizer, Result, RqVaeConfig};

/// Rows that are read and encoded at a time.
const CHUNK: usize = 4096;

/// Bytes of latents up to which all are held.
const HELD: usize = 1 << 30;

/// A trained model at work: embeddings to codes and back, without libtorch.
///
/// `latent = encoder((x - mean) / scale)`, quantized; back by `decoder(sum) * scale + mean`.
/// A model of residual k-means is one whose networks are the identity.
///
/// An item's codes depend on the item and the model alone: not on the batch, on threads or on
/// the instruction set.
#[derive(Debug, Clone)]
pub struct Encoder {
    mean: Array1<f32>,
    scale: f32,
    encoder: Mlp,
    decoder: Mlp,
    quantizer: ResidualQuantizer,
}

/// `config.json` of a model folder: what the tensors alone do not tell.
#[derive(Debug, Serialize, Deserialize)]
struct Config {
    format: String,
    version: u32,
    dim: usize,
    levels: usize,
    encoder: MlpConfig,
    decoder: MlpConfig,
}

#[derive(Debug, Serialize, Deserialize)]
struct MlpConfig {
    layers: usize,
    skip: bool,
}

const FORMAT: &str = "semid.model";
const VERSION: u32 = 1;

impl Encoder {
    pub(crate) fn new(
        (mean, scale): (Array1<f32>, f32),
        encoder: Mlp,
        decoder: Mlp,
        quantizer: ResidualQuantizer,
    ) -> Result<Self> {
        let (outer, inner) = (mean.len(), quantizer.dim());
        if !encoder.maps(outer, inner) || !decoder.maps(inner, outer) {
            return Err(Error::Model(format!(
                "its networks do not map {outer} dimensions to the codebooks' {inner} and back"
            )));
        }
        Ok(Self {
            mean,
            scale,
            encoder,
            decoder,
            quantizer,
        })
    }

    /// Residual k-means on the embeddings `[N, D]`, telling `progress` after each level.
    ///
    /// # Errors
    ///
    /// Those of [`ResidualKMeans::fit`](crate::ResidualKMeans::fit); [`Error::Shape`] if the configuration's blocks have other
    /// dimensions in all.
    pub fn residual_kmeans(
        config: &RqVaeConfig,
        embeddings: ArrayView2<'_, f32>,
        progress: impl FnMut(usize),
    ) -> Result<Self> {
        let (mean, scale) = match config.standardize {
            true => standard(embeddings),
            false => (Array1::zeros(embeddings.ncols()), 1.0),
        };
        let rows = sample(embeddings.nrows(), config);
        let points = standardize(embeddings.select(Axis(0), &rows).view(), &mean, scale);
        let (encoder, decoder) = stretch(points.view(), config.spectrum_power)?;
        let latents = encoder.forward(points.view());
        let quantizer = by_blocks(config, latents.view(), progress)?;
        Self::new((mean, scale), encoder, decoder, quantizer)
    }

    /// A model whose networks are the identity.
    pub(crate) fn of_quantizer(
        standard: (Array1<f32>, f32),
        quantizer: ResidualQuantizer,
    ) -> Result<Self> {
        let identity = || Mlp::new(Vec::new(), false);
        Self::new(standard, identity()?, identity()?, quantizer)
    }

    /// The same networks with other codebooks of the same dimension.
    pub(crate) fn with_quantizer(&self, quantizer: ResidualQuantizer) -> Self {
        Self {
            quantizer,
            ..self.clone()
        }
    }

    /// The codebooks and their search.
    pub fn quantizer(&self) -> &ResidualQuantizer {
        &self.quantizer
    }

    /// Dimension `D` of the embeddings the model takes.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// The latents of some embeddings: `[n, D]` to `[n, d]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the embeddings have another dimension than the model.
    pub fn latents(&self, embeddings: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        self.check_dim(embeddings.ncols())?;
        let standard = standardize(embeddings, &self.mean, self.scale);
        Ok(self.encoder.forward(standard.view()))
    }

    /// The nearest path that a beam search of width `beams` finds for each embedding, `[n, L]`,
    /// and its squared distance in latent space, `[n]`.
    ///
    /// # Errors
    ///
    /// Those of [`Encoder::latents`].
    pub fn encode(
        &self,
        embeddings: ArrayView2<'_, f32>,
        beams: usize,
    ) -> Result<(CodeMatrix, Vec<f32>)> {
        Ok(self
            .quantizer
            .encode(self.latents(embeddings)?.view(), beams))
    }

    /// The geometry of a catalogue, from which a draft is made. Latents that take more than 1 GiB
    /// are not held, but made again of the embeddings whenever they are asked for.
    ///
    /// # Errors
    ///
    /// Those of [`Encoder::latents`] and [`Embeddings::rows`].
    pub fn distances<'a, D: AsRef<[u8]> + Sync>(
        &'a self,
        embeddings: &'a Embeddings<D>,
    ) -> Result<LatentDistances<'a>> {
        self.check_dim(embeddings.dim())?;
        let dim = self.quantizer.dim();
        if embeddings.len() * dim * size_of::<f32>() > HELD {
            let latent = |item: ItemId| {
                let embedding = embeddings.row(item.index());
                let latent = self.latents(embedding.view()).expect("dimensions agree");
                latent.into_raw_vec_and_offset().0
            };
            return Ok(LatentDistances::asking(
                &self.quantizer,
                embeddings.len(),
                latent,
            ));
        }
        LatentDistances::new(&self.quantizer, self.latents_of(embeddings)?)
    }

    /// The latents of a whole file, `[N, d]`, made of a few thousand rows at a time.
    ///
    /// # Errors
    ///
    /// Those of [`Encoder::latents`] and [`Embeddings::rows`].
    pub fn latents_of<D: AsRef<[u8]> + Sync>(
        &self,
        embeddings: &Embeddings<D>,
    ) -> Result<Array2<f32>> {
        self.check_dim(embeddings.dim())?;
        let mut latents = Array2::zeros((embeddings.len(), self.quantizer.dim()));
        for (chunk, mut out) in latents.axis_chunks_iter_mut(Axis(0), CHUNK).enumerate() {
            let start = chunk * CHUNK;
            let rows = embeddings.rows(start..start + out.nrows())?;
            out.assign(&self.latents(rows.view())?);
        }
        Ok(latents)
    }

    /// The reconstruction of embeddings from codes, `[N, D]`.
    ///
    /// # Panics
    ///
    /// If a code is outside its codebook.
    pub fn reconstruct(&self, paths: &CodeMatrix) -> Array2<f32> {
        let sums = self.quantizer.decode(paths);
        let mut out = self.decoder.forward(sums.view());
        out *= self.scale;
        out += &self.mean;
        out
    }

    /// Mean over items and dimensions of the squared difference between embeddings `[n, D]` and
    /// their reconstruction from `paths` `[n, L]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one path an embedding, or for another dimension.
    pub fn mse(&self, embeddings: ArrayView2<'_, f32>, paths: &CodeMatrix) -> Result<f64> {
        self.check_dim(embeddings.ncols())?;
        if paths.len() != embeddings.nrows() {
            return Err(Error::Shape {
                what: "number of paths",
                got: paths.len(),
                expected: embeddings.nrows(),
            });
        }
        let error = self.reconstruct(paths) - embeddings;
        let total: f64 = error.iter().map(|&e| f64::from(e) * f64::from(e)).sum();
        Ok(total / error.len().max(1) as f64)
    }

    /// [`Encoder::mse`] of a whole file, read a few thousand rows at a time.
    ///
    /// # Errors
    ///
    /// Those of [`Encoder::mse`] and [`Embeddings::rows`].
    pub fn mse_of<D: AsRef<[u8]> + Sync>(
        &self,
        embeddings: &Embeddings<D>,
        paths: &CodeMatrix,
    ) -> Result<f64> {
        let squared = |start: usize| {
            let end = paths.len().min(start + CHUNK);
            let given = embeddings.rows(start..end)?;
            let rows = (start..end).flat_map(|row| paths.row(ItemId(row as u32)));
            let paths = CodeMatrix::new(rows.copied().collect(), paths.levels())?;
            Ok(self.mse(given.view(), &paths)? * paths.len() as f64)
        };
        let chunks = (0..paths.len()).into_par_iter().step_by(CHUNK);
        // In order, so that the sum does not depend on threads.
        let parts: Vec<f64> = chunks.map(squared).collect::<Result<_>>()?;
        Ok(parts.iter().sum::<f64>() / paths.len().max(1) as f64)
    }

    fn check_dim(&self, got: usize) -> Result<()> {
        if got == self.dim() {
            return Ok(());
        }
        Err(Error::Shape {
            what: "dimension of the embeddings (the model was trained on another)",
            got,
            expected: self.dim(),
        })
    }

    /// The files of a model folder: `model.safetensors` and `config.json`.
    pub fn to_files(&self) -> (Vec<u8>, String) {
        let mut tensors = BTreeMap::new();
        tensors.insert("mean".to_owned(), tensor(&[self.dim()], self.mean.iter()));
        tensors.insert("scale".to_owned(), tensor(&[1], [self.scale].iter()));
        for (name, network) in [("encoder", &self.encoder), ("decoder", &self.decoder)] {
            for (at, layer) in network.layers().iter().enumerate() {
                let (out, input) = layer.weight.dim();
                let weight = tensor(&[out, input], layer.weight.iter());
                tensors.insert(format!("{name}.{at}.weight"), weight);
                tensors.insert(
                    format!("{name}.{at}.bias"),
                    tensor(&[out], layer.bias.iter()),
                );
            }
        }
        for (level, book) in self.quantizer.codebooks().iter().enumerate() {
            let (codes, dim) = book.0.dim();
            tensors.insert(
                format!("codebook.{level}"),
                tensor(&[codes, dim], book.0.iter()),
            );
        }
        let file = serialize(&tensors, None);
        let network = |mlp: &Mlp| MlpConfig {
            layers: mlp.layers().len(),
            skip: mlp.skip(),
        };
        let config = Config {
            format: FORMAT.to_owned(),
            version: VERSION,
            dim: self.dim(),
            levels: self.quantizer.codebooks().len(),
            encoder: network(&self.encoder),
            decoder: network(&self.decoder),
        };
        let config = serde_json::to_string_pretty(&config).expect("plain data serialises");
        (file, config + "\n")
    }

    /// Reads the files of a model folder.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] says which tensor is missing, of another shape or type, or not finite.
    pub fn from_files(model: &[u8], config: &[u8]) -> Result<Self> {
        let config: Config = serde_json::from_slice(config)
            .map_err(|error| Error::Model(format!("config.json: {error}")))?;
        if config.format != FORMAT || config.version != VERSION {
            return Err(Error::Model(format!(
                "config.json: got format {:?} version {}, expected {FORMAT:?} version {VERSION}",
                config.format, config.version
            )));
        }
        let file = SafeTensors::deserialize(model)
            .map_err(|error| Error::Model(format!("model.safetensors: {error}")))?;
        let tensors = Tensors(&file);
        let network = |name: &str, config: &MlpConfig| {
            let layers = (0..config.layers)
                .map(|at| {
                    let weight = tensors.matrix(&format!("{name}.{at}.weight"))?;
                    let bias = tensors.vector(&format!("{name}.{at}.bias"))?;
                    Ok(Linear { weight, bias })
                })
                .collect::<Result<_>>()?;
            Mlp::new(layers, config.skip)
        };
        let codebooks = (0..config.levels)
            .map(|level| tensors.matrix(&format!("codebook.{level}")).map(Codebook))
            .collect::<Result<_>>()?;
        let mean = tensors.vector("mean")?;
        if mean.len() != config.dim {
            return Err(Error::Model(format!(
                "tensor `mean` has {} values, expected {} as config.json says",
                mean.len(),
                config.dim
            )));
        }
        let scale = tensors.vector("scale")?;
        let scale = match scale.as_slice() {
            Some(&[scale]) if scale > 0.0 => scale,
            _ => {
                return Err(Error::Model(format!(
                    "tensor `scale`: got {scale}, expected one positive number"
                )));
            }
        };
        Self::new(
            (mean, scale),
            network("encoder", &config.encoder)?,
            network("decoder", &config.decoder)?,
            ResidualQuantizer::new(codebooks)?,
        )
    }
}

/// Mean `[D]` and one scale for all dimensions, such that `(x - mean) / scale` has mean 0 and
/// mean square 1. One scale keeps the geometry: squared distances change by one factor.
pub(crate) fn standard(x: ArrayView2<'_, f32>) -> (Array1<f32>, f32) {
    let rows = x.nrows() as f64;
    let mut mean = vec![0.0_f64; x.ncols()];
    for row in x.outer_iter() {
        mean.iter_mut()
            .zip(row)
            .for_each(|(mean, &x)| *mean += f64::from(x));
    }
    mean.iter_mut().for_each(|mean| *mean /= rows);
    let square = |row: ndarray::ArrayView1<'_, f32>| -> f64 {
        row.iter()
            .zip(&mean)
            .map(|(&x, mean)| (f64::from(x) - mean).powi(2))
            .sum()
    };
    let variance = x.outer_iter().map(square).sum::<f64>() / (rows * x.ncols() as f64);
    let scale = variance.sqrt() as f32;
    // Identical items, or one item: nothing to scale.
    let scale = if scale.is_normal() { scale } else { 1.0 };
    (mean.into_iter().map(|mean| mean as f32).collect(), scale)
}

/// The rows that k-means sees: all, or as many as the configuration allows, drawn at random.
pub(crate) fn sample(items: usize, config: &RqVaeConfig) -> Vec<usize> {
    let mut rows = shuffled(items, config.seed, "k-means sample", 0);
    rows.truncate(config.kmeans_sample);
    rows.sort_unstable();
    rows
}

/// `(x - mean) / scale`, by row.
pub(crate) fn standardize(x: ArrayView2<'_, f32>, mean: &Array1<f32>, scale: f32) -> Array2<f32> {
    const ROWS: usize = 64;
    let mut out = x.as_standard_layout().into_owned();
    out.axis_chunks_iter_mut(Axis(0), ROWS)
        .into_par_iter()
        .for_each(|mut rows| {
            rows -= mean;
            rows.mapv_inplace(|x| x / scale);
        });
    out
}
