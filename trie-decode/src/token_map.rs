use std::collections::HashMap;
use std::fmt;

use semantic_id::{Code, CodeSpace, TokenFormat};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::equal;
use crate::{Error, ItemTrie, Result};

/// Which token of a language model stands for which code of which level.
///
/// Codes of one level have distinct tokens; codes of two levels may share one, as they do where
/// IDs are spelled in ordinary words. The code [`CodeSpace::end`] has no token of its own: that
/// a shorter ID ends is told by [`TokenMap::end`], or by whatever a session is told.
///
/// ```
/// use semantic_id::{Code, CodeSpace};
/// use trie_decode::TokenMap;
///
/// // A vocabulary of 32,000 words was extended by <a_0> ... <a_255>, <b_0> ... <b_255>.
/// let space = CodeSpace::uniform(2, 256)?;
/// let tokens = TokenMap::ranges(&space, &[32_000, 32_256], 32_512)?;
/// assert_eq!(tokens.token(1, Code(3)), Some(32_259));
/// assert_eq!(tokens.code(1, 32_259), Some(Code(3)));
/// assert_eq!(tokens.code(0, 32_259), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMap {
    space: CodeSpace,
    levels: Vec<Level>,
    vocabulary: usize,
    begin: Option<u32>,
    end: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    /// The token of code `c` is `first + c`.
    Range { first: u32 },
    Table {
        /// Of each code; [`NO_TOKEN`] where it has none.
        tokens: Vec<u32>,
        /// Codes that have a token, in order of token.
        sorted: Vec<Code>,
    },
}

/// The tokens of one level, `[K_l]`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LevelTokens<'a> {
    /// The token of code `c` is `first + c`.
    Range { first: u32, codes: u32 },
    /// Of each code; [`NO_TOKEN`] where it has none.
    Table(&'a [u32]),
}

/// Stands in a table for no token.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

impl TokenMap {
    /// The tokens of level `l` follow each other from `firsts[l]` on, `[L]`. `vocabulary` is
    /// the width of the model's logits, which may be more than the tokenizer has.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `firsts` is not one a level, [`Error::TokenOutOfRange`] if a token
    /// is not below `vocabulary`.
    pub fn ranges(space: &CodeSpace, firsts: &[u32], vocabulary: usize) -> Result<Self> {
        equal("first tokens, one a level", firsts.len(), space.levels())?;
        for (level, &first) in firsts.iter().enumerate() {
            let last = space.size(level) as u32 - 1;
            let token = first.saturating_add(last);
            check_token(level, Code(last as u16), token, vocabulary)?;
        }
        let levels = firsts.iter().map(|&first| Level::Range { first });
        Ok(Self::of_levels(space, levels.collect(), vocabulary))
    }

    /// The token of code `c` of level `l` is `tables[l][c]`, `[L][K_l]`; `None` for a code
    /// that has none and so is never generated. [`TokenMap::check`] tells whether an item
    /// needs it.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one table a level with one entry a code,
    /// [`Error::TokenOutOfRange`] if a token is not below `vocabulary`, and
    /// [`Error::SharedToken`] if two codes of one level have the same.
    pub fn table(
        space: &CodeSpace,
        tables: Vec<Vec<Option<u32>>>,
        vocabulary: usize,
    ) -> Result<Self> {
        equal(
            "tables of tokens, one a level",
            tables.len(),
            space.levels(),
        )?;
        equal("tokens of the vocabulary, at least", vocabulary.min(1), 1)?;
        let levels = tables.into_iter().enumerate();
        let levels = levels
            .map(|(level, table)| {
                equal("codes in a table of tokens", table.len(), space.size(level))?;
                Level::new(level, table, vocabulary)
            })
            .collect::<Result<_>>()?;
        Ok(Self::of_levels(space, levels, vocabulary))
    }

