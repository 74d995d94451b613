use std::io;

use serde_json::Value;
use tch::Device;
use tokenizers::Tokenizer;

use crate::{Error, Llama, Result, shard_names};

/// A language model that knows nothing of items yet.
#[derive(Debug)]
pub struct Pretrained {
    /// Its weights, in f32.
    pub model: Llama,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its `tokenizer_config.json`, with the chat template if it has one.
    pub tokenizer_config: String,
}

impl Pretrained {
    /// Reads the files of a Hugging Face folder, which `read` gives by name: `config.json`;
    /// `model.safetensors`, or those that `model.safetensors.index.json` names; `tokenizer.json`;
    /// `tokenizer_config.json`; and `chat_template.jinja`, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for a file that cannot be read or is damaged; those of
    /// [`Llama::from_shards`].
    pub fn from_files(read: &dyn Fn(&str) -> io::Result<Vec<u8>>, device: Device) -> Result<Self> {
        let bytes = |file: &str| read(file).map_err(|error| bad(file, error));
        let optional = |file: &str| match read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(|error| bad(file, error)),
        };
        let names = match optional("model.safetensors.index.json")? {
            Some(index) => shard_names(&index)?,
            None => vec!["model.safetensors".to_owned()],
        };
        let shards = names.iter().map(|name| bytes(name));
        let shards: Vec<Vec<u8>> = shards.collect::<Result<_>>()?;
        let weights: Vec<&[u8]> = shards.iter().map(Vec::as_slice).collect();
        let model = Llama::from_shards(&bytes("config.json")?, &weights, device)?;

        let tokenizer = Tokenizer::from_bytes(bytes("tokenizer.json")?);
        let mut config: Value = serde_json::from_slice(&bytes("tokenizer_config.json")?)
            .map_err(|error| bad("tokenizer_config.json", error))?;
        if let Some(chat) = optional("chat_template.jinja")? {
            let chat =
                String::from_utf8(chat).map_err(|error| bad("chat_template.jinja", error))?;
            config["chat_template"] = chat.into();
        }
        Ok(Self {
            model,
            tokenizer: tokenizer.map_err(|error| bad("tokenizer.json", error))?,
            tokenizer_config: serde_json::to_string_pretty(&config).expect("it was JSON") + "\n",
        })
    }

    /// Reads a GGUF file.
    ///
    /// # Errors
    ///
    /// Those of [`Gguf`](crate::Gguf).
    #[cfg(feature = "gguf")]
    pub fn from_gguf(bytes: &[u8], device: Device) -> Result<Self> {
        let file = crate::Gguf::read(bytes)?;
        Ok(Self {
            model: file.model(device)?,
            tokenizer: file.tokenizer()?,
            tokenizer_config: file.tokenizer_config(),
        })
    }
}

fn bad(file: &str, problem: impl std::fmt::Display) -> Error {
    Error::Model(format!("{file}: {problem}"))
}
