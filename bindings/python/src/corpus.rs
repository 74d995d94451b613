use std::path::PathBuf;
use std::str::FromStr;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use semid_cli::{Build, Check, Limit};
use semid_tasks::Part;

use crate::error::{SemidError, outermost};
use crate::threads::{abandonable, detached, interruptible};

/// What `semid check` prints with `--json`.
#[pyfunction]
#[pyo3(signature = (
    index, *, embeddings = None, keys = None, model = None, interactions = None, items = None,
    report = None, gate = Vec::new(), gates = None, without = Vec::new(), seed = 0
))]
#[expect(clippy::too_many_arguments, reason = "keywords, for whoever calls it")]
pub(crate) fn check(
    py: Python<'_>,
    index: PathBuf,
    embeddings: Option<PathBuf>,
    keys: Option<PathBuf>,
    model: Option<PathBuf>,
    interactions: Option<PathBuf>,
    items: Option<PathBuf>,
    report: Option<PathBuf>,
    gate: Vec<String>,
    gates: Option<PathBuf>,
    without: Vec<String>,
    seed: u64,
) -> PyResult<String> {
    let limits = gate.iter().map(|limit| Limit::from_str(limit));
    let check = Check {
        embeddings,
        keys,
        model,
        interactions,
        items,
        report,
        gate: limits
            .collect::<Result<_, _>>()
            .map_err(SemidError::new_err)?,
        gates,
        without,
        seed,
        ..Check::new(index)
    };
    let report = interruptible(py, move |stop| check.measure(stop))?;
    Ok(report.map_err(outermost)?.to_string())
}

/// What `semid tasks build` prints with `--json`.
#[pyfunction]
#[pyo3(signature = (recipe, out = None, *, seed = None))]
pub(crate) fn build_corpus(
    py: Python<'_>,
    recipe: PathBuf,
    out: Option<PathBuf>,
    seed: Option<u64>,
) -> PyResult<String> {
    let build = Build::new(recipe, out, seed);
    let report = interruptible(py, move |stop| build.report(stop))?;
    Ok(report.map_err(outermost)?.to_string())
}

/// The rows of one part of a corpus, made when they are asked for.
#[pyclass(frozen, module = "semid._semid", name = "RecipeRows")]
pub(crate) struct RecipeRows(semid_cli::RecipeRows);

#[pymethods]
impl RecipeRows {
    #[new]
    #[pyo3(signature = (recipe, part, seed = None))]
    fn open(py: Python<'_>, recipe: PathBuf, part: &str, seed: Option<u64>) -> PyResult<Self> {
        let part: Part = part.parse().map_err(SemidError::new_err)?;
        let rows = abandonable(py, move || semid_cli::RecipeRows::open(&recipe, part, seed))?;
        Ok(Self(rows.map_err(outermost)?))
    }

    fn __len__(&self) -> usize {
        self.0.len() as usize
    }

    /// Lines of JSON.
    fn lines<'py>(&self, py: Python<'py>, first: u64, end: u64) -> PyResult<Bound<'py, PyBytes>> {
        let lines = detached(py, || self.0.lines(first..end));
        Ok(PyBytes::new(py, &lines.map_err(outermost)?))
    }
}
