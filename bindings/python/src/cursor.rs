use numpy::{PyArray1, ToPyArray};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use trie_decode::TrieCursor;

/// A place in a trie: a prefix.
#[pyclass(frozen, eq, hash, module = "semid", name = "Cursor")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Cursor(pub(crate) TrieCursor);

#[pymethods]
impl Cursor {
    #[getter]
    fn depth(&self) -> usize {
        self.0.depth()
    }

    #[getter]
    fn node(&self) -> u32 {
        self.0.node()
    }

    fn __repr__(&self) -> String {
        format!("Cursor(depth={}, node={})", self.0.depth(), self.0.node())
    }
}

/// The places of many beams, without an object each.
#[pyclass(frozen, eq, sequence, module = "semid", name = "Cursors")]
#[derive(PartialEq, Eq)]
pub(crate) struct Cursors(pub(crate) Vec<TrieCursor>);

#[pymethods]
impl Cursors {
    #[new]
    fn new(cursors: GivenCursors) -> Self {
        Self(cursors.0)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__(&self, at: isize) -> PyResult<Cursor> {
        let length = self.0.len();
        let place = if at < 0 {
            length.checked_add_signed(at)
        } else {
            Some(at as usize)
        };
        let cursor = place.and_then(|place| self.0.get(place));
        let cursor = cursor.ok_or_else(|| {
            let problem = format!("got the place {at}, expected one of {length} cursors");
            PyIndexError::new_err(problem)
        })?;
        Ok(Cursor(*cursor))
    }

    #[getter]
    fn depths<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u32>> {
        let depths: Vec<u32> = self.0.iter().map(|cursor| cursor.depth() as u32).collect();
        depths.to_pyarray(py)
    }

    #[getter]
    fn nodes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u32>> {
        let nodes: Vec<u32> = self.0.iter().map(|cursor| cursor.node()).collect();
        nodes.to_pyarray(py)
    }

    fn __repr__(&self) -> String {
        format!("Cursors({})", self.0.len())
    }
}

/// Cursors as a caller gives them: many at once, or a list.
pub(crate) struct GivenCursors(pub(crate) Vec<TrieCursor>);

impl<'py> FromPyObject<'_, 'py> for GivenCursors {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(cursors) = given.cast::<Cursors>() {
            return Ok(Self(cursors.get().0.clone()));
        }
        let cursors: Vec<PyRef<'_, Cursor>> = given.extract()?;
        Ok(Self(cursors.iter().map(|cursor| cursor.0).collect()))
    }
}
