//! Training on small catalogues whose rule is plain.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemId, ItemIndex, ItemKeys, Manifest, TokenFormat,
};
use semid_recommender::{
    Ask, Error, Evaluation, Examples, Generative, HistoryExamples, ItemExamples, ItemKnn, Llama,
    LlamaConfig, Popularity, Query, Ranker, Reader, Recommender, SasRec, Settings, Trainer,
    TrainingParams, Vocabulary,
};
use semid_tasks::metrics::{Metric, Scores};
use semid_tasks::{Event, Histories, HistoriesBuilder, HistoryOptions, Part, Split};
use tch::Device;
use trie_decode::ItemTrie;

const ITEMS: usize = 24;
const LEVELS: usize = 2;

/// Item `i` has the ID `<a_{i % 5}><b_{i / 5}>`.
fn trie() -> ItemTrie<Vec<u8>> {
    let space = CodeSpace::uniform(LEVELS, 5).expect("a space");
    let codes = (0..ITEMS as u16).flat_map(|item| [Code(item % 5), Code(item / 5)]);
    let paths = CodeMatrix::new(codes.collect(), LEVELS).expect("two levels");
    let manifest = Manifest::new("test", serde_json::Value::Null);
    let info = IndexInfo::new(TokenFormat::lc_rec(LEVELS), manifest);
    ItemTrie::new(ItemIndex::build(&space, &paths, &keys(), 1, info).expect("distinct IDs"))
}

fn keys() -> ItemKeys {
    ItemKeys::new((0..ITEMS).map(|item| format!("{item:02}"))).expect("distinct keys")
}

/// After an item comes the seventh one behind it; users begin anywhere.
fn histories() -> Histories {
    let keys = keys();
    let mut builder = HistoriesBuilder::new(&keys, HistoryOptions::default());
    for user in 0..120 {
        for event in 0..4 + user % 5 {
            let item = (user + 7 * event) % ITEMS;
            let event = Event {
                user: &format!("{user:03}"),
                item: &format!("{item:02}"),
                micros: Some(event as i64 * 1_000_000),
                rating: None,
            };
            builder.push(event).expect("a known item");
        }
    }
    builder.finish().expect("histories")
}

fn params() -> TrainingParams {
    TrainingParams {
        epochs: 60,
        learning_rate: 5e-3,
        batch_tokens: 256,
        row_tokens: 32,
        dropout: 0.1,
        embedding_dropout: 0.1,
        averaging: 0.9,
        ..TrainingParams::default()
    }
}

fn reader(trie: &ItemTrie<Vec<u8>>) -> Reader {
    let index = trie.index().expect("of an index");
    let settings = Settings {
        index: index.digest(),
        codes: index.space().sizes().to_vec(),
        items: 10,
        speech: None,
    };
    Reader::new(settings).expect("a space")
}

fn vocabulary(reader: &Reader) -> &Vocabulary {
    reader.vocabulary().expect("it knows nothing but items")
}

fn model(tokens: usize) -> Llama {
    tch::set_num_threads(1);
    let mut config = LlamaConfig::small(tokens, 32, 64);
    config.num_hidden_layers = 2;
    Llama::new(config, Device::Cpu, 7).expect("a small model")
}

fn hit_rate(evaluation: &Evaluation<'_>, ranker: &dyn Ranker) -> f64 {
    let lists = evaluation.lists(ranker, 1, |_| ()).expect("lists");
    Scores::of(vec![Metric::HitRate(1)], &evaluation.paired(&lists)).means()[0]
}

#[test]
fn a_rule_is_learnt_and_recommended_by() {
    let (trie, histories) = (trie(), histories());
    let split = Split::leave_one_out(&histories);
    let reader = reader(&trie);
    let examples = HistoryExamples::new(&histories, &split, &trie, vocabulary(&reader), 10);
    let examples = examples.expect("the same items");
    let config = params().check().expect("sound");
    let model = model(vocabulary(&reader).len());
    let mut trainer = Trainer::new(model, config, &examples).expect("examples");
    let validation = Evaluation::new(&histories, &split, Part::Valid, false);
    let generative = |model: &Llama| {
        let (trie, reader) = (&trie, &reader);
        hit_rate(
            &validation,
            &Generative {
                model,
                reader,
                trie,
                beams: 5,
            },
        )
    };
    while trainer
        .epoch(&mut |model| Ok(Some(generative(model))))
        .expect("sound")
        .is_some()
    {}
    let recommender = Recommender::new(trainer.finish(), self::reader(&trie)).expect("they fit");

    let test = Evaluation::new(&histories, &split, Part::Test, false);
    let ranker = Generative {
        model: recommender.model(),
        reader: recommender.reader(),
        trie: &trie,
        beams: 5,
    };
    let found = hit_rate(&test, &ranker);
    assert!(found > 0.95, "{found}");

    // The folder's files are the model.
    let files: BTreeMap<_, _> = recommender.to_files().expect("files").into_iter().collect();
    let read = |file: &str| files.get(file).cloned().ok_or(ErrorKind::NotFound.into());
    let back = Recommender::from_files(&read, Device::Cpu);
    let back = back.expect("our own");
    let history = [3, 10, 17].map(ItemId);
    let ask = Ask {
        history: &history,
        filter: None,
    };
    let ask = |recommender: &Recommender| {
        let outcomes = recommender.recommend(&trie, &[ask], recommender.reader().search(3, 20));
        outcomes.expect("items").remove(0)
    };
    assert_eq!(ask(&back), ask(&recommender));
    assert_eq!(ask(&back).hits[0].item, ItemId(0));
    // Nothing is known of a user without a history, and something is recommended all the same.
    let nobody = back
        .recommend(&trie, &[Ask::default()], back.reader().search(3, 20))
        .expect("items");
    assert_eq!(nobody[0].hits.len(), 3);
}

