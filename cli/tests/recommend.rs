//! `semid recommend`: from histories and an index to items, by name.

mod desk;

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use desk::{Desk, ITEMS, key};
use serde_json::Value;

const TRAIN: &str = "recommend train --interactions events.csv --index index.safetensors \
    --items items.jsonl --width 32 --layers 1 --history 8 --epochs 20 --set batch_tokens=512 --set dropout=0.05 --set embedding_dropout=0.05 --set learning_rate=0.01 \
    --set patience=20";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.index();
    desk.histories();
    desk
}

fn trained() -> Desk {
    let desk = desk();
    desk.ok(&format!("{TRAIN} --out taste"));
    desk
}

fn keys(hits: &Value) -> Vec<&str> {
    let hits = hits["hits"].as_array().expect("a list").iter();
    hits.map(|hit| hit["key"].as_str().expect("a key"))
        .collect()
}

#[test]
fn a_model_is_trained_measured_and_asked() {
    let desk = desk();
    let (report, ok) = desk.json(&format!("{TRAIN} --out taste"));
    assert!(ok);
    assert_eq!(report["items"], ITEMS);
    assert_eq!(report["users"], 150);
    assert_eq!(report["unknown_items_skipped"], 1);
    assert_eq!(report["epochs_run"], 20);
    assert!(
        report["validation"].as_f64().is_some_and(|ndcg| ndcg > 0.3),
        "{report}"
    );
    assert!(desk.ok("verify taste").contains("recommender.json"));
    let (facts, _) = desk.json("inspect taste");
    assert_eq!(
        (&facts["kind"], &facts["width"]),
        (&"recommender".into(), &32.into())
    );
    assert_eq!(desk.text("taste/epochs.jsonl").lines().count(), 20);

    let eval = "recommend eval taste --interactions events.csv --resamples 200";
    let (report, ok) = desk.json(&format!(
        "{eval} --baseline popularity,item-knn,sasrec --report page.html"
    ));
    assert!(ok);
    let hit_rate = |system: &str| report["systems"][system]["metrics"]["hr@10"].as_f64();
    assert!(hit_rate("generative") > Some(0.5), "{report}");
    assert!(hit_rate("generative") > hit_rate("popularity"));
    let against = &report["comparisons"]["popularity"]["hr@10"];
    assert!(against["difference"].as_f64() > Some(0.2) && against["p_holm"].as_f64() < Some(0.05));
    let [low, high] = [0, 1].map(|end| {
        let intervals = &report["systems"]["generative"]["intervals"]["hr@10"];
        intervals[end].as_f64().expect("a number")
    });
    assert!(low < hit_rate("generative").unwrap_or(0.0) && high > low);
    let slices = report["systems"]["generative"]["slices"]["history"].as_object();
    let users = slices
        .into_iter()
        .flatten()
        .map(|(_, slice)| slice["users"].as_u64());
    assert_eq!(users.map(|users| users.unwrap_or(0)).sum::<u64>(), 150);
    let page = desk.text("page.html");
    assert!(
        page.contains("Against sasrec") && page.contains("<td>5-9"),
        "{page}"
    );
    let text = desk.ok(&format!("{eval} --leave-out-seen --part valid"));
    assert!(text.contains("seen items left out") && text.contains("hr@10: 95 % interval"));

    let query = "recommend query taste --history item-3,item-8,item-13";
    let text = desk.ok(query);
    assert!(text.contains("Thing <b>8</b> (item-8)"), "{text}");
    let (answer, ok) = desk.json(query);
    assert!(ok);
    assert_eq!(keys(&answer).len(), 10);
    assert!(keys(&answer).contains(&"item-18"), "{answer}");
    assert!(!keys(&answer).contains(&"item-8"), "seen: {answer}");
    let (answer, _) = desk.json(&format!(
        "{query} --deny item-18 --with-seen -k 120 --beams 500"
    ));
    assert_eq!(keys(&answer).len(), ITEMS - 1);
    assert!(!keys(&answer).contains(&"item-18") && keys(&answer).contains(&"item-8"));
}

