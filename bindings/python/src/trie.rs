use std::sync::Arc;

use ndarray::Ix1;
use numpy::{PyArray1, ToPyArray};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use semantic_id::Code;
use trie_decode::{ItemTrie, TokenMask, TrieCursor};

use crate::array::{Given, GivenMut};
use crate::bytes::Bytes;
use crate::cursor::{Cursor, Cursors, GivenCursors};
use crate::error::{OrRaise, SemidError};
use crate::filter::Filter;
use crate::index::Index;
use crate::threads::detached;
use crate::tokens::TokenMap;

/// Which codes may follow a prefix.
#[pyclass(frozen, module = "semid", name = "Trie")]
pub(crate) struct Trie {
    pub(crate) inner: Arc<ItemTrie<Bytes>>,
    index: Py<Index>,
}

/// Rows and tokens that may come next, and the rows in which any may.
type Continuations<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
);

#[pymethods]
impl Trie {
    #[new]
    fn new(py: Python<'_>, index: Py<Index>) -> PyResult<Self> {
        let inner = Arc::new(py.detach(|| index.get().trie())?);
        Ok(Self { inner, index })
    }

    #[getter]
    fn index(&self, py: Python<'_>) -> Py<Index> {
        self.index.clone_ref(py)
    }

    #[getter]
    fn levels(&self) -> usize {
        self.inner.levels()
    }

    fn __len__(&self) -> usize {
        self.inner.items()
    }

    #[getter]
    fn root(&self) -> Cursor {
        Cursor(self.inner.root())
    }

    fn find(&self, prefix: Vec<u16>) -> PyResult<Option<Cursor>> {
        let prefix: Vec<Code> = prefix.into_iter().map(Code).collect();
        Ok(self.inner.find(&prefix).or_raise()?.map(Cursor))
    }

    fn child(&self, cursor: &Cursor, code: u16) -> PyResult<Option<Cursor>> {
        Ok(self
            .inner
            .child(cursor.0, Code(code))
            .or_raise()?
            .map(Cursor))
    }

