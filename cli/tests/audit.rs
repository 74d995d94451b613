//! A corpus is audited and measured: sound ones pass, planted leaks are named.

mod desk;

use std::fs;

use desk::Desk;
use insta::assert_snapshot;
use serde_json::{Map, Value, json};

/// A desk with the corpus of these shards in the folder `corpus`.
fn with_corpus(shards: &[(&str, Vec<u8>)]) -> Desk {
    let desk = Desk::new();
    let split = json!({ "user": "ann", "events": 4, "train_end": 2, "valid_end": 3,
                        "valid": ["item-2"], "test": ["item-3"] });
    let split = ("split.jsonl", format!("{split}\n").into_bytes());
    fs::create_dir_all(desk.path("corpus/train")).expect("a folder");
    let mut outputs = Map::new();
    for (name, bytes) in shards.iter().chain([&split]) {
        desk.write(&format!("corpus/{name}"), bytes);
        outputs.insert(
            (*name).to_owned(),
            blake3::hash(bytes).to_hex().as_str().into(),
        );
    }
    let manifest = json!({
        "tool": "semid 0.1.0", "command": "tasks build", "outputs": outputs,
        "results": { "time_leakage": { "after_first_test": 0.5, "per_test": 0.25 } },
    });
    desk.write("corpus/manifest.json", manifest.to_string());
    desk
}

fn row(target: usize) -> Value {
    json!({
        "prompt": "Which item comes next?", "completion": format!("item {target}"),
        "provenance": {
            "task": "sequential", "template": "en/sequential/next-1", "part": "train",
            "epoch": 0, "sample": target, "user": "ann", "reads": [0, target],
            "target": target, "horizon": 2,
        },
    })
}

fn lines(rows: &[Value]) -> Vec<u8> {
    rows.iter()
        .map(|row| format!("{row}\n"))
        .collect::<String>()
        .into_bytes()
}

