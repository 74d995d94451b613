//! The transformer against Hugging Face's.

mod golden;

use golden::{difference, fixture, gradients, logits, model};
use safetensors::SafeTensors;
use safetensors::tensor::serialize;
use semid_recommender::{Error, Llama, LlamaConfig, shard_names};
use tch::{Device, Kind, Tensor};

#[test]
fn logits_are_those_of_transformers() {
    for name in ["grouped", "tied"] {
        let (tokens, expected) = logits(name);
        let model = model(name);
        let got = tch::no_grad(|| model.logits(&model.hidden(&tokens)));
        let difference = (got - expected).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

/// Of every weight of every block.
#[test]
fn gradients_are_those_of_transformers() {
    for name in ["grouped", "tied"] {
        let (tokens, _) = logits(name);
        let golden = fixture(&format!("{name}.gradients.safetensors"));
        let golden = SafeTensors::deserialize(&golden).expect("a sound file");
        let gradients = gradients(&model(name), &tokens);
        assert_eq!(gradients.len(), golden.len());
        for (weight, got) in gradients {
            let view = golden.tensor(&weight).expect("the same names");
            let expected = Tensor::from_data_size(view.data(), &got.size(), Kind::Float);
            let difference = difference(&got, &expected);
            assert!(difference < 1e-4, "{name}: {weight}: {difference}");
        }
    }
}

#[test]
fn a_checkpoint_may_be_in_several_files() {
    let (config, weights) = (fixture("tied.config.json"), fixture("tied.safetensors"));
    let file = SafeTensors::deserialize(&weights).expect("a sound file");
    let (first, second): (Vec<_>, Vec<_>) = file
        .iter()
        .partition(|(name, _)| name.contains("layers.1."));
    let shards = [first, second].map(|shard| serialize(shard, None).expect("distinct names"));
    let shards = [&shards[0][..], &shards[1]];
    let whole = Llama::from_shards(&config, &shards, Device::Cpu).expect("all weights");
    assert_eq!(whole.to_files(), model("tied").to_files());
    let error = Llama::from_shards(&config, &shards[..1], Device::Cpu).expect_err("one of two");
    assert!(
        error
            .to_string()
            .contains("no tensor model.embed_tokens.weight"),
        "{error}"
    );

    let outside = br#"{"weight_map": {"a": "../other.safetensors"}}"#;
    let error = shard_names(outside).expect_err("another folder");
    assert!(
        error.to_string().contains("expected one beside it"),
        "{error}"
    );
}

#[test]
fn a_saved_model_is_the_model() {
    for name in ["grouped", "tied"] {
        let (weights, config) = model(name).to_files();
        let back = Llama::from_files(config.as_bytes(), &weights, Device::Cpu).expect("our own");
        assert_eq!(back.to_files(), (weights, config));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let (config, weights) = (
        fixture("grouped.config.json"),
        fixture("grouped.safetensors"),
    );
    let refused = |config: &[u8], weights: &[u8]| {
        let model = Llama::from_files(config, weights, Device::Cpu);
        model.expect_err("it does not fit").to_string()
    };
    let other = fixture("tied.config.json");
    assert!(
        refused(&other, &weights).contains("embed_tokens.weight: got [61, 24], expected [40, 16]")
    );
    assert!(refused(b"{}", &weights).contains("missing field `vocab_size`"));
    assert!(refused(&config, &weights[..1000]).starts_with("cannot read the model"));

    let changed = |from: &str, to: &str| {
        let text = String::from_utf8(config.clone()).expect("JSON");
        assert!(text.contains(from), "{from}");
        let json = text.replace(from, to);
        LlamaConfig::from_json(json.as_bytes())
            .expect_err("not a plain Llama")
            .to_string()
    };
    assert!(changed("\"silu\"", "\"gelu\"").contains("hidden_act"));
    assert!(changed("\"llama\"", "\"qwen2\"").contains("model_type"));
    assert!(changed("\"default\"", "\"llama3\"").contains("rope_scaling"));
    assert!(
        changed("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4").contains("divisor")
    );
    assert!(changed("\"attention_bias\": false", "\"attention_bias\": true").contains("bias"));
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    if !tch::Cuda::is_available() {
        let model = Llama::new(LlamaConfig::small(10, 32, 8), Device::Cuda(0), 1);
        assert!(matches!(model, Err(Error::Setup(_))));
    }
}
