use semantic_id::{Code, CodeSpace, TokenFormat};
use semid_tasks::{ChatTemplate, Question};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::Tokenizer;
use trie_decode::TokenMap;

use crate::{Error, Result, TextReader};

/// What a tuned language model is asked about a history, and how it spells items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speech {
    /// The words.
    #[serde(flatten)]
    pub question: Question,
    /// The items.
    pub tokens: TokenFormat,
    /// What a chat template is told that asks for the date, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<i64>,
}

/// A language model's way from a history to the tokens it reads: a question, in its chat template
/// if it has one, by its tokenizer.
#[derive(Debug)]
pub struct Conversation {
    speech: Speech,
    reader: TextReader,
    tokens: TokenMap,
    /// The model's `tokenizer_config.json`.
    config: String,
}

impl Conversation {
    /// By the tokenizer that [`NewTokens`](crate::NewTokens) has added the codes of `space` to, and
    /// the model's `tokenizer_config.json`, from which come the chat template or, where there is
    /// none, the token that ends an answer.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for a configuration that is no JSON, or has neither chat template nor
    /// `eos_token`; [`Error::Setting`] for a code without a token; those of [`ChatTemplate::read`].
    pub fn new(
        speech: Speech,
        tokenizer: Tokenizer,
        config: String,
        space: &CodeSpace,
    ) -> Result<Self> {
        let tokens = token_map(&speech.tokens, &tokenizer, space)?;
        let bad = |problem: String| Error::Model(format!("tokenizer_config.json: {problem}"));
        let facts: Value = serde_json::from_str(&config).map_err(|error| bad(error.to_string()))?;
        let reader =
            match facts.get("chat_template") {
                Some(_) => {
                    let chat = ChatTemplate::read(&config, None, speech.now)?;
                    TextReader::new(tokenizer, Some(chat), None)?
                }
                None => {
                    let end = &facts["eos_token"];
                    let end = end.as_str().or_else(|| end["content"].as_str());
                    let end = end.ok_or_else(|| {
                    bad("it has neither `chat_template` nor `eos_token`, one of which has to end \
                         an answer"
                        .to_owned())
                })?;
                    TextReader::new(tokenizer, None, Some(end))?
                }
            };
        Ok(Self {
            speech,
            reader,
            tokens,
            config,
        })
    }

    /// What is asked.
    pub fn speech(&self) -> &Speech {
        &self.speech
    }

    /// How texts are read.
    pub fn reader(&self) -> &TextReader {
        &self.reader
    }

    /// Which token stands for which code.
    pub fn tokens(&self) -> &TokenMap {
        &self.tokens
    }

    /// What the model reads after a history, the oldest item first.
    ///
    /// # Errors
    ///
    /// Those of [`TextReader::prompt`].
    pub fn prompt<I: AsRef<[Code]>>(&self, history: &[I]) -> Result<Vec<u32>> {
        let ids = history
            .iter()
            .map(|id| self.speech.tokens.text(id.as_ref()));
        let Question { system, .. } = &self.speech.question;
        let asked = self.speech.question.ask(&ids.collect::<Vec<_>>())?;
        let mut prompt = self.reader.prompt(system.as_deref(), &asked)?;
        prompt.extend(self.tokens.begin());
        Ok(prompt)
    }

    /// `tokenizer.json` and `tokenizer_config.json`.
    pub(crate) fn files(&self) -> Result<[(&'static str, Vec<u8>); 2]> {
        let tokenizer = self.reader.tokenizer().to_string(true);
        let tokenizer =
            tokenizer.map_err(|error| Error::Model(format!("the tokenizer: {error}")))?;
        Ok([
            (TOKENIZER, tokenizer.into_bytes()),
            (TOKENIZER_CONFIG, self.config.clone().into_bytes()),
        ])
    }

    /// Reads these again.
    pub(crate) fn from_files(
        speech: Speech,
        read: &dyn Fn(&str) -> std::io::Result<Vec<u8>>,
        space: &CodeSpace,
    ) -> Result<Self> {
        let text = |file: &str| {
            let bad = |error: &dyn std::fmt::Display| Error::Model(format!("{file}: {error}"));
            let bytes = read(file).map_err(|error| bad(&error))?;
            String::from_utf8(bytes).map_err(|error| bad(&error))
        };
        let tokenizer = text(TOKENIZER)?.parse();
        let tokenizer = tokenizer.map_err(|error| Error::Model(format!("{TOKENIZER}: {error}")))?;
        Self::new(speech, tokenizer, text(TOKENIZER_CONFIG)?, space)
    }
}

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The tokens of all codes, those that no item has included: new items may need them.
fn token_map(format: &TokenFormat, tokenizer: &Tokenizer, space: &CodeSpace) -> Result<TokenMap> {
    let id = |token: String| {
        let id = tokenizer.token_to_id(&token);
        id.ok_or_else(|| Error::Setting {
            name: "tokens",
            got: format!("{token:?}"),
            expected: "a token of the tokenizer; add those of all codes".to_owned(),
        })
    };
    let around = |token: &str| match token {
        "" => Ok(None),
        token => id(token.to_owned()).map(Some),
    };
    let table = |level| {
        let codes = (0..space.size(level)).map(|code| Code(code as u16));
        codes
            .map(|code| id(format.token(level, code)).map(Some))
            .collect::<Result<Vec<_>>>()
    };
    let tables = (0..space.levels()).map(table).collect::<Result<Vec<_>>>()?;
    let around = [around(format.begin())?, around(format.end())?];
    // A vocabulary may have gaps.
    let last = tables
        .iter()
        .flatten()
        .flatten()
        .chain(around.iter().flatten())
        .max();
    let vocabulary = last.map_or(0, |&last| last as usize + 1);
    let tokens = TokenMap::table(space, tables, vocabulary)?;
    let [begin, end] = around;
    Ok(tokens.between(begin, end)?)
}
