use std::error::Error;

use ndarray::Ix1;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyUntypedArrayMethods, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use trie_decode::{
    Beam, BeamConfig, BeamParams, Exact, Logits, Normalizer, Request, Scorer, Scores, Scratch,
};

use crate::array::Given;
use crate::cursor::{Cursors, GivenCursors};
use crate::error::{OrRaise, SemidError};
use crate::filter::Filter;
use crate::threads::detached;
use crate::tokens::TokenMap;
use crate::trie::Trie;

/// A search for the best items by a model that scores prefixes.
#[pyclass(frozen, module = "semid", name = "BeamSearch")]
pub(crate) struct BeamSearch {
    trie: Py<Trie>,
    tokens: Option<Py<TokenMap>>,
    config: BeamConfig,
}

/// Prefixes whose next code is to be scored, a row each.
#[pyclass(frozen, get_all, module = "semid", name = "Step")]
pub(crate) struct Step {
    /// The number of each row among all of this search.
    ids: Vec<u32>,
    /// The request of each row.
    requests: Vec<usize>,
    /// The earlier row that each continues; `None` at the root.
    parents: Vec<Option<u32>>,
    /// The codes so far of each row.
    prefixes: Vec<Vec<u16>>,
}

#[pymethods]
impl Step {
    fn __len__(&self) -> usize {
        self.ids.len()
    }
}

/// An item that was found.
#[pyclass(frozen, get_all, module = "semid", name = "Hit")]
#[derive(Clone)]
pub(crate) struct Hit {
    row: u32,
    key: String,
    codes: Vec<u16>,
    score: f32,
}

#[pymethods]
impl Hit {
    fn __repr__(&self) -> String {
        format!("Hit({:?}, {:?}, {:.4})", self.key, self.codes, self.score)
    }
}

/// The items of a request, best first.
#[pyclass(frozen, get_all, module = "semid", name = "Outcome")]
pub(crate) struct Outcome {
    hits: Vec<Hit>,
    exact: bool,
    gap: Option<f32>,
    rows: usize,
}

#[pymethods]
impl BeamSearch {
    #[new]
    #[pyo3(signature = (
        trie, tokens = None, *, k = 10, beams = None, normalizer = "full-vocab",
        length_penalty = 0.0, row_budget = None
    ))]
    fn new(
        trie: Py<Trie>,
        tokens: Option<Py<TokenMap>>,
        k: usize,
        beams: Option<Widths>,
        normalizer: &str,
        length_penalty: f32,
        row_budget: Option<usize>,
    ) -> PyResult<Self> {
        let params = BeamParams {
            results: k,
            beams: match beams {
                None => vec![k.saturating_mul(2)],
                Some(Widths::Same(beams)) => vec![beams],
                Some(Widths::ByLevel(beams)) => beams,
            },
            normalizer: named(normalizer)?,
            length_penalty,
            exact: row_budget.map(|row_budget| Exact { row_budget }),
        };
        let config = params.check().or_raise()?;
        let search = Self {
            trie,
            tokens,
            config,
        };
        search.inner()?;
        Ok(search)
    }

    /// Answers requests, one a filter; `scorer(step)` gives the logits of the step's rows.
    #[pyo3(signature = (scorer, filters = None))]
    fn run(
        &self,
        py: Python<'_>,
        scorer: Py<PyAny>,
        filters: Option<Vec<Option<Py<Filter>>>>,
    ) -> PyResult<Vec<Outcome>> {
        let filters = filters.unwrap_or_else(|| vec![None]);
        let requests = filters.iter().map(|filter| Request {
            filter: filter.as_ref().map(|filter| &filter.get().inner),
        });
        let requests: Vec<Request<'_>> = requests.collect();
        let mut scorer = PythonScorer {
            call: scorer,
            whole_vocabulary: self.tokens.is_some(),
            answer: None,
        };
        let outcomes = detached(py, || {
            let mut scratch = Scratch::default();
            self.inner()?
                .run(&mut scorer, &requests, &mut scratch)
                .or_raise()
        })?;
        outcomes
            .into_iter()
            .map(|outcome| self.outcome(outcome))
            .collect()
    }

    /// One step, for a loop that the caller owns.
    #[pyo3(signature = (cursors, scores, logits, width, filter = None))]
    fn step<'py>(
        &self,
        py: Python<'py>,
        cursors: GivenCursors,
        scores: Given<'_, f32, Ix1>,
        logits: Given<'_, f32>,
        width: usize,
        filter: Option<&Filter>,
    ) -> PyResult<Stepped<'py>> {
        let GivenCursors(cursors) = cursors;
        let (rows, given) = (logits.as_array().nrows(), scores.as_slice()?);
        if [rows, given.len()] != [cursors.len(); 2] {
            return Err(SemidError::new_err(format!(
                "got {} cursors, {} scores and {rows} rows of logits, expected as many of each",
                cursors.len(),
                given.len()
            )));
        }
        let beams = cursors.into_iter().zip(given);
        let beams: Vec<Beam> = beams
            .map(|(cursor, &score)| Beam { cursor, score })
            .collect();
        let logits = Logits::F32(logits.as_slice()?);
        let scores = match self.tokens.is_some() {
            true => Scores::vocabulary(logits),
            false => Scores::level(logits),
        };
        let filter = filter.map(|filter| &filter.inner);
        let best = detached(py, || {
            let search = self.inner()?;
            search.step(&beams, scores, filter, width).or_raise()
        })?;
        let all = || best.iter();
        let cursors = Cursors(all().map(|next| next.beam.cursor).collect());
        let scores: Vec<f32> = all().map(|next| next.beam.score).collect();
        let codes: Vec<u16> = all().map(|next| next.code.0).collect();
        let parents: Vec<u32> = all().map(|next| next.parent).collect();
        Ok((
            cursors,
            scores.to_pyarray(py),
            codes.to_pyarray(py),
            parents.to_pyarray(py),
        ))
    }
}

