//! `semid embed`, run as a user runs it.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use semantic_id::{Digest, Manifest};
use serde_json::Value;
use support::write_tiny_bert;
use tempfile::TempDir;

const UNIT_MEAN: [&str; 3] = ["Transformer", "Pooling", "Normalize"];

/// Texts of different lengths, one of them empty, one of unknown words only.
const ITEMS: &str = r#"{"id": "m1", "title": "Toy Story", "categories": ["comedy", "of", "the"]}
{"id": "m2", "title": "Heat"}
{"id": "m3", "title": "The Dawn of the Story of the Dawn", "categories": "comedy"}
{"id": "m4", "title": ""}
{"id": "m5", "title": "Zardoz"}
{"id": "m6", "title": "the the the the the the the the the the the the the the the the the the"}
{"id": "m7", "title": "Story of Heat."}
"#;

/// A folder with a tiny model and items in it.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        write_tiny_bert(&folder.path().join("model"), &UNIT_MEAN);
        fs::write(folder.path().join("items.jsonl"), ITEMS).expect("items");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn embed(&self, items: &str, arguments: &[&str]) -> Output {
        let mut command = Command::cargo_bin("semid").expect("the binary");
        command.current_dir(&self.folder).arg("embed").arg(items);
        command.args(["--model", "model", "--out", "out.npy"]);
        command.args(arguments).output().expect("it runs")
    }

    /// The rows of a run that must succeed.
    fn rows(&self, items: &str, arguments: &[&str]) -> Vec<Vec<f32>> {
        let output = self.embed(items, arguments);
        assert!(output.status.success(), "{output:?}");
        read_npy(&self.path("out.npy"))
    }

    /// The status and the message of a run that must fail.
    fn failure(&self, items: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.embed(items, arguments);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        (output.status.code(), message)
    }
}

fn read_npy(path: &Path) -> Vec<Vec<f32>> {
    let bytes = fs::read(path).expect("rows");
    let npy = npyz::NpyFile::new(&bytes[..]).expect("an npy header");
    let [items, dim] = npy.shape() else {
        panic!("shape {:?}", npy.shape())
    };
    let (items, dim) = (*items as usize, *dim as usize);
    let values: Vec<f32> = npy.into_vec().expect("f32");
    assert_eq!(values.len(), items * dim);
    values.chunks(dim).map(<[f32]>::to_vec).collect()
}

