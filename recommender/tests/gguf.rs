//! Models in GGUF files.

#[expect(dead_code, reason = "others compare gradients too")]
mod golden;

use std::io::Cursor;
use std::path::PathBuf;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use golden::{difference, logits, model};
use proptest::prelude::*;
use semid_recommender::{Gguf, Llama};
use semid_tasks::ChatTemplate;
use tch::{Device, Tensor};

/// A golden model as llama.cpp's converter writes it: what it calls the weights, and neighbouring
/// rows of a head for what Hugging Face has in its halves.
fn converted(name: &str, changed: &[(&str, Value)]) -> Vec<u8> {
    let model = model(name);
    let config = model.config();
    let heads = [config.num_attention_heads, config.key_value_heads()];
    let names = [
        ("model.embed_tokens", "token_embd"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
    ];
    let mut tensors = Vec::new();
    for (name, weight) in model.tensors() {
        let heads = match &name {
            name if name.contains("q_proj") => Some(heads[0]),
            name if name.contains("k_proj") => Some(heads[1]),
            _ => None,
        };
        let name = names
            .iter()
            .fold(name, |name, (theirs, ours)| name.replace(theirs, ours));
        let shape: Vec<usize> = weight.size().iter().map(|&size| size as usize).collect();
        let weight = match heads {
            Some(heads) => {
                let half = shape[0] / heads / 2;
                let row =
                    |row: usize| (row / (2 * half)) * 2 * half + row % 2 * half + row / 2 % half;
                let rows: Vec<i64> = (0..shape[0]).map(|at| row(at) as i64).collect();
                weight.index_select(0, &Tensor::from_slice(&rows))
            }
            None => weight,
        };
        let values = Vec::<f32>::try_from(weight.detach().flatten(0, -1)).expect("numbers");
        let tensor = candle_core::Tensor::from_vec(values, shape, &candle_core::Device::Cpu);
        let tensor = QTensor::quantize(&tensor.expect("a tensor"), GgmlDType::F32);
        tensors.push((name, tensor.expect("a plain tensor")));
    }
    let size = |size: usize| Value::U32(size as u32);
    let text = |text: &str| Value::String(text.to_owned());
    let mut metadata = vec![
        ("general.architecture", text("llama")),
        ("llama.embedding_length", size(config.hidden_size)),
        ("llama.feed_forward_length", size(config.intermediate_size)),
        ("llama.block_count", size(config.num_hidden_layers)),
        ("llama.attention.head_count", size(heads[0])),
        ("llama.attention.head_count_kv", size(heads[1])),
        ("llama.attention.key_length", size(config.head_dim())),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F32(config.rms_norm_eps as f32),
        ),
        (
            "llama.rope.freq_base",
            Value::F32(config.rope_base() as f32),
        ),
        ("llama.context_length", size(config.max_position_embeddings)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        (
            "tokenizer.ggml.tokens",
            Value::Array(["<s>", "a", "b", "ab"].map(text).into()),
        ),
        ("tokenizer.ggml.merges", Value::Array(vec![text("a b")])),
        (
            "tokenizer.ggml.token_type",
            Value::Array([3, 1, 1, 1].map(Value::I32).into()),
        ),
        ("tokenizer.ggml.bos_token_id", Value::U32(0)),
        (
            "tokenizer.chat_template",
            text("{{ bos_token }}{{ messages[0].content }}"),
        ),
    ];
    for (key, value) in changed {
        metadata.retain(|(known, _)| known != key);
        metadata.push((key, value.clone()));
    }
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (&**name, tensor))
        .collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).expect("memory takes all");
    file.into_inner()
}

