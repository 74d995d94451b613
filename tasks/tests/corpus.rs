//! Corpora of a small catalogue: the same bytes on any number of threads and after a kill, every
//! task, and nothing that lies beyond a horizon.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use semantic_id::{
    Code, CodeMatrix, CodeSpace, Digest, IndexInfo, ItemIndex, Manifest, TokenFormat,
};
use semid_tasks::corpus::{
    Amount, Context, Corpus, CorpusOptions, CorpusShare, HistoryStyle, Ids, Order, Scratch, Share,
    TaskPlan,
};
use semid_tasks::generators::{NegativeSource, Negatives, TASKS, TaskOptions};
use semid_tasks::{
    Catalogue, Container, CorpusFolder, Event, Folder, Histories, HistoriesBuilder, HistoryOptions,
    ItemOptions, Part, Provenance, RowFormat, RowWriter, SideTexts, Split, Templates, UserOrder,
};

const ITEMS: usize = 60;
const USERS: usize = 40;

/// A catalogue, its index, and what its users did.
struct World {
    catalogue: Catalogue,
    histories: Histories,
    split: Split,
    ids: Ids,
    side: SideTexts,
    style: HistoryStyle,
}

impl World {
    fn new() -> Self {
        let items: String = (0..ITEMS)
            .map(|item| {
                let about = match item % 5 {
                    0 => String::new(),
                    _ => format!(r#", "description": "About {item}. It is so. And more.""#),
                };
                format!(
                    r#"{{"id": "i{item}", "title": "Item {item}", "categories": "c{}"{about}}}"#,
                    item % 7
                ) + "\n"
            })
            .collect();
        let catalogue =
            Catalogue::read("items.jsonl", items.as_bytes(), &ItemOptions::default()).unwrap();
        let index = index(&catalogue);
        let ids = Ids::new(&catalogue, &index).unwrap();
        let mut builder = HistoriesBuilder::new(catalogue.keys(), HistoryOptions::default());
        for user in 0..USERS {
            for event in 0..4 + user % 9 {
                let item = (user * 31 + event * 17 + event * event) % ITEMS;
                builder
                    .push(Event {
                        user: &format!("u{user}"),
                        item: &format!("i{item}"),
                        micros: Some((event * 1000 + user) as i64 * 1_000_000),
                        rating: Some((event % 5 + 1) as f32),
                    })
                    .unwrap();
            }
        }
        let histories = builder.finish().unwrap();
        let split = Split::leave_one_out(&histories);
        let mut side = SideTexts::default();
        side.read(
            "side.jsonl",
            side_texts(&split, &histories).as_bytes(),
            &histories,
        )
        .unwrap();
        Self {
            catalogue,
            histories,
            split,
            ids,
            side,
            style: HistoryStyle::default(),
        }
    }

    fn context(&self) -> Context<'_> {
        let Self {
            catalogue,
            histories,
            split,
            ids,
            side,
            style,
        } = self;
        Context::new(catalogue, histories, split, ids, side, None, style)
    }
}

/// Distinct IDs of three levels of four codes, by item.
fn index(catalogue: &Catalogue) -> ItemIndex<Vec<u8>> {
    let codes = (0..ITEMS).flat_map(|item| [item / 16, item / 4 % 4, item % 4]);
    let codes = CodeMatrix::new(codes.map(|code| Code(code as u16)).collect(), 3).unwrap();
    let manifest = Manifest::new("test", serde_json::Value::Null);
    let info = IndexInfo::new(TokenFormat::lc_rec(3), manifest);
    let space = CodeSpace::uniform(3, 4).unwrap();
    ItemIndex::build(&space, &codes, catalogue.keys(), 1, info).unwrap()
}

