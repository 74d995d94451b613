//! An index that is compared, and what is done with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use semantic_id::{Digest, ItemIndex, ItemKeys, Manifest};
use semid_recommender::{Evaluation, Generative, Recommender};
use semid_tasks::metrics::List;
use semid_tasks::{EventFormat, Part, Split};
use trie_decode::ItemTrie;

use super::super::course::{Checkpoint, Course, Data, Trained};
use super::super::scratch::Scratch;
use super::journal::CUTOFF;
use crate::artefact::{name, open_index};
use crate::console::Console;
use crate::interactions::Interactions;
use crate::map::Bytes;
use crate::progress;

/// An index, and the histories in its items.
pub(super) struct Contender {
    /// How tables call it.
    pub(super) name: String,
    pub(super) path: PathBuf,
    trie: ItemTrie<Bytes>,
    pub(super) interactions: Interactions,
    split: Split,
}

impl Contender {
    /// Opens indexes of the same items, two or more, all of them different.
    pub(super) fn open_all(
        paths: &[PathBuf],
        interactions: &Path,
        format: Option<EventFormat>,
    ) -> anyhow::Result<Vec<Self>> {
        if paths.len() < 2 {
            return Err(crate::usage_error(
                "--indexes: got one index, expected two or more, between commas",
            ));
        }
        let names = names(paths);
        let mut contenders: Vec<Self> = Vec::new();
        let mut catalogue = BTreeSet::new();
        for (path, name) in paths.iter().zip(names) {
            let trie = ItemTrie::new(open_index(path, false)?);
            let index = trie.index().expect("the trie was made of an index");
            let keys = index.keys()?;
            let items = items(index, &keys)?;
            if let Some(first) = contenders.first() {
                let mut differing = catalogue.symmetric_difference(&items);
                if let Some((key, _)) = differing.next() {
                    bail!(
                        "{} and {} are not of the same items: {key:?} is in one of them alone, or \
                         was removed from one; compare indexes of one catalogue",
                        first.path.display(),
                        path.display()
                    );
                }
            } else {
                catalogue = items;
            }
            let is_same = |other: &&Self| other.index().digest() == index.digest();
            if let Some(other) = contenders.iter().find(is_same) {
                bail!(
                    "{} and {} are the same index; name each once",
                    other.path.display(),
                    path.display()
                );
            }
            let interactions = Interactions::open(interactions, format, &keys)?;
            let split = Split::leave_one_out(interactions.histories());
            contenders.push(Self {
                name,
                path: path.clone(),
                trie,
                interactions,
                split,
            });
        }
        let first = &contenders[0];
        ensure!(
            first.users() > 0,
            "{} has no user with three events, of which the last one is to be found",
            interactions.display()
        );
        let files: BTreeSet<String> = contenders.iter().map(Self::file_name).collect();
        ensure!(
            files.len() == contenders.len(),
            "two of the indexes would have the same name in the folder; rename one of them"
        );
        Ok(contenders)
    }

    pub(super) fn index(&self) -> &ItemIndex<Bytes> {
        self.trie.index().expect("the trie was made of an index")
    }

    pub(super) fn levels(&self) -> usize {
        self.index().levels()
    }

    /// Users whose last event is to be found.
    pub(super) fn users(&self) -> usize {
        self.interactions.histories().len() - self.split.without_test()
    }

    /// Its name without folders in it.
    pub(super) fn file_name(&self) -> String {
        self.name.replace(['/', '\\'], "_")
    }

    /// Trains a recommender on it.
    pub(super) fn train(
        &self,
        scratch: &Scratch,
        course: &Course,
        seed: u64,
        checkpoint: &Checkpoint,
        console: &Console,
    ) -> anyhow::Result<Trained> {
        let data = Data {
            histories: self.interactions.histories(),
            split: &self.split,
            trie: &self.trie,
        };
        scratch.train(course, Some(seed), data, checkpoint, console)
    }

    /// Of each user how many items are recommended before the one that comes next, [`CUTOFF`] at
    /// most.
    pub(super) fn ask(
        &self,
        recommender: &Recommender,
        beams: usize,
        console: &Console,
    ) -> anyhow::Result<Vec<u8>> {
        let histories = self.interactions.histories();
        let evaluation = Evaluation::new(histories, &self.split, Part::Test, false);
        let ranker = Generative {
            model: recommender.model(),
            reader: recommender.reader(),
            trie: &self.trie,
            beams,
        };
        let bar = progress::bar(console, "users", evaluation.users().len());
        let count = usize::from(CUTOFF);
        let lists = evaluation.lists(&ranker, count, |users| bar.inc(users as u64))?;
        bar.finish_and_clear();
        let paired = evaluation.paired(&lists).into_iter();
        Ok(paired.map(|(list, targets)| place(list, targets)).collect())
    }

    /// Enters its files among a manifest's inputs.
    pub(super) fn enter(&self, manifest: &mut Manifest) {
        let digest = Digest::of(self.index().bytes());
        manifest.inputs.insert(name(&self.path), digest);
        self.interactions.enter(manifest);
    }
}

/// Entries before that of the item to be found.
fn place(list: &List, targets: &[u32]) -> u8 {
    let mut entries = list.entries().iter().take(CUTOFF.into());
    let place = entries.position(|entry| targets.iter().any(|target| entry.contains(target)));
    place.map_or(CUTOFF, |place| place as u8)
}

/// The items of an index, and whether they are still there.
fn items(index: &ItemIndex<Bytes>, keys: &ItemKeys) -> anyhow::Result<BTreeSet<(String, bool)>> {
    let item = |item| Ok((keys.get(item).to_owned(), index.is_alive(item)?));
    index.rows().map(item).collect()
}

/// The files' names without their ending, or the whole paths if two were the same.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| {
        let name = name(path);
        let short = [".index.safetensors", ".safetensors"]
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .filter(|short| !short.is_empty());
        short.map_or(name.clone(), str::to_owned)
    };
    let short: Vec<String> = paths.iter().map(short).collect();
    match short.iter().collect::<BTreeSet<_>>().len() == short.len() {
        true => short,
        false => paths
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
    }
}
