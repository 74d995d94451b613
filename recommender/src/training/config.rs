use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How to train; [`check`](Self::check) makes a [`TrainingConfig`] of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingParams {
    /// Passes over the examples, at most.
    pub epochs: usize,
    /// Epochs without a better model after which training ends.
    pub patience: usize,
    /// Largest learning rate; it falls to 0 along a half cosine.
    pub learning_rate: f64,
    /// Share of all steps in which the learning rate rises to its largest.
    pub warmup: f64,
    /// Weight decay of all matrices.
    pub weight_decay: f64,
    /// How much of the mean squared gradient a step keeps.
    pub beta_2: f64,
    /// How much of the averaged weights a step keeps; the average is what is judged and written
    /// (Polyak and Juditsky, SIAM J. Control Optim. 1992). 0 for the last weights.
    pub averaging: f64,
    /// The joint norm of a step's gradients is cut down to this.
    pub clip: f64,
    /// Tokens of a step, those that fill up rows included.
    pub batch_tokens: usize,
    /// Tokens of a row, which holds several examples: of the longest one.
    pub row_tokens: usize,
    /// Share of what blocks add that is dropped; of a model with adapters, of what these read.
    pub dropout: f64,
    /// Share of embedded tokens' values that is dropped, where there are no adapters.
    pub embedding_dropout: f64,
    /// Share of the attention that is dropped.
    pub attention_dropout: f64,
    /// Share of each target's probability that is spread over the vocabulary.
    pub label_smoothing: f64,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for TrainingParams {
    /// For a small model from scratch.
    fn default() -> Self {
        Self {
            epochs: 16,
            patience: 10,
            learning_rate: 2e-3,
            warmup: 0.05,
            weight_decay: 0.1,
            beta_2: 0.98,
            averaging: 0.995,
            clip: 1.0,
            batch_tokens: 4096,
            row_tokens: 256,
            dropout: 0.2,
            embedding_dropout: 0.3,
            attention_dropout: 0.0,
            label_smoothing: 0.1,
            seed: 42,
        }
    }
}

/// Settings that hold together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TrainingParams")]
pub struct TrainingConfig(TrainingParams);

impl TrainingParams {
    /// # Errors
    ///
    /// [`Error::Setting`] names the setting that makes no sense.
    pub fn check(self) -> Result<TrainingConfig> {
        let counts = [
            ("epochs", self.epochs),
            ("patience", self.patience),
            ("batch_tokens", self.batch_tokens / self.row_tokens.max(1)),
            ("row_tokens", self.row_tokens.saturating_sub(1)),
        ];
        for (name, count) in counts {
            if count == 0 {
                return Err(setting(
                    name,
                    0,
                    match name {
                        "batch_tokens" => "at least row_tokens",
                        "row_tokens" => "at least 2",
                        _ => "at least 1",
                    },
                ));
            }
        }
        let shares = [
            ("warmup", self.warmup),
            ("dropout", self.dropout),
            ("embedding_dropout", self.embedding_dropout),
            ("beta_2", self.beta_2),
            ("averaging", self.averaging),
            ("attention_dropout", self.attention_dropout),
            ("label_smoothing", self.label_smoothing),
        ];
        for (name, share) in shares {
            if !(0.0..1.0).contains(&share) {
                return Err(setting(name, share, "at least 0 and below 1"));
            }
        }
        let sizes = [
            ("learning_rate", self.learning_rate, f64::MIN_POSITIVE),
            ("weight_decay", self.weight_decay, 0.0),
            ("clip", self.clip, f64::MIN_POSITIVE),
        ];
        for (name, size, least) in sizes {
            if !(size >= least && size.is_finite()) {
                return Err(setting(name, size, "a positive number"));
            }
        }
        Ok(TrainingConfig(self))
    }
}

fn setting(name: &'static str, got: impl ToString, expected: &str) -> Error {
    Error::Setting {
        name,
        got: got.to_string(),
        expected: expected.to_owned(),
    }
}

impl Deref for TrainingConfig {
    type Target = TrainingParams;

    fn deref(&self) -> &TrainingParams {
        &self.0
    }
}

impl TryFrom<TrainingParams> for TrainingConfig {
    type Error = Error;

    fn try_from(params: TrainingParams) -> Result<Self> {
        params.check()
    }
}