/// For each user a text of each kind about the last event of training, and a review of it.
fn side_texts(split: &Split, histories: &Histories) -> String {
    let mut lines = String::new();
    for user in histories.users() {
        let (key, end) = (histories.key(user), split.train_end(user));
        let mut line = |kind: &str, target: Option<usize>, made_at: usize| {
            let target = target
                .map(|t| format!(r#""target": {t}, "#))
                .unwrap_or_default();
            lines.push_str(&format!(
                r#"{{"kind": "{kind}", "user": "{key}", {target}"made_at": {made_at}, "text": "some {kind}"}}"#
            ));
            lines.push('\n');
        };
        line("preference", None, end);
        line("intention", Some(end - 1), end);
        line("review", Some(end - 1), end);
        // What a user was after in the test is what a model is asked with.
        let last = histories.items(user).len() - 1;
        line("intention", Some(last), last + 1);
        for kind in [
            "evidence",
            "latent_preference",
            "intent",
            "rewritten_history",
        ] {
            line(kind, Some(end - 1), end - 1);
        }
    }
    lines
}

fn plan(task: &str, part: Part, from: NegativeSource) -> TaskPlan {
    TaskPlan {
        task: task.to_owned(),
        part,
        amount: Amount::Weight(1.0),
        stage: 0,
        templates: Vec::new(),
        held_out: false,
        options: TaskOptions {
            negatives: Negatives { count: 4, from },
            liked_from: 4.0,
        },
    }
}

/// A folder in memory, which may break after some files.
#[derive(Clone, Default)]
struct Memory {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    breaks_after: Option<usize>,
}

impl Folder for Memory {
    type File = Vec<u8>;

    fn create(&self, _: &str) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn finish(&self, name: &str, mut file: Vec<u8>) -> io::Result<()> {
        file.flush()?;
        let mut files = self.files.lock().unwrap();
        if self.breaks_after.is_some_and(|most| files.len() >= most) {
            return Err(io::Error::other("killed"));
        }
        files.insert(name.to_owned(), file);
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.lock().unwrap().get(name).cloned())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().unwrap().remove(name);
        Ok(())
    }
}

fn build(world: &World, folder: &Memory, threads: usize) -> semid_tasks::Result<()> {
    let context = world.context();
    let templates = Templates::builtin("en")?;
    let plans: Vec<TaskPlan> = ["sequential", "fusion", "ranking", "item-to-text"]
        .map(|task| plan(task, Part::Train, NegativeSource::Popularity))
        .into();
    let options = CorpusOptions {
        seed: 7,
        epochs: 2,
        ..CorpusOptions::default()
    };
    let corpus = Corpus::new(&context, &templates, &plans, options)?;
    let rows = RowWriter::new(RowFormat::PromptCompletion, Container::Jsonl, 7)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(|| {
        let mut folder = CorpusFolder::open(folder, Digest::of(b"this build"))?;
        corpus.write(Part::Train, &rows, 300, &mut folder, &|_| Ok(()))?;
        folder.finish(Manifest::new("test", serde_json::Value::Null))?;
        Ok(())
    })
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let world = World::new();
    let made = [1, 2, 7].map(|threads| {
        let folder = Memory::default();
        build(&world, &folder, threads).unwrap();
        folder.files.lock().unwrap().clone()
    });
    assert!(made[0].len() > 3, "{:?}", made[0].keys());
    assert_eq!(made[0], made[1]);
    assert_eq!(made[0], made[2]);
}

#[test]
fn a_killed_build_goes_on_to_the_same_bytes() {
    let world = World::new();
    let whole = Memory::default();
    build(&world, &whole, 2).unwrap();
    for breaks_after in 1..6 {
        let mut folder = Memory {
            breaks_after: Some(breaks_after),
            ..Memory::default()
        };
        build(&world, &folder, 2).unwrap_err();
        folder.breaks_after = None;
        build(&world, &folder, 1).unwrap();
        assert_eq!(*folder.files.lock().unwrap(), *whole.files.lock().unwrap());
    }
}

/// The users at some rows, and what they have.
fn users_alone(world: &World, users: std::ops::Range<u32>) -> (Histories, SideTexts) {
    let options = HistoryOptions {
        users: UserOrder::AsTheyCome,
        ..HistoryOptions::default()
    };
    let all = &world.histories;
    let mut builder = HistoriesBuilder::new(world.catalogue.keys(), options);
    for user in users.map(semid_tasks::UserId) {
        for at in 0..all.items(user).len() {
            builder
                .push(Event {
                    user: all.key(user),
                    item: world.catalogue.keys().get(all.items(user)[at]),
                    micros: Some(all.times(user).unwrap()[at] * 1_000_000),
                    rating: Some(all.ratings(user).unwrap()[at]),
                })
                .unwrap();
        }
    }
    let histories = builder.finish().unwrap();
    let mut side = SideTexts::default();
    let texts = side_texts(&world.split, all);
    side.read("side.jsonl", texts.as_bytes(), &histories)
        .unwrap();
    (histories, side)
}

#[test]
fn the_rows_of_all_shares_are_those_of_the_whole() {
    let world = World::new();
    let context = world.context();
    let templates = Templates::builtin("en").unwrap();
    let mut plans: Vec<TaskPlan> = TASKS
        .map(|task| plan(task.name, Part::Train, NegativeSource::Popularity))
        .into();
    for (at, plan) in plans.iter_mut().enumerate() {
        plan.stage = at as u32 % 3;
        plan.amount = match at % 3 {
            0 => Amount::Weight(2.3),
            1 => Amount::Rows(11),
            _ => Amount::Weight(1.0),
        };
    }
    for order in [Order::Mixed, Order::Tasks] {
        let options = CorpusOptions {
            seed: 3,
            epochs: 2,
            order,
            ..CorpusOptions::default()
        };
        let corpus = Corpus::new(&context, &templates, &plans, options).unwrap();
        let mut expected = Vec::new();
        let mut counts = corpus
            .rows(0..0, &mut Scratch::default(), |_| Ok(()))
            .unwrap();
        for place in 0..corpus.len() {
            let take = |row: &semid_tasks::Row<'_>| {
                expected.push((place, format!("{row:?}")));
                Ok(())
            };
            let of_place = corpus.rows(place..place + 1, &mut Scratch::default(), take);
            counts.add(&of_place.unwrap());
        }

        let mut made = Vec::new();
        let mut sums = corpus
            .rows(0..0, &mut Scratch::default(), |_| Ok(()))
            .unwrap();
        let mut firsts = vec![0; plans.len()];
        let all: Vec<Option<u64>> = Share::samples(&context, &plans).unwrap();
        let cuts = [0, 1, 17, 18, USERS as u32];
        let item_cuts = [0, 0, 40, 41, ITEMS as u32];
        for (users, items) in cuts.windows(2).zip(item_cuts.windows(2)) {
            let (histories, side) = users_alone(&world, users[0]..users[1]);
            let own = World {
                split: Split::leave_one_out(&histories),
                histories,
                side,
                ..World::new()
            };
            let own = own.context().with_popularity(context.popularity().to_vec());
            let counted = Share::samples(&own, &plans).unwrap();
            let samples = firsts.iter().zip(&all).map(|(&first, all)| match all {
                Some(all) => [first, *all],
                None => [u64::from(items[0]), ITEMS as u64],
            });
            let share = Share {
                items: items[0]..items[1],
                samples: samples.collect(),
            };
            for (first, counted) in firsts.iter_mut().zip(counted) {
                *first += counted.unwrap_or_default();
            }
            let part = CorpusShare::new(&own, &templates, &plans, &share, options).unwrap();
            for sample in 0..part.len() {
                let take = |place: u64, row: &semid_tasks::Row<'_>| {
                    made.push((place, format!("{row:?}")));
                    Ok(())
                };
                let samples = sample..sample + 1;
                let of_sample = part.rows(samples, &mut Scratch::default(), take);
                sums.add(&of_sample.unwrap());
            }
        }
        made.sort();
        assert_eq!(made, expected);
        assert_eq!(sums, counts);
    }
}

