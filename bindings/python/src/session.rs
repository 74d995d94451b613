use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use trie_decode::{ItemTrie, Phase, SessionParams};

use crate::array::GivenMut;
use crate::bytes::Bytes;
use crate::error::{OrRaise, SemidError};
use crate::filter::Filter;
use crate::tokens::TokenMap;
use crate::trie::Trie;

type Inner = trie_decode::DecodeSession<Arc<ItemTrie<Bytes>>>;

/// Beams of one request, for a server that owns the loop.
#[pyclass(frozen, module = "semid", name = "DecodeSession")]
pub(crate) struct DecodeSession(Mutex<Inner>);

#[pymethods]
impl DecodeSession {
    #[new]
    #[pyo3(signature = (trie, tokens, *, filter = None, trigger = None, end = None, rollback = 64))]
    fn new(
        trie: &Trie,
        tokens: &TokenMap,
        filter: Option<&Filter>,
        trigger: Option<Vec<u32>>,
        end: Option<Vec<u32>>,
        rollback: usize,
    ) -> PyResult<Self> {
        let default = SessionParams::new(&tokens.inner);
        let params = SessionParams {
            trigger: trigger.unwrap_or(default.trigger),
            end: end.unwrap_or(default.end),
            rollback,
        };
        let config = params.check(&tokens.inner).or_raise()?;
        let filter = filter.map(|filter| filter.inner.clone());
        let session = Inner::new(trie.inner.clone(), tokens.inner.clone(), filter, config);
        Ok(Self(Mutex::new(session.or_raise()?)))
    }

    /// `"inactive"`, `"active"` or `"done"`, of each beam.
    #[getter]
    fn phases(&self) -> Vec<&'static str> {
        let name = |phase: &Phase| match phase {
            Phase::Inactive { .. } => "inactive",
            Phase::Active(_) => "active",
            Phase::Done(_) => "done",
        };
        self.lock().phases().iter().map(name).collect()
    }

    /// Fills a row of a bit mask a beam, `[beams, words]` int32.
    fn fill_masks(&self, mut out: GivenMut<'_, i32>) -> PyResult<()> {
        let session = self.lock();
        let expected = [session.phases().len(), session.words()];
        if out.as_array().shape() != expected {
            let got = out.as_array().shape().to_vec();
            let problem = format!("got masks of shape {got:?}, expected {expected:?}");
            return Err(SemidError::new_err(problem));
        }
        let words: &mut [u32] = bytemuck::cast_slice_mut(out.as_slice_mut()?);
        for (beam, row) in words.chunks_exact_mut(expected[1]).enumerate() {
            session.fill_mask(beam, row).or_raise()?;
        }
        Ok(())
    }

    /// Words of a mask row.
    #[getter]
    fn words(&self) -> usize {
        self.lock().words()
    }

    /// Moves on: the new beam `i` is the old beam `parents[i]` with `tokens[i]` after it.
    fn advance(&self, parents: Vec<u32>, tokens: Vec<u32>) -> PyResult<()> {
        self.lock().advance(&parents, &tokens).or_raise()
    }

    /// Takes back the last steps.
    fn rollback(&self, steps: usize) -> PyResult<()> {
        self.lock().rollback(steps).or_raise()
    }

    /// A copy that goes its own way.
    fn fork(&self) -> Self {
        Self(Mutex::new(self.lock().fork()))
    }

    /// The rows of the items of each beam.
    fn finish(&self) -> PyResult<Vec<Vec<u32>>> {
        let items = self.lock().finish().or_raise()?;
        Ok(items
            .into_iter()
            .map(|items| items.into_iter().map(|item| item.0).collect())
            .collect())
    }
}

impl DecodeSession {
    /// A call that failed has changed nothing, so what a panic left is whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