    /// The tokens that `format` spells, as a Hugging Face `tokenizer.json` numbers them: those of
    /// `model.vocab` (BPE, WordPiece, WordLevel, Unigram) and of `added_tokens`, compared as they
    /// are written there. Codes that no item of `trie` has need no token. Reads the file
    /// once; memory is proportional to it.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if `json` is no such file, [`Error::MissingTokens`] lists what it
    /// lacks, and those of [`TokenMap::table`].
    ///
    /// ```
    /// use semantic_id::{Code, CodeMatrix, CodeSpace, TokenFormat};
    /// use trie_decode::{ItemTrie, TokenMap};
    ///
    /// let codes = CodeMatrix::new([Code(1), Code(0)].to_vec(), 2)?;
    /// let trie = ItemTrie::of_codes(CodeSpace::uniform(2, 2)?, &codes, 1)?;
    /// let json = r#"{"model": {"vocab": {"lamp": 0}},
    ///     "added_tokens": [{"id": 1, "content": "<a_1>"}, {"id": 2, "content": "<b_0>"}]}"#;
    /// let format = TokenFormat::lc_rec(2);
    /// let tokens = TokenMap::from_tokenizer(json.as_bytes(), &format, &trie, 64)?;
    /// assert_eq!(tokens.token(0, Code(1)), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_tokenizer<D: AsRef<[u8]>>(
        json: &[u8],
        format: &TokenFormat,
        trie: &ItemTrie<D>,
        vocabulary: usize,
    ) -> Result<Self> {
        let space = trie.space();
        equal(
            "levels of the token format",
            format.levels(),
            space.levels(),
        )?;
        let known = Tokenizer::read(json)?;
        let tables = (0..space.levels()).map(|level| {
            let codes = (0..space.size(level)).map(|code| Code(code as u16));
            codes
                .map(|code| known.id(&format.token(level, code)))
                .collect()
        });
        let map = Self::table(space, tables.collect(), vocabulary)?;

        let mut missing = Missing::default();
        let mut around = |token: &str| {
            let id = known.id(token).filter(|_| !token.is_empty());
            if id.is_none() && !token.is_empty() {
                missing.push(|| token.to_owned());
            }
            id
        };
        let (begin, end) = (around(format.begin()), around(format.end()));
        map.each_missing(trie, |level, code| {
            missing.push(|| format.token(level, code))
        })?;
        missing.none()?;
        map.between(begin, end)
    }

    /// The same map with a token before and one after each semantic ID.
    ///
    /// # Errors
    ///
    /// [`Error::Vocabulary`] if a token is not below `vocabulary`.
    pub fn between(self, begin: Option<u32>, end: Option<u32>) -> Result<Self> {
        for token in [begin, end].into_iter().flatten() {
            self.check_vocabulary(token)?;
        }
        Ok(Self { begin, end, ..self })
    }

    /// Holds that every code of every item has a token. Reads the whole trie, `O(N L)`: once
    /// for each pair of map and trie is enough.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTokens`] lists the first codes without a token, as `level 0 code 7`,
    /// [`Error::Space`] if the map is for other codes than the trie's.
    pub fn check<D: AsRef<[u8]>>(&self, trie: &ItemTrie<D>) -> Result<()> {
        self.fits(trie.space())?;
        let mut missing = Missing::default();
        self.each_missing(trie, |level, code| {
            missing.push(|| format!("level {level} code {code}"));
        })?;
        missing.none()
    }

    /// Width of the model's logits, `V`.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Number of levels `L`.
    pub fn levels(&self) -> usize {
        self.levels.len()
    }

    /// The token of a code, in `O(1)`; `None` if it has none, or there is no such code.
    pub fn token(&self, level: usize, code: Code) -> Option<u32> {
        self.level(level)?.token(code)
    }

    /// The code of a token, in `O(log K)`; `None` if it stands for no code of this level.
    pub fn code(&self, level: usize, token: u32) -> Option<Code> {
        match self.levels.get(level)? {
            Level::Range { first } => {
                let code = token.checked_sub(*first)?;
                (code < self.space.sizes()[level]).then_some(Code(code as u16))
            }
            Level::Table { tokens, sorted } => {
                let at = sorted.binary_search_by_key(&token, |code| tokens[code.index()]);
                Some(sorted[at.ok()?])
            }
        }
    }

    /// The token before each semantic ID.
    pub fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// The token after each semantic ID.
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// The tokens of a level.
    pub(crate) fn level(&self, level: usize) -> Option<LevelTokens<'_>> {
        Some(match self.levels.get(level)? {
            Level::Range { first } => LevelTokens::Range {
                first: *first,
                codes: self.space.sizes()[level],
            },
            Level::Table { tokens, .. } => LevelTokens::Table(tokens),
        })
    }

    /// Holds that the map is for the codes of a space.
    pub(crate) fn fits(&self, space: &CodeSpace) -> Result<()> {
        if &self.space == space {
            return Ok(());
        }
        Err(Error::Space {
            got: self.space.to_string(),
            expected: space.to_string(),
        })
    }

    /// Holds that the model has a token.
    pub(crate) fn check_vocabulary(&self, token: u32) -> Result<()> {
        let vocabulary = self.vocabulary;
        if (token as usize) < vocabulary {
            return Ok(());
        }
        Err(Error::Vocabulary { token, vocabulary })
    }

    fn of_levels(space: &CodeSpace, levels: Vec<Level>, vocabulary: usize) -> Self {
        Self {
            space: space.clone(),
            levels,
            vocabulary,
            begin: None,
            end: None,
        }
    }

    /// Calls `missing` for every code that an item has and that has no token.
    fn each_missing<D: AsRef<[u8]>>(
        &self,
        trie: &ItemTrie<D>,
        mut missing: impl FnMut(usize, Code),
    ) -> Result<()> {
        for level in 0..self.levels() {
            let occurring = occurring(trie, level)?;
            for (code, here) in (0..=u16::MAX).map(Code).zip(occurring) {
                if here && self.token(level, code).is_none() {
                    missing(level, code);
                }
            }
        }
        Ok(())
    }
}

