//! A language model that recommends movies, and cannot name one that does not exist.
//!
//! SmolLM2-135M-Instruct spells titles in the tokens that it has anyway: a title's semantic ID is
//! its sequence of tokens. Nothing is trained, and no vocabulary is extended. `make titles` fetches
//! the model and MovieLens 100K and runs this. By hand:
//! `cargo run --release -p trie-decode --example titles -- MODEL.gguf [MOVIES.item]`
//!
//! With `CANDLE_DEQUANTIZE_ALL=1` candle keeps the weights in f32 (600 MB) and reads the prompt
//! several times faster.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs::{self, File};
use std::time::Instant;

use candle_core::quantized::gguf_file;
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use rayon::prelude::*;
use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use trie_decode::{
    BeamParams, BeamSearch, Filter, ItemTrie, Logits, Request, Row, RowId, Scorer, Scores, Scratch,
    Step, TokenMap,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What the users liked.
const LIKED: [&str; 3] = ["The Godfather (1972)", "Alien (1979)", "Toy Story (1995)"];

/// The catalogue if no other is given.
const CLASSICS: &str = "\
1\tGodfather, The\t1972
2\tGodfather: Part II, The\t1974
3\tAlien\t1979
4\tTerminator, The\t1984
5\tToy Story\t1995
6\tLion King, The\t1994
7\tTitanic\t1997
8\tCasablanca\t1942";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next();
    let model = LanguageModel::open(&model.ok_or("usage: titles MODEL.gguf [MOVIES.item]")?)?;
    let titles = match arguments.next() {
        Some(path) => titles(&fs::read_to_string(path)?),
        None => titles(CLASSICS),
    };
    let trie = spelled(&titles, &model)?;

    // Codes are tokens at every level. A title ends where the model ends its turn.
    let firsts = vec![0; trie.levels()];
    let tokens = TokenMap::ranges(trie.space(), &firsts, model.vocabulary)?;
    let tokens = tokens.between(None, Some(model.end))?;
    let params = BeamParams {
        results: 3,
        beams: vec![8],
        // The mean over a title's tokens: else short titles win.
        length_penalty: 1.0,
        ..BeamParams::default()
    };
    let search = BeamSearch::new(&trie, Some(&tokens), params.check()?)?;

    for liked in LIKED {
        println!("A movie like {liked}?");
        let started = Instant::now();
        let mut chat = Chat::new(&model, liked)?;
        // No movie is more like it than itself.
        let itself = titles.iter().position(|title| title == liked);
        let others = Filter::deny_items(&trie, itself.map(|item| ItemId(item as u32)))?;
        let request = Request {
            filter: Some(&others),
        };
        let outcomes = search.run(&mut chat, &[request], &mut Scratch::default())?;
        for hit in &outcomes[0].hits {
            println!("  {:.2}  {}", hit.score, titles[hit.item.index()]);
        }
        let seconds = started.elapsed().as_secs_f32();
        let rows = outcomes[0].rows;
        println!("  {seconds:.1} s, {rows} prefixes scored");
        println!("  without the trie: {:?}\n", chat.free(24)?);
    }
    Ok(())
}

/// A quantized model of the Llama family that was trained on chats.
struct LanguageModel {
    weights: ModelWeights,
    tokenizer: Tokenizer,
    /// Width of the logits.
    vocabulary: usize,
    /// The token that ends a turn.
    end: u32,
}

impl LanguageModel {
    fn open(path: &str) -> Result<Self> {
        let mut file = File::open(path)?;
        let content = gguf_file::Content::read(&mut file)?;
        let mut tokenizer = Tokenizer::from_gguf(&content)?;
        // SmolLM's splits digits and puts no space before a text; candle takes it for GPT-2's.
        let digits = Digits::new(true);
        let bytes = ByteLevel::new(false, true, true);
        let split = Sequence::new(vec![digits.into(), bytes.into()]);
        tokenizer.with_pre_tokenizer(Some(split));
        let end = tokenizer.token_to_id("<|im_end|>");
        Ok(Self {
            weights: ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?,
            vocabulary: tokenizer.get_vocab_size(true),
            end: end.ok_or("the tokenizer has no <|im_end|>")?,
            tokenizer,
        })
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode(text, false)?.get_ids().to_vec())
    }
}

/// The trie of some titles, as the model spells them.
fn spelled(titles: &[String], model: &LanguageModel) -> Result<ItemTrie<Vec<u8>>> {
    let spellings = titles.iter().map(|title| model.tokens(title));
    let spellings = spellings.collect::<Result<Vec<_>>>()?;
    let longest = spellings.iter().map(Vec::len).max().unwrap_or(0);
    // One level more than the longest has tokens: so all end, and pay for it.
    let space = CodeSpace::uniform(longest + 1, model.vocabulary.try_into()?)?;
    let mut codes = Vec::new();
    for spelling in spellings {
        let padding = (spelling.len()..space.levels()).filter_map(|level| space.end(level));
        for &token in &spelling {
            codes.push(Code(token.try_into()?));
        }
        codes.extend(padding);
    }
    let codes = CodeMatrix::new(codes, space.levels())?;
    Ok(ItemTrie::of_codes(space, &codes, 1)?)
}

