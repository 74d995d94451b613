//! The life of a published index: items come and go, IDs stay.

mod desk;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use desk::{Desk, ITEMS, key};
use semantic_id::{Change, Delta, ItemIndex};

/// Items of the first generation; the rest of the desk's catalogue comes later.
const FIRST: usize = 90;

/// A desk with `index.safetensors` of the first items, and `new.npy` of all others.
fn published() -> Desk {
    let desk = Desk::new();
    let rows = desk::catalogue();
    write_items(&desk, "first.npy", &rows, 0..FIRST);
    write_items(&desk, "new.npy", &rows, FIRST..ITEMS);
    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --out model");
    desk.ok("index first.npy --model model --out index.safetensors");
    desk
}

fn write_items(desk: &Desk, name: &str, rows: &[Vec<f32>], items: std::ops::Range<usize>) {
    desk.write_embeddings(name, &rows[items.clone()]);
    desk.write_keys(name, items.map(key));
}

fn open(desk: &Desk, name: &str) -> ItemIndex<Vec<u8>> {
    let index = ItemIndex::open(desk.read(name)).expect("an index");
    index.validate().expect("a sound one");
    index
}

/// The ID of every item that is offered, by key.
fn ids(index: &ItemIndex<Vec<u8>>) -> BTreeMap<String, String> {
    let living = index.living().expect("sound");
    let id = |item| {
        (
            index.key(item).expect("a key").to_owned(),
            index.text(item).expect("an ID"),
        )
    };
    living.into_iter().map(id).collect()
}

fn text(index: &ItemIndex<Vec<u8>>, key: &str) -> String {
    let item = index.find(key).expect("sound").expect("its ID is held");
    index.text(item).expect("an ID")
}

const ADD: &str = "add index.safetensors --model model --embeddings new.npy";

#[test]
fn new_items_get_free_ids_and_old_ones_keep_theirs() {
    let desk = published();
    let (report, _) = desk.json(&format!("{ADD} --out next.safetensors"));
    assert_eq!(
        (&report["added"], &report["generation"]),
        (&30.into(), &1.into())
    );
    assert_eq!(report["certificate"]["optimal"], true);

    let (first, next) = (
        open(&desk, "index.safetensors"),
        open(&desk, "next.safetensors"),
    );
    assert_eq!(next.info().parent, Some(first.digest()));
    let (before, after) = (ids(&first), ids(&next));
    assert_eq!((before.len(), after.len()), (FIRST, ITEMS));
    assert!(before.iter().all(|(key, id)| after[key] == *id));
    let distinct: std::collections::HashSet<_> = after.values().collect();
    assert_eq!(distinct.len(), ITEMS);
    let rows: Vec<_> = next
        .rows()
        .map(|item| next.key(item).unwrap().to_owned())
        .collect();
    assert_eq!(rows, (0..ITEMS).map(key).collect::<Vec<_>>());

    // A served copy follows by the delta, and no other copy does.
    let delta = Delta::from_json(&desk.read("next.safetensors.delta-1.json")).unwrap();
    assert_eq!(delta.apply(&first).unwrap().bytes(), next.bytes());
    let refused = delta.apply(&next).unwrap_err().to_string();
    assert!(
        refused.starts_with("bad delta: it starts from"),
        "{refused}"
    );

    // In place as well.
    desk.ok(&format!("{ADD} --out index.safetensors"));
    assert!(desk.read("index.safetensors") == desk.read("next.safetensors"));
    desk.ok("check index.safetensors --embeddings emb.npy --model model");
    let told = desk.ok("diff index.safetensors next.safetensors");
    assert!(told.contains("the same file"), "{told}");
}

