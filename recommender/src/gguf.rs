use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use semid_training::check_device;
use serde_json::json;
use tch::{Device, Tensor};
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

use crate::model::check_shape;
use crate::{Error, Llama, LlamaConfig, Result};

/// A language model of the Llama family as llama.cpp keeps it, in one GGUF file: weights,
/// quantized or not, configuration, tokenizer and chat template.
///
/// ```no_run
/// use semid_recommender::Gguf;
///
/// let bytes = std::fs::read("SmolLM2-135M-Instruct.Q4_1.gguf")?;
/// let file = Gguf::read(&bytes)?;
/// let (tokenizer, model) = (file.tokenizer()?, file.model(tch::Device::Cpu)?);
/// assert_eq!(model.config().vocab_size, 49_152);
/// assert_eq!(tokenizer.encode("Hello", false).unwrap().get_ids(), [19556]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Gguf<'a> {
    bytes: &'a [u8],
    content: Content,
}

impl<'a> Gguf<'a> {
    /// Reads what is before the weights.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if it is no GGUF file, or one of another family of models.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let content = sound(|| Content::read(&mut Cursor::new(bytes)))?;
        let file = Self { bytes, content };
        match file.text("general.architecture")? {
            "llama" => Ok(file),
            other => Err(bad(format!(
                "general.architecture: got {other:?}, expected \"llama\""
            ))),
        }
    }

    /// The model's shape.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for one that is not told, those of [`LlamaConfig::check`].
    pub fn config(&self) -> Result<LlamaConfig> {
        let (vocabulary, _) = self.info("token_embd.weight")?.shape.dims2().map_err(bad)?;
        let rotary = self.number("llama.rope.scaling.factor").ok();
        let experts = self.number("llama.expert_count").ok();
        if let Some(got) = experts.filter(|&experts| experts > 0.0) {
            return Err(bad(format!("llama.expert_count: got {got}, expected none")));
        }
        let mut config = json!({
            "vocab_size": vocabulary,
            "hidden_size": self.size("llama.embedding_length")?,
            "intermediate_size": self.size("llama.feed_forward_length")?,
            "num_hidden_layers": self.size("llama.block_count")?,
            "num_attention_heads": self.size("llama.attention.head_count")?,
            "rms_norm_eps": self.number("llama.attention.layer_norm_rms_epsilon")?,
            "rope_theta": self.number("llama.rope.freq_base").unwrap_or(10_000.0),
            // Newer Llamas have a factor for each wavelength.
            "rope_scaling": match self.content.tensor_infos.contains_key("rope_freqs.weight") {
                true => json!("rope_freqs.weight"),
                false => json!(rotary.filter(|&factor| factor != 1.0)),
            },
            "max_position_embeddings": self.size("llama.context_length")?,
            "tie_word_embeddings": !self.content.tensor_infos.contains_key("output.weight"),
        });
        for (name, key) in [
            ("num_key_value_heads", "llama.attention.head_count_kv"),
            ("head_dim", "llama.attention.key_length"),
        ] {
            if self.content.metadata.contains_key(key) {
                config[name] = self.size(key)?.into();
            }
        }
        LlamaConfig::from_json(config.to_string().as_bytes())
    }

    /// The model, in f32.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for a weight that is missing, cut off, of another shape or of a
    /// quantization that is not known; those of [`Gguf::config`].
    pub fn model(&self, device: Device) -> Result<Llama> {
        check_device(device)?;
        let config = self.config()?;
        let heads = |name: &str| match name {
            _ if name.ends_with("q_proj.weight") => Some(config.num_attention_heads),
            _ if name.ends_with("k_proj.weight") => Some(config.key_value_heads()),
            _ => None,
        };
        Llama::of(config.clone(), device, &mut |name, shape| {
            let weight = self.weight(&llama_cpp_name(name), shape)?;
            Ok(match heads(name) {
                Some(heads) => halves_apart(&weight, heads as i64),
                None => weight,
            })
        })
    }

    /// A tensor, dequantized.
    fn weight(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let info = self.info(name)?;
        check_shape(name, info.shape.dims(), shape)?;
        // No quantization has less than a bit a weight; candle multiplies sizes unchecked.
        let weights = shape
            .iter()
            .try_fold(1_usize, |all, &size| all.checked_mul(size));
        if weights.is_none_or(|weights| weights / 8 > self.bytes.len()) {
            return Err(bad(format!(
                "{name}: {shape:?} weights are more than a file of {} bytes holds",
                self.bytes.len()
            )));
        }
        let cpu = candle_core::Device::Cpu;
        let values: Vec<f32> = sound(|| {
            let start = self.content.tensor_data_offset;
            let tensor = info.read(&mut Cursor::new(self.bytes), start, &cpu)?;
            tensor.dequantize(&cpu)?.flatten_all()?.to_vec1()
        })
        .map_err(|error| bad(format!("{name}: {error}")))?;
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        Ok(Tensor::from_slice(&values).view(&*shape))
    }

    /// The tokenizer, as Hugging Face's `tokenizer.json` would have it.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if it is not a BPE of bytes that splits texts as GPT-2 or SmolLM do.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let mut tokenizer = sound(|| Tokenizer::from_gguf(&self.content))?;
        let bytes = ByteLevel::new(false, true, true);
        match self.text("tokenizer.ggml.pre").unwrap_or("gpt-2") {
            // candle takes these for GPT-2's, and puts a space before a text.
            "gpt-2" | "gpt2" => _ = tokenizer.with_pre_tokenizer(Some(bytes)),
            "smollm" => {
                let split = Sequence::new(vec![Digits::new(true).into(), bytes.into()]);
                tokenizer.with_pre_tokenizer(Some(split));
            }
            other => {
                return Err(bad(format!(
                    "tokenizer.ggml.pre: got {other:?}, expected gpt-2 or smollm"
                )));
            }
        }
        Ok(tokenizer)
    }

    /// What a `tokenizer_config.json` tells: the special tokens, and the chat template if there
    /// is one. [`ChatTemplate::read`](semid_tasks::ChatTemplate::read) takes it.
    pub fn tokenizer_config(&self) -> String {
        let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
        for (name, key) in [
            ("bos_token", "bos_token_id"),
            ("eos_token", "eos_token_id"),
            ("unk_token", "unknown_token_id"),
            ("pad_token", "padding_token_id"),
        ] {
            if let Some(token) = self.special_token(key) {
                config[name] = token.into();
            }
        }
        if let Ok(template) = self.text("tokenizer.chat_template") {
            config["chat_template"] = template.into();
        }
        serde_json::to_string_pretty(&config).expect("plain data serialises") + "\n"
    }

    fn special_token(&self, key: &str) -> Option<&str> {
        let id = self.size(&format!("tokenizer.ggml.{key}")).ok()?;
        let tokens = self.content.metadata.get("tokenizer.ggml.tokens")?;
        let token = tokens.to_vec().ok()?.get(id as usize)?;
        token.to_string().ok().map(String::as_str)
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let info = self.content.tensor_infos.get(name);
        info.ok_or_else(|| bad(format!("it has no tensor {name}")))
    }

    fn value(&self, key: &str) -> Result<&Value> {
        let value = self.content.metadata.get(key);
        value.ok_or_else(|| bad(format!("it does not tell {key}")))
    }

    fn text(&self, key: &str) -> Result<&str> {
        let text = self.value(key)?.to_string();
        text.map(String::as_str)
            .map_err(|error| bad(format!("{key}: {error}")))
    }

    fn size(&self, key: &str) -> Result<u64> {
        let size = self.value(key)?.to_u64();
        size.map_err(|error| bad(format!("{key}: {error}")))
    }

    fn number(&self, key: &str) -> Result<f64> {
        match self.value(key)? {
            Value::F32(number) => Ok((*number).into()),
            Value::F64(number) => Ok(*number),
            other => self.size(key).map(|size| size as f64).map_err(|_| {
                bad(format!(
                    "{key}: got {:?}, expected a number",
                    other.value_type()
                ))
            }),
        }
    }
}

/// What llama.cpp calls a weight of Hugging Face's.
fn llama_cpp_name(name: &str) -> String {
    let name = name.replace("model.layers.", "blk.");
    [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]
    .iter()
    .fold(name, |name, (theirs, ours)| name.replace(theirs, ours))
}

/// llama.cpp turns neighbouring dimensions of a head by one angle, so that its files have rows of
/// a head's halves in turns; Hugging Face has one half behind the other.
fn halves_apart(weight: &Tensor, heads: i64) -> Tensor {
    let pairs = weight.unflatten(0, [heads, -1, 2]);
    pairs.transpose(1, 2).flatten(0, 2).contiguous()
}

/// candle holds what it reads against the file's size, but divides by an alignment of 0 and the
/// like: also that is an error of the file.
fn sound<T>(read: impl FnOnce() -> candle_core::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(bad),
        Err(_) => Err(bad("it is damaged")),
    }
}

fn bad(problem: impl ToString) -> Error {
    Error::Model(format!("GGUF: {}", problem.to_string()))
}
