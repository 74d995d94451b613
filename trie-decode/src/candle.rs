//! For models that run on [candle](candle_core), in its tensors (feature `candle`).
//!
//! | I have | I want | use |
//! |---|---|---|
//! | a forward pass | the best items | [`TensorScorer`], in a [`BeamSearch`](crate::BeamSearch) |
//! | a loop that samples | logits of what may come next | [`DecodeSession::constrain`] |
//! | beams of my own | the same | [`TokenMask::constrain`] |
//!
//! The two mask the logits before the softmax; the hook of candle-transformers'
//! `LogitsProcessor::sample_f` comes after it, and some ways of sampling do not call it.

use std::fmt;
use std::ops::Deref;

use candle_core::{DType, Error, Result, Tensor, bail};
use half::{bf16, f16};

use crate::scorer::Columns;
use crate::{DecodeSession, ItemTrie, Logits, Scorer, Scores, Step, TokenMask, TrieCursor};

/// A forward pass, as a [`Scorer`].
///
/// The function gets a step and gives its logits, `[rows, columns]` in f32, f16 or bf16, on any
/// device. They are copied once, as they are: candle lends its memory only under a lock. See
/// `examples/candle.rs` for one that keeps the keys and values of its beams.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
/// use trie_decode::candle::TensorScorer;
/// use trie_decode::{BeamParams, BeamSearch, ItemTrie, Normalizer, Request, Scratch};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let trie = ItemTrie::of_codes(space, &codes, 1)?;
/// let params = BeamParams { results: 2, normalizer: Normalizer::Level, ..Default::default() };
/// let search = BeamSearch::new(&trie, None, params.check()?)?;
///
/// // Likes high codes.
/// let row = Tensor::new(&[0_f32, 1.0, 2.0, 3.0], &Device::Cpu)?;
/// let mut scorer = TensorScorer::level(|step| row.broadcast_left(step.rows().len()));
/// let outcomes = search.run(&mut scorer, &[Request::default()], &mut Scratch::default())?;
/// let items: Vec<ItemId> = outcomes[0].hits.iter().map(|hit| hit.item).collect();
/// assert_eq!(items, [ItemId(0), ItemId(2)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TensorScorer<F> {
    forward: F,
    columns: Columns,
    values: Values,
}

impl<F: FnMut(&Step<'_>) -> Result<Tensor>> TensorScorer<F> {
    /// Of logits of the whole vocabulary, as [`Scores::vocabulary`].
    pub fn vocabulary(forward: F) -> Self {
        Self::of(forward, Columns::Vocabulary)
    }

    /// Of logits of the next level's codes only, as [`Scores::level`].
    pub fn level(forward: F) -> Self {
        Self::of(forward, Columns::Level)
    }

    fn of(forward: F, columns: Columns) -> Self {
        Self {
            forward,
            columns,
            values: Values::F32(Vec::new()),
        }
    }
}

impl<F: FnMut(&Step<'_>) -> Result<Tensor>> Scorer for TensorScorer<F> {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> std::result::Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        let logits = (self.forward)(step)?;
        self.values = Values::read(&logits, step.rows().len())?;
        Ok(Scores {
            logits: self.values.logits(),
            columns: self.columns,
            log_sums: None,
        })
    }
}

impl<F> fmt::Debug for TensorScorer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorScorer").finish_non_exhaustive()
    }
}

/// What a tensor holds, in its own precision.
enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Values {
    fn read(logits: &Tensor, rows: usize) -> Result<Self> {
        match logits.dims() {
            [got, _] if *got == rows => {}
            shape => bail!("logits of a step: got the shape {shape:?}, expected [{rows}, columns]"),
        }
        let values = logits.flatten_all()?;
        Ok(match logits.dtype() {
            DType::F32 => Self::F32(values.to_vec1()?),
            DType::F16 => Self::F16(values.to_vec1()?),
            DType::BF16 => Self::Bf16(values.to_vec1()?),
            other => return Err(no_logits(other)),
        })
    }

    fn logits(&self) -> Logits<'_> {
        match self {
            Self::F32(values) => Logits::F32(values),
            Self::F16(values) => Logits::F16(values),
            Self::Bf16(values) => Logits::Bf16(values),
        }
    }
}

