//! A language model from a GGUF file becomes a folder as Hugging Face's `transformers` reads it.
//!
//! `cargo run --release -p semid-recommender --features gguf --example smollm -- MODEL.gguf FOLDER [TEXT]...`
//!
//! With texts, their tokens and the logits of what follows each token are written beside it, to
//! be compared: `scripts/check_smollm.py` does.

use std::fs;
use std::path::Path;

use semid_recommender::Gguf;
use tch::{Device, Tensor};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(folder)) = (args.next(), args.next()) else {
        return Err("usage: smollm MODEL.gguf FOLDER [TEXT]...".into());
    };
    let folder = Path::new(&folder);
    let bytes = fs::read(file)?;
    let file = Gguf::read(&bytes)?;
    let (tokenizer, model) = (file.tokenizer()?, file.model(Device::Cpu)?);

    let (weights, config) = model.to_files();
    fs::create_dir_all(folder)?;
    fs::write(folder.join("model.safetensors"), weights)?;
    fs::write(folder.join("config.json"), config)?;
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string(true)?)?;
    fs::write(
        folder.join("tokenizer_config.json"),
        file.tokenizer_config(),
    )?;

    let mut read = Vec::new();
    for (number, text) in args.enumerate() {
        let encoding = tokenizer.encode(text, false)?;
        let tokens: Vec<i64> = encoding.get_ids().iter().map(|&id| id.into()).collect();
        let tokens = Tensor::from_slice(&tokens);
        let hidden = tch::no_grad(|| model.hidden(&tokens.unsqueeze(0)));
        let logits = tch::no_grad(|| model.logits(&hidden)).squeeze_dim(0);
        read.extend([
            (format!("tokens.{number}"), tokens),
            (format!("logits.{number}"), logits),
        ]);
    }
    Tensor::write_safetensors(&read, folder.join("logits.safetensors"))?;
    Ok(())
}
