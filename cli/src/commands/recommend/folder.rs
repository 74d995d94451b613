//! A model folder: weights, the index they were trained with, and titles for people.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use semantic_id::{Digest, ItemId, ItemIndex, Manifest};
use semid_recommender::{HEAD_FILE, Recommender};
use semid_tasks::{Catalogue, ItemOptions};
use tch::Device;
use trie_decode::ItemTrie;

use crate::artefact::open_index;
use crate::map::{self, Bytes};
use crate::output::OutputFolder;

/// The index in a model folder.
const INDEX: &str = "index.safetensors";

/// Titles by key in a model folder.
const TITLES: &str = "titles.json";

/// Which model to ask, and about what.
#[derive(Debug, Clone, Args)]
pub(super) struct Source {
    /// The model folder
    pub(super) model: PathBuf,
    /// A later generation of the model's index [default: the one it was trained with]
    #[arg(long, value_name = "INDEX")]
    pub(super) index: Option<PathBuf>,
    /// Take an index that the model was not trained with, if it has as many codes
    #[arg(long, requires = "index")]
    pub(super) force: bool,
    /// Where to compute: cpu, or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(super) device: String,
    /// Threads of libtorch. More can be slower: they wait by spinning
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) torch_threads: std::num::NonZeroU16,
}

/// A model that can be asked, its catalogue and its titles.
pub(super) struct Folder {
    pub(super) recommender: Recommender,
    pub(super) trie: ItemTrie<Bytes>,
    titles: BTreeMap<String, String>,
}

impl Source {
    pub(super) fn open(&self) -> anyhow::Result<Folder> {
        let recommender = self.recommender()?;
        let path = self.index_path();
        let index = open_index(&path, false)?;
        let fits = recommender
            .reader()
            .settings()
            .check_index(&index, self.force);
        fits.with_context(|| path.display().to_string())?;
        Ok(Folder {
            recommender,
            trie: ItemTrie::new(index),
            titles: self.titles()?,
        })
    }

    /// The model. libtorch is to be asked from the thread that calls this.
    pub(super) fn recommender(&self) -> anyhow::Result<Recommender> {
        let device = crate::training::device(&self.device)?;
        tch::set_num_threads(self.torch_threads.get().into());
        recommender(&self.model, device)
    }

    /// Where the index is.
    pub(super) fn index_path(&self) -> PathBuf {
        let own = || self.model.join(INDEX);
        self.index.clone().unwrap_or_else(own)
    }

    /// Titles by key, as far as they are known.
    pub(super) fn titles(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let titles = self.model.join(TITLES);
        match titles.exists() {
            // Not mapped: a service reads them again, and they may be written over.
            true => serde_json::from_slice(&fs::read(&titles)?)
                .with_context(|| format!("{} has no titles by key", titles.display())),
            false => Ok(BTreeMap::new()),
        }
    }
}

fn recommender(folder: &Path, device: Device) -> anyhow::Result<Recommender> {
    let read = |file: &str| fs::read(folder.join(file));
    Recommender::from_files(&read, device).with_context(|| {
        format!(
            "{} is no whole folder of `semid recommend train`",
            folder.display()
        )
    })
}

impl Folder {
    pub(super) fn index(&self) -> &ItemIndex<Bytes> {
        self.trie.index().expect("the trie was made of an index")
    }

    /// The title of an item, if it is known.
    pub(super) fn title(&self, item: ItemId) -> anyhow::Result<Option<&str>> {
        let title = self.titles.get(self.index().key(item)?);
        Ok(title.map(String::as_str))
    }
}

/// Titles by key, as the items file has them.
pub(super) fn titles(items: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let file = items.display().to_string();
    let catalogue = Catalogue::read(&file, &map::open(items)?, &ItemOptions::default())?;
    ensure!(
        catalogue.has_field("title"),
        "{file} has no field `title`; it has {}",
        catalogue.fields().collect::<Vec<_>>().join(", ")
    );
    let rows = (0..catalogue.len() as u32).map(ItemId);
    let titled = rows.filter_map(|item| {
        let title = catalogue.text(item, "title")?;
        Some((catalogue.keys().get(item).to_owned(), title.to_owned()))
    });
    Ok(titled.collect())
}

/// Writes a model folder.
pub(super) fn write(
    output: OutputFolder,
    recommender: &Recommender,
    index: &[u8],
    titles: &BTreeMap<String, String>,
    epochs: &[u8],
    item_head: Option<&[u8]>,
    mut manifest: Manifest,
) -> anyhow::Result<()> {
    let files = recommender.to_files()?;
    let titles = serde_json::to_vec(titles)?;
    let own = [(INDEX, index), (TITLES, &titles), ("epochs.jsonl", epochs)];
    let own = own
        .into_iter()
        .chain(item_head.map(|head| (HEAD_FILE, head)));
    let files = files.iter().map(|(file, bytes)| (*file, &**bytes));
    for (file, bytes) in files.chain(own) {
        manifest.outputs.insert(file.to_owned(), Digest::of(bytes));
        let path = output.path().join(file);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    fs::write(output.path().join("manifest.json"), text)?;
    output.commit()
}
