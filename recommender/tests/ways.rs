//! Other ways from a model to items, each against a plain account of what it does.

use std::collections::{BTreeSet, HashMap};

use safetensors::SafeTensors;
use semantic_id::{
    Change, Code, CodeMatrix, CodeSpace, IndexInfo, ItemId, ItemIndex, ItemKeys, Manifest,
    SemanticId, TokenFormat,
};
use semid_recommender::{
    Certified, Error, Evaluation, Generative, Grounded, GroundingParams, HeadParams, HeadTrainer,
    Headed, HistoryExamples, ItemHead, Llama, LlamaConfig, Query, Ranker, Reader, Settings,
    Trainer, TrainingParams,
};
use semid_tasks::metrics::{Metric, Scores};
use semid_tasks::{Event, Histories, HistoriesBuilder, HistoryOptions, Part, Split};
use tch::{Device, Kind, Tensor};
use trie_decode::{Exact, ItemTrie};

/// Codes of each level.
const SIZES: [u32; 3] = [3, 4, 2];

/// IDs of one to three codes; some go on where others end.
const IDS: [&[u16]; 9] = [
    &[0, 1, 0],
    &[0, 1, 1],
    &[0, 1],
    &[1],
    &[1, 3, 1],
    &[2, 0],
    &[2, 2, 0],
    &[0, 3, 1],
    &[2, 0, 1],
];

/// The token that ends a short ID.
const END: u32 = 1;

fn manifest() -> Manifest {
    Manifest::new("test", serde_json::Value::Null)
}

fn index(sizes: &[u32], ids: &[&[u16]]) -> ItemIndex<Vec<u8>> {
    let space = CodeSpace::new(sizes.to_vec()).expect("a space");
    let padded = ids.iter().flat_map(|id| {
        let codes: Vec<Code> = id.iter().copied().map(Code).collect();
        space.padded(&codes).expect("a code to pad with")
    });
    let paths = CodeMatrix::new(padded.collect(), sizes.len()).expect("whole rows");
    let keys = ItemKeys::new((0..ids.len()).map(|item| format!("{item:02}"))).expect("distinct");
    let info = IndexInfo::new(TokenFormat::lc_rec(sizes.len()), manifest());
    ItemIndex::build(&space, &paths, &keys, 1, info).expect("distinct IDs")
}

fn reader(index: &ItemIndex<Vec<u8>>, items: usize) -> Reader {
    let settings = Settings {
        index: index.digest(),
        codes: index.space().sizes().to_vec(),
        items,
        speech: None,
    };
    Reader::new(settings).expect("a space")
}

/// A model that has learnt nothing, and has opinions.
fn model(reader: &Reader, seed: i64) -> Llama {
    tch::set_num_threads(1);
    let mut config = LlamaConfig::small(reader.tokens().vocabulary(), 32, 64);
    config.num_hidden_layers = 2;
    config.initializer_range = 0.4;
    Llama::new(config, Device::Cpu, seed).expect("a small model")
}

/// Histories of different lengths, one longer than what is read; some items are no answer.
fn queries() -> [Query<'static>; 3] {
    static HISTORIES: [[ItemId; 6]; 1] = [[
        ItemId(3),
        ItemId(0),
        ItemId(5),
        ItemId(2),
        ItemId(8),
        ItemId(2),
    ]];
    let history = &HISTORIES[0];
    [
        Query {
            history: &history[..0],
            without: &[],
        },
        Query {
            history: &history[..3],
            without: &history[..3],
        },
        Query {
            history,
            without: &history[2..4],
        },
    ]
}

/// The tokens of an ID, and its end if it is a short one.
fn id_tokens(id: &[u16]) -> Vec<u32> {
    let first = |level: usize| 2 + SIZES[..level].iter().sum::<u32>();
    let codes = id.iter().enumerate();
    let mut tokens: Vec<u32> = codes
        .map(|(level, &code)| first(level) + u32::from(code))
        .collect();
    if id.len() < SIZES.len() {
        tokens.push(END);
    }
    tokens
}

/// What a model reads of a history: its last four items.
fn text(history: &[ItemId]) -> Vec<u32> {
    let read = &history[history.len().saturating_sub(4)..];
    let items = read.iter().flat_map(|item| id_tokens(IDS[item.index()]));
    std::iter::once(0).chain(items).collect()
}

