//! LC-Rec's own code and ours, field by field: 400 rows of each task on a real catalogue.

use std::fs;
use std::path::{Path, PathBuf};

use semantic_id::Manifest;
use semantic_id::interchange::index_json;
use semid_tasks::corpus::{
    Amount, Context, Corpus, CorpusOptions, HistoryStyle, Ids, Order, Scratch, TaskPlan,
};
use semid_tasks::generators::TaskOptions;
use semid_tasks::{
    Catalogue, CleaningSteps, EventOptions, HistoriesBuilder, HistoryOptions, ItemOptions, Need,
    Part, SideTexts, Split, Templates,
};
use serde_json::{Map, Value};

/// Their names of our slots.
const NAMES: [(&str, &str); 7] = [
    ("inters", "history"),
    ("inter_titles", "history_titles"),
    ("item", "item"),
    ("title", "title"),
    ("description", "description"),
    ("brand", "brand"),
    ("categories", "categories"),
];

#[test]
fn fields_are_those_of_lc_rec() {
    let Some(data) = std::env::var_os("SEMID_DATA").map(PathBuf::from) else {
        println!("SEMID_DATA is not set: not compared");
        return;
    };
    let counts = fs::read(data.join("parity-lcrec/counts.json")).unwrap();
    let counts: Map<String, Value> = serde_json::from_slice(&counts).unwrap();
    for (name, task, part) in [
        ("seqrec.train", "sequential", Part::Train),
        ("seqrec.test", "sequential", Part::Test),
        ("fusionseqrec.train", "fusion", Part::Train),
        ("item2index", "text-to-item", Part::Train),
    ] {
        for numbered in [false, true] {
            let rows = fields(&data, task, part, numbered);
            let python = if numbered { "True" } else { "False" };
            let count = &counts[&format!("{name}.prefix={python}")];
            assert_eq!(rows.len() as u64, count.as_u64().unwrap(), "{name}");
            let theirs = data.join(format!("parity-lcrec/{name}.prefix_{numbered}.jsonl"));
            let theirs = fs::read_to_string(theirs).unwrap();
            let theirs: Vec<&str> = theirs.lines().collect();
            let first = theirs.len() - 100;
            for (at, line) in theirs.iter().enumerate() {
                let row = if at < first {
                    at
                } else {
                    rows.len() - theirs.len() + at
                };
                compare(
                    &rows[row],
                    &serde_json::from_str(line).unwrap(),
                    &format!("{name} {row}"),
                );
            }
        }
    }
}

fn compare(ours: &[(String, String)], theirs: &Map<String, Value>, place: &str) {
    for (name, text) in theirs {
        let slot = NAMES.iter().find(|(known, _)| known == name).unwrap().1;
        let ours = ours.iter().find(|(known, _)| known == slot);
        let text = text.as_str().unwrap();
        match ours {
            Some((_, ours)) => assert_eq!(ours, text, "{place}: {name}"),
            // They write "" or "." for a missing text; with us it is missing.
            None => assert!(
                text.chars().all(|c| c == '.' || c == ' '),
                "{place}: {name}: {text}"
            ),
        }
    }
}

/// The slots of all rows of a task, in the order of users and events.
fn fields(data: &Path, task: &str, part: Part, numbered: bool) -> Vec<Vec<(String, String)>> {
    let read = |file: &str| fs::read(data.join("scientific").join(file)).unwrap();
    let options = ItemOptions {
        cleaning: CleaningSteps::NONE,
        ..ItemOptions::default()
    };
    let items = read("Scientific.item.json");
    let catalogue = Catalogue::read("Scientific.item.json", &items, &options).unwrap();
    let mut builder = HistoriesBuilder::new(catalogue.keys(), HistoryOptions::default());
    let inter = read("Scientific.inter.json");
    let options = EventOptions::default();
    builder
        .read("Scientific.inter.json", &inter[..], &options)
        .unwrap();
    let histories = builder.finish().unwrap();
    let table = read("indexes/rqvae_zcr/Scientific.index.json");
    let table = index_json::read(&table, None).unwrap();
    let index = table.build(Manifest::new("test", Value::Null)).unwrap();
    let ids = Ids::new(&catalogue, &index).unwrap();
    let split = Split::leave_one_out(&histories);
    let style = HistoryStyle {
        numbered,
        trim_titles: ".!?,;:`".to_owned(),
        ..HistoryStyle::default()
    };
    let side = SideTexts::default();
    let context = Context::new(&catalogue, &histories, &split, &ids, &side, None, &style);
    let templates = Templates::builtin("en").unwrap();
    let plan = TaskPlan {
        task: task.to_owned(),
        part,
        amount: Amount::Weight(1.0),
        stage: 0,
        templates: Vec::new(),
        held_out: false,
        options: TaskOptions::default(),
    };
    let options = CorpusOptions {
        order: Order::Tasks,
        need: Need::Fields,
        ..CorpusOptions::default()
    };
    let corpus = Corpus::new(&context, &templates, &[plan], options).unwrap();
    let mut rows = Vec::new();
    let counts = corpus
        .rows(0..corpus.len(), &mut Scratch::default(), |row| {
            let fields = row.fields.expect("they were asked for").iter();
            rows.push(
                fields
                    .map(|(name, text)| (name.to_string(), text.to_string()))
                    .collect(),
            );
            Ok(())
        })
        .unwrap();
    assert!(counts.skipped.is_empty(), "{counts:?}");
    rows
}
