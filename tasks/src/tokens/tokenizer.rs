use crate::{Error, Result};

/// Counts the tokens that a language model sees.
///
/// Special tokens that a tokenizer puts around each text are left out: a row has them once, or in
/// its chat template.
#[derive(Debug, Clone)]
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// Reads a `tokenizer.json` of Hugging Face. `file` is its name, for errors.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn read(file: &str, json: &[u8]) -> Result<Self> {
        let bad = |error: tokenizers::Error| Error::Format {
            file: file.to_owned(),
            problem: format!("expected a tokenizer.json: {error}"),
        };
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).map_err(bad)?;
        tokenizer.with_truncation(None).map_err(bad)?;
        tokenizer.with_padding(None);
        Ok(Self(tokenizer))
    }

    /// The number of tokens of a text. Safe to call from many threads at once.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot spell the text, as one without a token for the unknown may not.
    pub fn count(&self, text: &str) -> Result<usize> {
        let encoding = self.0.encode_fast(text, false);
        let encoding = encoding.map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.len())
    }
}