/// What a model has read, and what it expects next.
#[derive(Clone)]
struct Cache {
    /// A clone shares the weights and, until one of the two reads on, the keys and values.
    model: ModelWeights,
    read: usize,
    /// Logits of the next token, `[V]`.
    next: Vec<f32>,
}

impl Cache {
    fn read(&mut self, tokens: &[u32]) -> Result<()> {
        if !tokens.is_empty() {
            let tokens = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
            let logits = self.model.forward(&tokens, self.read)?;
            self.next = logits.squeeze(0)?.to_vec1()?;
            self.read += tokens.elem_count();
        }
        Ok(())
    }
}

/// A question, and the answers that are being tried.
struct Chat<'a> {
    model: &'a LanguageModel,
    question: Cache,
    /// One for each row of the last step.
    answers: HashMap<RowId, Cache>,
    logits: Vec<f32>,
}

impl<'a> Chat<'a> {
    fn new(model: &'a LanguageModel, liked: &str) -> Result<Self> {
        let text = format!(
            "<|im_start|>system\n\
             You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
             <|im_start|>user\n\
             Recommend a movie like {liked}. Answer with its title and year only.<|im_end|>\n\
             <|im_start|>assistant\n"
        );
        let mut question = Cache {
            model: model.weights.clone(),
            read: 0,
            next: Vec::new(),
        };
        question.read(&model.tokens(&text)?)?;
        Ok(Self {
            model,
            question,
            answers: HashMap::new(),
            logits: Vec::new(),
        })
    }

    /// Goes on where the row's parent stopped, or else from the question.
    fn answer(&self, row: &Row<'_>) -> Result<Cache> {
        let parent = row.parent.and_then(|parent| self.answers.get(&parent));
        let mut answer = parent.unwrap_or(&self.question).clone();
        let rest = &row.prefix[answer.read - self.question.read..];
        let rest: Vec<u32> = rest.iter().map(|code| code.0.into()).collect();
        answer.read(&rest)?;
        Ok(answer)
    }

    /// The likeliest answer, token by token, of at most `tokens`: what the model says when it may
    /// say anything.
    fn free(&self, tokens: usize) -> Result<String> {
        let mut answer = self.question.clone();
        let mut said = Vec::new();
        while said.len() < tokens {
            let likeliest = (0..).zip(&answer.next).max_by(|a, b| a.1.total_cmp(b.1));
            match likeliest {
                Some((token, _)) if token != self.model.end => said.push(token),
                _ => break,
            }
            answer.read(&said[said.len() - 1..])?;
        }
        self.model.tokenizer.decode(&said, true)
    }
}

impl Scorer for Chat<'_> {
    fn score(&mut self, step: &Step<'_>) -> Result<Scores<'_>> {
        let answers = step.rows().par_iter().map(|row| self.answer(row));
        let answers = answers.collect::<Result<Vec<_>>>()?;
        self.logits.clear();
        for answer in &answers {
            self.logits.extend(&answer.next);
        }
        let ids = step.rows().iter().map(|row| row.id);
        self.answers = ids.zip(answers).collect();
        Ok(Scores::vocabulary(Logits::F32(&self.logits)))
    }
}

/// The titles of a RecBole `.item` file, distinct.
fn titles(items: &str) -> Vec<String> {
    let titles: BTreeSet<String> = items.lines().filter_map(title).collect();
    titles.into_iter().collect()
}

/// A movie as one writes it; `None` for the header, and for movies without a year.
fn title(line: &str) -> Option<String> {
    const ARTICLES: [&str; 9] = ["The", "A", "An", "La", "Le", "Les", "Il", "Das", "Der"];

    let mut columns = line.split('\t').skip(1);
    let (name, year) = (columns.next()?, columns.next()?);
    let year: u16 = year.parse().ok()?;
    // What follows in brackets is the title in another language.
    let name = name.split(" (").next()?;
    Some(match name.rsplit_once(", ") {
        Some((name, "L'")) => format!("L'{name} ({year})"),
        Some((name, article)) if ARTICLES.contains(&article) => {
            format!("{article} {name} ({year})")
        }
        _ => format!("{name} ({year})"),
    })
}

#[test]
fn titles_are_written_as_one_says_them() {
    let items = "item_id\tmovie_title\trelease_year\n\
                 1\tGood, The Bad and The Ugly, The\t1966\tWestern\n\
                 2\tHate (Haine, La)\t1995\tDrama\n\
                 3\tunkonwn\tunkonwn\tunkonwn\n\
                 4\tCry, the Beloved Country\t1995\tDrama";
    assert_eq!(
        titles(items),
        [
            "Cry, the Beloved Country (1995)",
            "Hate (1995)",
            "The Good, The Bad and The Ugly (1966)",
        ]
    );
}