#[test]
fn a_sound_corpus_passes() {
    let mut other = row(1);
    other["completion"] = "item 7".into();
    let zst = zstd(&lines(&[row(1), other]));
    let desk = with_corpus(&[
        ("train/part-00000.jsonl", lines(&[row(1)])),
        ("train/part-00001.jsonl.zst", zst),
    ]);
    assert_snapshot!(desk.ok("tasks audit corpus"), @"
    3 rows in 2 shards, 1 users
    rule                checked     findings
    hashes                    3            0
    provenance                3            0
    horizon                   3            0
    split                     3            0
    side-texts                0            0
    traces         not checked: give the items
    held-out       not checked: give the index
    ids            not checked: give the index
    reads          not checked: give the index
    1 prompts have different answers: 3 rows (100.00 %), sequential 3
    1 rows repeat another (33.33 %), sequential 1
    time leakage: of what training learns 25.00 % happened after a test target
    every rule holds
    ");
    let (report, ok) = desk.json("tasks audit corpus");
    assert!(ok);
    assert_eq!(report["ok"], true);
    assert_eq!(report["rules"][1]["checked"], 3);
    assert_eq!(report["contradictions"]["rows"], 3);
    assert_eq!(report["duplicates"]["by_task"]["sequential"], 1);

    desk.index();
    let (report, ok) = desk.json("tasks audit corpus --index index.safetensors");
    assert!(ok);
    assert_eq!(report["rules"][7]["checked"], 3, "{report}");
}

#[test]
fn a_planted_leak_is_named_and_fails() {
    let mut rows = vec![row(1); 9];
    rows[6]["provenance"]["reads"] = json!([0, 3]);
    let desk = with_corpus(&[("train/part-00000.jsonl", lines(&rows))]);
    let message = desk.fails(1, "tasks audit corpus");
    assert_eq!(message, "error: corpus: broken: horizon\n");
    let (report, ok) = desk.json("tasks audit corpus");
    assert!(!ok);
    assert_eq!(
        report["rules"][2]["places"][0],
        json!({ "file": "train/part-00000.jsonl", "place": "line 7",
                "problem": "reads events before 3, its horizon is 2" })
    );
}

#[test]
fn limits_on_repeats_are_rules() {
    let desk = with_corpus(&[("train/part-00000.jsonl", lines(&[row(1), row(1)]))]);
    desk.ok("tasks audit corpus --max-duplicates 0.5 --max-contradictions 0");
    let message = desk.fails(1, "tasks audit corpus --max-duplicates 0.4");
    assert_eq!(message, "error: corpus: broken: duplicates\n");
}

#[test]
fn changed_and_foreign_files_are_found() {
    let desk = with_corpus(&[("train/part-00000.jsonl", lines(&[row(1)]))]);
    desk.write("corpus/train/part-00009.jsonl", lines(&[row(1)]));
    let (report, ok) = desk.json("tasks audit corpus");
    assert!(!ok);
    let problem = &report["rules"][0]["places"][0]["problem"];
    assert_eq!(problem, "not in the manifest: train/part-00009.jsonl");

    desk.write("corpus/train/part-00000.jsonl", lines(&[row(1), row(1)]));
    let message = desk.fails(1, "tasks audit corpus");
    assert_eq!(message, "error: corpus: broken: hashes\n");
}

#[test]
fn a_shard_that_is_none_is_an_error_with_its_place() {
    let good = lines(&[row(1)]);
    let zst = zstd(&good.repeat(999));
    for (name, bytes, expected) in [
        (
            "train/part-0.jsonl",
            [&good[..], b"{\n"].concat(),
            "line 2: column 1: EOF",
        ),
        (
            "train/part-0.jsonl",
            [&good[..], b"{}\n"].concat(),
            "line 2: the row has no answer",
        ),
        (
            "train/part-0.jsonl.zst",
            zst[..zst.len() / 2].into(),
            "line ",
        ),
        (
            "train/part-0.parquet",
            b"PAR1PAR1".into(),
            "not readable as Parquet",
        ),
    ] {
        let desk = with_corpus(&[(name, bytes)]);
        for command in ["audit", "stats"] {
            let message = desk.fails(1, &format!("tasks {command} corpus"));
            assert!(
                message.starts_with(&format!("error: corpus: {name}")),
                "{message}"
            );
            assert!(message.contains(expected), "{message}");
        }
    }
    let message = Desk::new().fails(1, "tasks audit .");
    assert!(message.starts_with("error: . is no corpus: "), "{message}");
}

#[test]
fn lengths_are_told_in_characters_and_in_tokens() {
    let rows: Vec<_> = (0..40).map(|_| row(1)).collect();
    let desk = with_corpus(&[("train/part-00000.jsonl", lines(&rows))]);
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": { "?": 0, "item": 1 }, "unk_token": "?" },
    });
    desk.write("tokenizer.json", tokenizer.to_string());
    assert_snapshot!(desk.ok("tasks stats corpus --tokenizer tokenizer.json --context 20"), @"
    40 rows

    characters               rows             prompt                         answer              answers  rows of 0 to 28
                                     min   med   p95   p99   max    min   med   p95   p99   max
    sequential                 40     22    22    22    22    22      6     6     6     6     6  21.43 %  ·······················█
    all                        40     22    22    22    22    22      6     6     6     6     6  21.43 %  ·······················█

    tokens                   rows             prompt                         answer              answers  rows of 0 to 7
                                     min   med   p95   p99   max    min   med   p95   p99   max
    sequential                 40      5     5     5     5     5      2     2     2     2     2  28.57 %  ·····················█··
    all                        40      5     5     5     5     5      2     2     2     2     2  28.57 %  ·····················█··

    0 rows are beyond a context of 20; the others fill
     70.00 % of 20 sequences, best-fit decreasing
     70.00 % of 20 sequences, in their order
    ");
    let (report, _) = desk.json("tasks stats corpus --tokenizer tokenizer.json --context 20");
    assert_eq!(report["rows"], 40);
    assert_eq!(
        report["tokens"]["tasks"]["sequential"]["prompt"]["median"],
        5
    );
    assert_eq!(
        report["packing"]["best_fit"],
        json!({ "sequences": 20, "used": 0.7 })
    );
    assert_eq!(desk.json("tasks stats corpus").0["packing"], Value::Null);
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("compressed")
}
