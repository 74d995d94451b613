use std::io::Write;
use std::path::{Path, PathBuf};

use ndarray::ArrayView2;
use rq_vae::npy;
use semantic_id::{Digest, Manifest};

use crate::artefact::{beside, name};
use crate::output::OutputFile;
use crate::usage_error;

/// Embeddings in the making: EMB, a .npy of f32 `[items, dim]`, and beside it EMB.keys.json, the
/// keys of its rows, and EMB.manifest.json.
pub(crate) struct EmbeddingOutput {
    embeddings: OutputFile,
    path: PathBuf,
}

impl EmbeddingOutput {
    /// Prepares to write, so that a bad name is told before the work.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        if path.extension().is_none_or(|ending| ending != "npy") {
            return Err(usage_error("--out must end in .npy"));
        }
        Ok(Self {
            embeddings: OutputFile::create(path)?,
            path: path.to_owned(),
        })
    }

    /// Writes the embeddings, their keys, further files `(ending, bytes)` beside them and last
    /// the manifest, which lists them all.
    pub(crate) fn write<'k>(
        mut self,
        embeddings: ArrayView2<'_, f32>,
        keys: impl Iterator<Item = &'k str>,
        further: &[(&str, Vec<u8>)],
        mut manifest: Manifest,
    ) -> anyhow::Result<()> {
        let counts = [("items", embeddings.nrows()), ("dim", embeddings.ncols())];
        for (what, count) in counts {
            manifest.counts.insert(what.to_owned(), count as u64);
        }
        self.embeddings.write_all(&npy(embeddings))?;
        let digest = Digest::from(self.embeddings.commit()?);
        manifest.outputs.insert(name(&self.path), digest);
        let keys: Vec<&str> = keys.collect();
        let keys = ("keys.json", serde_json::to_vec(&keys)?);
        for (ending, bytes) in further.iter().chain([&keys]) {
            let path = beside(&self.path, ending);
            let digest = write(&path, bytes)?;
            manifest.outputs.insert(name(&path), digest);
        }
        let manifest = serde_json::to_string_pretty(&manifest)? + "\n";
        write(&beside(&self.path, "manifest.json"), manifest.as_bytes())?;
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<Digest> {
    let mut file = OutputFile::create(path)?;
    file.write_all(bytes)?;
    Ok(file.commit()?.into())
}
