//! From embeddings to a published index: the commands as a user runs them.

mod desk;

use std::collections::HashMap;

use desk::{Desk, ITEMS, key};
use insta::assert_snapshot;
use serde_json::Value;

/// Puts `#` for all numbers with a decimal point: times, and errors that depend on the machine.
fn redact(text: &str) -> String {
    let word = |word: &str| {
        let number = word.trim_end_matches([',', ';', ')']);
        if number.contains('.') && number.parse::<f64>().is_ok() {
            word.replacen(number, "#", 1)
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The codes of each item, of an index that is exported for it.
fn codes(desk: &Desk, index: &str) -> HashMap<String, Vec<u32>> {
    desk.ok(&format!("export {index} --format csv --out codes.csv"));
    let row = |line: &str| {
        let (key, codes) = line.split_once(',').expect("a key and codes");
        let codes = codes.split(',').map(|code| code.parse().expect("a code"));
        (key.to_owned(), codes.collect())
    };
    desk.text("codes.csv").lines().skip(1).map(row).collect()
}

/// How many items have each ID.
fn holders(codes: &HashMap<String, Vec<u32>>) -> HashMap<&[u32], usize> {
    let mut holders = HashMap::new();
    for id in codes.values() {
        *holders.entry(&**id).or_default() += 1;
    }
    holders
}

#[test]
fn embeddings_become_an_index_that_other_tools_read() {
    let desk = Desk::new();
    let trained = desk.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --out model");
    assert_snapshot!(redact(&trained), @"
    model: 120 items x 16 dimensions to 3 levels x 16 codes, 0 epochs in # s
    reconstruction error #
    before assignment # % of the items collide (rate #); perplexity 15 15 13
    ");

    let indexed = desk.ok("index emb.npy --model model --out index.safetensors");
    assert_snapshot!(redact(&indexed), @"
    index.safetensors: 120 items, 120 distinct IDs (before assignment 97), 23 items moved
    reconstruction error #, after assignment #
    certificate: 23 moves (at least 23 must), optimal
    encoded in # s, assigned in # s
    ");

    let checked = desk.ok("check index.safetensors --embeddings emb.npy --model model");
    assert!(
        checked.contains("ok   unique: 120, expected at least 120"),
        "{checked}"
    );
    assert!(checked.contains("ok   recall: "), "{checked}");
    assert!(checked.ends_with("all gates passed\n"), "{checked}");

    for (path, kind) in [
        (
            "index.safetensors",
            "index\nitems: 120\ncodes: [16,16,16]\n",
        ),
        (
            "model",
            "model\ndim: 16\nlatent_dim: 16\ncodes: [16,16,16]\n",
        ),
        ("emb.npy", "embeddings\nitems: 120\ndim: 16\n"),
    ] {
        let told = desk.ok(&format!("inspect {path}"));
        assert!(told.starts_with(kind), "{told}");
    }
    for path in ["index.safetensors", "model"] {
        desk.ok(&format!("verify {path}"));
    }

    let ours = codes(&desk, "index.safetensors");
    assert_eq!(ours.len(), ITEMS);
    for format in ["lc-rec", "openonerec", "csv"] {
        desk.ok(&format!(
            "export index.safetensors --format {format} --out theirs"
        ));
        desk.ok("import theirs --codes 16 --out back.safetensors");
        assert_eq!(codes(&desk, "back.safetensors"), ours, "{format}");
    }
}

#[test]
fn reports_have_the_documented_keys() {
    let desk = Desk::new();
    let has = |report: &Value, keys: &str| {
        for key in keys.split_whitespace() {
            let there = report.pointer(&format!("/{}", key.replace('.', "/")));
            assert!(there.is_some(), "no {key} in {report}");
        }
    };
    let (train, _) = desk.json("train emb.npy --preset rk-means --levels 3 --codes 16 --out model");
    has(
        &train,
        "items dim levels codes epochs_run seconds peak_rss raw_collision_rate \
         reconstruction_mse levels_stats.2.used levels_stats.2.perplexity",
    );

    let (index, _) = desk.json("index emb.npy --model model --out index.safetensors");
    has(
        &index,
        "items unique_before unique moved added_distance certificate.optimal \
         certificate.lower_bound certificate.cost certificate.gap seconds_encode seconds_assign \
         peak_rss",
    );
    assert_eq!(index["unique"], ITEMS);
    let before = index["unique_before"].as_u64().expect("a count");
    assert_eq!(index["moved"], ITEMS as u64 - before);
    assert_eq!(index["certificate"]["optimal"], true);

    let (check, ok) = desk.json(
        "check index.safetensors --embeddings emb.npy --model model --gate collision_rate<=0",
    );
    has(
        &check,
        "items unique collision_rate items_in_collisions reconstruction_mse added_distance \
         levels_stats.2.used levels_stats.2.perplexity levels_stats.2.gini \
         prefix_neighbour_recall.value prefix_neighbour_recall.shuffled \
         gates.0.name gates.0.value gates.0.limit gates.0.ok ok",
    );
    assert!(ok && check["ok"] == true);
    assert_eq!(check["reconstruction_mse"], index["reconstruction_mse"]);
    assert_eq!(check["gates"][2]["name"], "collision_rate");
}

/// Another tool's index: two levels tell the items apart, the third one does not.
fn write_draft(desk: &Desk) {
    let ids = (0..ITEMS).map(|item| {
        let (cluster, part) = (item % 8, item / 8 % 4);
        let tokens = [
            format!("<a_{cluster}>"),
            format!("<b_{part}>"),
            "<c_0>".to_owned(),
        ];
        (key(item), Value::from(tokens.to_vec()))
    });
    let draft = Value::Object(ids.collect());
    desk.write("draft.index.json", draft.to_string());
}

#[test]
fn a_colliding_index_is_found_and_repaired() {
    let desk = Desk::new();
    write_draft(&desk);
    desk.ok("import draft.index.json --codes 16 --out draft.safetensors");
    let message = desk.fails(1, "check draft.safetensors");
    assert_eq!(
        message,
        "error: draft.safetensors failed unique: 32, expected at least 120\n"
    );
    let found = String::from_utf8(desk.run("check draft.safetensors").stdout).expect("UTF-8");
    assert_snapshot!(found, @"
    120 items, 32 distinct IDs; 100.00 % of the items share theirs
    level   used   dead  perplexity   gini  fan-out    max  single
        0      8      8         8.0  0.500     8.00      8   0.0 %
        1      4     12         4.0  0.762     4.00      4   0.0 %
        2      1     15         1.0  0.938     1.00      1 100.0 %
    FAIL unique: 32, expected at least 120
    not good enough
    ");
    desk.ok("check draft.safetensors --without unique");

    let repair = "index emb.npy --draft draft.index.json --codes 16 --out index.safetensors";
    let (report, _) = desk.json(repair);
    assert_eq!(report["unique_before"], 32);
    assert_eq!(report["unique"], ITEMS);
    assert_eq!(report["moved"], ITEMS - 32);
    desk.ok("check index.safetensors --embeddings emb.npy");

    let before = codes(&desk, "draft.safetensors");
    let after = codes(&desk, "index.safetensors");
    assert_eq!(holders(&after).len(), ITEMS);
    let kept = before.iter().filter(|(key, id)| after[*key] == **id);
    assert_eq!(kept.count(), 32, "one item of each ID stays");
}

#[test]
fn assigners_do_what_they_are_named_for() {
    let desk = Desk::new();
    desk.index();
    let index = "index emb.npy --model model --out other.safetensors";

    let message = desk.fails(1, &format!("{index} --assigner sinkhorn"));
    assert!(
        message.contains("24 items still share 12 paths"),
        "{message}"
    );
    assert!(!desk.path("other.safetensors").exists());
    let (report, _) = desk.json(&format!("{index} --assigner sinkhorn --accept-collisions"));
    assert_eq!(report["unique"], ITEMS - 12, "all but the identical items");

    let (report, _) = desk.json(&format!("{index} --assigner suffix"));
    assert_eq!(report["moved"], 0);
    let suffixed = codes(&desk, "other.safetensors");
    assert_eq!(holders(&suffixed).len(), ITEMS);
    assert!(suffixed.values().all(|id| id.len() == 4));

    desk.ok(&format!("{index} --capacity 2"));
    let shared = codes(&desk, "other.safetensors");
    assert_eq!(holders(&shared).values().max(), Some(&2));
    desk.fails(1, "check other.safetensors");

    let message = desk.fails(2, &format!("{index} --capacity 2 --assigner suffix"));
    assert!(message.contains("--capacity"), "{message}");
}

#[test]
fn best_sellers_keep_their_native_ids() {
    let desk = Desk::new();
    desk.index();
    let index = "index emb.npy --model model --out other.safetensors";
    desk.ok(&format!("{index} --capacity {ITEMS}"));
    let native = codes(&desk, "other.safetensors");

    // Items 8 and 9 are embedded alike; the last two events of a user are not looked at.
    let events: Vec<String> = (0..20)
        .flat_map(|user| {
            [9, 17, 25, 8]
                .iter()
                .zip(0..)
                .map(move |(item, at)| (user, *item, at))
        })
        .map(|(user, item, at)| format!("{user}\t{}\t{at}", key(item)))
        .collect();
    let header = "user_id:token\titem_id:token\ttimestamp:float\n";
    desk.write("events.inter", header.to_owned() + &events.join("\n"));
    let weighed = format!("{index} --interactions events.inter");
    let (report, _) = desk.json(&format!("{weighed} --popularity"));
    assert_eq!(report["moved"], 23, "as many as without");
    let popular = codes(&desk, "other.safetensors");
    assert_eq!(popular["item-9"], native["item-9"]);
    assert_ne!(popular["item-8"], native["item-8"]);

    let (drawn, _) = desk.json(&format!("{weighed} --affinity 0.5"));
    assert_eq!(drawn["moved"], 23);
    let added = drawn["added_distance"].as_f64().expect("a distance");
    assert!(added > 0.0, "{drawn}");
    let message = desk.fails(2, &format!("{weighed} --affinity 2"));
    assert!(
        message.contains("--affinity 2: expected 0 to 1"),
        "{message}"
    );
    desk.fails(2, &format!("{index} --popularity"));
}

#[test]
fn the_same_command_gives_the_same_bytes() {
    let desk = Desk::new();
    let train = "train emb.npy --levels 3 --codes 16 --epochs 3";
    desk.ok(&format!("{train} --out model"));
    desk.ok(&format!("{train} --out again --threads 1"));
    for file in ["model.safetensors", "config.json", "epochs.jsonl"] {
        let (model, again) = (
            desk.read(&format!("model/{file}")),
            desk.read(&format!("again/{file}")),
        );
        assert!(model == again, "{file}");
    }
    desk.ok("index emb.npy --model model --out index.safetensors");
    desk.ok("index emb.npy --model again --out again.safetensors --threads 1");
    assert!(desk.read("index.safetensors") == desk.read("again.safetensors"));
    desk.ok(&format!("{train} --seed 1 --out other"));
    assert!(desk.read("model/model.safetensors") != desk.read("other/model.safetensors"));
}

#[test]
fn keys_come_from_the_items_where_they_are_given() {
    let desk = Desk::new();
    desk.index();
    let items: Vec<String> = (0..ITEMS)
        .map(|item| format!(r#"{{"id": "sku {item}", "title": "t"}}"#))
        .collect();
    desk.write("items.jsonl", items.join("\n"));
    desk.ok("index emb.npy --model model --keys items.jsonl --out index.safetensors");
    assert!(codes(&desk, "index.safetensors").contains_key("sku 119"));
    let message = desk.fails(1, "check index.safetensors --embeddings emb.npy");
    assert!(
        message.contains(r#"no item "item-0"; give --keys"#),
        "{message}"
    );
    desk.ok("check index.safetensors --embeddings emb.npy --keys items.jsonl");
}
