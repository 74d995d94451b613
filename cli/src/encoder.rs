//! Sentence encoders of the BERT family, run on the CPU.

use std::cmp::Reverse;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use crate::map;

/// Texts to vectors: a BERT, pooled over its tokens, as sentence-transformers
/// (Reimers and Gurevych 2019, arXiv 1908.10084) lays it out in a folder:
/// `config.json`, `tokenizer.json`, `model.safetensors`, and if need be
/// `1_Pooling/config.json` and `modules.json`.
pub(crate) struct SentenceEncoder {
    model: BertModel,
    tokenizer: Tokenizer,
    pooling: Pooling,
    normalize: bool,
    dim: usize,
    padding: u32,
}

/// Rows of [`SentenceEncoder::encode`].
pub(crate) struct Encoded {
    /// `[texts, dim]`, one row a text, in their order.
    pub(crate) rows: Vec<Vec<f32>>,
    /// Texts that had more tokens than fit.
    pub(crate) truncated: usize,
}

#[derive(Debug, Clone, Copy)]
enum Pooling {
    /// The mean over a text's tokens.
    Mean,
    /// The first token.
    Cls,
}

impl SentenceEncoder {
    /// The files of a model folder that decide its rows; those that are there.
    pub(crate) const FILES: [&str; 5] = [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "modules.json",
        "1_Pooling/config.json",
    ];

    /// Reads a model folder. Texts will be cut after `max_tokens` tokens,
    /// the special ones included.
    pub(crate) fn open(folder: &Path, max_tokens: usize) -> anyhow::Result<Self> {
        Self::load(folder, max_tokens)
            .with_context(|| format!("cannot use {} as a sentence encoder", folder.display()))
    }

    fn load(folder: &Path, max_tokens: usize) -> anyhow::Result<Self> {
        let config: Config = read_json(&folder.join("config.json"))?;
        let kind = config.model_type.as_deref().unwrap_or("bert");
        ensure!(kind == "bert", "its model_type is {kind:?}, not \"bert\"");
        ensure!(
            max_tokens <= config.max_position_embeddings,
            "it takes up to {} tokens, not {max_tokens}",
            config.max_position_embeddings
        );
        let weights = map::open(&folder.join("model.safetensors"))?;
        let weights = VarBuilder::from_slice_safetensors(&weights, DType::F32, &Device::Cpu)?;
        Ok(Self {
            model: BertModel::load(weights, &config)?,
            tokenizer: tokenizer(folder, max_tokens)?,
            pooling: Pooling::read(folder)?,
            normalize: normalizes(folder)?,
            dim: config.hidden_size,
            padding: config.pad_token_id as u32,
        })
    }

    /// Length `D` of a row.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// Encodes texts, `batch` of about equal length at a time. A row does not
    /// depend on the rest of its batch. `done` hears of each finished batch.
    pub(crate) fn encode(
        &self,
        texts: &[String],
        batch: usize,
        done: impl Fn(usize) + Sync,
    ) -> anyhow::Result<Encoded> {
        let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = self
            .tokenizer
            .encode_batch(inputs, true)
            .map_err(|error| anyhow!("cannot tokenize: {error}"))?;
        // Equal lengths waste no padding; the longest first keep all threads busy to the end.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| Reverse(encodings[text].len()));

        let batches: Vec<Vec<Vec<f32>>> = order
            .par_chunks(batch)
            .map(|texts| {
                let batch: Vec<_> = texts.iter().map(|&text| &encodings[text]).collect();
                let rows = self.forward(&batch)?;
                done(texts.len());
                Ok(rows)
            })
            .collect::<anyhow::Result<_>>()?;

        let mut rows = vec![Vec::new(); texts.len()];
        for (text, row) in order.into_iter().zip(batches.into_iter().flatten()) {
            rows[text] = row;
        }
        let is_cut = |encoding: &&Encoding| !encoding.get_overflowing().is_empty();
        Ok(Encoded {
            rows,
            truncated: encodings.iter().filter(is_cut).count(),
        })
    }

