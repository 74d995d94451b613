//! A published index and its next generation.

use std::fmt;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rq_vae::Encoder;
use semantic_id::{Assignment, Change, Delta, Digest, ItemIndex, Manifest, Overfull, Share};
use serde::Serialize;
use serde_json::{Value, json};

use crate::artefact::{MODEL_FILES, beside, enter_model, name, open_index, open_model};
use crate::map::Bytes;
use crate::output::OutputFile;

/// An index that others have a copy of, or a model that learnt it.
pub(crate) struct Published {
    pub(crate) index: ItemIndex<Bytes>,
    path: PathBuf,
}

/// What a command that makes a generation reports of it.
#[derive(Debug, Serialize)]
pub(crate) struct Generation {
    out: PathBuf,
    /// The way from the parent; none where nothing changed.
    delta: Option<PathBuf>,
    generation: u64,
    digest: Digest,
    parent: Option<Digest>,
    /// Items that are offered.
    items: usize,
}

impl Published {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            index: open_index(path, false)?,
            path: path.to_owned(),
        })
    }

    /// Items that may share an ID, as the index was made for; 1 if it does not say.
    pub(crate) fn capacity(&self) -> NonZeroU32 {
        let capacity = self.index.info().manifest.configuration["capacity"].as_u64();
        let capacity = capacity.and_then(|capacity| u32::try_from(capacity).ok());
        capacity
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN)
    }

    /// The model in a folder, which must be the one that made the IDs unless `any` will do.
    pub(crate) fn model(&self, folder: &Path, any: bool) -> anyhow::Result<Encoder> {
        let (index, model) = (self.path.display(), folder.display());
        let encoder = open_model(folder)?;
        let (codes, space) = (encoder.quantizer().space(), self.index.space());
        ensure!(codes == space, "{model} has {codes} codes, {index} {space}");
        if any {
            return Ok(encoder);
        }
        let manifest = &self.index.info().manifest;
        let mut given = Manifest::new("", Value::Null);
        enter_model(folder, &mut given.inputs)?;
        for (file, got) in &given.inputs {
            match manifest.inputs.get(file) {
                Some(expected) if expected == got => {}
                Some(expected) => bail!(
                    "{model} is a model of another generation: its {file} has blake3 {got}, but \
                     {index} was made with {expected}; give that model, or place the items by \
                     this one with --any-model"
                ),
                None => bail!(
                    "{index} does not name the model of its IDs (it was made by `semid {}`); \
                     if {model} explains them, say --any-model",
                    manifest.command
                ),
            }
        }
        Ok(encoder)
    }

    /// What its prefixes left free when all IDs were assigned.
    pub(crate) fn reserve(&self) -> Share {
        let reserve = self.index.info().manifest.configuration["reserve"].as_f64();
        let reserve = reserve.and_then(|share| Share::new(share).ok());
        reserve.unwrap_or(Share::NONE)
    }

    /// What its assignments added to the squared distance, if that is known.
    pub(crate) fn added_distance(&self) -> Option<f64> {
        self.index.info().manifest.results["added_distance"].as_f64()
    }

    /// The manifest of a change: it still names the model of the IDs, their capacity and, unless
    /// there is another one, their reserve.
    pub(crate) fn manifest(&self, command: &str, mut configuration: Value) -> Manifest {
        configuration["capacity"] = json!(self.capacity());
        if configuration["reserve"].is_null() {
            configuration["reserve"] = json!(self.reserve());
        }
        let mut manifest = Manifest::new(command, configuration);
        let inputs = &self.index.info().manifest.inputs;
        for file in MODEL_FILES.map(|file| format!("model/{file}")) {
            if let Some(digest) = inputs.get(&file) {
                manifest.inputs.insert(file, *digest);
            }
        }
        manifest
    }

    /// Writes the next generation, and before it the delta that leads there: whoever finds the
    /// one finds the other. Where nothing changes, writes the index as it is.
    pub(crate) fn publish(
        &self,
        mut output: OutputFile,
        out: &Path,
        change: Change,
        per_path: usize,
        mut manifest: Manifest,
    ) -> anyhow::Result<Generation> {
        if change.is_empty() {
            output.write_all(self.index.bytes())?;
            output.commit()?;
            return Generation::of(&self.index, out, None);
        }
        for (what, count) in [
            ("added", change.added.len()),
            ("revived", change.revived.len()),
            ("moved", change.moved.len()),
            ("removed", change.removed.len()),
            ("freed", change.freed.len()),
        ] {
            manifest.counts.insert(what.to_owned(), count as u64);
        }
        let index = self
            .index
            .changed(&change, per_path, manifest)
            .with_context(|| self.path.display().to_string())?;
        let delta = beside(out, &format!("delta-{}.json", index.info().generation));
        let mut file = OutputFile::create(&delta)?;
        file.write_all(&Delta::new(change, per_path, &index)?.to_json())?;
        file.commit()?;
        output.write_all(index.bytes())?;
        output.commit()?;
        Generation::of(&index, out, Some(delta))
    }
}

impl Generation {
    fn of<D: AsRef<[u8]>>(
        index: &ItemIndex<D>,
        out: &Path,
        delta: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            out: out.to_owned(),
            delta,
            generation: index.info().generation,
            digest: index.digest(),
            parent: index.info().parent,
            items: index.living()?.len(),
        })
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, generation) = (self.out.display(), self.generation);
        write!(f, "{out}: generation {generation}, {} items", self.items)?;
        match &self.delta {
            Some(delta) => write!(f, "; changes in {}", name(delta)),
            None => f.write_str("; nothing changed"),
        }
    }
}

/// The prefixes that items had to leave for want of room.
#[derive(Debug, Serialize)]
pub(crate) struct FullPrefixes {
    count: usize,
    /// Those that lacked the most.
    fullest: Vec<Overfull>,
}

impl FullPrefixes {
    pub(crate) fn of(assignment: &Assignment) -> Self {
        let full = assignment.overfull();
        Self {
            count: full.len(),
            fullest: full.iter().take(3).cloned().collect(),
        }
    }
}

impl fmt::Display for FullPrefixes {
    /// Whole lines, none where there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count > 0 {
            write!(f, "\n{} prefixes have no room for all, as", self.count)?;
        }
        for (at, full) in self.fullest.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let (prefix, items, room) = (&full.prefix, full.items, full.room);
            write!(f, "{comma} {prefix} ({items} items, room for {room})")?;
        }
        Ok(())
    }
}