#[test]
fn a_resumed_training_ends_in_the_same_model() {
    let (trie, histories) = (trie(), histories());
    let split = Split::leave_one_out(&histories);
    let reader = reader(&trie);
    let examples = HistoryExamples::new(&histories, &split, &trie, vocabulary(&reader), 10);
    let examples = examples.expect("the same items");
    let config = || {
        TrainingParams {
            epochs: 4,
            ..params()
        }
        .check()
        .expect("sound")
    };
    let fresh = || model(vocabulary(&reader).len());
    // The second epoch is the best.
    let judge = |epoch: usize| move |_: &Llama| Ok(Some([0.1, 0.4, 0.3, 0.2][epoch]));
    let mut through = Trainer::new(fresh(), config(), &examples).expect("examples");
    let mut checkpoint = Vec::new();
    for epoch in 0..4 {
        through.epoch(&mut judge(epoch)).expect("sound");
        if epoch == 2 {
            checkpoint = through.checkpoint();
        }
    }
    let mut resumed = Trainer::resume(fresh(), config(), &examples, &checkpoint).expect("our own");
    assert_eq!(resumed.epochs().len(), 3);
    resumed.epoch(&mut judge(3)).expect("sound");
    assert!(resumed.epoch(&mut judge(3)).expect("it is over").is_none());
    assert_eq!(resumed.epochs(), through.epochs());
    assert_eq!(resumed.finish().to_files(), through.finish().to_files());

    let refused = |params: TrainingParams, examples: &dyn Examples, bytes: &[u8]| {
        let config = params.check().expect("sound");
        let error = Trainer::resume(fresh(), config, examples, bytes).map(|_| ());
        error.expect_err("not this training").to_string()
    };
    let base = || TrainingParams {
        epochs: 4,
        ..params()
    };
    let other = TrainingParams { seed: 8, ..base() };
    assert!(refused(other, &examples, &checkpoint).contains("other settings"));
    let fewer = HistoryExamples::new(&histories, &split, &trie, vocabulary(&reader), 3);
    let fewer = fewer.expect("the same items");
    assert!(refused(base(), &fewer, &checkpoint).contains("other examples"));
    assert!(refused(base(), &examples, &checkpoint[..5000]).contains("checkpoint"));
}

/// However short the windows, every event of training is learnt once, the latest ones in a window
/// that is full.
#[test]
fn an_epoch_is_one_pass_over_the_events() {
    let (trie, histories) = (trie(), histories());
    let split = Split::leave_one_out(&histories);
    let reader = reader(&trie);
    let events: usize = histories.users().map(|user| split.train_end(user)).sum();
    for items in [1, 3, 4, 100] {
        let examples = HistoryExamples::new(&histories, &split, &trie, vocabulary(&reader), items);
        let examples = examples.expect("the same items");
        let lengths = (0..examples.count()).map(|number| {
            let example = examples.example(0, number).expect("a window");
            (example.tokens.len() - 1) / LEVELS
        });
        let lengths: Vec<usize> = lengths.collect();
        assert_eq!(lengths.iter().sum::<usize>(), events);
        assert!(lengths.iter().all(|&length| length <= items));
        assert_eq!(
            lengths[0],
            items.min(2),
            "the first user has two events to learn from"
        );
    }
}

