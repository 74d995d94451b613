//! What users' histories add: fused embeddings, IDs of users, IDs by rule.

mod desk;

use std::fmt::Write;

use desk::{Desk, ITEMS, key};
use rq_vae::{Embeddings, Fusion};
use serde_json::Value;

/// 90 users who stay within a group of ten items that have nothing in common but them, a user
/// with two events, and an event of an item that nobody knows. Items 110 and up meet nobody.
fn interactions() -> String {
    let mut csv = "user_id,item_id,timestamp\n".to_owned();
    let mut event = |user: &str, item: String, at: u32| {
        writeln!(csv, "{user},{item},{at}").expect("a string takes all");
    };
    for user in 0..90_u32 {
        for at in 0..8 {
            let item = user % 11 + 11 * ((user / 11 + at * (1 + user % 3)) % 10);
            event(&format!("u{user}"), key(item as usize), at);
        }
    }
    event("brief", key(0), 1);
    event("brief", key(1), 2);
    event("u0", "unheard-of".to_owned(), 9);
    csv
}

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("events.csv", interactions());
    let item = |item: usize| {
        let categories = ["odd", "even"][item % 2];
        format!(
            "{{\"item_id\":\"{}\",\"title\":\"Thing {}\",\"categories\":[\"things\",\"{categories}\"]}}\n",
            key(item),
            item % 50
        )
    };
    desk.write("items.jsonl", (0..ITEMS).map(item).collect::<String>());
    desk
}

#[test]
fn histories_and_embeddings_become_one_space() {
    let desk = desk();
    let (report, ok) =
        desk.json("fuse emb.npy --interactions events.csv --weight 1.5 --rank 12 --out fused.npy");
    assert!(ok);
    let number = |name: &str| report[name].as_u64();
    assert_eq!((number("items"), number("dim")), (Some(120), Some(16)));
    assert_eq!(
        (number("users"), number("cold_items")),
        (Some(91), Some(10))
    );
    assert_eq!(number("training_events"), Some(90 * 6));
    assert_eq!(number("unknown_items_skipped"), Some(1));
    assert_eq!(
        desk.files()
            .into_iter()
            .filter(|file| file.starts_with("fused"))
            .collect::<Vec<_>>(),
        [
            "fused.npy",
            "fused.npy.fusion",
            "fused.npy.keys.json",
            "fused.npy.manifest.json"
        ]
    );
    desk.ok("verify fused.npy");
    desk.ok("train fused.npy --preset rk-means --levels 3 --codes 16 --out model");
    desk.ok("index fused.npy --model model --out index.safetensors");
    desk.ok("check index.safetensors --embeddings fused.npy --model model");

    // The same again, on any number of threads.
    desk.ok(
        "fuse emb.npy --interactions events.csv --weight 1.5 --rank 12 --out again.npy --threads 3",
    );
    assert_eq!(desk.read("fused.npy"), desk.read("again.npy"));
    assert_eq!(desk.read("fused.npy.fusion"), desk.read("again.npy.fusion"));
}

#[test]
fn new_items_go_where_cold_ones_lie() {
    let desk = desk();
    desk.ok("fuse emb.npy --interactions events.csv --weight 1 --rank 12 --out fused.npy");
    desk.write_embeddings("new.npy", &desk::catalogue()[110..]);
    desk.write_keys("new.npy", (0..10).map(|item| format!("new-{item}")));
    desk.ok("fuse new.npy --fusion fused.npy.fusion --out new-fused.npy");
    let rows = |file: &str| {
        Embeddings::open(desk.read(file))
            .and_then(|e| e.all())
            .expect(file)
    };
    let error = &rows("new-fused.npy") - &rows("fused.npy").slice(ndarray::s![110.., ..]);
    assert!(error.iter().all(|e| e.abs() < 1e-4));
    assert!(desk.text("new-fused.npy.keys.json").contains("new-9"));
    Fusion::from_bytes(&desk.read("fused.npy.fusion")).expect("a fusion");

    let other = desk.fails(1, "fuse emb.npy --fusion fused.npy --out x.npy");
    assert!(other.contains("the fusion"), "{other}");
    desk.fails(
        2,
        "fuse emb.npy --fusion fused.npy.fusion --weight 1 --out x.npy",
    );
    desk.fails(2, "fuse emb.npy --out x.npy");
    desk.fails(
        2,
        "fuse emb.npy --interactions events.csv --out x.safetensors",
    );
}

