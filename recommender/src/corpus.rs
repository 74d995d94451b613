//! Language models are tuned on the rows of a corpus.

use std::ops::Range;

use rayon::prelude::*;
use semid_tasks::corpus::{Corpus, Scratch};
use semid_tasks::{ChatTemplate, Input, read_rows};
use tokenizers::Tokenizer;

use crate::{Error, Example, Examples, Result};

/// How a language model reads what it is asked, and answers.
///
/// Prompt and answer are made into tokens apart from each other, so that what a model was taught
/// begins where its answer will begin. Special tokens are those that the chat template writes;
/// without one an answer ends in a token of the caller's choice, and nothing else is added.
///
/// ```
/// use semid_recommender::TextReader;
///
/// let json = r#"{"model": {"type": "WordLevel", "unk_token": "?",
///     "vocab": {"?": 0, "next": 1, "tea": 2, "</s>": 3}}}"#;
/// let reader = TextReader::new(json.parse().unwrap(), None, Some("</s>"))?;
/// let example = reader.example(None, "next", "tea")?;
/// assert_eq!((example.tokens, example.answer), (vec![1, 2, 3], 1));
/// assert_eq!(reader.prompt(None, "next")?, [1]);
/// # Ok::<(), semid_recommender::Error>(())
/// ```
#[derive(Debug)]
pub struct TextReader {
    tokenizer: Tokenizer,
    chat: Option<ChatTemplate>,
    end: Option<u32>,
}

