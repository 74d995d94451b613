//! Language models that are tuned on the rows of a corpus.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use semantic_id::{Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, Manifest, TokenFormat};
use semid_recommender::{
    Ask, Conversation, CorpusExamples, Error, Examples, Generator, Llama, LlamaConfig, Lora,
    NewTokens, Prompt, Reader, Recommender, Settings, Speech, StoredRows, TextReader, Trainer,
    TrainingParams,
};
use semid_tasks::corpus::{
    Amount, Context, Corpus, CorpusOptions, HistoryStyle, Ids, Order, Scratch, TaskPlan,
};
use semid_tasks::generators::TaskOptions;
use semid_tasks::{
    Catalogue, ChatTemplate, Container, Event, Histories, HistoriesBuilder, HistoryOptions, Input,
    ItemOptions, Need, Part, Question, RowFormat, RowWriter, SideTexts, Split, Templates,
};
use tch::{Device, Kind, Tensor};
use tokenizers::Tokenizer;
use trie_decode::{BeamParams, ItemTrie, TokenMap};

const ITEMS: u16 = 12;
const LEVELS: usize = 2;

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
        let items =
            (0..ITEMS).map(|item| format!("{{\"id\": \"i{item}\", \"title\": \"T{item}\"}}\n"));
        let items: String = items.collect();
        let catalogue = Catalogue::read("items.jsonl", items.as_bytes(), &ItemOptions::default());
        let catalogue = catalogue.expect("items");
        let index = index(&catalogue);
        let mut builder = HistoriesBuilder::new(catalogue.keys(), HistoryOptions::default());
        for user in 0..8 {
            for event in 0..6 {
                let item = (user * 5 + event * (user + 2)) % i64::from(ITEMS);
                let event = Event {
                    user: &format!("u{user}"),
                    item: &format!("i{item}"),
                    micros: Some(event * 1_000_000),
                    rating: None,
                };
                builder.push(event).expect("a known item");
            }
        }
        let histories = builder.finish().expect("histories");
        Self {
            split: Split::leave_one_out(&histories),
            ids: Ids::new(&catalogue, &index).expect("IDs"),
            side: SideTexts::default(),
            style: HistoryStyle::default(),
            catalogue,
            histories,
        }
    }

    fn trie(&self) -> ItemTrie<Vec<u8>> {
        ItemTrie::new(index(&self.catalogue))
    }

    fn context(&self) -> Context<'_> {
        let Self {
            catalogue,
            histories,
            split,
            ids,
            side,
            style,
            ..
        } = self;
        Context::new(catalogue, histories, split, ids, side, None, style)
    }
}

fn index(catalogue: &Catalogue) -> ItemIndex<Vec<u8>> {
    let codes = (0..ITEMS).flat_map(|item| [Code(item / 4), Code(item % 4)]);
    let codes = CodeMatrix::new(codes.collect(), LEVELS).expect("two levels");
    let info = IndexInfo::new(format(), Manifest::new("test", serde_json::Value::Null));
    ItemIndex::build(&space(), &codes, catalogue.keys(), 1, info).expect("distinct IDs")
}

fn format() -> TokenFormat {
    let format = TokenFormat::lc_rec(LEVELS);
    format
        .between("", "<end>")
        .expect("no digits behind digits")
}

/// One code more a level than items need.
fn space() -> CodeSpace {
    CodeSpace::uniform(LEVELS, 5).expect("a space")
}

/// Histories in the words of two templates.
fn corpus<'a>(
    context: &'a Context<'a>,
    templates: &'a Templates,
    options: CorpusOptions<'a>,
) -> Corpus<'a> {
    let names = templates.of("sequential").iter();
    let names = names.filter(|template| !template.held_out);
    let names = names.map(|template| template.name.clone());
    let plan = TaskPlan {
        task: "sequential".to_owned(),
        part: Part::Train,
        amount: Amount::Weight(1.0),
        stage: 0,
        templates: names.take(2).collect(),
        held_out: false,
        options: TaskOptions::default(),
    };
    Corpus::new(context, templates, &[plan], options).expect("a corpus")
}

/// Words that are not known are all one to it.
fn tokenizer() -> Tokenizer {
    let json = r#"{
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": "?",
            "vocab": {"?": 0, "user": 1, "assistant": 2, "item": 3, "next": 4, "stop": 5}}
    }"#;
    json.parse().expect("a tokenizer")
}