#[test]
fn a_training_that_diverges_says_so() {
    let (trie, histories) = (trie(), histories());
    let split = Split::leave_one_out(&histories);
    let reader = reader(&trie);
    let examples = HistoryExamples::new(&histories, &split, &trie, vocabulary(&reader), 10);
    let examples = examples.expect("the same items");
    let config = TrainingParams {
        learning_rate: 1e30,
        ..params()
    }
    .check()
    .expect("sound");
    let model = model(vocabulary(&reader).len());
    let mut trainer = Trainer::new(model, config, &examples).expect("examples");
    let error = (0..3).find_map(|_| trainer.epoch(&mut |_| Ok(None)).err());
    let error = error.expect("weights beyond all bounds").to_string();
    assert!(error.contains("learning rate"), "{error}");
}

#[test]
fn items_as_tokens_learn_the_rule_too() {
    let histories = histories();
    let split = Split::leave_one_out(&histories);
    let examples = ItemExamples::new(&histories, &split, 10);
    let config = TrainingParams {
        row_tokens: 11,
        ..params()
    }
    .check()
    .expect("sound");
    tch::set_num_threads(1);
    let shape = SasRec::config(ITEMS, 32, 10);
    let model = Llama::new(shape, Device::Cpu, 7).expect("a small model");
    let mut trainer = Trainer::new(model, config, &examples).expect("examples");
    while trainer.epoch(&mut |_| Ok(None)).expect("sound").is_some() {}
    let sasrec = SasRec::new(trainer.finish(), 10);
    let test = Evaluation::new(&histories, &split, Part::Test, false);
    assert!(hit_rate(&test, &sasrec) > 0.95);
}

/// Three users had a and b, two of them c; d was had once, alone.
fn shelf() -> Histories {
    let keys = ItemKeys::new(["a", "b", "c", "d"]).expect("distinct keys");
    let mut builder = HistoriesBuilder::new(&keys, HistoryOptions::default());
    for (user, items) in [("u", "abc"), ("v", "abc"), ("w", "ab"), ("x", "d")] {
        // Two further events, which are of validation and test.
        for (second, item) in (0..).zip(items.chars().chain("dd".chars())) {
            let micros = Some(second * 1_000_000);
            let item = item.to_string();
            let event = Event {
                user,
                item: &item,
                micros,
                rating: None,
            };
            builder.push(event).expect("a known item");
        }
    }
    builder.finish().expect("histories")
}

#[test]
fn popularity_counts_the_events_of_training() {
    let histories = shelf();
    let popularity = Popularity::new(&histories, &Split::leave_one_out(&histories));
    let all = Query::default();
    let rest = Query {
        without: &[ItemId(0), ItemId(2)],
        ..all
    };
    let lists = popularity.rank(&[all, rest], 3).expect("lists");
    assert_eq!(
        lists,
        [
            vec![ItemId(0), ItemId(1), ItemId(2)],
            vec![ItemId(1), ItemId(3)]
        ]
    );
}

/// cos(a, b) = 3 / sqrt(3 * 3), cos(a, c) = cos(b, c) = 2 / sqrt(3 * 2).
#[test]
fn neighbours_are_those_with_the_same_users() {
    let histories = shelf();
    let knn = ItemKnn::new(&histories, &Split::leave_one_out(&histories));
    let after = |history: &[ItemId], without: &[ItemId]| {
        let query = Query { history, without };
        knn.rank(&[query], 10).expect("lists").remove(0)
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(ItemId);
    assert_eq!(after(&[a], &[]), [b, c]);
    assert_eq!(after(&[c], &[]), [a, b]);
    // c is near both and gets .816 from b and half of it from a; a is nearest to the last item.
    assert_eq!(after(&[a, b], &[]), [c, a, b]);
    assert_eq!(after(&[a, b], &[a, b]), [c]);
    assert_eq!(after(&[d], &[]), []);
}

#[test]
fn an_index_must_be_the_one_of_the_training() {
    let trie = trie();
    let index = trie.index().expect("of an index");
    let own = reader(&trie);
    assert!(own.settings().check_index(index, false).is_ok());
    let settings = |codes: Vec<u32>, digest| Settings {
        index: digest,
        codes,
        items: 10,
        speech: None,
    };
    let other = semantic_id::Digest::of(b"another index");
    let stranger = Reader::new(settings(vec![5, 5], other)).expect("a space");
    let error = stranger
        .settings()
        .check_index(index, false)
        .expect_err("another index");
    assert!(error.to_string().contains("was trained with"), "{error}");
    assert!(stranger.settings().check_index(index, true).is_ok());
    let wider = Reader::new(settings(vec![5, 6], index.digest())).expect("a space");
    let error = wider
        .settings()
        .check_index(index, true)
        .expect_err("other codes");
    assert!(error.to_string().contains("[5, 5]"), "{error}");
    let error = Recommender::new(model(9), own).expect_err("other tokens");
    assert!(
        matches!(
            error,
            Error::Shape {
                got: 9,
                expected: 12,
                ..
            }
        ),
        "{error}"
    );
}
