//! A server of mistral.rs that recommends items, and only such as exist: `make mistralrs`, or
//! `cargo run --example serve` in this folder.
//!
//! The model is a small Llama that was never trained, written into a temporary folder: its taste is
//! a matter of chance. For one of your own, give `TextModelBuilder` its folder.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor, safetensors};
use either::Either;
use mistralrs::{
    Choice, ModelDType, RequestBuilder, SamplingParams, TextMessageRole, TextMessages,
    TextModelBuilder, TokenSource,
};
use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys, Manifest, TokenFormat,
};
use semid_mistralrs::SemanticIdLogits;
use serde_json::{Value, json};
use trie_decode::{DecodeSession, Filter, ItemTrie, SessionParams, TokenMap};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // 1. A catalogue of 300 items.
    let (space, format) = (CodeSpace::uniform(3, 16)?, TokenFormat::lc_rec(3));
    let ids = (0..300).flat_map(|item| [item % 16, item / 16 % 16, item / 20].map(Code));
    let keys = ItemKeys::new((0..300).map(|item| format!("item-{item}")))?;
    let info = IndexInfo::new(format.clone(), Manifest::new("serve", ().into()));
    let codes = CodeMatrix::new(ids.collect(), 3)?;
    let index = ItemIndex::build(&space, &codes, &keys, 1, info)?;
    let trie = Arc::new(ItemTrie::new(index));

    // 2. A model whose tokenizer knows the codes, and the server.
    let folder = tempfile::tempdir()?;
    let tokenizer = tokenizer(&format, &space);
    write_model(folder.path(), &tokenizer)?;
    let model = TextModelBuilder::new(folder.path().display())
        .with_token_source(TokenSource::None)
        .with_dtype(ModelDType::F32)
        .with_force_cpu()
        .build()
        .await?;

    // 3. What every request shares: the model's tokens, and that `</s>` comes after an item.
    let json = serde_json::to_vec(&tokenizer)?;
    let tokens = TokenMap::from_tokenizer(&json, &format, &trie, vocabulary(&tokenizer))?;
    let tokens = Arc::new(tokens.between(None, Some(END))?);
    let config = SessionParams::new(&tokens).check(&tokens)?;

    // 4. A request: its messages, what it may be given, and a processor.
    let sampling = SamplingParams {
        n_choices: 4,
        ..SamplingParams::neutral()
    };
    let index = trie.index().expect("the trie was made of an index");
    let items = index.living()?.into_iter();
    let items = items.map(|item| Ok((index.text(item)?, index.key(item)?)));
    let items: HashMap<String, &str> = items.collect::<semantic_id::Result<_>>()?;
    // Both prompts begin alike: the server reads only the rest of the second.
    for bought in ["item-17", "item-230"] {
        let id = index.text(index.find(bought)?.expect("an item of the catalogue"))?;
        let question = format!("Who bought {id} will buy");
        let messages = TextMessages::new().add_message(TextMessageRole::User, question);
        let prompt = Either::Left(messages.clone());
        let prompt = model.tokenize(prompt, None, true, true, None).await?;

        let others = Filter::deny_keys(&trie, [bought])?;
        let (trie, tokens) = (Arc::clone(&trie), Arc::clone(&tokens));
        let session = DecodeSession::new(trie, tokens, Some(others), config.clone())?;
        let request = RequestBuilder::from(messages)
            .add_logits_processor(Arc::new(SemanticIdLogits::new(session, prompt)))
            .return_logprobs(true)
            .set_sampling(sampling.clone());
        let response = model.send_chat_request(request).await?;

        println!("who bought {bought} will buy");
        assert_eq!(response.choices.len(), 4);
        for choice in response.choices {
            assert_eq!(choice.finish_reason, "stop");
            let answer = answer(&choice);
            let item = items.get(&answer).ok_or(format!("{answer:?} is no item"))?;
            assert_ne!(*item, bought);
            println!("  {item}, {answer}");
        }
    }
    Ok(())
}

/// What was generated before the end. The text of an answer lacks all added tokens in `<>`, but not
/// so its probabilities.
fn answer(choice: &Choice) -> String {
    let tokens = choice
        .logprobs
        .iter()
        .flat_map(|logprobs| &logprobs.content);
    let tokens = tokens.flatten().map(|token| token.token.as_str());
    tokens.take_while(|&token| token != "</s>").collect()
}

/// The token that ends a text.
const END: u32 = 1;

/// A `tokenizer.json`: bytes that are ASCII, and codes.
fn tokenizer(format: &TokenFormat, space: &CodeSpace) -> Value {
    let codes = (0..space.levels()).flat_map(|level| {
        let codes = (0..space.size(level)).map(|code| Code(code as u16));
        codes.map(move |code| format.token(level, code))
    });
    let added = ["<s>", "</s>"].map(String::from).into_iter().chain(codes);
    let added = added.enumerate().map(|(id, content)| {
        json!({
            "id": id, "content": content, "special": id < 2,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    });
    let added: Vec<Value> = added.collect();
    // A byte of ASCII is written as itself, a space as Ġ.
    let bytes = ('!'..='~').chain(['Ġ']).map(String::from);
    let bytes: HashMap<String, usize> = bytes.zip(added.len()..).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": bytes, "merges": []},
    })
}

fn vocabulary(tokenizer: &Value) -> usize {
    let size = |value: &Value| value.as_array().map_or(0, Vec::len);
    let bytes = tokenizer["model"]["vocab"].as_object();
    size(&tokenizer["added_tokens"]) + bytes.map_or(0, |bytes| bytes.len())
}

/// A folder as `transformers` saves a model, with weights drawn at random.
fn write_model(folder: &Path, tokenizer: &Value) -> Result<(), Box<dyn Error>> {
    const WIDTH: usize = 64;
    const LAYERS: usize = 2;

    let vocabulary = vocabulary(tokenizer);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "vocab_size": vocabulary,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0,
        "tie_word_embeddings": true,
    });
    let settings = json!({
        "bos_token": "<s>", "eos_token": "</s>",
        "chat_template": "{% for message in messages %}{{ message['content'] }} {% endfor %}",
    });
    for (name, json) in [
        ("config.json", &config),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", &settings),
    ] {
        fs::write(folder.join(name), json.to_string())?;
    }

    let mut shapes = vec![
        ("model.embed_tokens".to_owned(), vec![vocabulary, WIDTH]),
        ("model.norm".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm", vec![WIDTH]),
            ("post_attention_layernorm", vec![WIDTH]),
            ("self_attn.q_proj", vec![WIDTH, WIDTH]),
            ("self_attn.k_proj", vec![WIDTH / 2, WIDTH]),
            ("self_attn.v_proj", vec![WIDTH / 2, WIDTH]),
            ("self_attn.o_proj", vec![WIDTH, WIDTH]),
            ("mlp.gate_proj", vec![2 * WIDTH, WIDTH]),
            ("mlp.up_proj", vec![2 * WIDTH, WIDTH]),
            ("mlp.down_proj", vec![WIDTH, 2 * WIDTH]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}"), shape));
        }
    }
    let weights = shapes.into_iter().map(|(name, shape)| {
        let weight = Tensor::randn(0_f32, 0.2, shape, &Device::Cpu)?;
        Ok((format!("{name}.weight"), weight))
    });
    let weights: HashMap<String, Tensor> = weights.collect::<candle_core::Result<_>>()?;
    safetensors::save(&weights, folder.join("model.safetensors"))?;
    Ok(())
}
