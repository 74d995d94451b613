use std::sync::Arc;

use pyo3::prelude::*;
use semantic_id::Code;

use crate::error::OrRaise;
use crate::index::Index;
use crate::threads::detached;
use crate::trie::Trie;

/// Which token of a language model stands for which code.
#[pyclass(frozen, module = "semid", name = "TokenMap")]
pub(crate) struct TokenMap {
    pub(crate) inner: Arc<trie_decode::TokenMap>,
}

#[pymethods]
impl TokenMap {
    /// The tokens of a level follow each other from its first on.
    #[staticmethod]
    fn ranges(index: &Index, firsts: Vec<u32>, vocabulary: usize) -> PyResult<Self> {
        let space = index.inner.space();
        Self::of(trie_decode::TokenMap::ranges(space, &firsts, vocabulary).or_raise()?)
    }

    /// The token of each code of each level; `None` for a code that no item has.
    #[staticmethod]
    fn table(
        py: Python<'_>,
        index: &Index,
        tables: Vec<Vec<Option<u32>>>,
        vocabulary: usize,
    ) -> PyResult<Self> {
        let space = index.inner.space();
        let map = trie_decode::TokenMap::table(space, tables, vocabulary).or_raise()?;
        detached(py, || map.check(&index.trie()?).or_raise())?;
        Self::of(map)
    }

    /// The tokens that the index spells, as a `tokenizer.json` numbers them.
    #[staticmethod]
    fn from_tokenizer(
        py: Python<'_>,
        trie: &Trie,
        json: &str,
        vocabulary: usize,
    ) -> PyResult<Self> {
        let format = trie.inner.index().expect("made of an index").token_format();
        let found = detached(py, || {
            let json = json.as_bytes();
            trie_decode::TokenMap::from_tokenizer(json, format, &trie.inner, vocabulary)
        });
        Self::of(found.or_raise()?)
    }

    /// The same with tokens before and after an ID.
    #[pyo3(signature = (begin = None, end = None))]
    fn between(&self, begin: Option<u32>, end: Option<u32>) -> PyResult<Self> {
        Self::of((*self.inner).clone().between(begin, end).or_raise()?)
    }

    #[getter]
    fn vocabulary(&self) -> usize {
        self.inner.vocabulary()
    }

    #[getter]
    fn levels(&self) -> usize {
        self.inner.levels()
    }

    #[getter]
    fn end(&self) -> Option<u32> {
        self.inner.end()
    }

    fn token(&self, level: usize, code: u16) -> Option<u32> {
        self.inner.token(level, Code(code))
    }

    fn code(&self, level: usize, token: u32) -> Option<u16> {
        self.inner.code(level, token).map(|code| code.0)
    }
}

impl TokenMap {
    fn of(inner: trie_decode::TokenMap) -> PyResult<Self> {
        let inner = Arc::new(inner);
        Ok(Self { inner })
    }
}
