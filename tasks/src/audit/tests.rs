use semantic_id::{CodeMatrix, CodeSpace, IndexInfo, ItemKeys, Manifest, TokenFormat};
use serde_json::{Value, json};

use super::*;
use crate::{Event, HistoriesBuilder, HistoryOptions, ItemOptions};

const TITLES: [&str; 8] = [
    "Pong", "Tetris", "Chess", "Go", "Doom", "Risk", "Myst", "Golf",
];

/// Ann's last two items are held out; Bob chose his before.
const EVENTS: [(&str, [usize; 5]); 2] = [("ann", [0, 1, 2, 3, 4]), ("bob", [5, 6, 7, 5, 5])];

/// The ID text of an item.
fn id(item: usize) -> String {
    format!("<a_{}><b_{}>", item / 4, item % 4)
}

fn split() -> String {
    let line = |(user, items): (&str, [usize; 5])| {
        let key = |at: usize| format!("i{}", items[at]);
        let line = json!({ "user": user, "events": 5, "train_end": 3, "valid_end": 4,
                           "valid": [key(3)], "test": [key(4)] });
        format!("{line}\n")
    };
    EVENTS.map(line).concat()
}

fn items() -> Catalogue {
    let item = |(at, title)| {
        format!(
            "{}\n",
            json!({ "item_id": format!("i{at}"), "title": title })
        )
    };
    let items: String = TITLES.into_iter().enumerate().map(item).collect();
    Catalogue::read("items.jsonl", items.as_bytes(), &ItemOptions::default()).expect("items")
}

fn index(items: &ItemKeys) -> ItemIndex<Vec<u8>> {
    let space = CodeSpace::uniform(2, 4).expect("a space");
    let codes = (0..8)
        .flat_map(|item| [item / 4, item % 4])
        .map(semantic_id::Code);
    let codes = CodeMatrix::new(codes.collect(), 2).expect("codes");
    let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("test", Value::Null));
    ItemIndex::build(&space, &codes, items, 1, info).expect("an index")
}

fn histories(items: &ItemKeys) -> Histories {
    let mut builder = HistoriesBuilder::new(items, HistoryOptions::default());
    for (user, chosen) in EVENTS {
        for item in chosen {
            let item = items.get(semantic_id::ItemId(item as u32));
            let event = Event {
                user,
                item,
                micros: None,
                rating: None,
            };
            builder.push(event).expect("an event");
        }
    }
    builder.finish().expect("histories")
}

/// A row of Ann's: her history before the target, and the target's ID.
fn row(task: &str, part: &str, target: usize) -> Value {
    let history: Vec<_> = (0..target).map(id).collect();
    json!({
        "prompt": format!("After {}?", history.join(", ")),
        "completion": id(target),
        "provenance": {
            "task": task, "template": format!("en/{task}/next-1"), "part": part, "epoch": 0,
            "sample": target, "user": "ann", "reads": [0, target], "target": target,
            "horizon": if part == "train" { 3 } else { target },
        },
    })
}

fn reasoning() -> Value {
    let mut row = row("reasoning", "train", 2);
    row["provenance"]["made_at"] = json!(2);
    row["completion"] = json!(format!("Pong and Tetris are quick. So: {}", id(2)));
    row
}

fn sound() -> Vec<Value> {
    let mut bob = row("sequential", "train", 2);
    bob["provenance"]["user"] = json!("bob");
    bob["prompt"] = json!(format!("After {}, {}?", id(5), id(6)));
    bob["completion"] = json!(id(7));
    let mut ranking = row("ranking", "train", 2);
    ranking["prompt"] = json!(format!("After {}: {} or {}?", id(1), id(2), id(4)));
    let text = json!({
        "prompt": format!("What is {}?", id(4)), "completion": "Doom",
        "provenance": { "task": "item-to-text", "template": "en/item-to-text/title-1",
                        "part": "train", "epoch": 0, "sample": 4 },
    });
    let mut rows = vec![bob, ranking, text, reasoning()];
    let parts = [("train", 1), ("train", 2), ("valid", 3), ("test", 4)];
    rows.extend(parts.map(|(part, target)| row("sequential", part, target)));
    rows
}

