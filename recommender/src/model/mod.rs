//! The transformer.

mod attention;
mod block;
mod linear;
mod lora;
mod rotary;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use semid_training::{check_device, seeded, tensor_bytes, tensor_of};
use tch::{Device, Kind, Tensor};

pub(crate) use attention::{Attend, Causal, Remembered, heads_first};

use crate::{Error, LlamaConfig, Result};
use block::Block;
pub(crate) use block::Dropout;
pub use lora::Lora;
use rotary::Rotary;
use rows::Rows;

/// A decoder-only transformer of the Llama family (Touvron et al., arXiv 2302.13971): rotary
/// positions, grouped-query attention, RMS norms before each block, SwiGLU.
///
/// Weights have the names and shapes of Hugging Face's `LlamaForCausalLM`, and so do files.
///
/// ```no_run
/// use semid_recommender::{Llama, LlamaConfig};
///
/// let model = Llama::new(LlamaConfig::small(1_000, 64, 256), tch::Device::Cpu, 42)?;
/// let tokens = tch::Tensor::from_slice(&[1_i64, 5, 7]).view([1, 3]);
/// let logits = model.logits(&model.hidden(&tokens));
/// assert_eq!(logits.size(), [1, 3, 1_000]);
/// # Ok::<(), semid_recommender::Error>(())
/// ```
#[derive(Debug)]
pub struct Llama {
    config: LlamaConfig,
    embedding: Rows,
    blocks: Vec<Block>,
    norm: Tensor,
    /// `None` where it is the embedding.
    head: Option<Rows>,
    rotary: Rotary,
    /// What its adapters are, while there are any.
    lora: Option<Lora>,
}

// Hugging Face's names.
const EMBEDDING: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

/// Gives the weight of a name and shape.
type Weights<'a> = dyn FnMut(&str, &[usize]) -> Result<Tensor> + 'a;

impl Llama {
    /// A model that knows nothing: weights are drawn with [`LlamaConfig::initializer_range`], and
    /// those by which blocks add to the stream smaller, the more blocks there are (Radford et al.,
    /// "Language models are unsupervised multitask learners", section 2.3).
    ///
    /// # Errors
    ///
    /// Those of [`LlamaConfig::check`]; [`Error::Setup`] for a device that is not there.
    pub fn new(config: LlamaConfig, device: Device, seed: i64) -> Result<Self> {
        check_device(device)?;
        let _turn = seeded(seed);
        let deviation = config.initializer_range;
        let adds = (2.0 * config.num_hidden_layers as f64).sqrt();
        Self::of(config, device, &mut |name, shape| {
            let added = ["o_proj.weight", "down_proj.weight"]
                .iter()
                .any(|end| name.ends_with(end));
            let deviation = if added { deviation / adds } else { deviation };
            let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
            // Drawn on the CPU, so that a seed means the same weights on every device.
            let options = (Kind::Float, Device::Cpu);
            Ok(match shape.len() {
                1 => Tensor::ones(shape, options),
                _ => Tensor::randn(shape, options) * deviation,
            })
        })
    }

    /// The model of a Hugging Face `config.json` and `model.safetensors`, in f32.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for a weight that is missing or of another shape; those of
    /// [`LlamaConfig::from_json`].
    pub fn from_files(config: &[u8], weights: &[u8], device: Device) -> Result<Self> {
        Self::from_shards(config, &[weights], device)
    }