#[test]
fn every_task_makes_rows_that_know_no_more_than_they_may() {
    let world = World::new();
    let context = world.context();
    for locale in ["en", "zh"] {
        let templates = Templates::builtin(locale).unwrap();
        for task in TASKS.map(|task| task.name) {
            for part in Part::ALL {
                let from = NegativeSource::Tree { depth: 2 };
                let plans = [plan(task, part, from)];
                let corpus = Corpus::new(&context, &templates, &plans, CorpusOptions::default());
                let Ok(corpus) = corpus else {
                    // Most side texts are of training.
                    assert!(
                        part != Part::Train && (part, task) != (Part::Test, "intention"),
                        "{task}: {}",
                        corpus.unwrap_err()
                    );
                    continue;
                };
                let mut rows = 0;
                corpus
                    .rows(0..corpus.len(), &mut Scratch::default(), |row| {
                        rows += 1;
                        assert!(!row.prompt.is_empty() && !row.answer.is_empty(), "{row:?}");
                        check(&world, row.provenance);
                        let pairs = task == "pairs";
                        assert_eq!(row.rejected.len(), if pairs { 4 } else { 0 });
                        assert!(!row.rejected.contains(&row.answer.to_owned()));
                        Ok(())
                    })
                    .unwrap();
                assert!(rows > 0, "{locale} {task} {part}");
            }
        }
    }
}