/// Audits some rows with all sources, or with the split alone.
fn audit(rows: &[Value], with_sources: bool) -> AuditReport {
    let items = items();
    let (index, histories) = (index(items.keys()), histories(items.keys()));
    let all = || Sources {
        index: Some(ItemIndex::open(index.bytes()).expect("an index")),
        items: Some(&items),
        histories: Some(&histories),
    };
    let sources = if with_sources {
        all()
    } else {
        Sources::default()
    };
    let split = split();
    let audit = Audit::new("split.jsonl", split.as_bytes(), sources).expect("a split");
    let shard: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let found = audit
        .shard("part-0.jsonl", shard.as_bytes().into())
        .expect("rows");
    audit.finish([found]).expect("a report")
}

#[test]
fn a_sound_corpus_passes() {
    let report = audit(&sound(), true);
    assert!(report.ok(), "{report:?}");
    let checked = report
        .rules
        .iter()
        .map(|rule| (rule.rule, rule.checked))
        .collect::<Vec<_>>();
    assert_eq!(
        checked,
        [
            ("provenance", 8),
            ("horizon", 7),
            ("split", 7),
            ("side-texts", 1),
            ("traces", 1),
            ("held-out", 5),
            ("ids", 8),
            ("reads", 6),
        ]
    );
    assert_eq!((report.rows, report.users), (8, 2));
    assert_eq!((report.chosen_again, report.drawn), (1, 1));
    assert_eq!(
        (report.contradictions.prompts, report.duplicates.rows),
        (1, 0)
    );
    assert_eq!(
        report.contradictions.by_task.len(),
        2,
        "reasoning asks what sequential asks"
    );
}

#[test]
fn without_sources_their_rules_say_what_they_need() {
    let report = audit(&sound(), false);
    assert!(report.ok());
    let needs: Vec<_> = report
        .rules
        .iter()
        .filter_map(|rule| Some((rule.rule, rule.needs?)))
        .collect();
    assert_eq!(
        needs,
        [
            ("traces", "the items"),
            ("held-out", "the index"),
            ("ids", "the index"),
            ("reads", "the index")
        ]
    );
    assert!(
        report
            .rules
            .iter()
            .all(|rule| rule.needs.is_none() || rule.checked == 0)
    );
}

/// Adds a row to sound ones: these rules must find it, and nothing else.
fn planted(row: Value, rules: &[(Rule, &str)]) {
    let mut rows = sound();
    rows.insert(3, row);
    let report = audit(&rows, true);
    let expected = |rule: Rule| rules.iter().find(|(broken, _)| *broken == rule);
    for (rule, got) in Rule::ALL.into_iter().zip(&report.rules) {
        let problems: Vec<_> = got.places.iter().map(|place| &*place.problem).collect();
        let expected: Vec<_> = expected(rule).iter().map(|(_, problem)| *problem).collect();
        assert_eq!(problems, expected, "{rule:?}");
        assert_eq!(got.findings, expected.len() as u64, "{rule:?}");
        assert!(
            got.places.iter().all(|place| place.place == "line 4"),
            "{rule:?}"
        );
    }
    assert!(!report.ok());
}

/// A sound row of training with some of its provenance changed.
fn with(changes: Value) -> Value {
    let mut row = row("sequential", "train", 2);
    for (field, value) in changes.as_object().expect("changes") {
        row["provenance"][field] = value.clone();
    }
    row
}

