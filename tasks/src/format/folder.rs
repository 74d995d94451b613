use std::collections::BTreeMap;
use std::io::{self, Write};

use semantic_id::{Digest, Manifest};
use serde::{Deserialize, Serialize};

use super::shard::Hashed;
use super::{RowWriter, Shard, ShardWriter};
use crate::{Error, Result};

/// Where a corpus goes. The command line's is a folder of the disk.
pub trait Folder {
    /// A file in the making.
    type File: Write + Send;

    /// Begins a file, whose name may have a folder before it, as `train/part-00000.jsonl`.
    /// Until [`Folder::finish`] nobody sees it.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Puts a finished file in its place, instead of an older one, whole and for good.
    ///
    /// # Errors
    ///
    /// If it cannot be written to its end.
    fn finish(&self, name: &str, file: Self::File) -> io::Result<()>;

    /// The bytes of a finished file, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Removes a finished file, if it is there.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;
}

impl<F: Folder> Folder for &F {
    type File = F::File;

    fn create(&self, name: &str) -> io::Result<F::File> {
        (**self).create(name)
    }

    fn finish(&self, name: &str, file: F::File) -> io::Result<()> {
        (**self).finish(name, file)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        (**self).read(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }
}

/// A corpus in the making: files, and the journal by which a build that was killed goes on.
///
/// The journal names the build and its finished shards. A build with the same inputs and the same
/// recipe keeps those; any other removes them and starts anew.
#[derive(Debug)]
pub struct CorpusFolder<F> {
    folder: F,
    journal: Journal,
    outputs: BTreeMap<String, Digest>,
}

/// The finished shards of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Journal {
    /// Hash of everything that decides over the bytes.
    build: Digest,
    shards: Vec<Shard>,
}

/// The journal's file.
const JOURNAL: &str = "journal.json";

impl<F: Folder> CorpusFolder<F> {
    /// Begins a build, or goes on with it; `build` is a hash of everything that decides over its
    /// bytes: recipe, inputs, version.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if the folder cannot be read, or written to.
    pub fn open(folder: F, build: Digest) -> Result<Self> {
        let json = folder.read(JOURNAL).map_err(Error::Write)?;
        let mut journal = json
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or(Journal {
                build,
                shards: Vec::new(),
            });
        let mut foreign = Vec::new();
        if journal.build != build {
            foreign = std::mem::take(&mut journal.shards);
            journal.build = build;
        }
        let this = Self {
            folder,
            journal,
            outputs: BTreeMap::new(),
        };
        // From here on the folder is known for a corpus, also if no shard is ever finished, and
        // what is removed has been taken off the list.
        this.note()?;
        for shard in foreign {
            this.folder.remove(&shard.file).map_err(Error::Write)?;
        }
        Ok(this)
    }

    /// The finished shards.
    pub fn shards(&self) -> &[Shard] {
        &self.journal.shards
    }

    /// Writes a shard, unless an earlier run has finished it: then `fill` is not called. `fill`
    /// adds the blocks and gives what it counted.
    ///
    /// # Errors
    ///
    /// [`Error::Write`], and those of `fill`.
    pub fn shard(
        &mut self,
        name: &str,
        rows: &RowWriter,
        fill: impl FnOnce(&mut ShardWriter<F::File>) -> Result<BTreeMap<String, u64>>,
    ) -> Result<()> {
        if self.journal.shards.iter().any(|shard| shard.file == name) {
            return Ok(());
        }
        let file = self.folder.create(name).map_err(Error::Write)?;
        let mut writer = ShardWriter::new(rows.format(), rows.container(), file)?;
        let counts = fill(&mut writer)?;
        let (file, shard) = writer.finish(name)?;
        self.folder.finish(name, file).map_err(Error::Write)?;
        self.journal.shards.push(Shard { counts, ..shard });
        self.note()
    }

    fn note(&self) -> Result<()> {
        let journal = serde_json::to_vec(&self.journal).expect("plain data");
        self.put(JOURNAL, &journal)
    }

    /// Writes a small file that goes with the shards.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.lines(name, |file| file.write_all(bytes))
    }

    /// Writes a file that goes with the shards, piece by piece.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn lines(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let write = || {
            let mut file = Hashed::new(self.folder.create(name)?);
            fill(&mut file)?;
            let (file, digest) = file.finish();
            self.folder.finish(name, file)?;
            io::Result::Ok(digest)
        };
        let digest = write().map_err(Error::Write)?;
        self.outputs.insert(name.to_owned(), digest);
        Ok(())
    }

    /// Ends the build: adds outputs and counts to the manifest, writes it, and removes the journal.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn finish(self, mut manifest: Manifest) -> Result<F> {
        for shard in &self.journal.shards {
            manifest.outputs.insert(shard.file.clone(), shard.blake3);
            *manifest.counts.entry("rows".to_owned()).or_default() += shard.rows;
            for (name, count) in &shard.counts {
                *manifest.counts.entry(name.clone()).or_default() += count;
            }
        }
        manifest.outputs.extend(self.outputs.clone());
        let mut json = serde_json::to_vec_pretty(&manifest).expect("plain data");
        json.push(b'\n');
        self.put("manifest.json", &json)?;
        self.folder.remove(JOURNAL).map_err(Error::Write)?;
        Ok(self.folder)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let put = || {
            let mut file = self.folder.create(name)?;
            file.write_all(bytes)?;
            self.folder.finish(name, file)
        };
        put().map_err(Error::Write)
    }
}
