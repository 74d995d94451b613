#![doc = include_str!("../README.md")]

use std::fmt;
use std::ops::Deref;

use candle_core::{Error, Result, Tensor, bail};
use mistralrs_core::CustomLogitsProcessor;
use trie_decode::{DecodeSession, ItemTrie};

/// Lets one request generate what its session allows.
///
/// What comes behind the prompt goes through a [`DecodeSession`]: an item begins at once or behind
/// a trigger, and end tokens come after it. Nothing is kept between calls, so that all sequences of
/// a request can share one processor, on any thread. A call takes `O(V)`, and one step of the
/// session for each token that was generated before.
///
/// ```
/// use candle_core::{D, Device, Tensor};
/// use mistralrs_core::CustomLogitsProcessor;
/// use semantic_id::{Code, CodeMatrix, CodeSpace};
/// use semid_mistralrs::SemanticIdLogits;
/// use trie_decode::{DecodeSession, ItemTrie, SessionParams, TokenMap};
///
/// // Two items, 0.1 and 1.0; the codes are the tokens 1 and 2, then 3 and 4.
/// let space = CodeSpace::uniform(2, 2)?;
/// let codes = CodeMatrix::new([0, 1, 1, 0].map(Code).to_vec(), 2)?;
/// let tokens = TokenMap::ranges(&space, &[1, 3], 5)?;
/// let trie = ItemTrie::of_codes(space, &codes, 1)?;
///
/// let config = SessionParams::new(&tokens).check(&tokens)?;
/// let session = DecodeSession::new(&trie, tokens.into(), None, config)?;
/// let prompt = [0, 0, 0];
/// let processor = SemanticIdLogits::new(session, prompt.to_vec());
///
/// // A model that would rather say token 0, which is no code.
/// let logits = Tensor::new(&[9_f32, 1.0, 2.0, 3.0, 4.0], &Device::Cpu)?;
/// let mut context = prompt.to_vec();
/// for expected in [2, 3] {
///     let token: u32 = processor.apply(&logits, &context)?.argmax(D::Minus1)?.to_scalar()?;
///     assert_eq!(token, expected);
///     context.push(token);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SemanticIdLogits<T> {
    /// At the end of the prompt.
    session: DecodeSession<T>,
    prompt: Vec<u32>,
}

impl<T> SemanticIdLogits<T> {
    /// A processor for a request with a prompt: all its tokens, as `Model::tokenize` makes them of
    /// messages. The session is that of one beam, and stands at the end of the prompt. Give it an
    /// end token that stops the model, or limit `max_len`.
    pub fn new(session: DecodeSession<T>, prompt: Vec<u32>) -> Self {
        Self { session, prompt }
    }

    /// What of a context was generated. Where mistral.rs has read the beginning of a prompt for an
    /// earlier request, the first context is only the rest of the prompt.
    fn generated<'c>(&self, context: &'c [u32]) -> Result<&'c [u32]> {
        match context.strip_prefix(&*self.prompt) {
            Some(generated) => Ok(generated),
            None if self.prompt.ends_with(context) => Ok(&[]),
            None => bail!(
                "context: got {} tokens that are neither the prompt's {} and more, nor its last; \
                 give the processor the prompt as the model reads it",
                context.len(),
                self.prompt.len()
            ),
        }
    }
}

impl<D, T> CustomLogitsProcessor for SemanticIdLogits<T>
where
    D: AsRef<[u8]>,
    T: Deref<Target = ItemTrie<D>> + Clone + Send + Sync,
{
    /// The logits `[V]`, f32, with negative infinity for each token that may not come after the
    /// context: the prompt, and what was generated.
    ///
    /// # Errors
    ///
    /// A context of another prompt, or that the session does not allow, an item after which
    /// nothing may come, and logits of another shape or type. mistral.rs gives it to the request.
    fn apply(&self, logits: &Tensor, context: &[u32]) -> Result<Tensor> {
        let mut session = self.session.clone();
        for (at, &token) in self.generated(context)?.iter().enumerate() {
            let step = session.advance(&[0], &[token]);
            step.map_err(|error| Error::wrap(error).context(format!("generated token {at}")))?;
        }
        let mask = session.mask(0).map_err(Error::wrap)?;
        if mask.iter().all(|&word| word == 0) {
            bail!("the item is complete: give the session an end token, or limit max_len");
        }
        let mut values: Vec<f32> = logits.to_vec1()?;
        let (got, expected) = (values.len(), session.tokens().vocabulary());
        if got != expected {
            bail!("logits: got {got}, expected {expected}, the vocabulary of the token map");
        }
        for (token, value) in values.iter_mut().enumerate() {
            if mask[token / 32] >> (token % 32) & 1 == 0 {
                *value = f32::NEG_INFINITY;
            }
        }
        Tensor::from_vec(values, expected, logits.device())
    }
}

impl<T> fmt::Debug for SemanticIdLogits<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemanticIdLogits")
            .field("prompt", &self.prompt.len())
            .finish_non_exhaustive()
    }
}