fn distance(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn items_become_rows_with_keys_and_a_manifest() {
    let bench = Bench::new();
    let output = bench.embed("items.jsonl", &["--json", "--max-tokens", "16"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");

    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(report["items"], 7);
    assert_eq!(report["dim"], 8);
    assert_eq!(report["fields"], serde_json::json!(["title", "categories"]));
    assert_eq!(report["without_text"], 1);
    assert_eq!(report["truncated"], 1);

    let rows = read_npy(&bench.path("out.npy"));
    assert_eq!(rows.len(), 7);
    for row in &rows {
        let norm: f32 = row.iter().map(|x| x * x).sum();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
    let keys = fs::read_to_string(bench.path("out.npy.keys.json")).expect("keys");
    assert_eq!(keys, r#"["m1","m2","m3","m4","m5","m6","m7"]"#);

    let manifest = fs::read(bench.path("out.npy.manifest.json")).expect("manifest");
    let manifest: Manifest = serde_json::from_slice(&manifest).expect("a manifest");
    for name in ["out.npy", "out.npy.keys.json", "items.jsonl"] {
        let bytes = fs::read(bench.path(name)).expect(name);
        manifest.check(name, Digest::of(&bytes)).expect(name);
    }
    assert_eq!(manifest.counts["items"], 7);
}

#[test]
fn rows_do_not_depend_on_batch_threads_or_order() {
    let bench = Bench::new();
    let alone = bench.rows("items.jsonl", &["--batch", "1"]);
    let together = bench.rows("items.jsonl", &["--batch", "8"]);
    assert!(distance(&alone, &together) < 1e-6);
    let one_thread = bench.rows("items.jsonl", &["--batch", "3", "--threads", "1"]);
    assert!(distance(&alone, &one_thread) < 1e-6);

    let reversed: Vec<&str> = ITEMS.lines().rev().collect();
    fs::write(bench.path("reversed.jsonl"), reversed.join("\n")).expect("items");
    let mut back = bench.rows("reversed.jsonl", &[]);
    back.reverse();
    assert!(distance(&alone, &back) < 1e-6);
    assert!(
        distance(&alone[..1], &alone[1..2]) > 1e-2,
        "rows that tell nothing"
    );
}

#[test]
fn the_model_folder_decides_pooling_and_norm() {
    let bench = Bench::new();
    let mean = bench.rows("items.jsonl", &[]);

    write_tiny_bert(&bench.path("model"), &UNIT_MEAN[..2]);
    let long = bench.rows("items.jsonl", &[]);
    let unit = |row: &Vec<f32>| {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(|x| x / norm).collect::<Vec<_>>()
    };
    assert!(distance(&mean, &long) > 1e-2);
    assert!(distance(&mean, &long.iter().map(unit).collect::<Vec<_>>()) < 1e-6);

    let pooling = bench.path("model/1_Pooling");
    fs::create_dir(&pooling).expect("folder");
    fs::write(
        pooling.join("config.json"),
        r#"{"pooling_mode_cls_token": true}"#,
    )
    .expect("write");
    assert!(distance(&long, &bench.rows("items.jsonl", &[])) > 1e-2);

    fs::write(
        pooling.join("config.json"),
        r#"{"pooling_mode_max_tokens": true}"#,
    )
    .expect("write");
    let (status, message) = bench.failure("items.jsonl", &[]);
    assert_eq!(status, Some(1));
    assert!(
        message.contains("pooling \"max_tokens\" is not known"),
        "{message}"
    );

    write_tiny_bert(&bench.path("model"), &["Transformer", "Pooling", "Dense"]);
    fs::remove_dir_all(pooling).expect("remove");
    let (_, message) = bench.failure("items.jsonl", &[]);
    assert!(
        message.contains("the steps Transformer, Pooling, Dense"),
        "{message}"
    );
}

#[test]
fn failures_say_why_and_leave_what_was_there() {
    let bench = Bench::new();
    fs::write(bench.path("out.npy"), "old").expect("write");
    let cases: [(&str, &[&str], i32, &str); 5] = [
        (
            "none.jsonl",
            &[],
            1,
            "error: cannot read none.jsonl: No such file",
        ),
        (
            "items.jsonl",
            &["--fields", "colour"],
            1,
            "no item has a field \"colour\"; there are: title, categories",
        ),
        (
            "items.jsonl",
            &["--max-tokens", "129"],
            1,
            "error: cannot use model as a sentence encoder: it takes up to 128 tokens, not 129",
        ),
        (
            "items.jsonl",
            &["--format", "xml"],
            2,
            "the formats are jsonl",
        ),
        (
            "items.jsonl",
            &["--key", "sku"],
            1,
            "items.jsonl, line 1: the key \"sku\" is missing",
        ),
    ];
    for (items, arguments, status, part) in cases {
        let (got, message) = bench.failure(items, arguments);
        assert_eq!(got, Some(status), "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(
        fs::read_to_string(bench.path("out.npy")).expect("old"),
        "old"
    );
    assert_eq!(fs::read_dir(&bench.folder).expect("list").count(), 3);
}

/// Rows that sentence-transformers made, where `SEMID_DATA` and the model are.
#[test]
fn published_rows_are_reproduced() {
    let (Some(data), Some(model)) = (std::env::var_os("SEMID_DATA"), minilm()) else {
        println!("SEMID_DATA or all-MiniLM-L6-v2 (scripts/fetch.py) is missing: not compared");
        return;
    };
    let data = Path::new(&data).join("scientific");
    let items = fs::read(data.join("Scientific.item.json")).expect("items");
    let items: serde_json::Map<String, Value> = serde_json::from_slice(&items).expect("JSON");
    let first: serde_json::Map<String, Value> = items.into_iter().take(64).collect();

    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("first.item.json");
    fs::write(&path, Value::Object(first).to_string()).expect("write");
    let out = folder.path().join("out.npy");
    let mut command = Command::cargo_bin("semid").expect("the binary");
    command
        .arg("embed")
        .arg(path)
        .arg("--model")
        .arg(model)
        .arg("--out")
        .arg(&out);
    command.assert().success();

    let expected = read_npy(&data.join("Scientific.emb-minilm-td.npy"));
    let worst = distance(&read_npy(&out), &expected[..64]);
    assert!(worst < 1e-5, "{worst}");
}

/// The folder in `SEMID_MODEL`, else the demo's.
fn minilm() -> Option<PathBuf> {
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        cache.or_else(|| Some(std::env::home_dir()?.join(".cache")))
    };
    let model = match std::env::var_os("SEMID_MODEL") {
        Some(model) => PathBuf::from(model),
        None => cache()?.join("semid/all-MiniLM-L6-v2"),
    };
    model.is_dir().then_some(model)
}
