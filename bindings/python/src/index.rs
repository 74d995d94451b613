use std::path::PathBuf;

use numpy::{PyArray2, ToPyArray};
use pyo3::exceptions::{PyIndexError, PyKeyError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use semantic_id::{
    Change, Code, CodeMatrix, CodeSpace, IndexInfo, ItemId, ItemIndex, ItemKeys, Manifest,
    SemanticId, TokenFormat,
};
use trie_decode::ItemTrie;

use crate::array::Given;
use crate::bytes::Bytes;
use crate::error::OrRaise;
use crate::threads::{abandonable, detached};

/// Items and their semantic IDs.
#[pyclass(frozen, module = "semid", name = "Index")]
pub(crate) struct Index {
    pub(crate) inner: ItemIndex<Bytes>,
    pub(crate) bytes: Bytes,
    /// Where it was opened; `None` if it was made in memory.
    path: Option<PathBuf>,
}

#[pymethods]
impl Index {
    #[new]
    #[pyo3(signature = (path, *, trusted = false))]
    fn open(py: Python<'_>, path: PathBuf, trusted: bool) -> PyResult<Self> {
        let bytes = Bytes::open(&path)?;
        let path = Some(path);
        detached(py, || Self::of(bytes, path, trusted))
    }

    /// An index in memory.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let bytes = Bytes::from(data.to_vec());
        detached(py, || Self::of(bytes, None, false))
    }

    /// An index of `codes` `[N, L]` for `keys` `[N]`.
    #[staticmethod]
    #[pyo3(signature = (keys, codes, sizes, *, capacity = 1))]
    fn build(
        py: Python<'_>,
        keys: Vec<String>,
        codes: Given<'_, u16>,
        sizes: Vec<u32>,
        capacity: usize,
    ) -> PyResult<Self> {
        let levels = codes.as_array().ncols();
        let codes = codes.as_array().iter().copied().map(Code).collect();
        abandonable(py, move || {
            let space = CodeSpace::new(sizes).or_raise()?;
            let codes = CodeMatrix::new(codes, levels).or_raise()?;
            let keys = ItemKeys::new(keys).or_raise()?;
            let info = IndexInfo::new(TokenFormat::lc_rec(levels), manifest("build"));
            let built = ItemIndex::build(&space, &codes, &keys, capacity, info).or_raise()?;
            Self::of(built.into_bytes().into(), None, true)
        })?
    }

    /// The keys, row by row.
    fn __iter__(slf: Py<Self>) -> Keys {
        Keys { of: slf, next: 0 }
    }

    fn __len__(&self) -> usize {
        self.inner.items()
    }

    #[getter]
    fn levels(&self) -> usize {
        self.inner.levels()
    }

    #[getter]
    fn sizes(&self) -> Vec<usize> {
        let space = self.inner.space();
        (0..space.levels()).map(|level| space.size(level)).collect()
    }

    #[getter]
    fn digest(&self) -> String {
        self.inner.digest().to_string()
    }

    fn __contains__(&self, key: &str) -> PyResult<bool> {
        Ok(self.inner.find(key).or_raise()?.is_some())
    }

    fn __getitem__(&self, key: &str) -> PyResult<Vec<u16>> {
        self.codes(self.row(key)?)
    }

    /// The row of an item.
    fn row(&self, key: &str) -> PyResult<u32> {
        let found = self.inner.find(key).or_raise()?;
        let unknown = || PyKeyError::new_err(key.to_owned());
        Ok(found.ok_or_else(unknown)?.0)
    }

    fn key(&self, row: u32) -> PyResult<&str> {
        self.inner.key(self.item(row)?).or_raise()
    }

    fn codes(&self, row: u32) -> PyResult<Vec<u16>> {
        let id = self.inner.semantic_id(self.item(row)?).or_raise()?;
        let codes = self.inner.space().unpadded(&id).iter();
        Ok(codes.map(|code| code.0).collect())
    }

    fn text(&self, row: u32) -> PyResult<String> {
        self.inner.text(self.item(row)?).or_raise()
    }

    /// The tokens of all codes of a level, `[K]`.
    fn tokens(&self, level: usize) -> PyResult<Vec<String>> {
        let (space, format) = (self.inner.space(), self.inner.token_format());
        if level >= space.levels() {
            let levels = space.levels();
            let problem = format!("got level {level}, expected one below {levels}");
            return Err(PyIndexError::new_err(problem));
        }
        let codes = (0..space.size(level)).map(|code| Code(code as u16));
        Ok(codes.map(|code| format.token(level, code)).collect())
    }

    fn is_alive(&self, row: u32) -> PyResult<bool> {
        self.inner.is_alive(self.item(row)?).or_raise()
    }

    fn items_of(&self, prefix: Vec<u16>) -> PyResult<Vec<u32>> {
        let prefix: Vec<Code> = prefix.into_iter().map(Code).collect();
        let items = self.inner.items_of(&prefix).or_raise()?;
        Ok(items.into_iter().map(|item| item.0).collect())
    }

    fn keys(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        detached(py, || {
            let keys = self.inner.keys().or_raise()?;
            Ok(keys.iter().map(str::to_owned).collect())
        })
    }

    /// All codes, `[N, L]` uint16.
    fn to_numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<u16>>> {
        let codes = detached(py, || self.inner.codes()).or_raise()?;
        let flat = codes.rows().flatten().map(|code| code.0).collect();
        let array = ndarray::Array2::from_shape_vec((codes.len(), codes.levels()), flat);
        Ok(array.expect("a row an item").to_pyarray(py))
    }

    /// The next generation, in memory: `add` maps new keys to codes, `remove` names items that
    /// are no longer given.
    #[pyo3(signature = (*, add = None, remove = Vec::new(), capacity = 1))]
    fn changed(
        &self,
        py: Python<'_>,
        add: Option<&Bound<'_, PyDict>>,
        remove: Vec<String>,
        capacity: usize,
    ) -> PyResult<Self> {
        let added = add.into_iter().flat_map(|add| add.iter());
        let added = added
            .map(|(key, codes)| {
                let codes: Vec<u16> = codes.extract()?;
                let codes: Vec<Code> = codes.into_iter().map(Code).collect();
                let id = self.inner.space().padded(&codes).or_raise()?.into_iter();
                Ok((key.extract()?, id.collect::<SemanticId>()))
            })
            .collect::<PyResult<_>>()?;
        let change = Change {
            added,
            removed: remove,
            ..Change::default()
        };
        detached(py, || {
            let changed = self.inner.changed(&change, capacity, manifest("change"));
            Self::of(changed.or_raise()?.into_bytes().into(), None, true)
        })
    }

    /// The index file, as bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.bytes())
    }

    /// Writes the index; a file that is there is replaced once the new one is whole.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detached(py, || {
            let mut beside = path.clone().into_os_string();
            beside.push(format!(".{}.part", std::process::id()));
            std::fs::write(&beside, self.inner.bytes())?;
            std::fs::rename(&beside, &path)?;
            Ok(())
        })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let (py, this) = (slf.py(), slf.get());
        let class = slf.get_type();
        match &this.path {
            Some(path) => Ok((class.into_any(), (path,).into_pyobject(py)?.into_any())),
            None => {
                let data = PyBytes::new(py, this.inner.bytes());
                let make = class.getattr("from_bytes")?;
                Ok((make, (data,).into_pyobject(py)?.into_any()))
            }
        }
    }

    fn __repr__(&self) -> String {
        let (items, space) = (self.inner.items(), self.inner.space());
        format!("Index({items} items, {space} codes)")
    }
}

