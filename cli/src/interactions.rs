use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use semantic_id::{Digest, ItemId, ItemKeys, Manifest};
use semid_tasks::{
    EventFormat, EventOptions, Histories, HistoriesBuilder, HistoryOptions, Input, UnknownItems,
};

use crate::artefact::name;
use crate::map;

/// Items meet if they are at most so many places apart in a history.
pub(crate) const WINDOW: usize = 3;

/// Dimensions that histories are reduced to.
pub(crate) const RANK: usize = 64;

/// What users did with the items of a catalogue, and what of it may be learnt from.
///
/// The last event of each user is kept for the test, the one before it for validation.
pub(crate) struct Interactions {
    histories: Histories,
    digest: Digest,
    path: PathBuf,
}

impl Interactions {
    /// Reads a file of interactions; those with items that the catalogue does not have are left
    /// out and counted.
    pub(crate) fn open(
        path: &Path,
        format: Option<EventFormat>,
        items: &ItemKeys,
    ) -> anyhow::Result<Self> {
        let unknown_items = UnknownItems::Skip;
        let options = HistoryOptions {
            unknown_items,
            ..HistoryOptions::default()
        };
        let mut builder = HistoriesBuilder::new(items, options);
        let options = EventOptions {
            format,
            ..EventOptions::default()
        };
        let digest = Digest::of(&map::open(path)?);
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        builder.read(&path.display().to_string(), Input::from(file), &options)?;
        let histories = builder.finish().with_context(|| {
            format!(
                "{} has no events of the {} items (the first is {:?}); are its item keys theirs? \
                 Embeddings get their keys with --keys",
                path.display(),
                items.len(),
                items.get(ItemId(0))
            )
        })?;
        Ok(Self {
            histories,
            digest,
            path: path.to_owned(),
        })
    }

    pub(crate) fn histories(&self) -> &Histories {
        &self.histories
    }

    pub(crate) fn into_histories(self) -> Histories {
        self.histories
    }

    /// The events of training, by user: all but the last two.
    pub(crate) fn training(&self) -> Vec<&[ItemId]> {
        self.without_last(2)
    }

    /// All events but those of the test, by user.
    pub(crate) fn before_test(&self) -> Vec<&[ItemId]> {
        self.without_last(1)
    }

    fn without_last(&self, count: usize) -> Vec<&[ItemId]> {
        let users = self.histories.users();
        let items = users.map(|user| self.histories.items(user));
        items
            .map(|items| &items[..items.len().saturating_sub(count)])
            .collect()
    }

    /// The hash of the file.
    #[cfg(feature = "train")]
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Enters the file among a manifest's inputs.
    pub(crate) fn enter(&self, manifest: &mut Manifest) {
        manifest.inputs.insert(name(&self.path), self.digest);
    }
}