/// Cursors, scores, codes and parents of the best continuations.
type Stepped<'py> = (
    Cursors,
    Bound<'py, PyArray1<f32>>,
    Bound<'py, PyArray1<u16>>,
    Bound<'py, PyArray1<u32>>,
);

impl BeamSearch {
    fn inner(&self) -> PyResult<trie_decode::BeamSearch<'_, crate::bytes::Bytes>> {
        let tokens = self.tokens.as_ref().map(|tokens| &*tokens.get().inner);
        let trie = &self.trie.get().inner;
        trie_decode::BeamSearch::new(trie, tokens, self.config.clone()).or_raise()
    }

    fn outcome(&self, outcome: trie_decode::Outcome) -> PyResult<Outcome> {
        let index = self.trie.get().inner.index().expect("made of an index");
        let hit = |hit: trie_decode::Hit| {
            Ok(Hit {
                row: hit.item.0,
                key: index.key(hit.item).or_raise()?.to_owned(),
                codes: hit.codes.iter().map(|code| code.0).collect(),
                score: hit.score,
            })
        };
        Ok(Outcome {
            hits: outcome.hits.into_iter().map(hit).collect::<PyResult<_>>()?,
            exact: outcome.exact,
            gap: outcome.gap,
            rows: outcome.rows,
        })
    }
}

/// Beams of every level, or of each.
#[derive(FromPyObject)]
enum Widths {
    Same(usize),
    ByLevel(Vec<usize>),
}

fn named(normalizer: &str) -> PyResult<Normalizer> {
    Ok(match normalizer {
        "full-vocab" => Normalizer::FullVocab,
        "semantic-id-vocab" => Normalizer::SemanticIdVocab,
        "level" => Normalizer::Level,
        "valid-children" => Normalizer::ValidChildren,
        other => {
            return Err(SemidError::new_err(format!(
                "normalizer: got {other:?}, expected \"full-vocab\", \"semantic-id-vocab\", \
                 \"level\" or \"valid-children\""
            )));
        }
    })
}

/// A model behind a Python function.
struct PythonScorer {
    call: Py<PyAny>,
    whole_vocabulary: bool,
    answer: Option<Answer>,
}

/// Logits that Python gave, and that it keeps as long as we do.
struct Answer {
    logits: Py<PyArray2<f32>>,
    sums: Option<Py<PyArray1<f32>>>,
}

impl Scorer for PythonScorer {
    fn score(
        &mut self,
        step: &trie_decode::Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn Error + Send + Sync>> {
        let rows = step.rows();
        let question = Step {
            ids: rows.iter().map(|row| row.id.0).collect(),
            requests: rows.iter().map(|row| row.request).collect(),
            parents: rows.iter().map(|row| row.parent.map(|id| id.0)).collect(),
            prefixes: rows
                .iter()
                .map(|row| row.prefix.iter().map(|code| code.0).collect())
                .collect(),
        };
        Python::attach(|py| {
            let answer = self.call.bind(py).call1((question,))?;
            self.answer = Some(Answer::read(&answer, rows.len())?);
            let answer = self.answer.as_ref().expect("it was just given");
            // SAFETY: the arrays are C-contiguous (`numpy.ascontiguousarray`), `self` holds a
            // reference to each until the next question, and the caller has given them away: that
            // nothing writes to them during a search is the contract of a scorer.
            #[allow(unsafe_code)]
            let (logits, sums) = unsafe {
                let logits = answer.logits.bind(py);
                let logits = std::slice::from_raw_parts(logits.data().cast_const(), logits.len());
                let sums = answer.sums.as_ref().map(|sums| {
                    let sums = sums.bind(py);
                    std::slice::from_raw_parts(sums.data().cast_const(), sums.len())
                });
                (logits, sums)
            };
            let scores = match self.whole_vocabulary {
                true => Scores::vocabulary(Logits::F32(logits)),
                false => Scores::level(Logits::F32(logits)),
            };
            Ok(match sums {
                Some(sums) => scores.normalized_by(sums),
                None => scores,
            })
        })
    }
}

impl Answer {
    /// `logits`, or `(logits, log_sums)`: arrays, or what numpy makes one of.
    fn read(answer: &Bound<'_, PyAny>, rows: usize) -> PyResult<Self> {
        let (logits, sums) = match answer.cast::<PyTuple>() {
            Ok(both) => (both.get_item(0)?, Some(both.get_item(1)?)),
            Err(_) => (answer.clone(), None),
        };
        let logits = contiguous(&logits)?;
        let logits = logits.cast::<PyArray2<f32>>().map_err(|_| {
            let shape = logits.getattr("shape").map(|shape| shape.to_string());
            SemidError::new_err(format!(
                "the scorer gave logits of shape {}, expected [rows, columns]",
                shape.unwrap_or_default()
            ))
        })?;
        if logits.shape()[0] != rows {
            let got = logits.shape()[0];
            let problem = format!("the scorer gave {got} rows of logits, expected {rows}");
            return Err(SemidError::new_err(problem));
        }
        let sums = sums.map(|sums| {
            let sums = contiguous(&sums)?;
            let sums = sums.cast::<PyArray1<f32>>()?;
            Ok::<_, PyErr>(sums.clone().unbind())
        });
        Ok(Self {
            logits: logits.clone().unbind(),
            sums: sums.transpose()?,
        })
    }
}

/// A float32 array in one piece: the same memory, if it is that already.
fn contiguous<'py>(values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let numpy = values.py().import("numpy")?;
    numpy.call_method1("ascontiguousarray", (values, numpy.getattr("float32")?))
}
