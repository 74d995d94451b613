use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use ndarray::Ix1;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use semantic_id::{CodeSpace, IndexInfo, ItemId, Manifest, TokenFormat};
use tempfile::{Builder, NamedTempFile};

use crate::array::Given;
use crate::encoder::matrix;
use crate::error::{OrRaise, SemidError};
use crate::threads::detached;

/// An index file that is written from runs, none of which is held. Its spools lie beside it.
#[pyclass(module = "semid", name = "IndexWriter")]
pub(crate) struct IndexWriter {
    /// Until it is finished.
    inner: Option<semantic_id::IndexWriter<File>>,
    file: Option<NamedTempFile>,
    path: PathBuf,
}

#[pymethods]
impl IndexWriter {
    #[new]
    #[pyo3(signature = (path, sizes, *, command, configuration))]
    fn create(
        path: PathBuf,
        sizes: Vec<u32>,
        command: &str,
        configuration: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let json = configuration.py().import("json")?;
        let text: String = json.call_method1("dumps", (configuration,))?.extract()?;
        let configuration = serde_json::from_str(&text).or_raise()?;
        let space = CodeSpace::new(sizes).or_raise()?;
        let tokens = TokenFormat::lc_rec(space.levels());
        let info = IndexInfo::new(tokens, Manifest::new(command, configuration));
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let spool = || tempfile::tempfile_in(&folder);
        let inner = semantic_id::IndexWriter::new(space, info, 1, spool).or_raise()?;
        Ok(Self {
            inner: Some(inner),
            file: Some(
                Builder::new()
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(&folder)?,
            ),
            path,
        })
    }

    /// The rows of the next items in the order of IDs, and their codes `[n, L]`.
    fn ranks(
        &mut self,
        py: Python<'_>,
        codes: Given<'_, u16>,
        rows: Given<'_, u32, Ix1>,
    ) -> PyResult<()> {
        let (codes, rows) = (matrix(&codes)?, items(&rows));
        let writer = self.writer()?;
        detached(py, || writer.ranks(&codes, &rows)).or_raise()
    }

    /// The keys of the next rows.
    fn keys(&mut self, py: Python<'_>, keys: Vec<String>) -> PyResult<()> {
        let writer = self.writer()?;
        detached(py, || writer.keys(&keys)).or_raise()
    }

    /// The rows of the next items in the order of keys.
    fn key_order(&mut self, py: Python<'_>, rows: Given<'_, u32, Ix1>) -> PyResult<()> {
        let rows = items(&rows);
        let writer = self.writer()?;
        detached(py, || writer.key_order(&rows)).or_raise()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// What was not finished is removed.
    #[pyo3(signature = (*_args))]
    fn __exit__(&mut self, _args: &Bound<'_, PyTuple>) {
        (self.inner, self.file) = (None, None);
    }

    /// Puts the file in its place. Returns its digest.
    fn finish(&mut self, py: Python<'_>) -> PyResult<String> {
        self.writer()?;
        let parts = self.inner.take().zip(self.file.take());
        let (writer, mut file) = parts.expect("it was not finished");
        let digest = detached(py, || {
            let digest = writer.finish(file.as_file_mut()).or_raise()?;
            file.as_file().sync_all()?;
            PyResult::Ok(digest)
        })?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(digest.to_string())
    }
}

impl IndexWriter {
    fn writer(&mut self) -> PyResult<&mut semantic_id::IndexWriter<File>> {
        let finished = || SemidError::new_err("this index is finished");
        self.inner.as_mut().ok_or_else(finished)
    }
}

fn items(rows: &Given<'_, u32, Ix1>) -> Vec<ItemId> {
    rows.as_array().iter().copied().map(ItemId).collect()
}