#[test]
fn the_weight_is_searched_and_sources_are_many() {
    let desk = desk();
    let images: Vec<Vec<f32>> = (0..ITEMS)
        .map(|item| vec![(item as f32).sin(), (item as f32).cos(), 1.0])
        .collect();
    desk.write_embeddings("images.npy", &images);
    let (report, ok) = desk.json(
        "fuse emb.npy --with images.npy=0.5 --interactions events.csv --rank 12 --out fused.npy",
    );
    assert!(ok);
    assert_eq!(report["sources"], serde_json::json!([16, 3]));
    let trials = report["trials"].as_array().expect("a list");
    let bits = |trial: &Value| trial["bits"].as_f64().expect("a number");
    let best = trials.iter().map(bits).fold(f64::NEG_INFINITY, f64::max);
    let chosen = trials
        .iter()
        .find(|trial| bits(trial) == best)
        .expect("the best");
    assert_eq!(chosen["weight"], report["weight"]);

    desk.write_embeddings("few.npy", &images[..7]);
    let few = desk.fails(
        1,
        "fuse emb.npy --with few.npy --interactions events.csv --out x.npy",
    );
    assert!(few.contains("few.npy has 7 rows"), "{few}");
    desk.write_keys("images.npy", (0..ITEMS).map(|item| key(ITEMS - 1 - item)));
    let order = desk.fails(
        1,
        "fuse emb.npy --with images.npy --interactions events.csv --out x.npy",
    );
    assert!(order.contains("same items in the same order"), "{order}");
}

#[test]
fn sources_side_by_side_get_codes_of_their_own() {
    let desk = desk();
    let images: Vec<Vec<f32>> = (0..ITEMS)
        .map(|item| vec![(item as f32).sin(), (item as f32 * 0.3).cos(), 1.0])
        .collect();
    desk.write_embeddings("images.npy", &images);
    let (report, ok) = desk.json("fuse emb.npy --with images.npy --side-by-side --out both.npy");
    assert!(ok);
    assert_eq!(report["dim"], 19);
    assert_eq!(report["learnt"], Value::Null);
    desk.ok("train both.npy --preset rk-means --codes 16 --blocks 16:2,3:1 --out model");
    desk.ok("index both.npy --model model --out index.safetensors");
    desk.ok("check index.safetensors --embeddings both.npy --model model");
    desk.ok("fuse emb.npy --with images.npy --fusion both.npy.fusion --out again.npy");

    let refused = |arguments: &str| desk.fails(2, arguments);
    let blocks = "train both.npy --preset rk-means --out x --blocks";
    assert!(refused(&format!("{blocks} 16-2")).contains("as 384:3"));
    assert!(refused(&format!("{blocks} 16:2,3:1 --levels 4")).contains("4 levels in all"));
    assert!(
        desk.fails(1, &format!("{blocks} 16:2,4:1"))
            .contains("got 20, expected 19")
    );
    assert!(refused("train both.npy --blocks 16:2,3:1 --out x").contains("`blocks`"));
    refused("fuse emb.npy --side-by-side --out x.npy");
    refused("fuse emb.npy --with images.npy --weight 2 --out x.npy");
    assert!(
        desk.fails(1, "train both.npy.fusion --out x")
            .contains("fusion")
    );
}

