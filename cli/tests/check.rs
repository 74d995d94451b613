//! What an index is worth: figures, gates and the report.

mod desk;

use desk::{Desk, ITEMS, key};
use serde_json::{Value, json};

/// An index on the desk, with `items.jsonl`, whose categories are the clusters, and `events.jsonl`,
/// in which users stay in a cluster.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.index();
    let item = |item: usize| {
        let category = format!("Shop, Cluster {}", item % 8);
        json!({"id": key(item), "title": format!("Thing {item}"), "categories": category})
    };
    desk.write("items.jsonl", lines((0..ITEMS).map(item)));
    let event = |user: usize, step: usize| {
        let item = (user + 8 * (step * step + user / 8)) % ITEMS;
        json!({"user_id": user.to_string(), "item_id": key(item), "timestamp": step})
    };
    let events = (0..80).flat_map(|user| (0..6).map(move |step| event(user, step)));
    let unknown = json!({"user_id": "0", "item_id": "gone", "timestamp": 9});
    desk.write("events.jsonl", lines(events.chain([unknown])));
    desk
}

fn lines(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| value.to_string() + "\n").collect()
}

const ALL: &str = "check index.safetensors --embeddings emb.npy --model model --items items.jsonl \
                   --interactions events.jsonl";

#[test]
fn everything_that_is_given_is_measured() {
    let desk = desk();
    let (report, ok) = desk.json(ALL);
    assert!(ok, "{report}");
    assert_eq!(report["unique_before"], 97);
    assert_eq!(report["moved"], 23);
    assert_eq!(
        report["fan_out"][0]["nodes"],
        report["levels_stats"][0]["used"]
    );
    assert_eq!(report["items_without_text"], 0);
    let above = |pair: &Value, value: &str| {
        assert!(pair[value].as_f64() > pair["shuffled"].as_f64(), "{pair}");
    };
    above(&report["purity"][0], "value");
    above(&report["prefix_neighbour_recall"], "value");
    above(&report["held_out_gain"], "bits");
    assert_eq!(
        report["held_out_gain"]["per_level"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    assert_eq!(
        report["prefix_neighbour_recall_by_depth"][0],
        report["prefix_neighbour_recall"]
    );
    assert_eq!(
        report["interactions"],
        json!({
            "users": 80, "events": 480, "users_without_test": 0, "unknown_items_skipped": 1
        })
    );
    assert_eq!(
        report["popularity"]["events"], 320,
        "four of six are of training"
    );
    let sample = &report["sample_prefixes"][0];
    let title = sample["nearest"]["items"][0]["title"]
        .as_str()
        .expect("a title");
    assert!(title.starts_with("Thing "), "{title}");
    assert!(sample["nearest"]["cosine"].as_f64() >= sample["farthest"]["cosine"].as_f64());
}

#[test]
fn what_is_not_given_is_null() {
    let desk = desk();
    let (report, ok) = desk.json("check index.safetensors");
    assert!(ok);
    for key in [
        "purity",
        "prefix_neighbour_recall",
        "interactions",
        "held_out_gain",
    ] {
        assert_eq!(report[key], Value::Null, "{key}");
    }
    let sample = &report["sample_prefixes"][0];
    assert_eq!(sample["nearest"], Value::Null);
    assert_eq!(sample["examples"][0]["title"], Value::Null);
}

#[test]
fn users_of_two_events_hold_nothing_out() {
    let desk = desk();
    let event = |step: usize| json!({"user_id": "1", "item_id": key(step), "timestamp": step});
    desk.write("events.jsonl", lines((0..2).map(event)));
    let (report, ok) = desk.json("check index.safetensors --interactions events.jsonl");
    assert!(ok);
    assert_eq!(report["interactions"]["users_without_test"], 1);
    assert_eq!(report["held_out_gain"], Value::Null);
}

/// scripts/check_report.py opens the page in a browser.
#[test]
fn the_page_is_one_file_in_which_titles_are_text() {
    let desk = desk();
    let item = |item: usize| json!({"id": key(item), "title": "</script><b onclick=''>&amp;"});
    desk.write("items.jsonl", lines((0..ITEMS).map(item)));
    desk.ok(&format!("{ALL} --report full.html"));
    let page = desk.text("full.html");
    for tag in [
        "<script src",
        "<link rel=\"stylesheet",
        "<img",
        "</script><b",
        "<b onclick",
    ] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert!(page.contains("&lt;b onclick") && page.contains("\\u003c/script\\u003e"));
    assert!(page.contains("All gates passed") && page.contains("What the last item tells"));

    desk.ok(&format!("{ALL} --report again.html --threads 1"));
    assert_eq!(
        desk.text("again.html"),
        page,
        "the same on any number of threads"
    );

    desk.fails(
        1,
        "check index.safetensors --gate items>=121 --report bare.html",
    );
    let page = desk.text("bare.html");
    assert!(page.contains("1 of 2 gates failed"));
    assert!(!page.contains("What the last item tells"));
    let message = desk.fails(1, "check index.safetensors --report none/page.html");
    assert!(
        message.starts_with("error: cannot write none/page.html"),
        "{message}"
    );
}

#[test]
fn gates_come_from_a_file() {
    let desk = desk();
    desk.write(
        "gates.toml",
        "[gates]\n\
         levels_stats.0.perplexity = { at_least = 12 }\n\
         purity.0.value = { above = \"purity.0.shuffled\" }\n\
         recall = false\n",
    );
    let (report, ok) = desk.json(&format!("{ALL} --gates gates.toml --without gain"));
    assert!(ok, "{report}");
    let names: Vec<_> = report["gates"].as_array().expect("gates").iter().collect();
    let names: Vec<_> = names.iter().map(|gate| gate["name"].as_str()).collect();
    let expected = ["unique", "levels_stats.0.perplexity", "purity.0.value"];
    assert_eq!(names, expected.map(Some));

    desk.write("gates.toml", "[gates]\nunique = { at_least = 500 }\n");
    let message = desk.fails(1, "check index.safetensors --gates gates.toml");
    let expected = "error: index.safetensors failed unique: 120, expected at least 500\n";
    assert_eq!(message, expected);

    for (gate, part) in [
        (
            "levels_stats.0.perplexty>=1",
            "is it levels_stats.0.perplexity?",
        ),
        (
            "popularity.head<=1",
            "gate popularity.head: it was not measured; --embeddings",
        ),
    ] {
        let message = desk.fails(1, &format!("check index.safetensors --gate {gate}"));
        assert!(message.contains(part), "{message}");
    }
    desk.fails(2, "check index.safetensors --gate unique");
    let message = desk.fails(1, "check index.safetensors --gates none.toml");
    assert!(message.contains("cannot read none.toml"), "{message}");
}

#[test]
fn files_of_another_catalogue_are_told() {
    let desk = desk();
    desk.write("items.jsonl", r#"{"id": "sku", "title": "t"}"#);
    let message = desk.fails(1, "check index.safetensors --items items.jsonl");
    let part =
        r#"items.jsonl: none of its keys, such as "sku", is one of the index, such as "item-0""#;
    assert!(message.contains(part), "{message}");
    desk.write("events.jsonl", r#"{"user_id": "1", "item_id": "sku"}"#);
    let message = desk.fails(1, "check index.safetensors --interactions events.jsonl");
    assert!(
        message.contains("events.jsonl has no events of the"),
        "{message}"
    );
}