/// The hidden state behind a text, read whole.
fn hidden(model: &Llama, text: &[u32]) -> Vec<f32> {
    let tokens: Vec<i64> = text.iter().map(|&token| token.into()).collect();
    let hidden = tch::no_grad(|| model.hidden(&Tensor::from_slice(&tokens).unsqueeze(0)));
    values(&hidden.get(0).get(text.len() as i64 - 1))
}

/// The logits of what follows a text.
fn logits(model: &Llama, text: &[u32]) -> Vec<f32> {
    let hidden = Tensor::from_slice(&hidden(model, text));
    values(&tch::no_grad(|| model.logits(&hidden)))
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_kind(Kind::Float).contiguous().view(-1)).expect("numbers")
}

fn log_sum(values: impl Iterator<Item = f32>) -> f32 {
    values.map(f32::exp).sum::<f32>().ln()
}

/// Items that a query may be given, the best first.
fn order(scores: &[f32], query: &Query<'_>) -> Vec<ItemId> {
    let mut items: Vec<usize> = (0..scores.len()).collect();
    items.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let items = items.into_iter().map(|item| ItemId(item as u32));
    items.filter(|item| !query.without.contains(item)).collect()
}

/// The sum of the log-probabilities of an item's tokens, each among those that items have there.
fn probability(model: &Llama, history: &[ItemId], id: &[u16]) -> f32 {
    let (mut text, mut sum) = (text(history), 0.0);
    let id = id_tokens(id);
    for (at, &token) in id.iter().enumerate() {
        let others = IDS.iter().map(|other| id_tokens(other));
        let rivals = others.filter(|other| other.len() > at && other[..at] == id[..at]);
        let rivals: BTreeSet<u32> = rivals.map(|other| other[at]).collect();
        let logits = logits(model, &text);
        let rivals = rivals.iter().map(|&rival| logits[rival as usize]);
        sum += logits[token as usize] - log_sum(rivals);
        text.push(token);
    }
    sum
}

#[test]
fn an_exact_search_is_all_items_scored_one_by_one() {
    let trie = ItemTrie::new(index(&SIZES, &IDS));
    let reader = reader(trie.index().expect("of an index"), 4);
    for seed in 0..8 {
        let model = model(&reader, seed);
        let generative = || Generative {
            model: &model,
            reader: &reader,
            trie: &trie,
            beams: 1,
        };
        let exact = Certified::new(generative(), Some(Exact { row_budget: 1000 }));
        let found = exact.rank(&queries(), 4).expect("items");
        for (query, found) in queries().iter().zip(found) {
            let scores = IDS.map(|id| probability(&model, query.history, id));
            assert_eq!(found, order(&scores, query)[..4], "seed {seed}, {query:?}");
        }
        let proofs = exact.proofs();
        assert_eq!((proofs.answers, proofs.exact, proofs.bounded), (3, 3, 0));
        assert_eq!((proofs.share(), proofs.mean_gap()), (1.0, None));

        // One row is what the root costs, which is no proof of the best four.
        let hasty = Certified::new(generative(), Some(Exact { row_budget: 1 }));
        hasty.rank(&queries(), 1).expect("items");
        hasty.rank(&queries()[..1], 1).expect("items");
        let proofs = hasty.proofs();
        assert_eq!(proofs.answers, 4);
        assert!(
            proofs.exact + proofs.bounded <= 4 && proofs.rows >= 4,
            "{proofs:?}"
        );
        assert!(proofs.mean_gap().is_none_or(|gap| gap > 0.0), "{proofs:?}");
    }
}

/// Each user has these items, one after the other.
fn histories(keys: usize, users: usize, events: impl Fn(usize) -> Vec<usize>) -> Histories {
    let keys = ItemKeys::new((0..keys).map(|item| format!("{item:02}"))).expect("distinct");
    let mut builder = HistoriesBuilder::new(&keys, HistoryOptions::default());
    for user in 0..users {
        for (at, item) in events(user).into_iter().enumerate() {
            let event = Event {
                user: &format!("{user:03}"),
                item: &format!("{item:02}"),
                micros: Some(at as i64 * 1_000_000),
                rating: None,
            };
            builder.push(event).expect("a known item");
        }
    }
    builder.finish().expect("histories")
}