fn check(world: &World, provenance: &Provenance<'_>) {
    let Some(user) = &provenance.user else {
        assert!(provenance.reads.is_none() && provenance.horizon.is_none());
        return;
    };
    let user = world.histories.find(user).expect("a known user");
    let horizon = provenance.horizon.expect("a user's row has a horizon");
    let [first, end] = provenance.reads.expect("a user's row reads");
    assert!(first <= end && end <= horizon, "{provenance:?}");
    assert!(
        provenance.target.is_none_or(|target| end <= target),
        "{provenance:?}"
    );
    assert!(
        provenance.made_at.is_none_or(|made| made <= horizon),
        "{provenance:?}"
    );
    if provenance.part == Part::Train {
        assert!(
            horizon as usize <= world.split.train_end(user),
            "{provenance:?}"
        );
        assert!(
            provenance.target.is_none_or(|target| target < horizon),
            "{provenance:?}"
        );
    }
}

#[test]
fn no_answer_is_rejected_under_another_items_name() {
    let mut world = World::new();
    // Three items for each ID.
    let codes = (0..ITEMS).flat_map(|item| [item / 48, item / 12 % 4, item / 3 % 4]);
    let codes = CodeMatrix::new(codes.map(|code| Code(code as u16)).collect(), 3).unwrap();
    let info = IndexInfo::new(
        TokenFormat::lc_rec(3),
        Manifest::new("test", Default::default()),
    );
    let space = CodeSpace::uniform(3, 4).unwrap();
    let index = ItemIndex::build(&space, &codes, world.catalogue.keys(), 3, info).unwrap();
    world.ids = Ids::new(&world.catalogue, &index).unwrap();
    let context = world.context();
    let templates = Templates::builtin("en").unwrap();
    for from in [NegativeSource::Uniform, NegativeSource::Tree { depth: 3 }] {
        let plans = [plan("pairs", Part::Train, from)];
        let corpus = Corpus::new(&context, &templates, &plans, CorpusOptions::default()).unwrap();
        let take = |row: &semid_tasks::Row<'_>| {
            let mut answers = vec![row.answer.to_owned()];
            answers.extend(row.rejected.iter().cloned());
            answers.sort();
            answers.dedup();
            assert_eq!(answers.len(), 5, "{row:?}");
            Ok(())
        };
        let counts = corpus
            .rows(0..corpus.len(), &mut Scratch::default(), take)
            .unwrap();
        assert!(counts.rows["pairs"] > 0);
    }
}