#[test]
fn a_provenance_that_contradicts_itself_is_found() {
    planted(
        with(json!({ "reads": [2, 1] })),
        &[
            (Rule::Provenance, "reads the events 2..1"),
            (Rule::Reads, "ID 0.0 is no event that the row has read"),
        ],
    );
    planted(
        with(json!({ "template": "en/fusion/title-1" })),
        &[(
            Rule::Provenance,
            "template en/fusion/title-1 is none of task sequential",
        )],
    );
    planted(
        with(json!({ "horizon": null })),
        &[(Rule::Provenance, "a user, but no horizon")],
    );
    planted(
        with(json!({ "user": null })),
        &[(Rule::Provenance, "events of nobody: no user is named")],
    );
}

#[test]
fn a_row_that_reads_beyond_its_horizon_is_found() {
    planted(
        with(json!({ "reads": [0, 4], "target": null })),
        &[(Rule::Horizon, "reads events before 4, its horizon is 3")],
    );
}

#[test]
fn a_row_that_reads_its_target_is_found() {
    planted(
        with(json!({ "reads": [0, 3] })),
        &[(Rule::Horizon, "reads events before 3, its target is 2")],
    );
}

#[test]
fn a_horizon_beyond_the_part_is_found() {
    planted(
        with(json!({ "horizon": 4 })),
        &[(Rule::Split, "its horizon is 4, that of train is 3")],
    );
    let mut valid = row("sequential", "valid", 3);
    valid["provenance"]["horizon"] = json!(4);
    planted(
        valid,
        &[(Rule::Split, "its horizon is 4, that of valid is 3")],
    );
}

#[test]
fn a_target_of_another_part_is_found() {
    let mut test = row("sequential", "test", 4);
    test["provenance"]["part"] = json!("valid");
    planted(
        test,
        &[(
            Rule::Split,
            "target 4 is not among the events 3..4 of valid",
        )],
    );
}

#[test]
fn training_on_a_held_out_target_is_found() {
    planted(
        with(json!({ "target": 3 })),
        &[(
            Rule::Split,
            "target 3 is not among the events 0..3 of train",
        )],
    );
}

#[test]
fn a_user_unknown_to_the_split_is_found() {
    planted(
        with(json!({ "user": "cleo" })),
        &[(Rule::Split, "user \"cleo\" is not in the split")],
    );
}

#[test]
fn a_side_text_of_unknown_or_later_knowledge_is_found() {
    let mut row = reasoning();
    row["provenance"]["made_at"] = json!(4);
    planted(
        row.clone(),
        &[(
            Rule::SideTexts,
            "its side text was made knowing the events before 4, its horizon is 3",
        )],
    );
    row["provenance"]["made_at"] = Value::Null;
    planted(
        row,
        &[(
            Rule::SideTexts,
            "no made_at tells what the writer of its side text knew",
        )],
    );
}

#[test]
fn a_trace_that_names_a_held_out_item_is_found() {
    let mut row = reasoning();
    row["completion"] = json!(format!("A DOOM fan to be. So: {}", id(2)));
    planted(
        row.clone(),
        &[(Rule::Traces, "the title \"doom\" is held out from the user")],
    );
    row["completion"] = json!(format!("Before {} comes {}", id(4), id(2)));
    let problem = "ID 1.0 is held out from the user";
    planted(
        row.clone(),
        &[(Rule::Traces, problem), (Rule::HeldOut, problem)],
    );

    let mut rewritten = reasoning();
    rewritten["provenance"]["target"] = Value::Null;
    rewritten["completion"] = json!("The user plays Go at night.");
    planted(
        rewritten,
        &[(Rule::Traces, "the title \"go\" is held out from the user")],
    );

    // Neither a part of a word nor a title that Bob knows is a leak.
    row["completion"] = json!(format!("Doomed. Ago, gopher. So: {}", id(2)));
    assert!(audit(&[row.clone()], true).ok());
    row["completion"] = json!(format!("Risk again. So: {}", id(7)));
    row["prompt"] = json!(format!("After {}, {}?", id(5), id(6)));
    row["provenance"]["user"] = json!("bob");
    assert!(audit(&[row], true).ok());
}