impl<D: AsRef<[u8]> + Send + Sync> TokenMask<'_, D> {
    /// The logits with negative infinity for each token that may not come at its row's cursor.
    /// `logits` is `[cursors, V]` in f32, f16 or bf16, on any device; with one cursor it may be
    /// `[V]`. Takes `O(V)` a row.
    ///
    /// # Errors
    ///
    /// Those of [`TokenMask::fill`], and another shape or type than these.
    pub fn constrain(&self, logits: &Tensor, cursors: &[TrieCursor]) -> Result<Tensor> {
        let mut bits = vec![0; cursors.len() * self.words()];
        self.fill_batch(cursors, &mut bits).map_err(Error::wrap)?;
        masked(logits, cursors.len(), self.tokens.vocabulary(), &bits)
    }
}

impl<D: AsRef<[u8]>, T: Deref<Target = ItemTrie<D>>> DecodeSession<T> {
    /// The logits with negative infinity for each token that may not come next. `logits` is
    /// `[beams, V]` in f32, f16 or bf16, on any device; with one beam it may be `[V]`. Takes
    /// `O(V)` a beam. Of a beam that is done, without end tokens, nothing is left.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use candle_core::{D, Device, Tensor};
    /// use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
    /// use trie_decode::{DecodeSession, ItemTrie, SessionParams, TokenMap};
    ///
    /// let space = CodeSpace::uniform(2, 2)?;
    /// let codes = CodeMatrix::new([0, 1, 1, 0].map(Code).to_vec(), 2)?;
    /// let tokens = Arc::new(TokenMap::ranges(&space, &[1, 3], 5)?);
    /// let trie = Arc::new(ItemTrie::of_codes(space, &codes, 1)?);
    /// let config = SessionParams::new(&tokens).check(&tokens)?;
    /// let mut session = DecodeSession::new(trie, tokens, None, config)?;
    ///
    /// // A model that would rather say token 0, which is no code.
    /// let logits = Tensor::new(&[9_f32, 1.0, 2.0, 3.0, 4.0], &Device::Cpu)?;
    /// for expected in [2, 3] {
    ///     let token: u32 = session.constrain(&logits)?.argmax(D::Minus1)?.to_scalar()?;
    ///     assert_eq!(token, expected);
    ///     session.advance(&[0], &[token])?;
    /// }
    /// assert_eq!(session.finish()?, [[ItemId(1)]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Index`](crate::Error::Index) if the file is damaged, and another shape or type
    /// than these.
    pub fn constrain(&self, logits: &Tensor) -> Result<Tensor> {
        let beams = self.phases().len();
        let rows = (0..beams).map(|beam| self.mask(beam));
        let rows: Vec<_> = rows.collect::<crate::Result<_>>().map_err(Error::wrap)?;
        masked(logits, beams, self.tokens().vocabulary(), &rows.concat())
    }
}

/// The logits of `rows` mask rows where they have a bit, and elsewhere negative infinity.
fn masked(logits: &Tensor, rows: usize, vocabulary: usize, bits: &[u32]) -> Result<Tensor> {
    let (shape, dtype) = (logits.dims(), logits.dtype());
    if shape != [rows, vocabulary] && !(rows == 1 && shape == [vocabulary]) {
        bail!("logits: got the shape {shape:?}, the token map expects [{rows}, {vocabulary}]");
    }
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return Err(no_logits(dtype));
    }
    let bits = bits.iter();
    let bits = bits.flat_map(|&word| (0..32).map(move |bit| (word >> bit & 1) as u8));
    let allowed = Tensor::from_iter(bits, logits.device())?
        .reshape((rows, vocabulary.next_multiple_of(32)))?
        .narrow(1, 0, vocabulary)?
        .reshape(shape)?;
    let never = Tensor::new(f32::NEG_INFINITY, logits.device())?.to_dtype(dtype)?;
    allowed.where_cond(logits, &never.broadcast_as(shape)?)
}

fn no_logits(dtype: DType) -> Error {
    Error::msg(format!("logits: got {dtype:?}, expected F32, F16 or BF16"))
}