/// A matrix of a safetensors file, its rows.
fn matrix(bytes: &[u8], name: &str) -> Vec<Vec<f32>> {
    let file = SafeTensors::deserialize(bytes).expect("a file");
    let view = file.tensor(name).expect("a tensor");
    let values: Vec<f32> = view
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four")))
        .collect();
    values
        .chunks(view.shape()[1])
        .map(<[f32]>::to_vec)
        .collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The score of each ID by a head's file.
fn head_scores(file: &[u8], hidden: &[f32], ids: &[&[u16]]) -> Vec<f32> {
    let (history, codes) = (matrix(file, "history.weight"), matrix(file, "codes.weight"));
    let asked: Vec<f32> = history.iter().map(|row| dot(row, hidden)).collect();
    let score = |id: &&[u16]| {
        let tokens = id_tokens(id);
        tokens
            .iter()
            .map(|&token| dot(&asked, &codes[token as usize]))
            .sum()
    };
    ids.iter().map(score).collect()
}

#[test]
fn a_head_scores_items_by_their_codes() {
    let trie = ItemTrie::new(index(&SIZES, &IDS));
    let reader = reader(trie.index().expect("of an index"), 4);
    let model = model(&reader, 3);

    // At first, an item's score is the sum of its tokens' logits.
    let head = ItemHead::new(&model);
    let headed = Headed::new(&model, &reader, &trie, &head).expect("of an index");
    let found = headed.rank(&queries(), 5).expect("items");
    for (query, found) in queries().iter().zip(found) {
        let logits = logits(&model, &text(query.history));
        let sum = |id| {
            id_tokens(id)
                .iter()
                .map(|&token| logits[token as usize])
                .sum()
        };
        assert_eq!(found, order(&IDS.map(sum), query)[..5], "{query:?}");
    }

    // Trained for a little, it is what its file says.
    let histories = histories(IDS.len(), 20, |user| {
        (0..5).map(|at| (user * at + 3) % 9).collect()
    });
    let split = Split::leave_one_out(&histories);
    let params = HeadParams {
        epochs: 2,
        learning_rate: 0.05,
        ..HeadParams::default()
    };
    let train = || {
        let config = params.clone().check().expect("sound");
        let trainer = HeadTrainer::new(&model, &reader, &trie, &histories, &split, config);
        let mut trainer = trainer.expect("events");
        while trainer.epoch(&mut |_| Ok(None)).expect("sound").is_some() {}
        trainer.finish().to_bytes()
    };
    let file = train();
    assert_eq!(file, train(), "the same settings make the same head");
    assert_ne!(file, head.to_bytes());
    let head = ItemHead::from_bytes(&model, &file).expect("our own");
    assert_eq!(head.to_bytes(), file);
    let headed = Headed::new(&model, &reader, &trie, &head).expect("of an index");
    let found = headed.rank(&queries(), 100).expect("items");
    for (query, found) in queries().iter().zip(found) {
        let scores = head_scores(&file, &hidden(&model, &text(query.history)), &IDS);
        assert_eq!(found, order(&scores, query), "{query:?}");
    }

    // In the next generation a new item has a score, and one that was removed is not given.
    let change = Change {
        added: vec![(
            "new".into(),
            [1, 0, 0].map(Code).into_iter().collect::<SemanticId>(),
        )],
        removed: vec!["04".into()],
        ..Change::default()
    };
    let index = trie.index().expect("of an index");
    let next = ItemTrie::new(index.changed(&change, 1, manifest()).expect("a change"));
    let headed = Headed::new(&model, &reader, &next, &head).expect("of an index");
    let found = headed.rank(&queries(), 100).expect("items");
    let ids: Vec<&[u16]> = IDS.into_iter().chain([&[1, 0, 0][..]]).collect();
    for (query, found) in queries().iter().zip(found) {
        let scores = head_scores(&file, &hidden(&model, &text(query.history)), &ids);
        let mut expected = order(&scores, query);
        expected.retain(|item| item.index() != 4);
        assert_eq!(found, expected, "{query:?}");
        assert!(found.contains(&ItemId(9)));
    }
}

#[test]
fn a_head_learns_which_item_comes() {
    // Item `i` has the ID `<a_{i % 5}><b_{i / 5}>`, and the next one is seven behind it.
    let ids: Vec<[u16; 2]> = (0..24).map(|item| [item % 5, item / 5]).collect();
    let ids: Vec<&[u16]> = ids.iter().map(|id| &id[..]).collect();
    let trie = ItemTrie::new(index(&[5, 5], &ids));
    let reader = reader(trie.index().expect("of an index"), 10);
    let events = |user: usize| {
        (0..4 + user % 5)
            .map(move |at| (user + 7 * at) % 24)
            .collect()
    };
    let histories = histories(24, 120, events);
    let split = Split::leave_one_out(&histories);
    let params = TrainingParams {
        epochs: 60,
        learning_rate: 5e-3,
        batch_tokens: 256,
        row_tokens: 32,
        dropout: 0.1,
        embedding_dropout: 0.1,
        averaging: 0.9,
        ..TrainingParams::default()
    };
    let mut config = LlamaConfig::small(reader.tokens().vocabulary(), 32, 64);
    config.num_hidden_layers = 2;
    tch::set_num_threads(1);
    let model = Llama::new(config, Device::Cpu, 7).expect("a small model");
    let vocabulary = reader.vocabulary().expect("items alone");
    let examples = HistoryExamples::new(&histories, &split, &trie, vocabulary, 10);
    let examples = examples.expect("the same items");
    let trainer = Trainer::new(model, params.check().expect("sound"), &examples);
    let mut trainer = trainer.expect("examples");
    while trainer.epoch(&mut |_| Ok(None)).expect("sound").is_some() {}

    let config = HeadParams {
        epochs: 60,
        patience: 60,
        batch: 16,
        learning_rate: 0.02,
        ..HeadParams::default()
    };
    let model = trainer.finish();
    let config = config.check().expect("sound");
    let trainer = HeadTrainer::new(&model, &reader, &trie, &histories, &split, config);
    let mut trainer = trainer.expect("events");
    let hit_rate = |head: &ItemHead, part| {
        let headed = Headed::new(&model, &reader, &trie, head).expect("of an index");
        let evaluation = Evaluation::new(&histories, &split, part, false);
        let lists = evaluation.lists(&headed, 1, |_| ()).expect("lists");
        Scores::of(vec![Metric::HitRate(1)], &evaluation.paired(&lists)).means()[0]
    };
    let mut best = 0.0_f64;
    while let Some(epoch) = trainer
        .epoch(&mut |head| Ok(Some(hit_rate(head, Part::Valid))))
        .expect("sound")
    {
        best = best.max(epoch.validation.unwrap_or_default());
    }
    let head = trainer.finish();
    assert_eq!(hit_rate(&head, Part::Valid), best);
    let found = hit_rate(&head, Part::Test);
    // Not all: what the model keeps behind a history is for the first code. The second one it knows
    // only when it has read the first, and the head does not read on. By chance it is one in 24.
    assert!(found > 0.5, "{found}");
}

/// All codes, one after the other, to the depth of the space, and whatever ends before where
/// some ID does.
fn sequences() -> Vec<Vec<u16>> {
    let lengths: BTreeSet<usize> = IDS.iter().map(|id| id.len()).collect();
    let (mut all, mut longest) = (Vec::new(), vec![Vec::new()]);
    for (level, size) in SIZES.iter().enumerate() {
        let longer = |id: &Vec<u16>| -> Vec<Vec<u16>> {
            (0..*size as u16)
                .map(|code| [&id[..], &[code]].concat())
                .collect()
        };
        longest = longest.iter().flat_map(longer).collect();
        if lengths.contains(&(level + 1)) {
            all.extend(longest.clone());
        }
    }
    all
}

/// The sum of the log-probabilities of a sequence's tokens, each among all of its level and, where
/// some ID ends, the end.
fn free_probability(model: &Llama, history: &[ItemId], id: &[u16]) -> f32 {
    let (mut text, mut sum) = (text(history), 0.0);
    for (level, token) in id_tokens(id).into_iter().enumerate() {
        let logits = logits(model, &text);
        let first = 2 + SIZES[..level].iter().sum::<u32>();
        let mut rivals: Vec<u32> = (first..first + SIZES[level]).collect();
        if IDS.iter().any(|id| id.len() == level) {
            rivals.push(END);
        }
        let rivals = rivals.iter().map(|&rival| logits[rival as usize]);
        sum += logits[token as usize] - log_sum(rivals);
        text.push(token);
    }
    sum
}

#[test]
fn what_is_written_freely_is_grounded_in_items() {
    let trie = ItemTrie::new(index(&SIZES, &IDS));
    let reader = reader(trie.index().expect("of an index"), 4);
    let events = [3, 0, 10, 7, 1, 1, 4, 0, 9];
    let (mut beyond, mut moved) = (0, 0);
    for seed in 0..8 {
        let model = model(&reader, seed);
        let tensors: HashMap<String, Tensor> = model.tensors().into_iter().collect();
        let embedding = values(&tensors["model.embed_tokens.weight"]);
        let rows: Vec<&[f32]> = embedding.chunks(32).collect();
        let sum = |id: &[u16]| -> Vec<f32> {
            let tokens = id_tokens(id);
            (0..32)
                .map(|d| tokens.iter().map(|&token| rows[token as usize][d]).sum())
                .collect()
        };
        let mut lists = Vec::new();
        for gamma in [0.0, 2.5] {
            let params = GroundingParams { beams: 100, gamma };
            let grounded = Grounded::new(&model, &reader, &trie, &events, params).expect("sound");
            let written = grounded.generate(&queries()).expect("codes");
            let found = grounded.rank(&queries(), 9).expect("items");
            for ((query, written), found) in queries().iter().zip(written).zip(&found) {
                let best = sequences().into_iter().max_by(|a, b| {
                    let score = |id: &[u16]| free_probability(&model, query.history, id);
                    score(a).total_cmp(&score(b))
                });
                let best = best.expect("a sequence");
                let written: Vec<u16> = written.iter().map(|code| code.0).collect();
                assert_eq!(written, best, "seed {seed}, {query:?}");
                beyond += usize::from(!IDS.contains(&&best[..]));

                let own = sum(&best);
                let distance = |id: &[u16]| -> f32 {
                    let squares = sum(id)
                        .into_iter()
                        .zip(&own)
                        .map(|(a, b)| (a - b) * (a - b));
                    squares.sum::<f32>().sqrt()
                };
                let distances = IDS.map(distance);
                let least = distances.iter().copied().fold(f32::INFINITY, f32::min);
                let most = distances.iter().copied().fold(0.0, f32::max);
                let scores: Vec<f32> = distances
                    .iter()
                    .zip(events)
                    .map(|(distance, events)| {
                        let popularity = events as f32 / 10.0;
                        -(distance - least) / (most - least) / (1.0 + popularity).powf(gamma as f32)
                    })
                    .collect();
                assert_eq!(found, &order(&scores, query), "seed {seed}, {query:?}");
            }
            lists.push(found);
        }
        moved += usize::from(lists[0] != lists[1]);
    }
    assert!(beyond > 0, "no sequence was beyond the items");
    assert!(moved > 0, "popularity changed nothing");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let trie = ItemTrie::new(index(&SIZES, &IDS));
    let reader = reader(trie.index().expect("of an index"), 4);
    let model = model(&reader, 0);
    let message = |error: Error| error.to_string();

    let file = ItemHead::new(&model).to_bytes();
    let other = Llama::new(LlamaConfig::small(20, 32, 64), Device::Cpu, 0).expect("a model");
    let error = message(ItemHead::from_bytes(&other, &file).expect_err("another vocabulary"));
    assert!(
        error.contains("codes.weight: got [11, 32], expected [20, 32]"),
        "{error}"
    );
    let error = message(ItemHead::from_bytes(&model, b"junk").expect_err("no file"));
    assert!(error.contains("item_head.safetensors"), "{error}");

    let ground = |events: &[u64], beams, gamma| {
        let params = GroundingParams { beams, gamma };
        Grounded::new(&model, &reader, &trie, events, params).map(|_| ())
    };
    for (events, beams, gamma, problem) in [
        (&[1; 9][..], 0, 1.0, "`beams`: got 0"),
        (&[1; 9], 1, -1.0, "`gamma`: got -1"),
        (&[1; 9], 1, f64::NAN, "`gamma`: got NaN"),
        (&[1; 8], 1, 1.0, "got 8, expected 9"),
    ] {
        let error = message(ground(events, beams, gamma).expect_err(problem));
        assert!(error.contains(problem), "{error}");
    }

    let broken = [
        HeadParams {
            epochs: 0,
            ..HeadParams::default()
        },
        HeadParams {
            batch: 0,
            ..HeadParams::default()
        },
        HeadParams {
            dropout: 1.0,
            ..HeadParams::default()
        },
        HeadParams {
            learning_rate: f64::NAN,
            ..HeadParams::default()
        },
        HeadParams {
            weight_decay: -1.0,
            ..HeadParams::default()
        },
    ];
    for (params, name) in broken.into_iter().zip([
        "epochs",
        "batch",
        "dropout",
        "learning_rate",
        "weight_decay",
    ]) {
        let error = message(params.check().expect_err(name));
        assert!(error.contains(name), "{error}");
    }
    let histories = histories(8, 2, |_| vec![1, 2, 3]);
    let split = Split::leave_one_out(&histories);
    let config = HeadParams::default().check().expect("sound");
    let error = HeadTrainer::new(&model, &reader, &trie, &histories, &split, config);
    let error = message(error.map(|_| ()).expect_err("another catalogue"));
    assert!(
        error.contains("items of the index: got 9, expected 8"),
        "{error}"
    );
}