/// A tokenizer that knows the codes, and a small model that does.
fn extended() -> (Tokenizer, Llama, NewTokens) {
    let mut tokenizer = tokenizer();
    let mut config = LlamaConfig::small(6, 64, 128);
    config.num_hidden_layers = 2;
    config.initializer_range = 0.1;
    let mut model = Llama::new(config, Device::Cpu, 3).expect("a small model");
    let tokens = NewTokens::add(&mut tokenizer, &format(), &space()).expect("two levels");
    let apart = || Tensor::eye(5, (Kind::Float, Device::Cpu));
    let extended = model.extend(&tokens, Some(&[apart(), apart()]), 3);
    extended.expect("two codebooks of five");
    (tokenizer, model, tokens)
}

#[test]
fn added_tokens_are_found_again() {
    let (mut tokenizer, model, tokens) = extended();
    assert_eq!(tokens.first(), 6);
    assert_eq!(model.config().vocab_size, 6 + 1 + 2 * 5);
    let json = tokenizer.to_string(false).expect("JSON");
    let saved: Tokenizer = json.parse().expect("what was saved");
    let world = World::new();
    let trie = world.trie();
    let vocabulary = model.config().vocab_size;
    let map = TokenMap::from_tokenizer(json.as_bytes(), &format(), &trie, vocabulary);
    let map = map.expect("all tokens");
    for level in 0..LEVELS {
        for code in (0..5).map(Code) {
            let id = map.token(level, code).expect("a token for every code");
            let text = format().token(level, code);
            let spelled = format!("next{text}item");
            let encoding = saved.encode(spelled, false).expect("known words");
            assert_eq!(encoding.get_ids(), [4, id, 3]);
            assert_eq!(saved.decode(&[id], false).expect("a token"), text);
        }
    }
    assert_eq!(map.end(), saved.token_to_id("<end>"));

    // Tokens that are there are left as they are.
    let again = NewTokens::add(&mut tokenizer, &format(), &space()).expect("two levels");
    assert_eq!(again.first(), vocabulary);
    let (before, _) = model.to_files();
    let mut model = model;
    model.extend(&again, None, 9).expect("nothing new");
    assert_eq!(model.to_files().0, before);
}

#[test]
fn what_does_not_fit_is_named() {
    let world = World::new();
    let trie = world.trie();
    let json = tokenizer().to_string(false).expect("JSON");
    let error = TokenMap::from_tokenizer(json.as_bytes(), &format(), &trie, 6);
    assert!(error.expect_err("no codes").to_string().contains("<end>"));
    let error = TextReader::new(tokenizer(), None, Some("<eos>")).expect_err("no such token");
    assert!(
        error.to_string().contains("`end`: got \"<eos>\""),
        "{error}"
    );
    let error = NewTokens::add(&mut tokenizer(), &TokenFormat::lc_rec(3), &space());
    assert!(matches!(
        error,
        Err(Error::Shape {
            got: 3,
            expected: 2,
            ..
        })
    ));

    let (_, mut model, tokens) = extended();
    let codebook = |size: i64| Tensor::zeros([size, 7], (Kind::Float, Device::Cpu));
    let error = model.extend(&tokens, Some(&[codebook(5), codebook(4)]), 1);
    assert!(matches!(
        error,
        Err(Error::Shape {
            got: 4,
            expected: 5,
            ..
        })
    ));
    let error = model.extend(&tokens, Some(&[codebook(5)]), 1);
    assert!(matches!(
        error,
        Err(Error::Shape {
            got: 1,
            expected: 2,
            ..
        })
    ));
}

/// Codes that are near each other begin near each other, in embedding and head, spread as the rows
/// of words are.
#[test]
fn new_rows_begin_as_the_centroids_lie() {
    let mut tokenizer = tokenizer();
    let mut config = LlamaConfig::small(6, 64, 32);
    config.tie_word_embeddings = false;
    let mut model = Llama::new(config, Device::Cpu, 1).expect("a small model");
    let words: Vec<Tensor> = rows(&model).iter().map(Tensor::copy).collect();
    let tokens = NewTokens::add(&mut tokenizer, &format(), &space()).expect("two levels");
    let codebook = |flip: f32| {
        let rows = [
            [0.0, 0.0],
            [0.1, 0.0],
            [9.0, 9.0 * flip],
            [9.1, 9.0 * flip],
            [4.0, -5.0],
        ];
        Tensor::from_slice2(&rows)
    };
    model
        .extend(&tokens, Some(&[codebook(1.0), codebook(-1.0)]), 1)
        .expect("two codebooks");
    for (table, words) in rows(&model).iter().zip(words) {
        assert_eq!(table.narrow(0, 0, 6), words);
        let distance = |a: &str, b: &str| {
            let [a, b] =
                [a, b].map(|text| table.get(tokenizer.token_to_id(text).expect("added").into()));
            (a - b).norm().double_value(&[])
        };
        for level in ["a", "b"] {
            let code = |code: i64| format!("<{level}_{code}>");
            assert!(distance(&code(0), &code(1)) < 0.1 * distance(&code(0), &code(2)));
            assert!(distance(&code(2), &code(3)) < 0.1 * distance(&code(2), &code(4)));
        }
        let spread = |rows: Tensor| rows.std(false).double_value(&[]);
        let ratio = spread(table.narrow(0, 7, 10)) / spread(words);
        assert!((0.5..2.0).contains(&ratio), "{ratio}");
    }
}

