//! A sentence encoder small enough to be made by the test that uses it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

const WORDS: [&str; 12] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "toy", "story", "heat", "the", "of", "dawn", "comedy", ".",
];
const DIM: usize = 8;
const INNER: usize = 16;
const POSITIONS: usize = 128;

/// Writes a model folder of a two-layer BERT with fixed, irregular weights.
pub(crate) fn write_tiny_bert(folder: &Path, modules: &[&str]) {
    fs::create_dir_all(folder).expect("folder");
    let write = |file: &str, content: Value| {
        fs::write(folder.join(file), content.to_string()).expect("write");
    };
    write("config.json", config());
    write("tokenizer.json", tokenizer());
    let step = |name: &&str| json!({ "type": format!("sentence_transformers.models.{name}") });
    write("modules.json", modules.iter().map(step).collect());
    candle_core::safetensors::save(&weights(), folder.join("model.safetensors")).expect("save");
}

fn config() -> Value {
    json!({
        "model_type": "bert", "hidden_act": "gelu", "vocab_size": WORDS.len(),
        "hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": INNER, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
        "hidden_dropout_prob": 0.1, "initializer_range": 0.02, "layer_norm_eps": 1e-12,
        "pad_token_id": 0
    })
}

/// Whole words, and a fixed padding that the encoder must not follow.
fn tokenizer() -> Value {
    let vocabulary: HashMap<&str, usize> = WORDS.into_iter().zip(0..).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": {
            "strategy": { "Fixed": POSITIONS }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"
        },
        "added_tokens": [],
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" }
    })
}

fn weights() -> HashMap<String, Tensor> {
    let mut shapes = vec![
        (
            "embeddings.word_embeddings.weight".to_owned(),
            vec![WORDS.len(), DIM],
        ),
        (
            "embeddings.position_embeddings.weight".to_owned(),
            vec![POSITIONS, DIM],
        ),
        (
            "embeddings.token_type_embeddings.weight".to_owned(),
            vec![2, DIM],
        ),
    ];
    let mut linear = |name: &str, rows: usize, columns: usize| {
        shapes.push((format!("{name}.weight"), vec![rows, columns]));
        shapes.push((format!("{name}.bias"), vec![rows]));
    };
    for layer in 0..2 {
        let layer = format!("encoder.layer.{layer}");
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            linear(&format!("{layer}.attention.{part}"), DIM, DIM);
        }
        linear(&format!("{layer}.intermediate.dense"), INNER, DIM);
        linear(&format!("{layer}.output.dense"), DIM, INNER);
    }
    let mut weights: HashMap<String, Tensor> = shapes
        .into_iter()
        .zip(1..)
        .map(|((name, shape), seed)| (name, irregular(&shape, seed)))
        .collect();
    for norm in [
        "embeddings",
        "encoder.layer.0.attention.output",
        "encoder.layer.0.output",
        "encoder.layer.1.attention.output",
        "encoder.layer.1.output",
    ] {
        let ones = Tensor::ones(DIM, candle_core::DType::F32, &Device::Cpu).expect("ones");
        weights.insert(
            format!("{norm}.LayerNorm.bias"),
            ones.zeros_like().expect("zeros"),
        );
        weights.insert(format!("{norm}.LayerNorm.weight"), ones);
    }
    weights
}

fn irregular(shape: &[usize], seed: u32) -> Tensor {
    let size: usize = shape.iter().product();
    let value = |at: usize| (at as f32 * 1.7 + seed as f32 * 0.9).sin();
    let values: Vec<f32> = (0..size).map(value).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("shape")
}