impl Level {
    fn new(level: usize, table: Vec<Option<u32>>, vocabulary: usize) -> Result<Self> {
        let tokens: Vec<u32> = table
            .iter()
            .map(|token| token.unwrap_or(NO_TOKEN))
            .collect();
        let codes = (0..=u16::MAX).map(Code).zip(&table);
        let mut sorted = Vec::new();
        for (code, token) in codes {
            if let Some(token) = *token {
                check_token(level, code, token, vocabulary)?;
                sorted.push(code);
            }
        }
        if let Some(first) = contiguous(&tokens) {
            return Ok(Self::Range { first });
        }
        let token = |code: Code| tokens[code.index()];
        sorted.sort_by_key(|&code| token(code));
        let twice = sorted
            .windows(2)
            .find(|pair| token(pair[0]) == token(pair[1]));
        if let Some(&[first, second]) = twice {
            let token = token(first);
            return Err(Error::SharedToken {
                level,
                token,
                first,
                second,
            });
        }
        Ok(Self::Table { tokens, sorted })
    }
}

impl LevelTokens<'_> {
    pub(crate) fn token(self, code: Code) -> Option<u32> {
        match self {
            Self::Range { first, codes } => {
                (u32::from(code.0) < codes).then_some(first + u32::from(code.0))
            }
            Self::Table(tokens) => tokens
                .get(code.index())
                .copied()
                .filter(|&token| token != NO_TOKEN),
        }
    }
}

/// The first of tokens that follow each other.
fn contiguous(tokens: &[u32]) -> Option<u32> {
    let first = *tokens.first()?;
    let follows = |(at, &token): (usize, &u32)| token.checked_sub(first) == u32::try_from(at).ok();
    (first != NO_TOKEN && tokens.iter().enumerate().all(follows)).then_some(first)
}

/// For each code of a level, whether an item has it, `[K_l]`.
fn occurring<D: AsRef<[u8]>>(trie: &ItemTrie<D>, level: usize) -> Result<Vec<bool>> {
    let size = trie.space().size(level);
    let mut here = vec![false; size];
    let codes = trie.level(level).map(|level| level.codes);
    for code in codes.into_iter().flat_map(|codes| codes.iter()) {
        match here.get_mut(code.index()) {
            Some(here) => *here = true,
            None if Some(code) == trie.space().end(level) => {}
            None => {
                return Err(Error::Index(semantic_id::Error::IndexFile {
                    part: format!("level.{level}.code"),
                    problem: format!("got code {code}, expected one below {size}"),
                }));
            }
        }
    }
    Ok(here)
}

fn check_token(level: usize, code: Code, token: u32, vocabulary: usize) -> Result<()> {
    if (token as usize) < vocabulary && token != NO_TOKEN {
        return Ok(());
    }
    Err(Error::TokenOutOfRange {
        level,
        code,
        token,
        vocabulary,
    })
}

/// Tokens that were looked for in vain.
#[derive(Default)]
struct Missing {
    first: Vec<String>,
    count: usize,
}

impl Missing {
    /// Missing tokens that an error names.
    const NAMED: usize = 5;

    fn push(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(name());
        }
    }

    fn none(self) -> Result<()> {
        let Self { first, count } = self;
        if count == 0 {
            return Ok(());
        }
        Err(Error::MissingTokens { first, count })
    }
}

/// What matters of a `tokenizer.json`.
#[derive(Deserialize)]
struct Tokenizer {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Vocabulary,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

impl Tokenizer {
    fn read(json: &[u8]) -> Result<Self> {
        let mut read: Self =
            serde_json::from_slice(json).map_err(|error| Error::Tokenizer(error.to_string()))?;
        // A token of both has the number that the model gives it, as Hugging Face reads it.
        for added in std::mem::take(&mut read.added_tokens) {
            read.model.vocab.0.entry(added.content).or_insert(added.id);
        }
        Ok(read)
    }

    fn id(&self, token: &str) -> Option<u32> {
        self.model.vocab.0.get(token).copied()
    }
}

/// Tokens by spelling: an object of numbers or, for Unigram, a list of `[token, score]`.
struct Vocabulary(HashMap<String, u32>);

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of token numbers or a list of [token, score]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vocabulary, A::Error> {
        let mut ids = HashMap::new();
        while let Some((token, id)) = map.next_entry()? {
            ids.insert(token, id);
        }
        Ok(Vocabulary(ids))
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut list: A,
    ) -> std::result::Result<Vocabulary, A::Error> {
        let mut ids = HashMap::new();
        for id in 0.. {
            let Some((token, _)) = list.next_element::<(String, IgnoredAny)>()? else {
                break;
            };
            ids.insert(token, id);
        }
        Ok(Vocabulary(ids))
    }
}