#[test]
fn removed_items_hold_their_ids_until_they_are_freed() {
    let desk = published();
    desk.write("gone.txt", "item-3\nitem-4\n");
    let (report, _) = desk.json("remove index.safetensors item-5 --keys gone.txt --out b");
    assert_eq!(
        (&report["removed"], &report["items"]),
        (&3.into(), &(FIRST - 3).into())
    );
    let (first, second) = (open(&desk, "index.safetensors"), open(&desk, "b"));
    assert!(!ids(&second).contains_key("item-4"));
    desk.ok("export b --format csv --out b.csv");
    assert!(!desk.text("b.csv").contains("item-4,"));

    // One comes back under its old ID, beside items that do not get those of the others.
    let rows = desk::catalogue();
    let back = [&rows[4..5], &rows[FIRST..]].concat();
    desk.write_embeddings("back.npy", &back);
    desk.write_keys("back.npy", std::iter::once(4).chain(FIRST..ITEMS).map(key));
    let (report, _) = desk.json("add b --model model --embeddings back.npy --out c");
    assert_eq!(
        (&report["revived"], &report["added"]),
        (&1.into(), &30.into())
    );
    let third = open(&desk, "c");
    let (before, after) = (ids(&first), ids(&third));
    assert_eq!(after["item-4"], before["item-4"]);
    for gone in ["item-3", "item-5"] {
        assert!(after.values().all(|id| *id != before[gone]), "{gone}");
    }
    assert_eq!(third.info().generation, 2);

    let (report, _) = desk.json("remove c item-3 item-6 --free --out d");
    assert_eq!(
        (&report["freed"], &report["removed"]),
        (&2.into(), &0.into())
    );
    let fourth = open(&desk, "d");
    assert_eq!(fourth.items(), ITEMS - 2);
    let change = Change::between(&third, &fourth).unwrap();
    assert_eq!(change.freed, ["item-3", "item-6"]);
    for (from, step, to) in [
        (&first, "b.delta-1.json", &second),
        (&third, "d.delta-3.json", &fourth),
    ] {
        let delta = Delta::from_json(&desk.read(step)).unwrap();
        assert_eq!(delta.apply(from).unwrap().bytes(), to.bytes());
    }

    let told = desk.ok("diff b c");
    let expected = "87 items have the ID they had, 0 another (0.0 %); from level 0 on: 0, 1 on: 0, \
                    2 on: 0\n30 items are new, 1 back, 0 removed, 0 gone\n";
    assert!(told.ends_with(expected), "{told}");
    let (report, _) = desk.json("diff b c --items");
    assert_eq!(report["relation"], "child");
    assert_eq!(report["change"]["revived"][0], "item-4");
}

#[test]
fn removed_items_are_never_offered() {
    let desk = published();
    desk.ok("remove index.safetensors item-3 item-4 --out b");
    let (inspected, _) = desk.json("inspect b");
    assert_eq!(
        (&inspected["items"], &inspected["removed"]),
        (&(FIRST - 2).into(), &2.into())
    );
}

#[test]
fn removed_items_are_not_measured() {
    let desk = published();
    desk.ok("remove index.safetensors item-3 item-4 --out b");
    for embeddings in ["first.npy", "left.npy"] {
        let left: Vec<usize> = (0..FIRST).filter(|item| ![3, 4].contains(item)).collect();
        let rows = desk::catalogue();
        let rows: Vec<_> = left.iter().map(|&item| rows[item].clone()).collect();
        desk.write_embeddings("left.npy", &rows);
        desk.write_keys("left.npy", left.into_iter().map(key));
        let (checked, ok) = desk.json(&format!("check b --embeddings {embeddings} --model model"));
        assert!(ok, "{checked}");
        assert_eq!(checked["items"], FIRST - 2);
    }
    let message = desk.fails(1, "check b --embeddings new.npy");
    assert!(
        message.contains("there are 30 embeddings, but the index has 88 items"),
        "{message}"
    );
}