impl TextReader {
    /// A model's tokenizer, its chat template if it has one, and the token that ends an answer if
    /// it has none.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if the tokenizer has no such token.
    pub fn new(
        mut tokenizer: Tokenizer,
        chat: Option<ChatTemplate>,
        end: Option<&str>,
    ) -> Result<Self> {
        let id = |token: &str| {
            let id = tokenizer.token_to_id(token);
            id.ok_or_else(|| Error::Setting {
                name: "end",
                got: format!("{token:?}"),
                expected: "a token of the tokenizer".to_owned(),
            })
        };
        let end = end.map(id).transpose()?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(refused)?;
        Ok(Self {
            tokenizer,
            chat,
            end,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What the model reads before it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Tasks`] if the chat template refuses the texts or the tokenizer cannot spell them.
    pub fn prompt(&self, system: Option<&str>, prompt: &str) -> Result<Vec<u32>> {
        self.tokens(&self.asked(system, prompt)?)
    }

    /// That, and then the answer, which is learnt.
    ///
    /// # Errors
    ///
    /// Those of [`TextReader::prompt`], and one for a template by which a conversation does not
    /// begin as its prompt does.
    pub fn example(&self, system: Option<&str>, prompt: &str, answer: &str) -> Result<Example> {
        let asked = self.asked(system, prompt)?;
        let mut tokens = self.tokens(&asked)?;
        let begin = tokens.len();
        match &self.chat {
            None => tokens.extend(self.tokens(answer)?),
            Some(chat) => {
                let whole = chat.render(system, prompt, Some(answer))?;
                let answer = whole.strip_prefix(&asked).ok_or_else(|| {
                    let problem = "with an answer it does not begin as it does without one";
                    Error::from(semid_tasks::Error::Chat(problem.to_owned()))
                })?;
                tokens.extend(self.tokens(answer)?);
            }
        }
        tokens.extend(self.end);
        Ok(Example {
            tokens,
            answer: begin,
            choices: None,
        })
    }

    /// The number of tokens of a text: a corpus that is told shortens its histories by it, see
    /// [`CorpusOptions::count`](semid_tasks::corpus::CorpusOptions::count).
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot spell it.
    pub fn count(&self, text: &str) -> semid_tasks::Result<usize> {
        let encoding = self.tokenizer.encode_fast(text, false);
        encoding.map(|encoding| encoding.len()).map_err(refused)
    }

    /// Tokens that a row has at most beside those of its texts.
    ///
    /// # Errors
    ///
    /// Those of [`TextReader::example`].
    pub fn around(&self) -> Result<usize> {
        // Some templates have words of their own where there are none of the system.
        let [told, untold] = [Some(""), None].map(|system| self.example(system, "", ""));
        Ok(told?.tokens.len().max(untold?.tokens.len()))
    }

    fn asked(&self, system: Option<&str>, prompt: &str) -> Result<String> {
        Ok(match (&self.chat, system) {
            (Some(chat), _) => chat.render(system, prompt, None)?,
            (None, Some(system)) => [system, "\n\n", prompt].concat(),
            (None, None) => prompt.to_owned(),
        })
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(refused)?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn refused(error: tokenizers::Error) -> semid_tasks::Error {
    semid_tasks::Error::Tokenizer(error.to_string())
}

/// The rows of a corpus that `semid tasks` has written, in any of its formats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredRows(Vec<[Box<str>; 2]>);

impl StoredRows {
    /// Adds those of a shard; `file` is its name, for errors.
    ///
    /// # Errors
    ///
    /// Those of [`read_rows`].
    pub fn read(&mut self, file: &str, input: Input<'_>) -> Result<()> {
        Ok(read_rows(file, input, |_, row| {
            self.0.push([row.prompt, row.answer].map(Box::from));
            Ok(())
        })?)
    }
}

/// The rows of a corpus, of which the answers are learnt (the setting of LC-Rec, Zheng et al.,
/// arXiv 2311.09049).
#[derive(Debug)]
pub struct CorpusExamples<'a> {
    rows: Rows<'a>,
    reader: &'a TextReader,
    row_tokens: usize,
    digest: String,
}

#[derive(Debug)]
enum Rows<'a> {
    Stored(&'a StoredRows),
    Drawn(&'a Corpus<'a>),
}

impl<'a> CorpusExamples<'a> {
    /// Rows as they were written, the same in each epoch; an epoch is all of them, those of all
    /// epochs of the recipe. Of a row of more than `row_tokens`, the first tokens are left out.
    /// Rows that a chat template has made already are read by a [`TextReader`] without one.
    pub fn stored(rows: &'a StoredRows, reader: &'a TextReader, row_tokens: usize) -> Self {
        let mut hash = reader.hash();
        rows.0
            .iter()
            .flatten()
            .for_each(|text| update(&mut hash, text));
        Self {
            rows: Rows::Stored(rows),
            reader,
            row_tokens,
            digest: hash.finalize().to_hex().to_string(),
        }
    }

    /// Rows that are drawn anew in each epoch: with other templates, negatives and so on. The
    /// corpus has as many epochs as are trained; with fewer, the first ones come again.
    ///
    /// A corpus that is told [to how many tokens](semid_tasks::corpus::CorpusOptions) to shorten
    /// rows, `row_tokens` less [`TextReader::around`], leaves out the oldest items of a history.
    /// Of a row that is longer still the first tokens are left out.
    ///
    /// # Errors
    ///
    /// Those of the corpus, whose first epoch is made once for the digest.
    pub fn drawn(
        corpus: &'a Corpus<'a>,
        reader: &'a TextReader,
        row_tokens: usize,
    ) -> Result<Self> {
        let mut hash = reader.hash();
        let len = corpus.epoch_len();
        let blocks = (0..len.div_ceil(BLOCK)).into_par_iter();
        let blocks =
            blocks.map(|block| hash_rows(corpus, block * BLOCK..len.min((block + 1) * BLOCK)));
        for block in blocks.collect::<Result<Vec<_>>>()? {
            hash.update(block.as_bytes());
        }
        Ok(Self {
            rows: Rows::Drawn(corpus),
            reader,
            row_tokens,
            digest: hash.finalize().to_hex().to_string(),
        })
    }

    /// The row of a corpus at a place, if there is one.
    fn draw(&self, corpus: &Corpus<'_>, place: u64) -> Result<Option<Example>> {
        let mut example = None;
        corpus.rows(place..place + 1, &mut Scratch::default(), |row| {
            example = Some(self.reader.example(row.system, row.prompt, row.answer));
            Ok(())
        })?;
        example.transpose()
    }
}

impl Examples for CorpusExamples<'_> {
    fn count(&self) -> usize {
        match self.rows {
            Rows::Stored(rows) => rows.0.len(),
            Rows::Drawn(corpus) => corpus.epoch_len() as usize,
        }
    }

    fn example(&self, epoch: u64, number: usize) -> Result<Example> {
        let example = match self.rows {
            Rows::Stored(StoredRows(rows)) => {
                let [prompt, answer] = &rows[number];
                self.reader.example(None, prompt, answer)?
            }
            Rows::Drawn(corpus) => {
                let place = epoch * corpus.epoch_len() + number as u64;
                self.draw(corpus, place % corpus.len())?.unwrap_or_default()
            }
        };
        let answer = example.tokens.len() - example.answer;
        match answer < self.row_tokens {
            true => Ok(example),
            false => Err(Error::Training(format!(
                "row {number} of epoch {epoch}: its answer has {answer} tokens, and rows have {} \
                 with a prompt; train with longer rows",
                self.row_tokens
            ))),
        }
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}

/// Rows that are hashed at a time.
const BLOCK: u64 = 4096;

fn hash_rows(corpus: &Corpus<'_>, places: Range<u64>) -> Result<blake3::Hash> {
    let mut hash = blake3::Hasher::new();
    corpus.rows(places, &mut Scratch::default(), |row| {
        for text in [row.system.unwrap_or_default(), row.prompt, row.answer] {
            update(&mut hash, text);
        }
        Ok(())
    })?;
    Ok(hash.finalize())
}

fn update(hash: &mut blake3::Hasher, text: &str) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

impl TextReader {
    /// Begins a hash with all that makes texts into tokens.
    fn hash(&self) -> blake3::Hasher {
        let mut hash = blake3::Hasher::new();
        let tokenizer = self.tokenizer.to_string(false).unwrap_or_default();
        let spoken = self
            .chat
            .as_ref()
            .map(|chat| chat.render(Some("s"), "p", Some("a")));
        let spoken = spoken.and_then(semid_tasks::Result::ok).unwrap_or_default();
        update(&mut hash, &tokenizer);
        update(&mut hash, &spoken);
        hash.update(&self.end.map_or([0xff; 4], u32::to_le_bytes));
        hash
    }
}
