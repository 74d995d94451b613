//! The shards of a corpus that is on the disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rayon::prelude::*;
use semantic_id::Manifest;
use semid_tasks::{Input, Part};

use crate::map;

const ENDINGS: [&str; 4] = [".jsonl", ".jsonl.zst", ".parquet", ".csv"];

/// A corpus's folder.
pub(super) struct CorpusFolder {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    /// The names of the shards, in order.
    pub(super) shards: Vec<String>,
}

impl CorpusFolder {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let manifest = path.join("manifest.json");
        let no_corpus = || format!("{} is no corpus", path.display());
        let bytes = map::open(&manifest).with_context(no_corpus)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).with_context(|| format!("{}", manifest.display()))?;
        let shards = manifest.outputs.keys().filter(|file| is_shard(file));
        let shards: Vec<_> = shards.cloned().collect();
        ensure!(
            !shards.is_empty(),
            "{}: its manifest lists no shards",
            no_corpus()
        );
        Ok(Self {
            path: path.to_owned(),
            manifest,
            shards,
        })
    }

    /// Reads all shards at once, as far as there are threads; the results are in their order.
    pub(super) fn read<T: Send>(
        &self,
        read: impl Fn(&str, Input<'_>) -> semid_tasks::Result<T> + Sync,
    ) -> anyhow::Result<Vec<T>> {
        let shards = self.shards.par_iter().map(|name| {
            let file = File::open(self.path.join(name));
            let file = file.with_context(|| format!("cannot read {name}"))?;
            Ok(read(name, file.into())?)
        });
        let shards: anyhow::Result<_> = shards.collect();
        shards.with_context(|| self.path.display().to_string())
    }

    /// Shards that lie in the folder, but are not in the manifest.
    pub(super) fn unlisted(&self) -> Vec<String> {
        let folders = Part::ALL.map(|part| part.to_string());
        let names = folders.iter().flat_map(|folder| {
            let files = fs::read_dir(self.path.join(folder))
                .into_iter()
                .flatten()
                .flatten();
            files.map(move |file| format!("{folder}/{}", file.file_name().to_string_lossy()))
        });
        let mut names: Vec<_> = names
            .filter(|name| is_shard(name) && !self.manifest.outputs.contains_key(name))
            .collect();
        names.sort();
        names
    }
}

fn is_shard(name: &str) -> bool {
    name != "split.jsonl" && ENDINGS.iter().any(|ending| name.ends_with(ending))
}