#[test]
fn more_passes_than_anybody_means_are_refused() {
    let world = World::new();
    let context = world.context();
    let templates = Templates::builtin("en").unwrap();
    let amount = Amount::Rows(u64::MAX);
    let plans = [TaskPlan {
        amount,
        ..plan("sequential", Part::Train, NegativeSource::Uniform)
    }];
    let error = Corpus::new(&context, &templates, &plans, CorpusOptions::default()).unwrap_err();
    assert!(error.to_string().contains("passes over"), "{error}");
}

#[test]
fn long_rows_lose_whole_items_and_sentences_but_never_an_id() {
    let world = World::new();
    let context = world.context();
    let templates = Templates::builtin("en").unwrap();
    let plans: Vec<TaskPlan> = ["sequential", "text-to-item"]
        .map(|task| plan(task, Part::Train, NegativeSource::Uniform))
        .into();
    // A token for each word, and for each code of an ID.
    let count = |text: &str| Ok(text.split(' ').count() + text.matches("><").count());
    let of = |budget| CorpusOptions {
        order: Order::Tasks,
        count: Some(&count),
        tokens_per_row: budget,
        ..CorpusOptions::default()
    };
    let rows = |budget| {
        let corpus = Corpus::new(&context, &templates, &plans, of(budget)).unwrap();
        let mut rows = Vec::new();
        let counts = corpus.rows(0..corpus.len(), &mut Scratch::default(), |row| {
            let sample = (row.provenance.task.to_string(), row.provenance.sample);
            rows.push((sample, row.prompt.to_owned(), row.answer.to_owned()));
            Ok(())
        });
        (rows, counts.unwrap())
    };
    let ids = |text: &str| -> Vec<String> {
        let ids = text
            .split("<a_")
            .skip(1)
            .filter_map(|rest| rest.split(['>', ',', ' ']).next());
        ids.map(str::to_owned).collect()
    };
    let (whole, _) = rows(None);
    let (short, counts) = rows(Some(24));
    assert!(counts.truncation.items_dropped > 0 && counts.truncation.sentences_dropped > 0);
    let skipped = counts.skipped.get("too-long").copied().unwrap_or_default();
    assert_eq!(short.len() + skipped as usize, whole.len());
    for (sample, prompt, answer) in &short {
        let tokens = count(prompt).unwrap() + count(answer).unwrap() + count("").unwrap();
        assert!(tokens <= 24, "{tokens}: {prompt}");
        let (_, before, same) = whole.iter().find(|(known, ..)| known == sample).unwrap();
        assert_eq!(answer, same);
        // What is left of a history is its end.
        assert!(ids(before).ends_with(&ids(prompt)), "{prompt}");
        assert_eq!(prompt.matches('<').count(), prompt.matches('>').count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// One epoch of a mixed order holds the same rows as the order of tasks.
    #[test]
    fn mixing_loses_nothing(seed: u64, weight in 1_u32..4) {
        let world = World::new();
        let context = world.context();
        let templates = Templates::builtin("en").unwrap();
        let plans: Vec<TaskPlan> = ["sequential", "text-to-item"]
            .map(|task| TaskPlan {
                amount: Amount::Weight(f64::from(weight) / 2.0),
                ..plan(task, Part::Train, NegativeSource::Uniform)
            })
            .into();
        let mut all = [Order::Tasks, Order::Mixed].map(|order| {
            let options = CorpusOptions { seed, order, ..CorpusOptions::default() };
            let corpus = Corpus::new(&context, &templates, &plans, options).unwrap();
            let mut rows = Vec::new();
            corpus.rows(0..corpus.len(), &mut Scratch::default(), |row| {
                let Provenance { task, sample, epoch, .. } = row.provenance;
                rows.push((task.to_string(), *sample, *epoch, row.prompt.to_owned()));
                Ok(())
            }).unwrap();
            rows
        });
        all.iter_mut().for_each(|rows| rows.sort());
        prop_assert_eq!(&all[0], &all[1]);
    }
}