#[test]
fn a_test_prompt_that_names_its_target_is_found() {
    let mut row = row("reasoning", "test", 4);
    row["provenance"]["made_at"] = json!(4);
    row["completion"] = json!(format!("It is Doom: {}", id(4)));
    assert!(audit(&[row.clone()], true).ok());
    row["prompt"] = json!("The answer is not Doom, or is it?");
    planted(
        row,
        &[(Rule::Traces, "the title \"doom\" is held out from the user")],
    );
}

#[test]
fn the_id_of_a_held_out_item_is_found() {
    let mut row = row("sequential", "train", 2);
    row["completion"] = json!(id(4));
    planted(row, &[(Rule::HeldOut, "ID 1.0 is held out from the user")]);
}

#[test]
fn an_id_that_no_item_has_is_found() {
    for (text, problem) in [
        ("<a_3><b_0>", "ID 3.0 is no item of the index"),
        ("<a_0>", "ID 0 is no item of the index"),
    ] {
        let mut row = row("sequential", "train", 2);
        row["completion"] = json!(text);
        planted(row, &[(Rule::Ids, problem)]);
    }
}

#[test]
fn a_prompt_that_shows_other_events_than_it_says_is_found() {
    planted(
        with(json!({ "reads": [1, 2] })),
        &[(Rule::Reads, "ID 0.0 is no event that the row has read")],
    );
}

#[test]
fn repeats_are_counted() {
    let pair = |rejected: &str| {
        let mut row = row("pairs", "train", 2);
        row["chosen"] = row["completion"].take();
        row["rejected"] = json!(rejected);
        row
    };
    let answer = |answer: usize, part: &str| {
        let mut row = row("sequential", "train", 1);
        row["completion"] = json!(id(answer));
        row["provenance"]["part"] = json!(part);
        row
    };
    let rows = [
        answer(1, "train"),
        answer(1, "train"),
        answer(2, "train"),
        answer(5, "valid"),
        pair("<a_0><b_0>"),
        pair("<a_0><b_3>"),
        pair("<a_0><b_3>"),
        row("fusion", "train", 2),
    ];
    let AuditReport {
        contradictions,
        duplicates,
        ..
    } = audit(&rows, false);
    let of = |task: &str, rows: u64| [(task.to_owned(), rows)].into();
    assert_eq!(
        contradictions,
        Contradictions {
            prompts: 1,
            rows: 3,
            share: 3.0 / 8.0,
            by_task: of("sequential", 3)
        }
    );
    let mut by_task = of("sequential", 1);
    by_task.extend(of("pairs", 1));
    assert_eq!(
        duplicates,
        RepeatedRows {
            rows: 2,
            share: 2.0 / 8.0,
            by_task
        }
    );
}

#[test]
fn a_split_that_is_none_is_told_with_its_line() {
    for (line, expected) in [
        ("{}", "column 2: missing field `user`"),
        (
            r#"{"user": "a", "events": 3, "train_end": 2, "valid_end": 1, "valid": [], "test": []}"#,
            "user \"a\": got 0 and 0 held-out items for parts that end at 2, 1, 3; expected one \
             for each event",
        ),
        (
            r#"{"user": "a", "events": 3, "train_end": 1, "valid_end": 2, "valid": [], "test": ["b"]}"#,
            "user \"a\": got 0 and 1 held-out items for parts that end at 1, 2, 3; expected one \
             for each event",
        ),
        (
            split().lines().next().expect("a line"),
            "user \"ann\" has a line already",
        ),
    ] {
        let split = format!("{}{line}\n", split());
        let audit = Audit::new("split.jsonl", split.as_bytes(), Sources::default());
        let error = audit.expect_err(expected).to_string();
        assert_eq!(error, format!("split.jsonl, line 3: {expected}"));
    }
}