fn rows(model: &Llama) -> Vec<Tensor> {
    let tables = model
        .tensors()
        .into_iter()
        .filter(|(name, _)| name.ends_with("embed_tokens.weight") || name.starts_with("lm_head"));
    tables.map(|(_, tensor)| tensor.detach()).collect()
}

const CHAT: &str = r#"{"chat_template": "{% for m in messages %}{{ m.role }} {{ m.content }} stop {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"}"#;

fn chat() -> ChatTemplate {
    ChatTemplate::read(CHAT, None, None).expect("a template")
}

#[test]
fn only_answers_are_learnt() {
    let (tokenizer, _, _) = extended();
    let id = |text: &str| tokenizer.token_to_id(text).expect("a token");
    let answer = [id("<a_1>"), id("<b_2>"), id("<end>")];
    let reader = TextReader::new(tokenizer.clone(), Some(chat()), None).expect("a chat");
    let example = reader
        .example(None, "next item", "<a_1><b_2><end>")
        .expect("known words");
    let prompt = [1, 4, 3, 5, 2];
    assert_eq!(example.tokens, [&prompt[..], &answer, &[5]].concat());
    assert_eq!(example.answer, prompt.len());
    assert_eq!(
        reader.prompt(None, "next item").expect("known words"),
        prompt
    );
    assert_eq!(reader.around().expect("an empty row"), 6);

    let plain = TextReader::new(tokenizer, None, Some("stop")).expect("an end");
    let example = plain.example(Some("user"), "next item", "<a_1><b_2><end>");
    let expected = [&[1, 4, 3][..], &answer, &[5]].concat();
    assert_eq!(example.expect("known words").tokens, expected);
}

#[test]
fn an_epoch_tells_the_rows_in_words_of_its_own() {
    let (world, templates) = (World::new(), Templates::builtin("en").expect("templates"));
    let (context, (tokenizer, ..)) = (world.context(), extended());
    let reader = TextReader::new(tokenizer, Some(chat()), None).expect("a chat");
    let options = CorpusOptions {
        epochs: 2,
        ..CorpusOptions::default()
    };
    let corpus = corpus(&context, &templates, options);
    let drawn = CorpusExamples::drawn(&corpus, &reader, 128).expect("rows");
    // Of each user's 6 events 4 are of training, and the first has no history.
    assert_eq!(drawn.count() as u64, corpus.epoch_len());
    let epoch = |epoch| {
        let rows = (0..drawn.count()).map(|number| drawn.example(epoch, number).expect("a row"));
        rows.collect::<Vec<_>>()
    };
    let [first, second] = [epoch(0), epoch(1)];
    assert_eq!(epoch(2), first);
    let prompts = first
        .iter()
        .zip(&second)
        .filter(|(a, b)| a.tokens != b.tokens);
    assert!(prompts.count() > first.len() / 4);
    let answers = |rows: &[semid_recommender::Example]| {
        let rows = rows.iter().map(|row| row.tokens[row.answer..].to_vec());
        rows.collect::<Vec<_>>()
    };
    assert_eq!(answers(&first), answers(&second));

    // What was written is read back: both epochs, one behind the other.
    let writer = RowWriter::new(RowFormat::PromptCompletion, Container::Jsonl, 0).expect("JSON");
    let mut lines = Vec::new();
    let taken = corpus.rows(0..corpus.len(), &mut Scratch::default(), |row| {
        writer.write(row, &mut lines).map(|_| ())
    });
    taken.expect("rows");
    let mut rows = StoredRows::default();
    let input = Input::from(&lines[..]);
    rows.read("part.jsonl", input).expect("rows of a corpus");
    let stored = CorpusExamples::stored(&rows, &reader, 128);
    let read: Vec<_> = (0..stored.count())
        .map(|at| stored.example(7, at).expect("a row"))
        .collect();
    assert_eq!(read, [first, second].concat());
    assert_ne!(stored.digest(), drawn.digest());
}