    /// One row an encoding: the model, pooling, normalization.
    fn forward(&self, batch: &[&Encoding]) -> candle_core::Result<Vec<Vec<f32>>> {
        let ids = self.padded(batch, Encoding::get_ids, self.padding)?;
        let types = self.padded(batch, Encoding::get_type_ids, 0)?;
        let mask = self.padded(batch, Encoding::get_attention_mask, 0)?;
        let tokens = self.model.forward(&ids, &types, Some(&mask))?;
        let rows = match self.pooling {
            Pooling::Cls => tokens.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Mean => {
                let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
                let sum = tokens.broadcast_mul(&mask)?.sum(1)?;
                sum.broadcast_div(&mask.sum(1)?)?
            }
        };
        let rows = match self.normalize {
            true => rows.broadcast_div(&rows.sqr()?.sum_keepdim(1)?.sqrt()?)?,
            false => rows,
        };
        rows.to_vec2()
    }

    /// `[batch, longest]`: one field of each encoding, filled up with `padding`.
    fn padded(
        &self,
        batch: &[&Encoding],
        field: impl Fn(&Encoding) -> &[u32],
        padding: u32,
    ) -> candle_core::Result<Tensor> {
        let longest = batch.iter().map(|encoding| encoding.len()).max();
        let longest = longest.unwrap_or_default();
        let mut values = Vec::with_capacity(batch.len() * longest);
        for (encoding, end) in batch.iter().zip(1..) {
            values.extend_from_slice(field(encoding));
            values.resize(end * longest, padding);
        }
        Tensor::from_vec(values, (batch.len(), longest), &Device::Cpu)
    }
}

/// The tokenizer, cutting at `max_tokens` and padding nothing, whatever its file says.
fn tokenizer(folder: &Path, max_tokens: usize) -> anyhow::Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    let unusable = |error| anyhow!("{}: {error}", path.display());
    let mut tokenizer = Tokenizer::from_bytes(map::open(&path)?).map_err(unusable)?;
    let truncation = TruncationParams {
        max_length: max_tokens,
        ..TruncationParams::default()
    };
    tokenizer
        .with_truncation(Some(truncation))
        .map_err(unusable)?
        .with_padding(None);
    Ok(tokenizer)
}

impl Pooling {
    /// What `1_Pooling/config.json` says; the mean without it, as in sentence-transformers.
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("1_Pooling/config.json");
        if !path.exists() {
            return Ok(Self::Mean);
        }
        let config: serde_json::Map<String, Value> = read_json(&path)?;
        let is_on = |(name, value): (&String, &Value)| {
            let mode = name.strip_prefix("pooling_mode_")?;
            (value == &Value::Bool(true)).then(|| mode.to_owned())
        };
        let modes: Vec<String> = config.iter().filter_map(is_on).collect();
        match modes.join(" + ").as_str() {
            "mean_tokens" => Ok(Self::Mean),
            "cls_token" => Ok(Self::Cls),
            other => bail!("pooling {other:?} is not known; mean_tokens and cls_token are"),
        }
    }
}

/// Whether rows end as unit vectors: by `modules.json`, or a folder `2_Normalize` without one.
fn normalizes(folder: &Path) -> anyhow::Result<bool> {
    #[derive(Deserialize)]
    struct Step {
        r#type: String,
    }

    let path = folder.join("modules.json");
    if !path.exists() {
        return Ok(folder.join("2_Normalize").is_dir());
    }
    let steps: Vec<Step> = read_json(&path)?;
    let steps: Vec<&str> = steps
        .iter()
        .map(|step| step.r#type.rsplit('.').next().unwrap_or_default())
        .collect();
    match steps[..] {
        ["Transformer", "Pooling"] => Ok(false),
        ["Transformer", "Pooling", "Normalize"] => Ok(true),
        _ => bail!(
            "{} has the steps {}; only Transformer, Pooling and Normalize are known",
            path.display(),
            steps.join(", ")
        ),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = map::open(path)?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}
