//! `semid recommend compare`: which index is learnt best.

mod desk;

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use desk::{DIM, Desk, ITEMS, catalogue, key};
use serde_json::Value;

const COMPARE: &str = "recommend compare --interactions clusters.csv --width 32 --layers 1 \
    --history 6 --epochs 6 --set batch_tokens=256 --set dropout=0.05 --set embedding_dropout=0.05 \
    --set learning_rate=0.01 --resamples 400";

const USERS: usize = 150;

/// Chance that is the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Users go from one of the eight clusters of the catalogue to the next one, and take any item
/// there. So an item tells nothing but the cluster of the one that follows: who has IDs that begin
/// with the cluster has little to learn.
fn desk() -> Desk {
    let desk = Desk::new();
    let mut chance = Chance(1);
    let mut csv = "user_id,item_id,timestamp\n".to_owned();
    for user in 0..USERS {
        for at in 0..5 + user % 3 {
            let item = (user + 3 * at) % 8 + 8 * chance.below(ITEMS / 8);
            csv += &format!("u{user},{},{at}\n", key(item));
        }
    }
    csv += "u0,unheard-of,99\n";
    desk.write("clusters.csv", csv);
    index(&desk, "good", 0);
    index(&desk, "shuffled", ITEMS);
    desk
}

/// Makes `NAME.index.safetensors`, for which the first `count` items got each other's embeddings.
fn index(desk: &Desk, name: &str, count: usize) {
    let mut rows = catalogue();
    let mut chance = Chance(2);
    for at in (1..count).rev() {
        rows.swap(at, chance.below(at + 1));
    }
    let embeddings = format!("{name}.npy");
    desk.write_embeddings(&embeddings, &rows);
    desk.write_keys(&embeddings, (0..ITEMS).map(key));
    desk.ok(&format!(
        "train {embeddings} --preset rk-means --levels 3 --codes 16 --out {name}-model"
    ));
    desk.ok(&format!(
        "index {embeddings} --model {name}-model --out {name}.index.safetensors"
    ));
}

const BOTH: &str = "--indexes good.index.safetensors,shuffled.index.safetensors";

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("a number: {value}"))
}

/// The report without what the clock says.
fn timeless(mut report: Value) -> Value {
    for index in report["indexes"].as_array_mut().expect("a list") {
        index["seconds"] = Value::Null;
    }
    report
}

