//! `semid recommend train --corpus --init`: a language model becomes a recommender.

mod desk;

use std::fs;

use desk::Desk;
use semid_recommender::{Llama, LlamaConfig};
use serde_json::Value;

const TUNE: &str = "recommend train --interactions events.csv --index index.safetensors \
    --items items.jsonl --corpus recipe.toml --init llm --set row_tokens=64 --set batch_tokens=512 \
    --validation-users 40 --seed 3";

const RECIPE: &str = r#"
templates = "words"
[inputs]
items = "items.jsonl"
interactions = "events.csv"
index = "index.safetensors"

[items]
key = "item_id"

[interactions]
unknown_items = "skip"

[history]
max_items = 6

[[tasks]]
task = "sequential"
"#;

/// Few words, so that there is little to learn beside items.
const WORDS: &str = r#"
[[template]]
name = "short"
slots = ["history", "item"]
prompt = "{{ history }} next"
answer = "{{ item }}"
"#;

/// A desk with a recipe and a language model that has learnt nothing yet, in Hugging Face's files.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.index();
    desk.histories();
    desk.write("recipe.toml", RECIPE);
    for folder in ["llm", "words"] {
        fs::create_dir(desk.path(folder)).expect("a folder");
    }
    desk.write("words/sequential.toml", WORDS);
    let mut config = LlamaConfig::small(6, 32, 256);
    config.num_hidden_layers = 2;
    config.initializer_range = 0.1;
    let model = Llama::new(config, tch::Device::Cpu, 7).expect("a small model");
    let (weights, config) = model.to_files();
    desk.write("llm/model.safetensors", weights);
    desk.write("llm/config.json", config);
    let tokenizer = r#"{"pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": "?",
            "vocab": {"?": 0, "user": 1, "assistant": 2, "next": 3, "comes": 4, "stop": 5}}}"#;
    desk.write("llm/tokenizer.json", tokenizer);
    desk.write("llm/tokenizer_config.json", r#"{"eos_token": "stop"}"#);
    let chat = "{% for m in messages %}{{ m.role }} {{ m.content }} stop {% endfor %}\
                {% if add_generation_prompt %}assistant {% endif %}";
    desk.write("llm/chat_template.jinja", chat);
    desk
}

fn best(answer: &Value) -> Vec<&str> {
    let hits = answer["hits"].as_array().expect("a list").iter();
    hits.map(|hit| hit["key"].as_str().expect("a key"))
        .take(3)
        .collect()
}

#[test]
fn a_language_model_is_tuned_measured_and_asked() {
    let desk = desk();
    for (out, how) in [
        (
            "whole",
            "--epochs 40 --set learning_rate=0.01 --set batch_tokens=256",
        ),
        (
            "adapted",
            "--epochs 40 --set learning_rate=0.03 --lora 8 --centroids model",
        ),
    ] {
        let (report, ok) = desk.json(&format!("{TUNE} {how} --out {out}"));
        assert!(ok);
        assert!(
            report["validation"].as_f64().is_some_and(|ndcg| ndcg > 0.3),
            "{out}: {report}"
        );
        let settings: Value =
            serde_json::from_str(&desk.text(&format!("{out}/recommender.json"))).expect("JSON");
        assert_eq!(settings["items"], 6);
        let prompt = settings["speech"]["prompt"].as_str().expect("a text");
        assert_eq!(prompt, "{{ history }} next");
        // A code that no item has got its token all the same.
        let tokenizer = desk.text(&format!("{out}/tokenizer.json"));
        assert!(tokenizer.contains("<c_15>"), "{tokenizer}");
        assert!(desk.ok(&format!("verify {out}")).contains("tokenizer.json"));
        let names = Llama::from_files(
            &desk.read(&format!("{out}/config.json")),
            &desk.read(&format!("{out}/model.safetensors")),
            tch::Device::Cpu,
        );
        assert_eq!(names.expect("merged").config().vocab_size, 6 + 3 * 16);

        let (report, ok) = desk.json(&format!(
            "recommend eval {out} --interactions events.csv --baseline popularity --resamples 100"
        ));
        assert!(ok);
        let hit_rate = |system: &str| report["systems"][system]["metrics"]["hr@10"].as_f64();
        assert!(hit_rate("generative") > hit_rate("popularity"), "{report}");
        let query = format!("recommend query {out} --history");
        let (answer, ok) = desk.json(&format!("{query} item-3,item-8,item-13"));
        assert!(ok && best(&answer).contains(&"item-18"), "{answer}");
        // Of more items than its context has room for, the last ones are read.
        let long = format!("{query} item-1,item-2,item-4,item-5,item-6,item-3,item-8,item-13");
        assert!(desk.ok(&long).contains("left out: 2 items"));
        desk.write("none.txt", "");
        let (answer, ok) = desk.json(&format!("{query} @none.txt"));
        assert!(
            ok && answer["hits"]
                .as_array()
                .is_some_and(|hits| hits.len() == 10),
            "{answer}"
        );

        let manifest: Value =
            serde_json::from_str(&desk.text(&format!("{out}/manifest.json"))).expect("JSON");
        for input in [
            "recipe.toml",
            "items.jsonl",
            "init/model.safetensors",
            "init/tokenizer.json",
        ] {
            assert!(manifest["inputs"][input].is_string(), "{manifest}");
        }
        let of_codes = &manifest["inputs"]["model/model.safetensors"];
        assert_eq!(of_codes.is_string(), out == "adapted", "{manifest}");
    }
}