#[test]
fn a_converted_model_is_the_model() {
    for name in ["grouped", "tied"] {
        let bytes = converted(name, &[]);
        let file = Gguf::read(&bytes).expect("a sound file");
        let read = file.model(Device::Cpu).expect("a Llama");
        let (tokens, expected) = logits(name);
        let logits = tch::no_grad(|| read.logits(&read.hidden(&tokens)));
        assert!(difference(&logits, &expected) < 1e-5, "{name}");
        assert_eq!(read.to_files().0, model(name).to_files().0);

        let tokenizer = file.tokenizer().expect("a tokenizer");
        let saved = tokenizer.to_string(false).expect("JSON");
        let saved: tokenizers::Tokenizer = saved.parse().expect("what was saved");
        for tokenizer in [tokenizer, saved] {
            let encoding = tokenizer.encode("abba<s>", false).expect("known letters");
            assert_eq!(encoding.get_ids(), [3, 2, 1, 0]);
        }
        let chat = ChatTemplate::read(&file.tokenizer_config(), None, None).expect("a template");
        assert_eq!(
            chat.render(None, "hello", None).expect("a text"),
            "<s>hello"
        );
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let refused = |key: &str, value: Value| {
        let bytes = converted("grouped", &[(key, value)]);
        let model = Gguf::read(&bytes).and_then(|file| file.model(Device::Cpu));
        model.expect_err("it does not fit").to_string()
    };
    let text = |text: &str| Value::String(text.to_owned());
    let error = refused("general.architecture", text("qwen2"));
    assert!(
        error.contains("got \"qwen2\", expected \"llama\""),
        "{error}"
    );
    let error = refused("llama.embedding_length", Value::U32(48));
    assert!(
        error.contains("token_embd.weight: got [61, 24], expected [61, 48]"),
        "{error}"
    );
    let error = refused("llama.block_count", Value::U32(u32::MAX));
    assert!(
        error.contains("no tensor blk.2.attn_norm.weight"),
        "{error}"
    );
    let error = refused("llama.block_count", text("two"));
    assert!(error.contains("llama.block_count: not a u64"), "{error}");
    let error = refused("llama.rope.scaling.factor", Value::F32(8.0));
    assert!(error.contains("rope_scaling"), "{error}");
    let error = refused("llama.expert_count", Value::U32(8));
    assert!(error.contains("llama.expert_count: got 8"), "{error}");
    let error = refused("general.alignment", Value::U32(0));
    assert!(error.contains("damaged"), "{error}");

    let bytes = converted("grouped", &[("tokenizer.ggml.pre", text("tekken"))]);
    let file = Gguf::read(&bytes).expect("a sound file");
    let error = file.tokenizer().expect_err("another tokenizer").to_string();
    assert!(
        error.contains("got \"tekken\", expected gpt-2 or smollm"),
        "{error}"
    );
}

#[test]
fn a_file_cut_short_is_refused() {
    let bytes = converted("tied", &[]);
    for len in (0..bytes.len()).step_by(97) {
        let model = Gguf::read(&bytes[..len]).and_then(|file| file.model(Device::Cpu));
        assert!(model.is_err(), "{len} of {} bytes", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Sizes, types and names that somebody has made up: an error or a model, nothing else.
    #[test]
    fn damaged_headers_do_no_harm(
        at in 0..2400_usize,
        bytes in proptest::collection::vec(prop_oneof![Just(0), Just(0x7f), Just(0xff), any::<u8>()], 1..9),
    ) {
        let mut file = converted("tied", &[]);
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        if let Ok(file) = Gguf::read(&file) {
            let _ = (file.model(Device::Cpu), file.tokenizer(), file.tokenizer_config());
        }
    }
}

/// The file that `scripts/smollm.py` fetches; `fixtures/recommender/smollm.jsonl` is of
/// `scripts/check_smollm.py`.
#[test]
fn smollm_is_that_of_transformers() {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or(home);
    let path = cache.expect("a home").join("semid/SmolLM2-135M-Instruct");
    let Ok(bytes) = std::fs::read(path.join("SmolLM2-135M-Instruct.Q4_1.gguf")) else {
        use std::io::Write as _;
        let mut out = std::io::stderr();
        let _ = writeln!(
            out,
            "not tested: {} is not there, scripts/smollm.py fetches it",
            path.display()
        );
        return;
    };
    let file = Gguf::read(&bytes).expect("a sound file");
    let (tokenizer, model) = (file.tokenizer().expect("a tokenizer"), read(&file));
    let golden = String::from_utf8(golden::fixture("smollm.jsonl")).expect("text");
    for line in golden.lines() {
        let golden: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = golden["text"].as_str().expect("a text");
        let encoding = tokenizer.encode(text, false).expect("any text");
        assert_eq!(
            serde_json::json!(encoding.get_ids()),
            golden["tokens"],
            "{text}"
        );
        let tokens: Vec<i64> = encoding.get_ids().iter().map(|&id| id.into()).collect();
        let hidden = tch::no_grad(|| model.hidden(&Tensor::from_slice(&tokens).unsqueeze(0)));
        let logits = model.logits(&hidden.get(0).get(-1));
        for (token, expected) in golden["logits"]
            .as_array()
            .expect("a list")
            .iter()
            .enumerate()
        {
            let got = logits.double_value(&[token as i64]);
            let expected = expected.as_f64().expect("a number");
            assert!(
                (got - expected).abs() < 2e-4,
                "{text}: {got}, expected {expected}"
            );
        }
    }
}

fn read(file: &Gguf<'_>) -> Llama {
    file.model(Device::Cpu).expect("a Llama")
}
