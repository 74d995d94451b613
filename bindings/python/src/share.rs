use std::collections::BTreeMap;
use std::path::PathBuf;

use numpy::{PyArray1, PyReadonlyArray1, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use semid_cli::{Counted, RecipeFiles, RowKeys, Standing, Texts};
use semid_tasks::Part;

use crate::error::{SemidError, outermost};
use crate::threads::detached;

/// The files that a recipe names, as JSON.
#[pyfunction]
pub(crate) fn recipe_files(py: Python<'_>, recipe: PathBuf) -> PyResult<String> {
    let files = detached(py, || RecipeFiles::of(&recipe)).map_err(outermost)?;
    Ok(serde_json::to_string(&files).expect("names"))
}

/// Bytes of texts, and where each begins and ends.
type Column<'py> = (Bound<'py, PyBytes>, PyReadonlyArray1<'py, i32>);

/// Events in columns.
#[pyclass(frozen, module = "semid._semid", name = "EventTable")]
pub(crate) struct EventTable(semid_cli::EventTable);

#[pymethods]
impl EventTable {
    #[new]
    #[pyo3(signature = (users, items, times = None, ratings = None))]
    fn new(
        users: Column<'_>,
        items: Column<'_>,
        times: Option<PyReadonlyArray1<'_, f64>>,
        ratings: Option<PyReadonlyArray1<'_, f32>>,
    ) -> PyResult<Self> {
        let texts = |(bytes, offsets): Column<'_>| {
            Texts::new(bytes.as_bytes().to_vec(), offsets.as_array().to_vec())
        };
        let table = texts(users).and_then(|users| {
            let times = times.map(|times| times.as_array().to_vec());
            let ratings = ratings.map(|ratings| ratings.as_array().to_vec());
            semid_cli::EventTable::new(users, texts(items)?, times, ratings)
        });
        table.map(Self).map_err(outermost)
    }
}

fn tables(events: &[Py<EventTable>]) -> Vec<&semid_cli::EventTable> {
    events.iter().map(|table| &table.get().0).collect()
}

/// Samples of the users of a share, as JSON, and the events of training of each item.
#[pyfunction]
pub(crate) fn share_counts<'py>(
    py: Python<'py>,
    recipe: PathBuf,
    files: BTreeMap<String, PathBuf>,
    events: Vec<Py<EventTable>>,
) -> PyResult<(String, Bound<'py, PyArray1<u32>>)> {
    let count = || Counted::of(&recipe, files, &tables(&events));
    let counted = detached(py, count).map_err(outermost)?;
    let samples = serde_json::to_string(&counted).expect("numbers");
    Ok((samples, counted.popularity.to_pyarray(py)))
}

/// What is wrong with rows, as JSON: held against the events of their users, or, without a recipe,
/// against each other.
#[pyfunction]
#[pyo3(signature = (lines, recipe = None, files = BTreeMap::new(), events = Vec::new()))]
pub(crate) fn audit_rows(
    py: Python<'_>,
    lines: &[u8],
    recipe: Option<PathBuf>,
    files: BTreeMap<String, PathBuf>,
    events: Vec<Py<EventTable>>,
) -> PyResult<String> {
    let report = detached(py, || match recipe {
        Some(recipe) => semid_cli::audit_share(&recipe, files, &tables(&events), lines),
        None => semid_cli::audit_repeats(lines),
    });
    Ok(serde_json::to_string(&report.map_err(outermost)?).expect("names and numbers"))
}

/// Users of rows, and hashes of their prompts.
type Keys<'py> = (Vec<Option<String>>, Bound<'py, PyArray1<u64>>);

/// The user of each row, if it has one, and a hash of its prompt.
#[pyfunction]
pub(crate) fn row_keys<'py>(py: Python<'py>, lines: &[u8]) -> PyResult<Keys<'py>> {
    let keys = detached(py, || RowKeys::of(lines)).map_err(outermost)?;
    Ok((keys.users, keys.prompts.to_pyarray(py)))
}

/// The rows of the users of a share.
#[pyclass(frozen, module = "semid._semid", name = "ShareRows")]
pub(crate) struct ShareRows(semid_cli::ShareRows);

/// Places, where each row's bytes end, the bytes, and counts by name.
type Placed<'py> = (
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyBytes>,
    BTreeMap<String, u64>,
);

#[pymethods]
impl ShareRows {
    #[new]
    #[pyo3(signature = (recipe, files, events, standing, popularity, seed = None))]
    fn open(
        py: Python<'_>,
        recipe: PathBuf,
        files: BTreeMap<String, PathBuf>,
        events: Vec<Py<EventTable>>,
        standing: &str,
        popularity: PyReadonlyArray1<'_, u32>,
        seed: Option<u64>,
    ) -> PyResult<Self> {
        let standing: Standing = serde_json::from_str(standing)
            .map_err(|error| SemidError::new_err(format!("standing: {error}")))?;
        let popularity = popularity.as_array().to_vec();
        let open = || {
            let events = tables(&events);
            semid_cli::ShareRows::open(&recipe, files, &events, &standing, popularity, seed)
        };
        Ok(Self(detached(py, open).map_err(outermost)?))
    }

    /// Parts, the number of samples of each, and that of the places of the whole.
    fn parts(&self) -> Vec<(String, u64, u64)> {
        let parts = self.0.parts();
        parts
            .map(|(part, samples, places)| (part.to_string(), samples, places))
            .collect()
    }

    fn rows<'py>(
        &self,
        py: Python<'py>,
        part: &str,
        first: u64,
        end: u64,
    ) -> PyResult<Placed<'py>> {
        let part: Part = part.parse().map_err(SemidError::new_err)?;
        let placed = detached(py, || self.0.rows(part, first..end)).map_err(outermost)?;
        Ok((
            placed.places.to_pyarray(py),
            placed.ends.to_pyarray(py),
            PyBytes::new(py, &placed.bytes),
            placed.counts.named(),
        ))
    }
}