    fn children<'py>(
        &self,
        py: Python<'py>,
        cursor: &Cursor,
    ) -> PyResult<Bound<'py, PyArray1<u16>>> {
        let children = self.inner.children(cursor.0).or_raise()?;
        let codes: Vec<u16> = children.codes().iter().map(|code| code.0).collect();
        Ok(codes.to_pyarray(py))
    }

    fn leaf_count(&self, cursor: &Cursor) -> PyResult<usize> {
        self.inner.leaf_count(cursor.0).or_raise()
    }

    fn items_below<'py>(
        &self,
        py: Python<'py>,
        cursor: &Cursor,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let items: Vec<u32> = self
            .inner
            .items_below(cursor.0)
            .or_raise()?
            .map(|i| i.0)
            .collect();
        Ok(items.to_pyarray(py))
    }

    /// The children of some beams: that of beam `parents[i]` by `codes[i]` at place `i`.
    fn descend(
        &self,
        py: Python<'_>,
        cursors: GivenCursors,
        parents: Given<'_, u32, Ix1>,
        codes: Given<'_, u16, Ix1>,
    ) -> PyResult<Cursors> {
        let (GivenCursors(cursors), parents, codes) =
            (cursors, parents.as_array(), codes.as_array());
        if parents.len() != codes.len() {
            let (parents, codes) = (parents.len(), codes.len());
            let problem = format!("got {parents} parents and {codes} codes, expected as many");
            return Err(SemidError::new_err(problem));
        }
        let child = |(&parent, &code): (&u32, &u16)| {
            let beams = cursors.len();
            let cursor = *cursors.get(parent as usize).ok_or_else(|| {
                PyIndexError::new_err(format!("got the parent {parent} of {beams} beams"))
            })?;
            let child = self.inner.child(cursor, Code(code)).or_raise()?;
            let depth = cursor.depth();
            let none = || format!("no item goes on with the code {code} after these {depth} codes");
            child.ok_or_else(|| SemidError::new_err(none()))
        };
        let children = || {
            parents
                .iter()
                .zip(codes)
                .map(child)
                .collect::<PyResult<_>>()
        };
        Ok(Cursors(py.detach(children)?))
    }

    /// Fills rows of a bit mask: bit `t % 32` of word `t / 32` for each token that may come next.
    #[pyo3(signature = (tokens, cursors, out, filter = None))]
    fn fill_masks(
        &self,
        py: Python<'_>,
        tokens: &TokenMap,
        cursors: GivenCursors,
        mut out: GivenMut<'_, i32>,
        filter: Option<&Filter>,
    ) -> PyResult<()> {
        let GivenCursors(cursors) = cursors;
        let rows = out.as_array().nrows();
        if rows != cursors.len() {
            let cursors = cursors.len();
            let problem = format!("got {rows} rows of masks, expected {cursors}, one a cursor");
            return Err(SemidError::new_err(problem));
        }
        let words = out.as_slice_mut()?;
        detached(py, || {
            let mut mask = TokenMask::new(&self.inner, &tokens.inner).or_raise()?;
            if let Some(filter) = filter {
                mask = mask.filtered(&filter.inner).or_raise()?;
            }
            // The same bits; an i32 is what torch and xgrammar call a word.
            let words = bytemuck::cast_slice_mut(words);
            mask.fill_batch(&cursors, words).or_raise()
        })
    }

    /// The tokens that may come after each of `sequences` `[R, S]`, of which an ID begins at
    /// `start`, or, with a `trigger`, after the last occurrence of it.
    #[pyo3(signature = (tokens, sequences, *, start = 0, trigger = Vec::new(), end = None, filter = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords, for whoever calls it")]
    fn continuations<'py>(
        &self,
        py: Python<'py>,
        tokens: &TokenMap,
        sequences: Given<'_, i64>,
        start: usize,
        trigger: Vec<i64>,
        end: Option<u32>,
        filter: Option<&Filter>,
    ) -> PyResult<Continuations<'py>> {
        let sequences = sequences.as_array();
        let width = sequences.ncols();
        if trigger.is_empty() && start > width {
            let problem =
                format!("start: got {start}, expected at most {width}, the tokens of a row");
            return Err(SemidError::new_err(problem));
        }
        let (rows, columns, free) = detached(py, || {
            let mut found = (Vec::new(), Vec::new(), Vec::new());
            let mask = TokenMask::new(&self.inner, &tokens.inner).or_raise()?;
            let mask = match filter {
                Some(filter) => mask.filtered(&filter.inner).or_raise()?,
                None => mask,
            };
            for (row, sequence) in sequences.outer_iter().enumerate() {
                let row = row as i64;
                let sequence = sequence.to_vec();
                let Some(start) = begin(&sequence, start, &trigger) else {
                    found.2.push(row);
                    continue;
                };
                let mut allow = |token: u32| {
                    found.0.push(row);
                    found.1.push(i64::from(token));
                };
                match self.walk(tokens, &sequence[start..])? {
                    Some(cursor) if cursor.depth() < self.inner.levels() => {
                        mask.each(cursor, allow).or_raise()?;
                    }
                    // Complete, or a beam that was dead before: it can only end.
                    _ => end.into_iter().for_each(&mut allow),
                }
            }
            Ok::<_, PyErr>(found)
        })?;
        Ok((
            rows.to_pyarray(py),
            columns.to_pyarray(py),
            free.to_pyarray(py),
        ))
    }

    fn __repr__(&self) -> String {
        format!(
            "Trie({} items, {} levels)",
            self.inner.items(),
            self.inner.levels()
        )
    }
}

impl Trie {
    /// Where the tokens of an ID lead; `None` if they are those of no item.
    fn walk(&self, tokens: &TokenMap, generated: &[i64]) -> PyResult<Option<TrieCursor>> {
        let mut cursor = self.inner.root();
        for (level, &token) in generated.iter().take(self.inner.levels()).enumerate() {
            let code = u32::try_from(token).ok();
            let code = code.and_then(|token| tokens.inner.code(level, token));
            let child = match code {
                Some(code) => self.inner.child(cursor, code).or_raise()?,
                None => None,
            };
            match child {
                Some(child) => cursor = child,
                None => return Ok(None),
            }
        }
        Ok(Some(cursor))
    }
}

/// Where an ID begins; `None` if its trigger has not been heard.
fn begin(sequence: &[i64], start: usize, trigger: &[i64]) -> Option<usize> {
    if trigger.is_empty() {
        return Some(start);
    }
    let mut windows = sequence.windows(trigger.len());
    windows
        .rposition(|window| window == trigger)
        .map(|at| at + trigger.len())
}