#[test]
fn what_a_change_cannot_do_is_an_error_that_names_the_items() {
    let desk = published();
    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --seed 1 --out other");
    desk.ok("train emb.npy --preset rk-means --levels 2 --codes 16 --out short");
    desk.ok("export index.safetensors --format csv --out foreign.csv");
    desk.ok("import foreign.csv --codes 16 --out foreign");
    desk.write_embeddings("keyless.npy", &desk::catalogue()[..1]);
    let add = "add index.safetensors --out out --model";
    let remove = "remove index.safetensors --out out";
    for (command, part) in [
        (
            format!("{add} model --embeddings emb.npy"),
            r#"90 of 120 items are in index.safetensors already: "item-0", "item-1", "item-2", ...;"#,
        ),
        (
            format!("{add} other --embeddings new.npy"),
            "other is a model of another generation: its model/model.safetensors has blake3",
        ),
        (
            format!("{add} short --embeddings new.npy"),
            "short has 16 x 16 codes, index.safetensors 16 x 16 x 16",
        ),
        (
            "add foreign --out out --model model --embeddings new.npy".to_owned(),
            "foreign does not name the model of its IDs (it was made by `semid import`)",
        ),
        (
            format!("{add} model --embeddings keyless.npy"),
            "keyless.npy has no keys; give --keys",
        ),
        (
            format!("{remove} item-1 sofa lamp"),
            r#"2 of the keys are not in index.safetensors: "lamp", "sofa";"#,
        ),
    ] {
        let message = desk.fails(1, &command);
        assert!(message.contains(part), "{command}: {message}");
        assert!(!desk.path("out").exists());
    }
    desk.ok(&format!("{add} model --embeddings emb.npy --skip-existing"));
    desk.ok(&format!("{add} other --embeddings new.npy --any-model"));
    let (report, _) = desk.json(&format!("{remove} item-1 sofa --ignore-unknown"));
    assert_eq!(
        (&report["removed"], &report["unknown"]),
        (&1.into(), &1.into())
    );
    let message = desk.fails(1, "remove out item-1 --out out");
    assert!(
        message.contains("1 of the items were removed from out before"),
        "{message}"
    );
    let everything: String = (0..FIRST).map(|item| key(item) + "\n").collect();
    desk.write("all.txt", everything);
    let message = desk.fails(
        1,
        "remove index.safetensors --keys all.txt --free --out out",
    );
    assert!(message.contains("the catalogue has no items"), "{message}");
}

#[test]
fn a_change_of_nothing_is_the_same_index() {
    let desk = published();
    desk.ok(&format!("{ADD} --out next"));
    let told = desk.ok("add next --model model --embeddings new.npy --skip-existing --out again");
    assert!(told.contains("nothing changed"), "{told}");
    assert!(desk.read("next") == desk.read("again"));
    assert!(!desk.path("again.delta-2.json").exists());
}

#[test]
fn a_full_code_space_says_how_many_ids_are_left() {
    let desk = Desk::new();
    let rows = desk::catalogue();
    write_items(&desk, "first.npy", &rows, 0..60);
    write_items(&desk, "new.npy", &rows, 60..ITEMS);
    desk.ok("train emb.npy --preset rk-means --levels 2 --codes 8 --out model");
    desk.ok("index first.npy --model model --out index.safetensors");
    let message = desk.fails(1, &format!("{ADD} --out out"));
    let told = "60 items do not fit the 4 free slots of 64 (8 x 8, 1 item(s) a path; 60 are taken, \
                0 held in reserve)";
    assert!(message.contains(told), "{message}");

    // With a reserve, prefixes that could hold their items cannot; two are added in spite of it.
    let message = desk.fails(1, "index first.npy --model model --reserve 10% --out out");
    assert!(
        message.contains("60 items do not fit the 56 free slots"),
        "{message}"
    );
    write_items(&desk, "few.npy", &rows, 0..50);
    let (report, _) =
        desk.json("index few.npy --model model --reserve 10% --out index.safetensors");
    assert!(
        report["full_prefixes"]["count"]
            .as_u64()
            .is_some_and(|full| full > 0),
        "{report}"
    );
    let index = open(&desk, "index.safetensors");
    for code in 0..8 {
        assert!(index.items_of(&[semantic_id::Code(code)]).unwrap().len() <= 7);
    }
    write_items(&desk, "new.npy", &rows, 50..64);
    let (report, _) = desk.json(&format!("{ADD} --out out"));
    assert_eq!(report["added"], 14);
    assert!(
        report["full_prefixes"]["fullest"][0]["room"].is_u64(),
        "{report}"
    );
}