#[test]
fn training_learns_from_histories() {
    let desk = desk();
    let settings = "--levels 3 --codes 16 --epochs 3 --set batch_size=32 --set diversity=0.01 \
                    --set diversity_groups=4";
    let (report, ok) = desk.json(&format!(
        "train emb.npy --interactions events.csv {settings} --out model"
    ));
    assert!(ok);
    assert_eq!(report["unknown_items_skipped"], 1);
    let epochs = desk.text("model/epochs.jsonl");
    let last: Value = serde_json::from_str(epochs.lines().last().expect("three")).expect("JSON");
    assert!(last["alignment"].as_f64().is_some_and(|nats| nats > 0.0));
    assert!(last["diversity"].as_f64().is_some_and(|nats| nats > 0.0));
    let manifest: Value = serde_json::from_str(&desk.text("model/manifest.json")).expect("JSON");
    assert!(manifest["inputs"]["events.csv"].is_string(), "{manifest}");
    desk.ok("index emb.npy --model model --out index.safetensors");

    let refused = |arguments: &str| desk.fails(2, &format!("train emb.npy --out x {arguments}"));
    let no_losses = refused("--preset rk-means --interactions events.csv");
    assert!(no_losses.contains("join them with the embeddings first (`semid fuse`)"));
    assert!(refused("--set alignment=0.1").contains("--interactions"));
    assert!(refused("--set diversity=0.1 --codes 8").contains("half as many"));
    desk.write("strangers.csv", "user_id,item_id,timestamp\nu,nobody,1\n");
    let strangers = desk.fails(1, "train emb.npy --interactions strangers.csv --out x");
    assert!(
        strangers.contains("no events of the 120 items"),
        "{strangers}"
    );
}

#[test]
fn histories_that_tell_nothing_are_named() {
    let desk = desk();
    let header = "user_id,item_id,timestamp\n";
    desk.write(
        "brief.csv",
        format!("{header}ann,item-0,1\nann,item-1,2\nann,item-2,3\n"),
    );
    let brief = desk.fails(
        1,
        "fuse emb.npy --interactions brief.csv --weight 1 --out x.npy",
    );
    assert!(brief.contains("co-occurrence graph is empty"), "{brief}");
    desk.write("other.csv", format!("{header}ann,tea,1\nann,cup,2\n"));
    let other = desk.fails(1, "fuse emb.npy --interactions other.csv --out x.npy");
    assert!(other.contains("no events of the 120 items"), "{other}");

    // One user is enough for a weight that is given, not for a search.
    let events: String = (0..4).map(|at| format!("ann,item-{at},{at}\n")).collect();
    desk.write("one.csv", format!("{header}{events}"));
    desk.ok("fuse emb.npy --interactions one.csv --weight 1 --out one.npy");
    let one = desk.fails(1, "fuse emb.npy --interactions one.csv --out x.npy");
    assert!(one.contains("give a --weight"), "{one}");
    assert!(!desk.files().iter().any(|file| file.starts_with("x.npy")));
}

#[test]
fn users_get_ids_as_items_do() {
    let desk = desk();
    let (report, ok) = desk.json("users emb.npy --interactions events.csv --out users.npy");
    assert!(ok);
    assert_eq!(report["users"], 90);
    assert_eq!(report["users_without_training"], 1);
    desk.ok("train users.npy --preset rk-means --levels 3 --codes 8 --out model");
    let indexed = desk.ok("index users.npy --model model --out users.safetensors");
    assert!(indexed.contains("90 items, 90 distinct IDs"), "{indexed}");
    desk.ok("verify users.npy");
    desk.fails(
        1,
        "users emb.npy --interactions events.csv --half-life 0 --out x.npy",
    );
}

#[test]
fn ids_by_rule_are_indexes_like_any_other() {
    let desk = desk();
    for (method, unknown) in [
        ("sequential --interactions events.csv", 10),
        ("collaborative --interactions events.csv --codes 16", 10),
        ("hybrid --interactions events.csv", 10),
        ("hybrid", 0),
        ("semantic", 0),
        ("title", 0),
        ("random", 0),
    ] {
        let arguments =
            format!("classic {method} --items items.jsonl --clusters 11 --out i.safetensors");
        let (report, ok) = desk.json(&arguments);
        assert!(ok, "{method}");
        assert_eq!(report["unknown_items"], unknown, "{method}");
        desk.ok("verify i.safetensors");
        let (inspected, _) = desk.json("inspect i.safetensors");
        assert_eq!(inspected["items"], 120, "{method}");
    }
    let lacking = desk.fails(
        2,
        "classic sequential --items items.jsonl --out x.safetensors",
    );
    assert!(lacking.contains("--interactions"), "{lacking}");
    desk.write("bare.jsonl", "{\"item_id\":\"a\"}\n{\"item_id\":\"b\"}\n");
    let bare = desk.fails(1, "classic title --items bare.jsonl --out x.safetensors");
    assert!(bare.contains("no item has the field `title`"), "{bare}");
}