#[test]
fn ways_from_a_model_to_items_are_compared() {
    let desk = desk();
    let (report, ok) = desk.json(&format!("{TRAIN} --item-head --out taste"));
    assert!(ok);
    let head = &report["item_head"];
    assert!(head["validation"].as_f64() > Some(0.05), "{report}");
    assert!(desk.ok("verify taste").contains("item_head.safetensors"));

    let eval = "recommend eval taste --interactions events.csv --resamples 200";
    let (report, ok) = desk.json(&format!(
        "{eval} --decoder beam,exact,head,ground --baseline popularity --report page.html"
    ));
    assert!(ok);
    assert_eq!(report["ours"], "generative");
    let systems = &report["systems"];
    let hit_rate = |system: &str| systems[system]["metrics"]["hr@10"].as_f64();
    // So few histories are a few steps of a head's training, which here learns little.
    for (system, least) in [
        ("generative", 0.5),
        ("exact", 0.5),
        ("head", 0.1),
        ("ground", 0.1),
    ] {
        assert!(hit_rate(system) > Some(least), "{system}: {report}");
    }
    assert_eq!(systems["exact"]["proven"]["share"], 1.0, "{report}");
    assert!(systems["generative"]["proven"]["mean_rows"].as_f64() >= Some(1.0));
    assert!(systems["head"].get("proven").is_none());
    for other in ["exact", "head", "ground", "popularity"] {
        let difference = &report["comparisons"][other]["hr@10"]["difference"];
        let expected = hit_rate("generative")
            .zip(hit_rate(other))
            .map(|(a, b)| a - b);
        let off = difference
            .as_f64()
            .zip(expected)
            .map(|(a, b)| (a - b).abs());
        assert!(off < Some(1e-9), "{report}");
    }
    let page = desk.text("page.html");
    assert!(
        page.contains("exact: 100.0 % of the answers are proven"),
        "{page}"
    );
    assert!(page.contains("Against ground"), "{page}");

    let text = desk.ok(&format!("{eval} --decoder exact,head --row-budget 1"));
    assert!(
        text.contains("exact: ") && text.contains("against head"),
        "{text}"
    );
    let (ungrounded, _) = desk.json(&format!("{eval} --decoder ground --gamma 0"));
    assert_eq!(ungrounded["ours"], "ground");
    let metrics = &ungrounded["systems"]["ground"]["metrics"];
    assert_ne!(metrics, &systems["ground"]["metrics"], "popularity counts");
    let message = desk.fails(2, &format!("{eval} --decoder ground --gamma=-1"));
    assert!(message.contains("gamma"), "{message}");

    // A model without a head is told how to get one; a head of another model is none.
    let train = TRAIN
        .replace("--width 32", "--width 64")
        .replace("--epochs 20", "--epochs 1");
    desk.ok(&format!("{train} --out plain"));
    let eval = "recommend eval plain --interactions events.csv --decoder beam,head";
    let message = desk.fails(1, eval);
    assert!(message.contains("--item-head"), "{message}");
    desk.write(
        "plain/item_head.safetensors",
        desk.read("taste/item_head.safetensors"),
    );
    let message = desk.fails(1, eval);
    assert!(
        message.contains("item_head.safetensors: history.weight"),
        "{message}"
    );
}

#[test]
fn what_cannot_be_asked_is_named() {
    let desk = trained();
    let query = "recommend query taste --history";
    let message = desk.fails(1, &format!("{query} item-1,unheard-of,item-2"));
    assert!(message.contains("no item \"unheard-of\"") && message.contains("--skip-unknown"));
    let text = desk.ok(&format!("{query} item-1,unheard-of --skip-unknown"));
    assert!(
        text.contains("not in the index, left out: \"unheard-of\""),
        "{text}"
    );
    let history: Vec<String> = (0..30).map(key).collect();
    let text = desk.ok(&format!("{query} {}", history.join(",")));
    assert!(text.contains("left out: 22 items"), "{text}");
    desk.write("none.txt", "");
    let text = desk.ok(&format!("{query} @none.txt -k 3"));
    assert!(
        text.starts_with("after nothing, what users begin with:"),
        "{text}"
    );

    // Another index, with as many codes and with more.
    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --seed 9 --out other");
    desk.ok("index emb.npy --model other --out other.safetensors");
    let message = desk.fails(1, &format!("{query} item-1 --index other.safetensors"));
    assert!(message.contains("was trained with") && message.contains("other.safetensors"));
    desk.ok(&format!("{query} item-1 --index other.safetensors --force"));
    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 8 --out narrow");
    desk.ok("index emb.npy --model narrow --out narrow.safetensors");
    let message = desk.fails(
        1,
        &format!("{query} item-1 --index narrow.safetensors --force"),
    );
    assert!(message.contains("[8, 8, 8]"), "{message}");

    // The next generation of its own index is one that it knows.
    desk.ok("remove index.safetensors item-18 --out next.safetensors");
    let (answer, ok) = desk.json(&format!(
        "{query} item-3,item-8,item-13 --index next.safetensors"
    ));
    assert!(ok && !keys(&answer).contains(&"item-18"), "{answer}");

    let message = desk.fails(1, "recommend query model --history item-1");
    assert!(
        message.contains("folder of `semid recommend train`"),
        "{message}"
    );
    desk.write("taste/recommender.json", "{}");
    assert!(
        desk.fails(1, &format!("{query} item-1"))
            .contains("recommender.json")
    );
    let message = desk.fails(2, &format!("{TRAIN} --out x --set learning_rate=-1"));
    assert!(message.contains("learning_rate"), "{message}");
    assert!(
        desk.fails(2, &format!("{TRAIN} --out x --set tempo=1"))
            .contains("no such setting")
    );
}

#[test]
fn a_killed_training_ends_in_the_same_model() {
    let desk = desk();
    let train = TRAIN.replace("--epochs 20", "--epochs 40");
    desk.ok(&format!("{train} --out whole"));
    let resume = format!("{train} --out taste --resume");
    let mut child = desk
        .semid(&resume)
        .env("SEMID_CHECKPOINT_SECONDS", "0")
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let start = Instant::now();
    while !desk.path("taste.checkpoint").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint");
        sleep(Duration::from_millis(1));
    }
    child.kill().expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), None, "killed");
    assert!(!desk.path("taste").exists(), "half a model");
    desk.ok(&resume);
    assert!(!desk.path("taste.checkpoint").exists());
    for file in ["model.safetensors", "config.json", "epochs.jsonl"] {
        let [whole, model] =
            ["whole", "taste"].map(|folder| desk.read(&format!("{folder}/{file}")));
        assert!(whole == model, "{file} differs");
    }
}