#[test]
fn a_retrained_index_keeps_most_ids_and_lives_on() {
    let desk = published();
    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --seed 1 --out other");
    desk.ok("remove index.safetensors item-5 item-6 --out b");
    write_items(&desk, "now.npy", &desk::catalogue(), 6..ITEMS);
    let rebuild = "rebuild now.npy --model other --keep-ids b --out c --out-model model2";
    let (report, _) = desk.json(rebuild);
    let kept = report["kept"].as_u64().expect("a count");
    assert!(kept > 50, "{report}");
    // Items 0 to 4 are not among the embeddings, 5 was removed before, 6 comes back.
    let count = |name: &str| report[name].as_u64().expect("a count");
    assert_eq!(
        (count("added"), count("revived"), count("removed")),
        (30, 1, 5)
    );
    let error = |name: &str| report[name].as_f64().expect("a distance");
    assert!(
        error("distance") <= 1.021 * error("free_distance"),
        "{report}"
    );

    let (before, after) = (open(&desk, "b"), open(&desk, "c"));
    let held: Vec<String> = (0..6).map(|item| text(&before, &key(item))).collect();
    assert!(
        ids(&after).values().all(|id| !held.contains(id)),
        "an ID of a removed item"
    );
    let delta = Delta::from_json(&desk.read("c.delta-2.json")).unwrap();
    assert_eq!(delta.apply(&before).unwrap().bytes(), after.bytes());
    let (again, _) = desk.json(&rebuild.replace("out c", "out again"));
    assert_eq!(again["digest"], report["digest"]);

    // It goes on with the fitted model, and with no other.
    desk.ok("remove c item-7 --free --out c");
    write_items(&desk, "new.npy", &desk::catalogue(), 7..8);
    let add = "add c --embeddings new.npy --out d --model";
    let message = desk.fails(1, &format!("{add} other"));
    assert!(
        message.contains("is a model of another generation"),
        "{message}"
    );
    desk.ok(&format!("{add} model2"));
    desk.ok("verify model2");

    let (report, _) = desk.json(&format!("{rebuild} --free"));
    assert_eq!(
        (&report["removed"], &report["freed"]),
        (&0.into(), &5.into())
    );
    assert_eq!(open(&desk, "c").items(), ITEMS - 6);
    let message = desk.fails(
        1,
        "rebuild emb.npy --model short --keep-ids b --out x --out-model y",
    );
    assert!(message.contains("short is no model folder"), "{message}");
    assert!(!desk.path("x").exists() && !desk.path("y").exists());
}

/// How often the next test kills; a release deserves a thousand.
fn kills() -> u32 {
    let kills = std::env::var("SEMID_KILLS").ok();
    kills.map_or(50, |kills| kills.parse().expect("SEMID_KILLS is a number"))
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    let desk = published();
    let first = desk.read("index.safetensors");
    let start = Instant::now();
    desk.ok(&format!("{ADD} --out whole.safetensors"));
    let took = start.elapsed().as_secs_f64();
    let whole = desk.read("whole.safetensors");

    let mut done = 0;
    for kill in 0..kills() {
        desk.write("index.safetensors", &first);
        let mut child = desk
            .semid(&format!("{ADD} --out index.safetensors"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // Moments from the start to a little beyond the end, in an irregular order.
        let moment = f64::from(kill) * 0.618_033_988_75 % 1.0;
        sleep(Duration::from_secs_f64(1.1 * took * moment));
        child.kill().expect("a child");
        child.wait().expect("a child");

        let now = desk.read("index.safetensors");
        assert!(now == first || now == whole, "half a change");
        if now == first {
            desk.ok(&format!("{ADD} --out index.safetensors"));
            assert!(desk.read("index.safetensors") == whole);
        } else {
            done += 1;
            let delta = Delta::from_json(&desk.read("index.safetensors.delta-1.json"));
            let parent = ItemIndex::open(&first[..]).expect("sound");
            assert!(
                delta
                    .expect("whole")
                    .apply(&parent)
                    .expect("its parent")
                    .bytes()
                    == whole
            );
        }
        let litter = desk
            .files()
            .iter()
            .filter(|file| file.starts_with('.'))
            .count();
        assert!(litter <= 2, "{:?}", desk.files());
    }
    assert!(done < kills(), "all came too late");
}
