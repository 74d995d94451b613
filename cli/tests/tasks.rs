//! From a recipe to a corpus: what comes out, what is refused, and what a kill leaves.

mod desk;

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use desk::Desk;
use serde_json::{Value, json};

const ITEMS: usize = 40;
const USERS: usize = 30;

/// A desk with items, interactions, an index of them, and a recipe for the given tasks.
fn with_recipe(tasks: &str) -> Desk {
    let desk = Desk::new();
    let item = |item: usize| {
        let line = json!({ "id": format!("i{item}"), "title": format!("The {item}th thing"),
                           "description": "It is small. It is blue." });
        format!("{line}\n")
    };
    desk.write("items.jsonl", (0..ITEMS).map(item).collect::<String>());
    let mut events = "user_id,item_id,timestamp,rating\n".to_owned();
    for user in 0..USERS {
        for event in 0..5 + user % 6 {
            let item = (user * 7 + event * 11) % ITEMS;
            let time = 1_600_000_000 + event * 3600 + user;
            events += &format!("u{user},i{item},{time},{}\n", event % 5 + 1);
        }
    }
    desk.write("events.csv", events);
    let code = |item: usize| format!("i{item},{},{},{}\n", item / 9, item / 3 % 3, item % 3);
    let codes: String = (0..ITEMS).map(code).collect();
    desk.write("codes.csv", format!("key,c0,c1,c2\n{codes}"));
    desk.ok("import codes.csv --out index.safetensors");
    write_recipe(&desk, "", tasks);
    desk
}

fn write_recipe(desk: &Desk, more: &str, tasks: &str) {
    let recipe = format!(
        "seed = 5\n{more}\n[inputs]\nitems = \"items.jsonl\"\ninteractions = \"events.csv\"\n\
         index = \"index.safetensors\"\n{tasks}"
    );
    desk.write("recipe.toml", recipe);
}

fn rows(desk: &Desk, file: &str) -> Vec<Value> {
    let text = desk.text(file);
    let row = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(row).collect()
}

const TASKS: &str = r#"
[[tasks]]
task = "sequential"

[[tasks]]
task = "sequential"
part = "test"
held_out = true

[[tasks]]
task = "item-to-text"
weight = 0.5
"#;

#[test]
fn a_corpus_is_built_checked_and_known() {
    let desk = with_recipe(TASKS);
    let (report, _) = desk.json("tasks build recipe.toml --out corpus");
    assert_eq!(report["rows"]["item-to-text"], 20);
    let train = rows(&desk, "corpus/train/part-00000-of-00001.jsonl");
    let test = rows(&desk, "corpus/test/part-00000-of-00001.jsonl");
    assert_eq!(test.len(), USERS);
    let sequential = report["rows"]["sequential"].as_u64().expect("a number");
    assert_eq!(train.len() + test.len(), sequential as usize + 20);
    for row in &train {
        assert!(row["prompt"].is_string() && row["completion"].is_string());
        assert_eq!(row["provenance"]["part"], "train");
    }

    desk.ok("verify corpus");
    let (audit, sound) = desk.json("tasks audit corpus --recipe recipe.toml");
    assert!(sound, "{audit}");
    assert!(desk.ok("inspect corpus").starts_with("corpus"));
    assert!(desk.ok("tasks stats corpus").contains("sequential"));
    desk.ok("tasks lint");

    // The split is the truth of an evaluation: whoever predicts it is always right.
    let truth = rows(&desk, "corpus/split.jsonl");
    let right = truth.iter().map(|user| {
        let line = json!({ "user": user["user"], "items": user["test"] });
        format!("{line}\n")
    });
    desk.write("right.jsonl", right.collect::<String>());
    let (eval, _) = desk.json("eval right.jsonl --truth corpus/split.jsonl");
    assert_eq!(eval["metrics"]["hr@1"], 1.0, "{eval}");
}

