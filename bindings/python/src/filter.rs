use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use semantic_id::ItemId;

use crate::error::OrRaise;
use crate::threads::detached;
use crate::trie::Trie;

/// The items that a request may be given.
#[pyclass(frozen, module = "semid", name = "Filter")]
pub(crate) struct Filter {
    pub(crate) inner: trie_decode::Filter,
}

#[pymethods]
impl Filter {
    /// All items that the trie still has.
    #[staticmethod]
    fn all(trie: &Trie) -> Self {
        let inner = trie_decode::Filter::all(&trie.inner);
        Self { inner }
    }

    /// These items only.
    #[staticmethod]
    fn allow(py: Python<'_>, trie: &Trie, items: Named) -> PyResult<Self> {
        let inner = detached(py, || match items {
            Named::Keys(keys) => trie_decode::Filter::allow_keys(&trie.inner, keys),
            Named::Rows(rows) => trie_decode::Filter::allow_items(&trie.inner, ids(rows)),
        });
        let inner = inner.or_raise()?;
        Ok(Self { inner })
    }

    /// All items but these.
    #[staticmethod]
    fn deny(py: Python<'_>, trie: &Trie, items: Named) -> PyResult<Self> {
        let inner = detached(py, || match items {
            Named::Keys(keys) => trie_decode::Filter::deny_keys(&trie.inner, keys),
            Named::Rows(rows) => trie_decode::Filter::deny_items(&trie.inner, ids(rows)),
        });
        let inner = inner.or_raise()?;
        Ok(Self { inner })
    }

    fn __and__(&self, other: &Self) -> PyResult<Self> {
        let inner = self.inner.and(&other.inner).or_raise()?;
        Ok(Self { inner })
    }

    fn __or__(&self, other: &Self) -> PyResult<Self> {
        let inner = self.inner.or(&other.inner).or_raise()?;
        Ok(Self { inner })
    }

    fn __invert__(&self) -> Self {
        let inner = self.inner.not();
        Self { inner }
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __repr__(&self) -> String {
        format!("Filter({} items)", self.inner.len())
    }
}

fn ids(rows: Vec<u32>) -> impl Iterator<Item = ItemId> {
    rows.into_iter().map(ItemId)
}

/// Items as a caller names them: by key, or by row.
enum Named {
    Keys(Vec<String>),
    Rows(Vec<u32>),
}

impl<'py> FromPyObject<'_, 'py> for Named {
    type Error = PyErr;

    fn extract(items: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if items.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(
                "got one string, expected a list of keys or rows",
            ));
        }
        let (mut keys, mut rows) = (Vec::new(), Vec::new());
        for item in items.try_iter()? {
            let item = item?;
            match item.extract::<u32>() {
                Ok(row) => rows.push(row),
                Err(_) => keys.push(item.extract()?),
            }
        }
        match (keys.is_empty(), rows.is_empty()) {
            (false, false) => Err(PyTypeError::new_err(
                "got keys and rows, expected one of both",
            )),
            (false, true) => Ok(Self::Keys(keys)),
            _ => Ok(Self::Rows(rows)),
        }
    }
}