fn lines(desk: &Desk, folder: &str) -> Vec<Value> {
    let text = desk.text(&format!("{folder}/journal.jsonl"));
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn a_good_index_wins_over_a_shuffled_one() {
    let desk = desk();
    let compare =
        format!("{COMPARE} {BOTH} --seeds 2 --embeddings emb.npy --out race --report page.html");
    let (report, ok) = desk.json(&format!("{compare} --keep-models"));
    assert!(ok);
    assert_eq!(report["users"], USERS);
    assert_eq!(report["items"], ITEMS);
    assert_eq!(report["unknown_items_skipped"], 1);
    assert_eq!(report["seeds"], serde_json::json!([1, 2]));
    let [good, shuffled] = [0, 1].map(|at| &report["indexes"][at]);
    assert_eq!(good["name"], "good");
    assert_eq!(good["differences"], Value::Null);
    for metric in ["hr@10", "ndcg@10"] {
        let [won, lost] = [good, shuffled].map(|index| number(&index["metrics"][metric]["mean"]));
        let difference = &shuffled["differences"][metric];
        assert!((number(&difference["difference"]) - (lost - won)).abs() < 1e-9);
        assert!(number(&difference["interval"][1]) < 0.0, "{difference}");
        assert!(number(&difference["p_holm"]) < 0.05, "{difference}");
        let [low, high] = [0, 1].map(|end| number(&good["metrics"][metric]["interval"][end]));
        assert!(low < won && won < high);
        let [one, two] = [0, 1].map(|seed| number(&good["runs"][seed]["metrics"][metric]));
        assert!((won - (one + two) / 2.0).abs() < 1e-9);
        let deviation = number(&good["metrics"][metric]["deviation"]);
        assert!((deviation - (one - two).abs() / 2.0_f64.sqrt()).abs() < 1e-9);
    }
    let [won, lost] = [good, shuffled].map(|index| number(&index["metrics"]["hr@10"]["mean"]));
    assert!(won > lost + 0.1, "{won} and {lost}");

    let proxies = report["proxies"].as_array().expect("a list");
    for name in ["prefix_neighbour_recall", "held_out_gain"] {
        let proxy = proxies.iter().find(|proxy| proxy["name"] == name);
        let values = &proxy.expect(name)["values"];
        assert!(number(&values[0]) > number(&values[1]), "{name}: {values}");
    }
    assert_eq!(report["correlations_say_something"], false);
    let page = desk.text("page.html");
    assert!(page.contains("Against good") && page.contains("cannot be told by 2 indexes"));

    // The figures are those of what the journal holds, and of the models.
    let runs = lines(&desk, "race");
    assert_eq!(runs.len(), 4);
    for run in &runs {
        let places = run["places"].as_array().expect("a list");
        assert_eq!(places.len(), USERS);
        let found = || places.iter().map(number).filter(|&place| place < 10.0);
        let of_users = |sum: f64| sum / USERS as f64;
        let ndcg = found().map(|place| 1.0 / (place + 2.0).log2()).sum();
        let (at, seed) = (usize::from(run["name"] != "good"), number(&run["seed"]));
        let metrics = &report["indexes"][at]["runs"][seed as usize - 1]["metrics"];
        assert!((number(&metrics["hr@10"]) - of_users(found().count() as f64)).abs() < 1e-9);
        assert!((number(&metrics["ndcg@10"]) - of_users(ndcg)).abs() < 1e-9);
    }
    let model = "race/shuffled-seed-2";
    assert!(
        desk.ok(&format!("verify {model}"))
            .contains("recommender.json")
    );
    let eval = format!("recommend eval {model} --interactions clusters.csv --resamples 10");
    let (measured, _) = desk.json(&eval);
    let measured = &measured["systems"]["generative"]["metrics"]["hr@10"];
    assert_eq!(measured, &shuffled["runs"][1]["metrics"]["hr@10"]);

    // Again: from the journal. With one index more, only that is trained.
    let journal = desk.read("race/journal.jsonl");
    let (again, _) = desk.json(&compare);
    assert_eq!(again, report);
    assert_eq!(desk.read("race/journal.jsonl"), journal);
    index(&desk, "half", ITEMS / 2);
    let text = desk.ok(&compare.replace("shuffled.", "shuffled.index.safetensors,half."));
    assert_eq!(lines(&desk, "race").len(), 6);
    assert!(text.contains("against good\nshuffled"), "{text}");
    assert!(text.contains("cannot be told by 3 indexes"), "{text}");
}

#[test]
fn a_killed_comparison_ends_in_the_same_figures() {
    let desk = desk();
    let compare = format!("{COMPARE} {BOTH} --seeds 5,3 --epochs 12");
    let compare = compare.replace("--epochs 6 ", "");
    let (whole, ok) = desk.json(&format!("{compare} --out whole"));
    assert!(ok);
    for done in [0, 2] {
        let mut child = desk
            .semid(&format!("{compare} --out race"))
            .env("SEMID_CHECKPOINT_SECONDS", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let start = Instant::now();
        let journal = || fs::read_to_string(desk.path("race/journal.jsonl")).unwrap_or_default();
        let checkpoint = || {
            let files = fs::read_dir(desk.path("race"))
                .into_iter()
                .flatten()
                .flatten();
            let mut names = files.map(|file| file.file_name().to_string_lossy().into_owned());
            names.any(|name| !name.starts_with('.') && name.ends_with(".checkpoint"))
        };
        while journal().lines().count() < done || !checkpoint() {
            assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint");
            assert_eq!(
                child.try_wait().expect("a child"),
                None,
                "it ended too early"
            );
            sleep(Duration::from_millis(1));
        }
        child.kill().expect("it runs");
        assert_eq!(child.wait().expect("it ends").code(), None, "killed");
    }
    // What a line looks like that was being written.
    let written = desk.text("race/journal.jsonl");
    desk.write("race/journal.jsonl", written + "{\"index\":\"00");
    let (killed, ok) = desk.json(&format!("{compare} --out race"));
    assert!(ok);
    assert_eq!(timeless(killed), timeless(whole));
    assert_eq!(lines(&desk, "race").len(), 4);
    let mut left = fs::read_dir(desk.path("race")).expect("a folder");
    assert!(left.all(|file| file.expect("an entry").file_name() == "journal.jsonl"));
}

#[test]
fn what_cannot_be_compared_is_named() {
    let desk = desk();
    let short = COMPARE.replace("--epochs 6", "--epochs 1");
    let compare = format!("{short} --seeds 1 --out race");
    desk.ok(&format!("{compare} {BOTH}"));

    let message = desk.fails(1, &format!("{COMPARE} --seeds 1 --out race {BOTH}"));
    assert!(
        message.contains("race/journal.jsonl, line 1")
            && message.contains("settings.epochs was 1, now it is 6"),
        "{message}"
    );
    let message = desk.fails(1, &format!("{compare} {BOTH} --beams 20"));
    assert!(message.contains("beams was 50, now it is 20"), "{message}");
    let events = desk.text("clusters.csv");
    desk.write("clusters.csv", format!("{events}u1,item-1,100\n"));
    let message = desk.fails(1, &format!("{compare} {BOTH}"));
    assert!(message.contains("interactions was"), "{message}");
    desk.write("clusters.csv", events);

    let fresh = format!("{short} --seeds 1 --out fresh");
    let message = desk.fails(1, &format!("{fresh} --indexes good.index.safetensors,none"));
    assert!(message.contains("none"), "{message}");
    desk.write("nonsense", "no index");
    desk.fails(
        1,
        &format!("{fresh} --indexes good.index.safetensors,nonsense"),
    );
    desk.ok("remove good.index.safetensors item-7 --out fewer.safetensors");
    let message = desk.fails(
        1,
        &format!("{fresh} --indexes good.index.safetensors,fewer.safetensors"),
    );
    assert!(
        message.contains("not of the same items: \"item-7\""),
        "{message}"
    );
    fs::copy(desk.path("good.index.safetensors"), desk.path("copy")).expect("a copy");
    let message = desk.fails(1, &format!("{fresh} --indexes good.index.safetensors,copy"));
    assert!(message.contains("are the same index"), "{message}");
    desk.fails(2, &format!("{fresh} --indexes good.index.safetensors"));
    desk.fails(2, &format!("{fresh} {BOTH} --seeds 0"));
    let message = desk.fails(2, &format!("{fresh} {BOTH} --set learning_rate=-1"));
    assert!(message.contains("learning_rate"), "{message}");
    desk.write_embeddings("few.npy", &vec![vec![1.0; DIM]; 3]);
    let message = desk.fails(1, &format!("{fresh} {BOTH} --embeddings few.npy"));
    assert!(message.contains("few.npy"), "{message}");
    desk.write("strangers.csv", "user_id,item_id,timestamp\na,b,1\n");
    let strange = fresh.replace("clusters.csv", "strangers.csv");
    let message = desk.fails(1, &format!("{strange} {BOTH}"));
    assert!(
        message.contains("has no events of the 120 items"),
        "{message}"
    );
    desk.write(
        "short.csv",
        "user_id,item_id,timestamp\na,item-1,1\na,item-2,2\n",
    );
    let short = fresh.replace("clusters.csv", "short.csv");
    let message = desk.fails(1, &format!("{short} {BOTH}"));
    assert!(message.contains("no user with three events"), "{message}");
    let message = desk.fails(
        1,
        &format!("{fresh} {BOTH}").replace("--out fresh", "--out good-model"),
    );
    assert!(message.contains("no comparison wrote it"), "{message}");
}

#[test]
fn four_indexes_tell_something_of_the_proxies() {
    let desk = desk();
    index(&desk, "half", ITEMS / 2);
    index(&desk, "most", 3 * ITEMS / 4);
    // Two of one name: all are called by their paths.
    for folder in ["a", "b"] {
        fs::create_dir(desk.path(folder)).expect("a folder");
    }
    for (from, to) in [("half", "a/same"), ("most", "b/same")] {
        let [from, to] = [from, to].map(|name| desk.path(&format!("{name}.index.safetensors")));
        fs::rename(from, to).expect("it moves");
    }
    let compare = COMPARE.replace("--epochs 6", "--epochs 2");
    let compare = format!(
        "{compare} {BOTH},a/same.index.safetensors,b/same.index.safetensors --seeds 1 --out race"
    );
    let (report, ok) = desk.json(&compare);
    assert!(ok);
    assert_eq!(report["indexes"][3]["name"], "b/same.index.safetensors");
    assert_eq!(
        report["indexes"][0]["metrics"]["hr@10"]["deviation"],
        Value::Null
    );
    assert_eq!(report["correlations_say_something"], true);
    let metric: Vec<f64> = (0..4)
        .map(|at| number(&report["indexes"][at]["metrics"]["ndcg@10"]["mean"]))
        .collect();
    let rank =
        |values: &[f64], at: usize| values.iter().filter(|v| **v < values[at]).count() as f64;
    for proxy in report["proxies"].as_array().expect("a list") {
        let told = &proxy["correlations"]["ndcg@10"];
        match proxy["name"].as_str().expect("a name") {
            "unique" => assert_eq!(told, &Value::Null, "all have distinct IDs"),
            "held_out_gain" => {
                let values = proxy["values"].as_array().expect("a list");
                let values: Vec<f64> = values.iter().map(number).collect();
                let squares = (0..4).map(|at| (rank(&values, at) - rank(&metric, at)).powi(2));
                // Spearman's formula without ties.
                let rho = 1.0 - 6.0 * squares.sum::<f64>() / (4.0 * 15.0);
                assert!(
                    (number(&told["rho"]) - rho).abs() < 1e-9,
                    "{proxy} {metric:?}"
                );
                assert!(number(&told["p"]) >= 2.0 / 24.0);
            }
            _ => {}
        }
    }
    let text = desk.ok(&compare);
    assert!(
        text.contains("rank with ndcg@10") && text.contains("over 4 indexes"),
        "{text}"
    );
}