    /// The same of several files, each with some of the weights: those that [`shard_names`]
    /// names.
    ///
    /// # Errors
    ///
    /// Those of [`Llama::from_files`].
    pub fn from_shards(config: &[u8], weights: &[&[u8]], device: Device) -> Result<Self> {
        check_device(device)?;
        let config = LlamaConfig::from_json(config)?;
        let files = weights.iter().map(|bytes| SafeTensors::deserialize(bytes));
        let files: Vec<SafeTensors<'_>> = files
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| Error::Model(error.to_string()))?;
        Self::of(config, device, &mut |name, shape| {
            let view = files.iter().find_map(|file| file.tensor(name).ok());
            let view = view.ok_or_else(|| Error::Model(format!("it has no tensor {name}")))?;
            check_shape(name, view.shape(), shape)?;
            Ok(tensor_of(&view)?.to_kind(Kind::Float))
        })
    }

    pub(crate) fn of(
        config: LlamaConfig,
        device: Device,
        weights: &mut Weights<'_>,
    ) -> Result<Self> {
        config.check()?;
        let mut weights = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let weight = weights(name, shape)?.to_device(device);
            Ok(weight.set_requires_grad(true))
        };
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let blocks = 0..config.num_hidden_layers;
        Ok(Self {
            embedding: Rows::new(weights(EMBEDDING, &[vocabulary, width])?),
            blocks: blocks
                .map(|layer| Block::of(&config, layer, &mut weights))
                .collect::<Result<_>>()?,
            norm: weights(NORM, &[width])?,
            head: match config.tie_word_embeddings {
                true => None,
                false => Some(Rows::new(weights(HEAD, &[vocabulary, width])?)),
            },
            rotary: Rotary::new(config.head_dim(), config.rope_base(), device),
            lora: None,
            config,
        })
    }

    /// The same model: both have the same weights, and what one learns the other knows. Of one
    /// with adapters, the model that it is now.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        let mut tensors: HashMap<String, Tensor> = self.tensors().into_iter().collect();
        let device = self.device();
        let weights = &mut |name: &str, _: &[usize]| {
            let weight = tensors.remove(name);
            Ok(weight.expect("each weight has a name of its own").detach())
        };
        Self::of(self.config.clone(), device, weights).expect("a model of this very shape")
    }

    /// Its shape.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Number of its weights.
    pub fn parameters(&self) -> usize {
        let tensors = self.tensors();
        tensors.iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.norm.device()
    }

    /// All weights by their names in Hugging Face's files; adapters are merged into them.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = vec![(EMBEDDING.to_owned(), self.embedding.whole())];
        for (layer, block) in self.blocks.iter().enumerate() {
            let norms = block.norms(layer);
            tensors.extend(norms.map(|(name, norm)| (name, norm.shallow_clone())));
            let linears = block.linears(layer);
            tensors.extend(linears.map(|(name, linear)| (name, linear.whole())));
        }
        tensors.push((NORM.to_owned(), self.norm.shallow_clone()));
        let head = self.head.iter();
        tensors.extend(head.map(|head| (HEAD.to_owned(), head.whole())));
        tensors
    }

    /// What training changes: all weights or, where there are adapters, those and the rows that
    /// are learnt with them. Changed in place, they change the model.
    pub fn trained(&self) -> Vec<(String, Tensor)> {
        let mut parts = self.parts();
        parts.retain(|(_, tensor)| tensor.requires_grad() && tensor.numel() > 0);
        parts
    }

    /// What training does not change.
    pub(crate) fn frozen(&self) -> Vec<(String, Tensor)> {
        let mut parts = self.parts();
        parts.retain(|(_, tensor)| !tensor.requires_grad());
        parts
    }

    fn parts(&self) -> Vec<(String, Tensor)> {
        let mut parts = self.embedding.parts(EMBEDDING);
        for (layer, block) in self.blocks.iter().enumerate() {
            let norms = block.norms(layer);
            parts.extend(norms.map(|(name, norm)| (name, norm.shallow_clone())));
            let linears = block.linears(layer);
            parts.extend(linears.flat_map(|(name, linear)| linear.parts(&name)));
        }
        parts.push((NORM.to_owned(), self.norm.shallow_clone()));
        parts.extend(self.head.iter().flat_map(|head| head.parts(HEAD)));
        parts
    }

    /// Puts other rows, of so many tokens, in place of those of embedding and head.
    pub(crate) fn change_rows(&mut self, vocabulary: usize, change: impl Fn(&Tensor) -> Tensor) {
        self.merge();
        self.config.vocab_size = vocabulary;
        self.tables(|rows| {
            let changed = tch::no_grad(|| change(&rows.whole()));
            *rows = Rows::new(changed.set_requires_grad(true));
        });
    }

    /// The bytes of `model.safetensors` and the text of `config.json`.
    pub fn to_files(&self) -> (Vec<u8>, String) {
        let parts = |(name, tensor): &(String, Tensor)| (name.clone(), tensor_bytes(tensor));
        let data: Vec<_> = self.tensors().iter().map(parts).collect();
        let views = data.iter().map(|(name, (dtype, shape, bytes))| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            (name, view.expect("shapes and bytes were made together"))
        });
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes = safetensors::serialize(views, Some(metadata)).expect("names are distinct");
        (bytes, self.config.to_json())
    }

    /// What the model makes of each token of some texts `[B, S]` and those before it, `[B, S, D]`.
    ///
    /// # Panics
    ///
    /// For tokens beyond the vocabulary.
    pub fn hidden(&self, tokens: &Tensor) -> Tensor {
        let positions = Tensor::arange(tokens.size()[1], (Kind::Int64, self.device()));
        self.forward(
            tokens,
            &positions,
            &mut Causal::default(),
            Dropout::default(),
        )
    }

    /// The logits of the token that follows, `[..., V]`, of hidden states `[..., D]`.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        self.head_rows().logits(hidden)
    }

    /// The rows that tokens are read as, `[V, D]`.
    pub(crate) fn embedding(&self) -> Tensor {
        self.embedding.whole()
    }

    /// The rows that logits are made with, `[V, D]`.
    pub(crate) fn head(&self) -> Tensor {
        self.head_rows().whole()
    }

    fn head_rows(&self) -> &Rows {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Hidden states `[..., D]` of new tokens `[...]` at `positions`, which broadcast with them.
    pub(crate) fn forward(
        &self,
        tokens: &Tensor,
        positions: &Tensor,
        attend: &mut dyn Attend,
        dropout: Dropout,
    ) -> Tensor {
        let angles = self.rotary.at(positions);
        let embedded = self.embedding.of(tokens);
        let mut hidden = embedded.dropout(dropout.embedded, dropout.embedded > 0.0);
        for (layer, block) in self.blocks.iter().enumerate() {
            hidden = block.forward(layer, &hidden, &angles, attend, dropout);
        }
        block::norm(&hidden, &self.norm, self.config.rms_norm_eps)
    }
}

/// Holds that a checkpoint's tensor has the shape that its configuration asks for.
pub(crate) fn check_shape(name: &str, got: &[usize], expected: &[usize]) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Model(format!(
        "{name}: got {got:?}, expected {expected:?}"
    )))
}

/// The files of a checkpoint in several: those that its `model.safetensors.index.json` names.
///
/// ```
/// let index = br#"{"metadata": {}, "weight_map": {
///     "lm_head.weight": "model-00002-of-00002.safetensors",
///     "model.embed_tokens.weight": "model-00001-of-00002.safetensors",
///     "model.norm.weight": "model-00002-of-00002.safetensors"}}"#;
/// let names = semid_recommender::shard_names(index)?;
/// assert_eq!(names, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
/// # Ok::<(), semid_recommender::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Model`] if it is no such file, or one that names files outside its folder.
pub fn shard_names(index: &[u8]) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bad = |problem: String| Error::Model(format!("model.safetensors.index.json: {problem}"));
    let index: Index = serde_json::from_slice(index).map_err(|error| bad(error.to_string()))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| name.contains(['/', '\\'])) {
        Some(name) => Err(bad(format!(
            "got the file {name:?}, expected one beside it"
        ))),
        None => Ok(names.into_iter().collect()),
    }
}