#[test]
fn a_long_row_loses_its_oldest_items_and_never_its_answer() {
    let (world, templates) = (World::new(), Templates::builtin("en").expect("templates"));
    let (context, (tokenizer, ..)) = (world.context(), extended());
    let reader = TextReader::new(tokenizer, Some(chat()), None).expect("a chat");
    let made = |row_tokens: usize, shortened: bool| {
        let count = |text: &str| reader.count(text);
        let options = CorpusOptions {
            order: Order::Tasks,
            count: Some(&count),
            tokens_per_row: shortened.then(|| row_tokens - reader.around().expect("a row")),
            ..CorpusOptions::default()
        };
        let corpus = corpus(&context, &templates, options);
        let drawn = CorpusExamples::drawn(&corpus, &reader, row_tokens).expect("rows");
        (0..drawn.count())
            .map(|at| drawn.example(0, at))
            .collect::<Result<Vec<_>, _>>()
    };
    let whole = made(1000, false).expect("room for all");
    let longest = whole
        .iter()
        .map(|row| row.tokens.len())
        .max()
        .expect("rows");
    let short = made(longest - 2, true).expect("room for answers");
    let cut = whole
        .iter()
        .zip(&short)
        .filter(|(whole, short)| whole != short);
    let cut: Vec<_> = cut.collect();
    assert!(!cut.is_empty());
    for (whole, short) in cut {
        assert!(short.tokens.len() <= longest - 2);
        assert_eq!(whole.tokens[whole.answer..], short.tokens[short.answer..]);
        assert_eq!(
            whole.tokens[0], short.tokens[0],
            "the chat template is whole"
        );
    }
    let error = made(4, false).expect_err("no room for answers").to_string();
    assert!(
        error.contains("its answer has 4 tokens") && error.contains("longer rows"),
        "{error}"
    );
}

fn speech(templates: &Templates) -> Speech {
    Speech {
        question: Question::of(templates, &[], &HistoryStyle::default()).expect("a wording"),
        tokens: format(),
        now: None,
    }
}

#[test]
fn a_history_is_asked_about_as_the_corpus_did() {
    let (world, templates) = (World::new(), Templates::builtin("en").expect("templates"));
    let context = world.context();
    let options = CorpusOptions {
        need: Need::Sequence,
        ..CorpusOptions::default()
    };
    let corpus = corpus(&context, &templates, options);
    let Speech { question, .. } = speech(&templates);
    let (tokenizer, _, _) = extended();
    let reader = TextReader::new(tokenizer.clone(), Some(chat()), None).expect("a chat");
    let conversation = Conversation::new(speech(&templates), tokenizer, CHAT.into(), &space());
    let conversation = conversation.expect("all tokens");
    let mut asked = 0;
    let taken = corpus.rows(0..corpus.len(), &mut Scratch::default(), |row| {
        let (_, history) = row
            .sequence
            .expect("asked for")
            .split_last()
            .expect("a target");
        let ids: Vec<&str> = history.iter().map(|item| item.id).collect();
        if row.provenance.template.ends_with("/comes-next") {
            assert_eq!(question.ask(&ids).expect("a text"), row.prompt);
            let codes = ids
                .iter()
                .map(|id| format().parse(id).expect("an ID").to_vec());
            let codes: Vec<_> = codes.collect();
            let tokens = conversation.prompt(&codes).expect("known words");
            assert_eq!(
                tokens,
                reader.prompt(None, row.prompt).expect("known words")
            );
            asked += 1;
        }
        Ok(())
    });
    taken.expect("rows");
    assert!(asked > 10, "{asked}");
}

