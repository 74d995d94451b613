//! The items that are served, while generations of the index follow each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context;
use arc_swap::ArcSwap;
use semantic_id::{Code, Digest, ItemId, ItemIndex};
use semid_recommender::Settings;
use serde::Serialize;
use trie_decode::{Filter, ItemTrie};

use super::super::folder::Source;
use crate::map::Bytes;

/// The index and the titles, as they were read last.
pub(super) struct Catalogue {
    source: Source,
    settings: Settings,
    current: ArcSwap<Snapshot>,
    /// The index that the model was trained with and all that were served: the model knows them
    /// and their children. The lock is that of those who reload.
    known: Mutex<HashSet<Digest>>,
}

/// A generation, which never changes: whoever answers a request keeps one until he has.
pub(super) struct Snapshot {
    pub(super) trie: ItemTrie<Bytes>,
    titles: BTreeMap<String, String>,
    /// Items that are offered, and what they are found by, made when first searched.
    names: OnceLock<Vec<(ItemId, String)>>,
}

/// What a generation is known by.
#[derive(Debug, Serialize)]
pub(super) struct Generation {
    pub(super) generation: u64,
    /// The index's hash of itself.
    pub(super) index: Digest,
    /// Items that are offered.
    pub(super) items: usize,
}

/// An item for people.
#[derive(Debug, Serialize)]
pub(super) struct Named {
    pub(super) key: String,
    pub(super) title: Option<String>,
}

/// The last code of a prefix, and how many offered items begin with the prefix.
#[derive(Debug, Serialize)]
pub(super) struct Branch {
    code: String,
    items: usize,
}

impl Catalogue {
    /// Reads the index of a model with these settings.
    pub(super) fn open(source: Source, settings: Settings) -> anyhow::Result<Self> {
        let known = HashSet::from([settings.index]);
        let snapshot = Snapshot::read(&source, &settings, &known)?;
        Ok(Self {
            source,
            settings,
            current: ArcSwap::from_pointee(snapshot),
            known: Mutex::new(known),
        })
    }

    /// What is served now. Never waits.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Reads the index and the titles again and serves them from now on, if the model knows the
    /// index or its parent. Else, what was served stays.
    pub(super) fn reload(&self) -> anyhow::Result<Generation> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(self.snapshot().index().digest());
        let snapshot = Snapshot::read(&self.source, &self.settings, &known)?;
        let generation = snapshot.generation();
        self.current.store(Arc::new(snapshot));
        Ok(generation)
    }
}

/// Items that a search gives at most.
const FOUND: usize = 20;

impl Snapshot {
    /// Reads an index that is one of `known`, or a child of one.
    ///
    /// It goes into memory: a file that is mapped must not be written over, and whoever copies the
    /// next generation to its place may do just that.
    fn read(source: &Source, settings: &Settings, known: &HashSet<Digest>) -> anyhow::Result<Self> {
        let path = source.index_path();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let open = || {
            let index = ItemIndex::open(Bytes::Read(bytes))?;
            index.validate()?;
            let parents = [Some(index.digest()), index.info().parent];
            let follows = parents.iter().flatten().any(|index| known.contains(index));
            settings.check_index(&index, source.force || follows)?;
            anyhow::Ok(index)
        };
        Ok(Self {
            trie: ItemTrie::new(open().with_context(|| path.display().to_string())?),
            titles: source.titles()?,
            names: OnceLock::new(),
        })
    }

    pub(super) fn index(&self) -> &ItemIndex<Bytes> {
        self.trie.index().expect("the trie was made of an index")
    }

    pub(super) fn generation(&self) -> Generation {
        Generation {
            generation: self.index().info().generation,
            index: self.index().digest(),
            items: Filter::all(&self.trie).len(),
        }
    }

    pub(super) fn named(&self, item: ItemId) -> semantic_id::Result<Named> {
        let key = self.index().key(item)?;
        Ok(Named {
            key: key.to_owned(),
            title: self.titles.get(key).cloned(),
        })
    }

    /// The way to an item through the tree, a branch a code.
    pub(super) fn path(&self, codes: &[Code]) -> trie_decode::Result<Vec<Branch>> {
        let offered = Filter::all(&self.trie);
        let format = self.index().token_format();
        let (mut path, mut at) = (Vec::new(), self.trie.root());
        for (level, &code) in codes.iter().enumerate() {
            let Some(child) = self.trie.child(at, code)? else {
                break;
            };
            at = child;
            path.push(Branch {
                code: format.token(level, code),
                items: offered.count(self.trie.ranks(at)?),
            });
        }
        Ok(path)
    }

    /// The offered items that have `text` in title or key, whatever its case: first those that
    /// are called so, then those that begin with it, then those of which a word does; the shorter
    /// first. `O(N)` in the length of all names.
    pub(super) fn search(&self, text: &str) -> anyhow::Result<Vec<Named>> {
        let text = text.trim().to_lowercase();
        let mut found: Vec<_> = (self.names()?.iter())
            .filter_map(|(item, name)| Some((Reverse(closeness(name, &text)?), name.len(), item)))
            .collect();
        found.sort_unstable();
        let found = found
            .iter()
            .take(FOUND)
            .map(|(.., item)| self.named(**item));
        Ok(found.collect::<semantic_id::Result<_>>()?)
    }

    fn names(&self) -> anyhow::Result<&[(ItemId, String)]> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        let name = |item| {
            let Named { key, title } = self.named(item)?;
            let title = title.unwrap_or_default();
            Ok((item, format!("{title}{BETWEEN}{key}").to_lowercase()))
        };
        let names = self.index().living()?.into_iter().map(name);
        let names = names.collect::<semantic_id::Result<_>>()?;
        Ok(self.names.get_or_init(|| names))
    }
}

/// Between the title and the key of an item.
const BETWEEN: char = '\n';

/// How well a name answers to a text: none if it does not have it.
fn closeness(name: &str, text: &str) -> Option<u8> {
    let begins_word = |at: usize| !name[..at].ends_with(char::is_alphanumeric);
    let mut best = None;
    for (at, _) in name.match_indices(text) {
        let end = at + text.len();
        let begins = at == 0 || name[..at].ends_with(BETWEEN);
        let ends = end == name.len() || name[end..].starts_with(BETWEEN);
        let close = match (begins, begins_word(at)) {
            (true, _) if ends => 3,
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        best = best.max(Some(close));
    }
    best
}
