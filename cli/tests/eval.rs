//! `semid eval`: predictions and a truth in, figures out.

mod desk;

use desk::Desk;
use insta::assert_snapshot;
use serde_json::Value;

/// `lamp` and `desk` share an ID.
const IDS: &str = "key,c0,c1\nlamp,0,1\ndesk,0,1\nsofa,1,2\nbed,2,0\nrug,2,1\nvase,3,3\n";

const SPLIT: &str = r#"{"user": "ada", "events": 3, "train_end": 1, "valid_end": 2, "valid": ["bed"], "test": ["desk"]}
{"user": "bob", "events": 4, "train_end": 2, "valid_end": 3, "valid": ["rug"], "test": ["sofa"]}
{"user": "cyd", "events": 9, "train_end": 7, "valid_end": 8, "valid": ["bed"], "test": ["rug"]}
{"user": "dot", "events": 1, "train_end": 1, "valid_end": 1, "valid": [], "test": []}
"#;

const BEAMS: &str = r#"{"user": "bob", "ids": ["<a_1><b_2>", "<a_2><b_0>", "<a_3><b_0>"], "scores": [-0.5, -1.0, -2.0]}
{"user": "ada", "ids": ["<a_2><b_1>", "<a_0><b_1>", "<a_2><b_1>"]}
{"user": "eve", "ids": []}
"#;

const ITEMS: &str = r#"{"user": "ada", "items": ["desk", "lamp", "rug"]}
{"user": "bob", "items": ["vase", "bed", "sofa"]}
{"user": "cyd", "items": ["vase", "chair"]}
"#;

/// Two events each are held out, one of the two times that cyd met the rug.
const EVENTS: &str = r#"{"user": "ada", "item": "lamp"}
{"user": "ada", "item": "bed"}
{"user": "ada", "item": "desk"}
{"user": "bob", "item": "lamp"}
{"user": "bob", "item": "bed"}
{"user": "bob", "item": "rug"}
{"user": "bob", "item": "sofa"}
{"user": "cyd", "item": "rug"}
{"user": "cyd", "item": "bed"}
{"user": "cyd", "item": "rug"}
{"user": "dot", "item": "vase"}
"#;

const EVAL: &str = "eval beams.jsonl --truth split.jsonl --index small.safetensors --at 1,2,3";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("small.csv", IDS);
    desk.ok("import small.csv --codes 4 --out small.safetensors");
    desk.write("split.jsonl", SPLIT);
    desk.write("beams.jsonl", BEAMS);
    desk.write("items.jsonl", ITEMS);
    desk.write("events.jsonl", EVENTS);
    desk
}

