use ndarray::Array2;
use numpy::{PyArray2, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use semantic_id::{HeldOutGain, ItemId, SemanticId};
use semid_tasks::metrics::{List, Metric, Scores};
use semid_tasks::rewards::{AnswerFormat, Ladder, Reward};

use crate::array::Given;
use crate::encoder::matrix;
use crate::error::{OrRaise, SemidError};
use crate::index::Index;
use crate::threads::{abandonable, detached};

/// The rewards of one group of answers, given the IDs that are true.
#[pyfunction]
#[pyo3(signature = (index, name, answers, truths, *, reasoned = false, rungs = None, exact = 1.0))]
#[expect(clippy::too_many_arguments, reason = "keywords, for whoever calls it")]
pub(crate) fn reward(
    py: Python<'_>,
    index: &Index,
    name: &str,
    answers: Vec<String>,
    truths: Vec<String>,
    reasoned: bool,
    rungs: Option<Vec<f64>>,
    exact: f64,
) -> PyResult<Vec<f64>> {
    let reward = match name {
        "rule" => Reward::Rule,
        "prefix" => Reward::Prefix(match rungs {
            Some(rungs) => Ladder::new(&rungs, exact).or_raise()?,
            None => Ladder::gream(),
        }),
        "rank-penalty" => Reward::RankPenalty,
        "rank-hit" => Reward::RankHit,
        "rank-dcg" => Reward::RankDcg,
        "format" => Reward::Format,
        other => {
            return Err(SemidError::new_err(format!(
                "reward: got {other:?}, expected \"rule\", \"prefix\", \"rank-penalty\", \
                 \"rank-hit\", \"rank-dcg\" or \"format\""
            )));
        }
    };
    detached(py, || {
        let tokens = index.inner.token_format();
        let format = match reasoned {
            true => AnswerFormat::reasoned(tokens),
            false => AnswerFormat::plain(tokens),
        };
        let group: Vec<Option<SemanticId>> =
            answers.iter().map(|answer| format.read(answer)).collect();
        let truths = truths.iter().map(|truth| tokens.parse(truth));
        let truths: Vec<SemanticId> = truths.collect::<Result<_, _>>().or_raise()?;
        Ok(reward.of(&group, &truths))
    })
}

/// Names of metrics, and what each gives every user, `[users, metrics]`.
type Scored<'py> = (Vec<String>, Bound<'py, PyArray2<f64>>);

/// Scores users' lists of rows, best first; a negative row is a miss.
#[pyfunction]
pub(crate) fn scores<'py>(
    py: Python<'py>,
    lists: Vec<Vec<i64>>,
    targets: Vec<Vec<u32>>,
    cutoffs: Vec<usize>,
) -> PyResult<Scored<'py>> {
    if lists.len() != targets.len() {
        let (got, expected) = (targets.len(), lists.len());
        let problem = format!("got targets of {got} users, expected {expected}, one a list");
        return Err(SemidError::new_err(problem));
    }
    let (names, values) = detached(py, || {
        let entry = |&row: &i64| u32::try_from(row).map_or(0..0, |row| row..row.saturating_add(1));
        let lists: Vec<List> = lists
            .iter()
            .map(|rows| List::new(rows.iter().map(entry)))
            .collect();
        let targets: Vec<Vec<u32>> = targets.into_iter().map(ascending).collect();
        let several = targets.iter().any(|rows| rows.len() > 1);
        let users = lists
            .iter()
            .zip(&targets)
            .map(|(list, rows)| (list, &rows[..]));
        let users: Vec<(&List, &[u32])> = users.collect();
        let scores = Scores::of(Metric::all(&cutoffs, several), &users);
        let names: Vec<String> = scores.metrics().iter().map(Metric::to_string).collect();
        let flat = scores.rows().flatten().copied().collect();
        (
            names,
            Array2::from_shape_vec((scores.users(), scores.metrics().len()), flat),
        )
    });
    Ok((names, values.expect("a row a user").to_pyarray(py)))
}

fn ascending(mut rows: Vec<u32>) -> Vec<u32> {
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// By how many bits the last item's codes make the next item's more predictable than popularity.
#[pyfunction]
#[pyo3(signature = (codes, histories, *, seed = 0))]
pub(crate) fn held_out_gain<'py>(
    py: Python<'py>,
    codes: Given<'_, u16>,
    histories: Vec<Vec<u32>>,
    seed: u64,
) -> PyResult<Bound<'py, PyDict>> {
    let paths = matrix(&codes)?;
    let gain = abandonable(py, move || {
        let items: Vec<Vec<ItemId>> = histories
            .into_iter()
            .map(|rows| rows.into_iter().map(ItemId).collect())
            .collect();
        let views: Vec<&[ItemId]> = items.iter().map(Vec::as_slice).collect();
        HeldOutGain::of(&paths, &views, seed)
    });
    let gain = gain?.or_raise()?;
    let told = PyDict::new(py);
    told.set_item("bits", gain.bits)?;
    told.set_item("shuffled", gain.shuffled)?;
    told.set_item("per_level", gain.per_level)?;
    told.set_item("shuffled_per_level", gain.shuffled_per_level)?;
    told.set_item("popularity_bits", gain.popularity_bits)?;
    told.set_item("pairs", gain.pairs)?;
    told.set_item("unseen_bits", gain.unseen_bits)?;
    told.set_item("unseen_pairs", gain.unseen_pairs)?;
    Ok(told)
}