#[test]
fn a_language_model_is_a_recommender_that_can_be_saved() {
    let world = World::new();
    let (tokenizer, model, _) = extended();
    let templates = Templates::builtin("en").expect("templates");
    let conversation = || {
        let conversation =
            Conversation::new(speech(&templates), tokenizer.clone(), CHAT.into(), &space());
        conversation.expect("all tokens")
    };
    let trie = world.trie();
    let settings = || Settings {
        index: trie.index().expect("of an index").digest(),
        codes: space().sizes().to_vec(),
        items: 20,
        speech: None,
    };
    let words = conversation()
        .prompt(&[] as &[Vec<Code>])
        .expect("words")
        .len();
    // An item is two codes, its end and a comma; the answer two codes more.
    let reader = Reader::of_words(settings(), conversation(), words + 4 * 5 + 2);
    let reader = reader.expect("room for some items");
    assert_eq!(reader.settings().items, 5);
    let error = Reader::of_words(settings(), conversation(), words).expect_err("no room");
    assert!(
        error.to_string().contains("a history of one item"),
        "{error}"
    );

    let recommender = Recommender::new(model, reader).expect("they fit");
    let files = recommender.to_files().expect("files");
    let mut files: BTreeMap<&str, Vec<u8>> = files.into_iter().collect();
    let open = |files: &BTreeMap<&str, Vec<u8>>| {
        let read = |file: &str| files.get(file).cloned().ok_or(ErrorKind::NotFound.into());
        Recommender::from_files(&read, Device::Cpu)
    };
    let back = open(&files).expect("our own");
    let history: Vec<_> = world
        .histories
        .items(world.histories.users().next().expect("a user"))
        .to_vec();
    let found = |recommender: &Recommender| {
        let (history, filter) = (&*history, None);
        let params = recommender.reader().search(3, 20);
        let found = recommender.recommend(&trie, &[Ask { history, filter }], params);
        found.expect("items").remove(0)
    };
    assert_eq!(found(&back), found(&recommender));
    assert_eq!(found(&back).hits.len(), 3);

    let tokenizer = files.insert(
        "tokenizer.json",
        self::tokenizer().to_string(false).expect("JSON").into(),
    );
    let error = open(&files).expect_err("codes have no tokens");
    assert!(error.to_string().contains("<a_0>"), "{error}");
    files.insert("tokenizer.json", tokenizer.expect("it was there"));
    files.remove("tokenizer_config.json");
    let error = open(&files).expect_err("a file is missing");
    assert!(
        error.to_string().contains("tokenizer_config.json"),
        "{error}"
    );
}

/// From a corpus to items: whichever way a model was tuned, it names the item that comes next.
#[test]
fn a_tuned_model_names_the_next_item() {
    tch::set_num_threads(1);
    let (world, templates) = (World::new(), Templates::builtin("en").expect("templates"));
    let context = world.context();
    let trie = world.trie();
    let params = TrainingParams {
        epochs: 80,
        learning_rate: 3e-3,
        weight_decay: 0.0,
        averaging: 0.0,
        dropout: 0.0,
        embedding_dropout: 0.0,
        label_smoothing: 0.0,
        row_tokens: 128,
        batch_tokens: 256,
        ..TrainingParams::default()
    };
    for adapters in [false, true] {
        let (tokenizer, mut model, _) = extended();
        if adapters {
            let (rank, alpha, first_row) = (8, 16.0, 0);
            model
                .adapt(
                    Lora {
                        rank,
                        alpha,
                        first_row,
                    },
                    1,
                )
                .expect("adapters");
        }
        let json = tokenizer.to_string(false).expect("JSON");
        let reader = TextReader::new(tokenizer, Some(chat()), None).expect("a chat");
        let options = CorpusOptions {
            epochs: params.epochs as u32,
            ..CorpusOptions::default()
        };
        let corpus = corpus(&context, &templates, options);
        let examples = CorpusExamples::drawn(&corpus, &reader, params.row_tokens).expect("rows");
        let config = params.clone().check().expect("settings");
        let mut trainer = Trainer::new(model, config, &examples).expect("a training");
        let mut loss = f64::INFINITY;
        while let Some(report) = trainer.epoch(&mut |_| Ok(None)).expect("an epoch") {
            loss = report.loss;
        }
        let model = trainer.finish();

        let map =
            TokenMap::from_tokenizer(json.as_bytes(), &format(), &trie, model.config().vocab_size);
        let map = map.expect("all tokens");
        let generator = Generator::new(&model, &map, &space(), BeamParams::default());
        let generator = generator.expect("they fit");
        let (mut asked, mut known) = (0, 0);
        let taken = corpus.rows(0..corpus.epoch_len(), &mut Scratch::default(), |row| {
            let tokens = reader.prompt(row.system, row.prompt).expect("known words");
            let prompt = Prompt {
                tokens,
                filter: None,
            };
            let outcomes = generator.run(&trie, &[prompt]).expect("items");
            let best = world
                .catalogue
                .keys()
                .get(outcomes[0].hits[0].item)
                .to_owned();
            asked += 1;
            known += usize::from(best == row.target.expect("an item").key);
            Ok(())
        });
        taken.expect("rows");
        assert!(
            known * 10 >= asked * 9,
            "{known} of {asked}, adapters: {adapters}, loss: {loss}"
        );
    }
}