#[test]
fn what_cannot_be_tuned_is_named() {
    let desk = desk();
    let fails = |arguments: &str| desk.fails(1, &format!("{arguments} --out x --epochs 1"));

    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --seed 9 --out other");
    desk.ok("index emb.npy --model other --out other.safetensors");
    let message = fails(&TUNE.replace("index.safetensors", "other.safetensors"));
    assert!(message.contains("recipe.toml: its index is"), "{message}");

    desk.write(
        "split.toml",
        format!("split = {{ by = \"ratio\", shares = [8, 1, 1] }}\n{RECIPE}"),
    );
    let message = fails(&TUNE.replace("recipe.toml", "split.toml"));
    assert!(message.contains("leave-one-out"), "{message}");

    desk.write(
        "later.csv",
        desk.text("events.csv") + "u-0,item-1,9999999999\n",
    );
    desk.write("later.toml", RECIPE.replace("events.csv", "later.csv"));
    let message = fails(&TUNE.replace("recipe.toml", "later.toml"));
    assert!(
        message.contains("later.toml: its interactions"),
        "{message}"
    );

    let other = RECIPE.replace("\"sequential\"", "\"item-to-text\"\ntemplates = []");
    desk.write("other.toml", other);
    let message = fails(&TUNE.replace("recipe.toml", "other.toml"));
    assert!(message.contains("no task `sequential`"), "{message}");

    let message = fails(&TUNE.replace("recipe.toml", "llm"));
    assert!(message.contains("got a folder"), "{message}");
    let message = fails(&TUNE.replace("row_tokens=64", "row_tokens=512"));
    assert!(message.contains("at most the 256 tokens"), "{message}");

    desk.write("llm/tokenizer_config.json", "{}");
    fs::remove_file(desk.path("llm/chat_template.jinja")).expect("it is there");
    let message = fails(TUNE);
    assert!(message.contains("eos_token"), "{message}");
    fs::remove_file(desk.path("llm/tokenizer.json")).expect("it is there");
    let message = fails(TUNE);
    assert!(
        message.contains("llm: ") && message.contains("tokenizer.json"),
        "{message}"
    );
    let message = fails(&TUNE.replace("--init llm", "--init events.csv"));
    assert!(message.contains("GGUF"), "{message}");
    let message = desk.fails(2, &format!("{} --out x", TUNE.replace("--init llm", "")));
    assert!(message.contains("--init"), "{message}");
    let message = desk.fails(2, &format!("{TUNE} --out x --width 64"));
    assert!(message.contains("--width"), "{message}");
}