#[test]
fn predictions_are_measured() {
    let desk = desk();
    assert_snapshot!(desk.ok(EVAL), @r#"
    3 users, lists of 0 to 3
      users without a line, misses: 1
      lines of users without a true item, left out: 1
      IDs of no item, misses: 1
      repeated entries, misses: 1

                       @1       @2       @3
    hr             0.3333   0.5000   0.6667
    ndcg           0.3333   0.4385   0.5218
    mrr            0.3333   0.4167   0.4722
    beam_ceiling   0.6667
    coverage       0.3333   0.6667   0.8333
    gini           0.6667   0.2917   0.1667

    slice                     users      hr@3    ndcg@3
    history      1-4               2    1.0000    0.7827
    history      5-9               1    0.0000    0.0000
    "#);
    assert_snapshot!(desk.ok("eval items.jsonl --truth split.jsonl --part valid --at 2"), @r#"
    3 users, lists of 2 to 3

                       @2
    hr             0.0000
    ndcg           0.0000
    mrr            0.0000
    beam_ceiling   0.0000

    slice                     users      hr@2    ndcg@2
    history      1-4               2    0.0000    0.0000
    history      5-9               1    0.0000    0.0000
    "#);
}

#[test]
fn everything_there_is_to_tell() {
    let desk = desk();
    let whole = format!("{EVAL} --interactions events.jsonl --baseline items.jsonl");
    assert_snapshot!(desk.ok(&whole), @r#"
    3 users, lists of 0 to 3
      users without a line, misses: 1
      lines of users without a true item, left out: 1
      IDs of no item, misses: 1
      repeated entries, misses: 1

                       @1       @2       @3
    hr             0.3333   0.5000   0.6667
    ndcg           0.3333   0.4385   0.5218
    mrr            0.3333   0.4167   0.4722
    beam_ceiling   0.6667
    coverage       0.3333   0.6667   0.8333
    gini           0.6667   0.2917   0.1667
    novelty        2.9594   2.7613   2.7424

    slice                     users      hr@3    ndcg@3
    history      1-4               2    1.0000    0.7827
    history      5-9               1    0.0000    0.0000
    popularity   0                 2    1.0000    0.7827
    popularity   1-4               1    0.0000    0.0000
    codes        all seen          2    0.5000    0.2827
    codes        some unseen       1    1.0000    1.0000
    prefix_seen  0                 1    1.0000    1.0000
    prefix_seen  2                 2    0.5000    0.2827

    against items.jsonl: lists of 2 to 3
      entries that the index lacks: 1
                  baseline difference       95 % interval          p   p (Holm)
    hr@1            0.3333    +0.0000  [ -1.0000,  +1.0000]     1.0000     1.0000
    hr@2            0.3333    +0.1667  [ -0.5000,  +1.0000]     1.0000     1.0000
    hr@3            0.6667    +0.0000  [ +0.0000,  +0.0000]     1.0000     1.0000
    ndcg@1          0.3333    +0.0000  [ -1.0000,  +1.0000]     1.0000     1.0000
    ndcg@2          0.3333    +0.1052  [ -0.6845,  +1.0000]     1.0000     1.0000
    ndcg@3          0.5000    +0.0218  [ -0.4345,  +0.5000]     1.0000     1.0000
    mrr@1           0.3333    +0.0000  [ -1.0000,  +1.0000]     1.0000     1.0000
    mrr@2           0.3333    +0.0833  [ -0.7500,  +1.0000]     1.0000     1.0000
    mrr@3           0.4444    +0.0278  [ -0.5833,  +0.6667]     1.0000     1.0000
    beam_ceiling    0.6667    +0.0000  [ +0.0000,  +0.0000]     1.0000     1.0000
    "#);

    let (report, ok) = desk.json(&whole);
    assert!(ok);
    let names = |value: &Value| -> Vec<String> {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(
        names(&report),
        ["users", "metrics", "slices", "lists", "comparison"]
    );
    assert_eq!(report["users"], 3);
    // ada: at the second or third place, as likely; bob: at the first; cyd: nowhere.
    let metrics = &report["metrics"];
    assert_eq!(metrics["hr@1"], 1.0 / 3.0);
    assert_eq!(metrics["hr@2"], 1.5 / 3.0);
    assert_eq!(metrics["mrr@3"], (0.5 / 2.0 + 0.5 / 3.0 + 1.0) / 3.0);
    assert_eq!(metrics["beam_ceiling"], 2.0 / 3.0);
    assert_eq!(metrics["coverage@1"], 2.0 / 6.0);
    assert_eq!(
        names(&report["slices"]),
        ["history", "popularity", "codes", "prefix_seen"]
    );
    let cold = &report["slices"]["popularity"]["0"];
    assert_eq!(
        (&cold["users"], &cold["metrics"]["hr@3"]),
        (&2.into(), &1.0.into())
    );
    let difference = &report["comparison"]["metrics"]["hr@1"];
    assert_eq!(
        names(difference),
        [
            "baseline",
            "difference",
            "interval",
            "p_bootstrap",
            "p",
            "p_holm"
        ]
    );
    assert_eq!(
        (&difference["difference"], &difference["p"]),
        (&0.0.into(), &1.0.into())
    );

    let alone = desk.json(&format!("{whole} --threads 1"));
    assert_eq!(alone, (report, true));
}

#[test]
fn systems_that_are_the_same_do_not_differ() {
    let desk = desk();
    let (report, _) = desk.json(&format!("{EVAL} --baseline beams.jsonl --resamples 100"));
    for (name, difference) in report["comparison"]["metrics"]
        .as_object()
        .expect("metrics")
    {
        assert_eq!(difference["difference"], 0.0, "{name}");
        assert_eq!(difference["p_bootstrap"], 1.0, "{name}");
        assert_eq!(difference["p_holm"], 1.0, "{name}");
    }
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let desk = desk();
    desk.write("cut.jsonl", &BEAMS[..BEAMS.len() - 20]);
    desk.write("twice.jsonl", BEAMS.repeat(2));
    desk.write("strangers.jsonl", "{\"user\": \"eve\", \"items\": []}\n");
    desk.write("empty.jsonl", "");
    let split = "--truth split.jsonl";
    for (arguments, status, part) in [
        ("beams.jsonl".to_owned(), 2, "--truth"),
        (
            format!("beams.jsonl {split} --at 0"),
            2,
            "invalid value '0'",
        ),
        (
            format!("beams.jsonl {split} --interactions events.jsonl"),
            2,
            "--index",
        ),
        (
            format!("beams.jsonl {split} --resamples 5"),
            2,
            "--baseline",
        ),
        (
            format!("beams.jsonl {split}"),
            1,
            "beams.jsonl, line 1: got semantic IDs; give the index",
        ),
        (format!("none.jsonl {split}"), 1, "cannot read none.jsonl"),
        (
            format!("items.jsonl {split} --baseline empty.jsonl"),
            1,
            "empty.jsonl: none of its 0 users",
        ),
        (
            format!("strangers.jsonl {split}"),
            1,
            "strangers.jsonl: none of its 1 users is among the 3",
        ),
        (
            format!("cut.jsonl {split} --index small.safetensors"),
            1,
            "cut.jsonl, line 3: column",
        ),
        (
            format!("twice.jsonl {split} --index small.safetensors"),
            1,
            "line 4: user \"bob\" has a line already, line 1",
        ),
        (
            "items.jsonl --truth items.jsonl --index small.csv".to_owned(),
            1,
            "small.csv: ",
        ),
        (
            "items.jsonl --truth empty.jsonl".to_owned(),
            1,
            "empty.jsonl: none of its 0 users has a true item",
        ),
        (
            "items.jsonl --truth events.jsonl".to_owned(),
            1,
            "events.jsonl, line 1: expected a field",
        ),
    ] {
        let message = desk.fails(status, &format!("eval {arguments}"));
        assert!(message.contains(part), "{arguments}: {message}");
    }
}