/// An iterator over the keys of an index.
#[pyclass(module = "semid")]
pub(crate) struct Keys {
    of: Py<Index>,
    next: u32,
}

#[pymethods]
impl Keys {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&mut self) -> PyResult<Option<String>> {
        let index = self.of.get();
        if self.next as usize == index.inner.items() {
            return Ok(None);
        }
        let key = index.key(self.next)?.to_owned();
        self.next += 1;
        Ok(Some(key))
    }
}

impl Index {
    fn of(bytes: Bytes, path: Option<PathBuf>, trusted: bool) -> PyResult<Self> {
        let inner = ItemIndex::open(bytes.clone()).or_raise()?;
        if !trusted {
            inner.validate().or_raise()?;
        }
        Ok(Self { inner, bytes, path })
    }

    pub(crate) fn trie(&self) -> PyResult<ItemTrie<Bytes>> {
        let index = ItemIndex::open(self.bytes.clone()).or_raise()?;
        Ok(ItemTrie::new(index))
    }

    fn item(&self, row: u32) -> PyResult<ItemId> {
        let items = self.inner.items();
        if (row as usize) < items {
            return Ok(ItemId(row));
        }
        let problem = format!("got row {row}, expected one below {items}, the number of items");
        Err(PyIndexError::new_err(problem))
    }
}

fn manifest(command: &str) -> Manifest {
    Manifest::new(command, "python".into())
}
