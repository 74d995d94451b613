use semantic_id::{Code, CodeSpace};
use trie_decode::TokenMap;

use crate::Result;

/// The tokens of a model that knows nothing but items: one that begins a history, one for every
/// code of every level, and one that ends an ID shorter than others.
///
/// ```
/// use semantic_id::{Code, CodeSpace};
/// use semid_recommender::Vocabulary;
///
/// let vocabulary = Vocabulary::new(&CodeSpace::uniform(2, 4)?)?;
/// assert_eq!(vocabulary.len(), 2 + 2 * 4);
/// let history = [[Code(1), Code(0)], [Code(3), Code(2)]];
/// assert_eq!(vocabulary.prompt(&history, 50), [0, 3, 6, 5, 8]);
/// assert_eq!(vocabulary.prompt(&history, 1), [0, 5, 8]);
/// assert_eq!(vocabulary.prompt(&[[Code(1)]], 1), [0, 3, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    tokens: TokenMap,
    /// A code that pads shorter IDs, a level.
    ends: Vec<Option<Code>>,
}

const BEGIN: u32 = 0;
const END: u32 = 1;

impl Vocabulary {
    /// Of all codes, those that no item has included: new items may need them.
    ///
    /// # Errors
    ///
    /// Those of [`TokenMap::ranges`].
    pub fn new(space: &CodeSpace) -> Result<Self> {
        let mut next = END + 1;
        let firsts = space.sizes().iter().map(|size| {
            let first = next;
            next += size;
            first
        });
        let firsts: Vec<u32> = firsts.collect();
        let tokens = TokenMap::ranges(space, &firsts, next as usize)?;
        Ok(Self {
            tokens: tokens.between(None, Some(END))?,
            ends: (0..space.levels()).map(|level| space.end(level)).collect(),
        })
    }

    /// Number of tokens `V`.
    #[expect(clippy::len_without_is_empty, reason = "two tokens are always there")]
    pub fn len(&self) -> usize {
        self.tokens.vocabulary()
    }

    /// Which token stands for which code.
    pub fn tokens(&self) -> &TokenMap {
        &self.tokens
    }

    /// What a model reads of a history, whose last items it is: `1 + items L` tokens at most.
    pub fn prompt<I: AsRef<[Code]>>(&self, history: &[I], items: usize) -> Vec<u32> {
        let seen = &history[history.len().saturating_sub(items)..];
        let mut prompt = vec![BEGIN];
        for id in seen {
            prompt.extend(self.id(id.as_ref()));
        }
        prompt
    }

    /// The tokens of an ID, padded or not, with that of its end if it is shorter than others.
    pub(crate) fn id<'i>(&'i self, id: &'i [Code]) -> impl Iterator<Item = u32> + 'i {
        let whole = (0..self.ends.len()).map(|level| match id.get(level) {
            Some(&code) => self.token(level, code),
            None => END,
        });
        let mut ended = false;
        whole.take_while(move |&token| !std::mem::replace(&mut ended, token == END))
    }

    /// The token of a code, or of the end of an ID.
    pub(crate) fn token(&self, level: usize, code: Code) -> u32 {
        let code = Some(code).filter(|&code| Some(code) != self.ends[level]);
        let token = code.and_then(|code| self.tokens.token(level, code));
        token.unwrap_or(END)
    }
}