#[test]
fn a_dry_run_tells_the_same_counts_and_writes_nothing() {
    let desk = with_recipe(TASKS);
    let files = desk.files();
    let (dry, _) = desk.json("tasks build recipe.toml --dry-run");
    assert_eq!(desk.files(), files);
    let (wet, _) = desk.json("tasks build recipe.toml --out corpus");
    assert_eq!(dry["rows"], wet["rows"]);
    assert_eq!(dry["bytes"], wet["bytes"]);
}

/// Killed before the first shard is finished, and behind it.
#[test]
fn a_killed_build_goes_on_to_the_same_bytes() {
    goes_on(|desk| desk.path("corpus/journal.json").exists());
    goes_on(|desk| {
        let shards = fs::read_dir(desk.path("corpus/train"));
        let mut shards = shards.into_iter().flatten().flatten();
        shards.any(|file| !file.file_name().to_string_lossy().starts_with('.'))
    });
}

/// A build that is killed as soon as `so_far`.
fn goes_on(so_far: impl Fn(&Desk) -> bool) {
    let many =
        "[output]\nsamples_per_shard = 5000\n[[tasks]]\ntask = \"sequential\"\nrows = 400000\n";
    let desk = with_recipe(many);
    desk.ok("tasks build recipe.toml --out whole");
    let mut child = desk
        .semid("tasks build recipe.toml --out corpus --threads 1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let start = Instant::now();
    while !so_far(&desk) {
        assert!(start.elapsed() < Duration::from_secs(60), "no shard");
        sleep(Duration::from_millis(1));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(
        !desk.path("corpus/manifest.json").exists(),
        "a whole corpus"
    );
    let message = desk.fails(1, "inspect corpus");
    assert!(message.contains("in the making"), "{message}");

    desk.ok("tasks build recipe.toml --out corpus");
    let files = |folder: &str| {
        let entries = fs::read_dir(desk.path(folder)).expect("folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files("whole/train"), files("corpus/train"));
    for file in files("whole/train") {
        let name = file.to_string_lossy();
        let [whole, corpus] = ["whole", "corpus"].map(|f| desk.read(&format!("{f}/train/{name}")));
        assert!(whole == corpus, "{name} differs");
    }
    assert_eq!(
        desk.read("whole/manifest.json"),
        desk.read("corpus/manifest.json")
    );
}

#[test]
fn side_texts_are_asked_for_and_taken_in() {
    let desk = with_recipe("[[tasks]]\ntask = \"preference\"\n");
    desk.ok("tasks requests recipe.toml --kind preference --out requests.jsonl");
    let requests = rows(&desk, "requests.jsonl");
    assert_eq!(requests.len(), USERS);
    let answer = |(at, request): (usize, &Value)| {
        let text = if at == 0 { " " } else { "Blue things." };
        format!("{}\n", json!({ "id": request["id"], "text": text }))
    };
    let answers: String = requests.iter().enumerate().skip(1).map(answer).collect();
    desk.write("answers.jsonl", answers + &answer((0, &requests[0])));
    let ingest =
        "tasks ingest recipe.toml answers.jsonl --requests requests.jsonl --out side.jsonl";
    let (report, _) = desk.json(ingest);
    assert_eq!(
        (&report["taken"], &report["empty"]),
        (&json!(USERS - 1), &json!(1))
    );

    let recipe = desk.text("recipe.toml");
    desk.write(
        "recipe.toml",
        recipe.replace("[inputs]\n", "[inputs]\nside_texts = [\"side.jsonl\"]\n"),
    );
    let (report, _) = desk.json("tasks build recipe.toml --out corpus");
    assert_eq!(report["rows"]["preference"], USERS - 1);
    assert!(desk.json("tasks audit corpus --recipe recipe.toml").1);
}

#[test]
fn a_teacher_is_not_told_the_item_and_may_not_name_it() {
    let desk = with_recipe("[[tasks]]\ntask = \"reasoning\"\n");
    desk.ok("tasks requests recipe.toml --kind evidence --out requests.jsonl");
    let requests = rows(&desk, "requests.jsonl");
    let events = desk.text("events.csv");
    let of_user = |user: &str| -> Vec<String> {
        let lines = events
            .lines()
            .filter(|line| line.starts_with(&format!("{user},")));
        lines
            .map(|line| line.split(',').nth(1).expect("an item").to_owned())
            .collect()
    };
    let title = |item: &str| format!("The {}th thing", &item[1..]);
    for request in &requests {
        let items = of_user(request["user"].as_str().expect("a key"));
        let target = request["target"].as_u64().expect("a target") as usize;
        let prompt = request["prompt"].as_str().expect("a prompt");
        assert!(!prompt.contains(&title(&items[target])), "{prompt}");
        assert!(prompt.contains(&title(&items[target - 1])), "{prompt}");
    }
    let answer = |request: &Value| {
        let items = of_user(request["user"].as_str().expect("a key"));
        let target = request["target"].as_u64().expect("a target") as usize;
        let text = format!("Clearly {} is next.", title(&items[target]));
        format!("{}\n", json!({ "id": request["id"], "text": text }))
    };
    desk.write(
        "answers.jsonl",
        requests.iter().map(answer).collect::<String>(),
    );
    let ingest =
        "tasks ingest recipe.toml answers.jsonl --requests requests.jsonl --out side.jsonl";
    let (report, _) = desk.json(ingest);
    assert_eq!(
        (&report["taken"], &report["name_the_target"]),
        (&json!(0), &json!(USERS))
    );
}

#[test]
fn bad_recipes_and_inputs_are_told() {
    let desk = with_recipe(TASKS);
    let build = "tasks build recipe.toml --out corpus";
    let says = |status, words: &[&str]| {
        let message = desk.fails(status, build);
        for word in words {
            assert!(message.contains(word), "{word:?} is not in: {message}");
        }
    };
    write_recipe(&desk, "", "");
    says(1, &["recipe.toml", "no tasks"]);
    write_recipe(&desk, "sed = 3", TASKS);
    says(1, &["sed", "line 2"]);
    write_recipe(&desk, "", "[[tasks]]\ntask = \"sequentail\"\n");
    says(1, &["sequentail", "sequential, text-to-item"]);
    write_recipe(
        &desk,
        "",
        "[[tasks]]\ntask = \"sequential\"\nrows = 1\nweight = 2.0\n",
    );
    says(
        1,
        &["sequential", "more than one of weight, rows and tokens"],
    );
    write_recipe(&desk, "", "[[tasks]]\ntask = \"intention\"\n");
    says(1, &["intention", "no side texts"]);
    write_recipe(
        &desk,
        "",
        "[output]\nformat = \"trl-dpo\"\n[[tasks]]\ntask = \"sequential\"\n",
    );
    says(1, &["sequential", "trl-dpo", "rejected"]);
    write_recipe(
        &desk,
        "",
        "[output]\ncontainer = \"csv\"\n[[tasks]]\ntask = \"sequential\"\n",
    );
    says(1, &["csv", "prompt-completion"]);
    write_recipe(&desk, "templates = \"mine\"", TASKS);
    says(1, &["mine"]);
    assert!(!desk.path("corpus/manifest.json").exists());

    // Items that the index lacks, and items that the catalogue lacks.
    write_recipe(&desk, "", TASKS);
    let items = desk.text("items.jsonl");
    desk.write(
        "items.jsonl",
        format!("{items}{{\"id\": \"new\", \"title\": \"New\"}}\n"),
    );
    says(1, &["1 of 41 items", "new", "items.without_id"]);
    desk.write(
        "items.jsonl",
        items.lines().skip(1).collect::<Vec<_>>().join("\n"),
    );
    says(1, &["events.csv", "i0"]);
    write_recipe(
        &desk,
        "",
        &format!("[interactions]\nunknown_items = \"skip\"\n{TASKS}"),
    );
    let (report, _) = desk.json(build);
    assert!(
        report["inputs"]["unknown_items_skipped"].as_u64() > Some(0),
        "{report}"
    );

    // What is there is not ours to replace.
    desk.write("precious", "notes");
    fs::create_dir(desk.path("other")).expect("a folder");
    fs::rename(desk.path("precious"), desk.path("other/precious")).expect("a file");
    let message = desk.fails(1, "tasks build recipe.toml --out other");
    assert!(message.contains("is no corpus"), "{message}");
}
