//! The files that are checked, in the order of the index's items.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use ndarray::{Array2, Axis};
use rq_vae::LeastSquares;
use semantic_id::interchange::Table;
use semantic_id::{CodeMatrix, CodeSpace, ItemId, ItemIndex, ItemKeys};
use semid_tasks::{Histories, Split};

use super::Check;
use super::texts::Texts;
use crate::artefact::{EmbeddingFile, open_index, open_model};
use crate::interactions::Interactions;
use crate::map::Bytes;

/// An index, and what was given beside it.
pub(super) struct Inputs {
    pub(super) index: ItemIndex<Bytes>,
    pub(super) keys: ItemKeys,
    /// The items' paths, `[N, L]`.
    pub(super) paths: CodeMatrix,
    pub(super) texts: Option<Texts>,
    pub(super) embedded: Option<Embedded>,
    pub(super) events: Option<Events>,
}

/// The items' embeddings, and how well their paths reconstruct them.
pub(super) struct Embedded {
    /// `[N, D]`.
    pub(super) embeddings: Array2<f32>,
    /// Mean squared error.
    pub(super) mse: f64,
    /// Whether the codebooks are no model's, but fitted here.
    pub(super) least_squares: bool,
}

/// What users did with the items.
pub(super) struct Events {
    pub(super) histories: Histories,
    /// The last event of each user is of the test, the one before of validation.
    pub(super) split: Split,
    /// Training events of each item, `[N]`.
    pub(super) training: Vec<u64>,
}

impl Inputs {
    pub(super) fn open(check: &Check) -> anyhow::Result<Self> {
        let published = open_index(&check.index, false)?;
        let index = match published.alive() {
            None => open_index(&check.index, true)?,
            Some(_) => offered(&published)?,
        };
        let (keys, paths) = (index.keys()?, index.codes()?);
        let texts = check.items.as_ref().map(|path| Texts::read(path, &keys));
        let events = check.interactions.as_ref();
        let events = events.map(|path| Events::read(path, &keys));
        let embedded = check.embeddings.as_ref().map(|path| {
            let file = EmbeddingFile::open(path, check.keys.as_deref())?;
            let embeddings = by_item(&file, &index, &published);
            embeddings
                .and_then(|rows| Embedded::of(rows, index.space(), &paths, check.model.as_deref()))
                .with_context(|| path.display().to_string())
        });
        Ok(Self {
            texts: texts.transpose()?,
            events: events.transpose()?,
            embedded: embedded.transpose()?,
            index,
            keys,
            paths,
        })
    }
}

/// The index of the items that were not removed.
fn offered(published: &ItemIndex<Bytes>) -> anyhow::Result<ItemIndex<Bytes>> {
    let table = Table::of(published)?;
    let info = published.info().clone();
    let (space, codes, keys) = (table.space(), table.codes(), table.keys());
    let index = ItemIndex::build(space, codes, keys, usize::MAX, info)?;
    Ok(ItemIndex::open(Bytes::Read(index.into_bytes()))?)
}

impl Embedded {
    fn of(
        embeddings: Array2<f32>,
        space: &CodeSpace,
        paths: &CodeMatrix,
        model: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let encoder = match model {
            Some(model) => open_model(model)?,
            None => LeastSquares::fit(embeddings.view(), paths, space)?.encoder,
        };
        ensure!(
            encoder.quantizer().space() == space,
            "the model has {} codes, the index {space}",
            encoder.quantizer().space()
        );
        Ok(Self {
            mse: encoder.mse(embeddings.view(), paths)?,
            embeddings,
            least_squares: model.is_none(),
        })
    }
}

/// Rows matched by key, or taken in order where the embeddings have no keys and the index has
/// other ones than row numbers. Those of removed items are passed over.
fn by_item(
    file: &EmbeddingFile,
    index: &ItemIndex<Bytes>,
    published: &ItemIndex<Bytes>,
) -> anyhow::Result<Array2<f32>> {
    ensure!(
        (index.items()..=published.items()).contains(&file.keys.len()),
        "there are {} embeddings, but the index has {} items",
        file.keys.len(),
        index.items()
    );
    let embeddings = file.embeddings.all()?;
    let mut rows = vec![None; index.items()];
    if file.numbered && published.find("0")?.is_none() && file.keys.len() == published.items() {
        let living = published.living()?;
        rows = living.iter().map(|item| Some(item.index())).collect();
    } else {
        for (row, key) in file.keys.iter().enumerate() {
            match index.find(key)? {
                Some(item) => rows[item.index()] = Some(row),
                None => ensure!(
                    published.find(key)?.is_some(),
                    "the index has no item {key:?}; give --keys the items that were embedded"
                ),
            }
        }
    }
    let lacking = rows.iter().position(Option::is_none);
    if let Some(item) = lacking {
        bail!(
            "there is no embedding of {:?}",
            index.key(ItemId(item as u32))?
        );
    }
    let rows: Vec<usize> = rows.into_iter().flatten().collect();
    Ok(match rows.len() == embeddings.nrows() && rows.is_sorted() {
        true => embeddings,
        false => embeddings.select(Axis(0), &rows),
    })
}

impl Events {
    /// Events with items that the index does not have are left out.
    fn read(path: &Path, keys: &ItemKeys) -> anyhow::Result<Self> {
        let interactions = Interactions::open(path, None, keys)?;
        let mut training = vec![0; keys.len()];
        for item in interactions.training().into_iter().flatten() {
            training[item.index()] += 1;
        }
        let histories = interactions.into_histories();
        let split = Split::leave_one_out(&histories);
        Ok(Self {
            histories,
            split,
            training,
        })
    }

    /// The items of each user, the oldest event first.
    pub(super) fn rows(&self) -> Vec<&[ItemId]> {
        let users = self.histories.users();
        users.map(|user| self.histories.items(user)).collect()
    }
}
