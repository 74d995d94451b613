use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// The shape of a [`Llama`](crate::Llama), in the terms of a Hugging Face `config.json`.
///
/// ```
/// use semid_recommender::LlamaConfig;
///
/// let json = r#"{"model_type": "llama", "vocab_size": 1000, "hidden_size": 64,
///     "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4,
///     "num_key_value_heads": 2, "rope_theta": 10000.0}"#;
/// let config = LlamaConfig::from_json(json.as_bytes())?;
/// assert_eq!(config.head_dim(), 16);
/// assert!(!config.tie_word_embeddings);
/// # Ok::<(), semid_recommender::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Tokens `V`.
    pub vocab_size: usize,
    /// Width `D` of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward blocks.
    pub intermediate_size: usize,
    /// Blocks of attention and feed-forward.
    pub num_hidden_layers: usize,
    /// Heads that ask, `H`.
    pub num_attention_heads: usize,
    /// Heads that are asked, a divisor of `H`; as many where the file does not say.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; `D / H` where the file does not say.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// Added to the mean square before its root is taken.
    #[serde(default = "default_epsilon")]
    pub rms_norm_eps: f64,
    /// Base of the rotary positions' wavelengths.
    #[serde(default)]
    pub rope_theta: Option<f64>,
    /// The same as newer files have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<RopeParameters>,
    /// Rotary positions that are stretched; none but `null` is supported.
    #[serde(default, skip_serializing)]
    rope_scaling: Option<Value>,
    /// Tokens of the longest sequence.
    #[serde(default = "default_context")]
    pub max_position_embeddings: usize,
    /// Whether the head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Deviation of fresh weights.
    #[serde(default = "default_range")]
    pub initializer_range: f64,
    #[serde(default = "llama")]
    model_type: String,
    #[serde(default = "silu")]
    hidden_act: String,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

/// How positions turn queries and keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RopeParameters {
    /// Base of the wavelengths.
    pub rope_theta: f64,
    #[serde(default = "plain")]
    rope_type: String,
}

fn default_epsilon() -> f64 {
    1e-6
}

fn default_context() -> usize {
    2048
}

fn default_range() -> f64 {
    0.02
}

fn llama() -> String {
    "llama".to_owned()
}

fn silu() -> String {
    "silu".to_owned()
}

fn plain() -> String {
    "default".to_owned()
}

impl LlamaConfig {
    /// A small model over so many tokens: 4 layers of width `hidden_size`, heads of width 32.
    pub fn small(vocab_size: usize, hidden_size: usize, context: usize) -> Self {
        Self {
            vocab_size,
            hidden_size,
            intermediate_size: hidden_size * 8 / 3 / 8 * 8,
            num_hidden_layers: 4,
            num_attention_heads: (hidden_size / 32).max(1),
            num_key_value_heads: None,
            head_dim: None,
            rms_norm_eps: default_epsilon(),
            rope_theta: Some(10_000.0),
            rope_parameters: None,
            rope_scaling: None,
            max_position_embeddings: context,
            tie_word_embeddings: true,
            initializer_range: default_range(),
            model_type: llama(),
            hidden_act: silu(),
            attention_bias: false,
            mlp_bias: false,
        }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if it is none, [`Error::Setting`] for a model that is no plain Llama.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(json)
            .map_err(|error| Error::Model(format!("config.json: {error}")))?;
        config.check()?;
        Ok(config)
    }

    /// The `config.json` of this shape.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_value(self).expect("plain data serialises");
        json["architectures"] = Value::from(vec!["LlamaForCausalLM"]);
        json["num_key_value_heads"] = self.key_value_heads().into();
        json["head_dim"] = self.head_dim().into();
        serde_json::to_string_pretty(&json).expect("plain data serialises") + "\n"
    }

    /// # Errors
    ///
    /// [`Error::Setting`] names what does not fit.
    pub fn check(&self) -> Result<()> {
        let setting = |name, got: &dyn ToString, expected: &str| {
            Err(Error::Setting {
                name,
                got: got.to_string(),
                expected: expected.to_owned(),
            })
        };
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return setting(name, &0, "at least 1");
        }
        let (heads, groups) = (self.num_attention_heads, self.key_value_heads());
        if groups == 0 || !heads.is_multiple_of(groups) {
            return setting(
                "num_key_value_heads",
                &groups,
                &format!("a divisor of the {heads} attention heads"),
            );
        }
        if self.head_dim.is_none() && !self.hidden_size.is_multiple_of(heads) {
            let expected = format!("a multiple of the {heads} attention heads");
            return setting("hidden_size", &self.hidden_size, &expected);
        }
        if self.head_dim() == 0 || !self.head_dim().is_multiple_of(2) {
            return setting("head_dim", &self.head_dim(), "an even number");
        }
        let stretched = self.rope_scaling.as_ref().map(Value::to_string);
        let rope = self.rope_parameters.as_ref().map(|rope| &rope.rope_type);
        if let Some(got) = stretched.or(rope.filter(|&kind| *kind != plain()).cloned()) {
            return setting("rope_scaling", &got, "null: positions are not stretched");
        }
        let names = [
            ("model_type", &self.model_type, llama()),
            ("hidden_act", &self.hidden_act, silu()),
        ];
        if let Some((name, got, expected)) = names.iter().find(|(_, got, want)| *got != want) {
            return setting(name, got, expected);
        }
        match self.attention_bias || self.mlp_bias {
            true => setting("attention_bias, mlp_bias", &true, "false"),
            false => Ok(()),
        }
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// Heads that are asked.
    pub fn key_value_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Base of the rotary positions' wavelengths.
    pub fn rope_base(&self) -> f64 {
        let newer = self.rope_parameters.as_ref().map(|rope| rope.rope_theta);
        newer.or(self.rope_theta).unwrap_or(10_000.0)
    }
}
