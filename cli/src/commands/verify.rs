use std::fmt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use semantic_id::{Digest, ItemIndex, Manifest};
use serde::Serialize;

use crate::artefact::{beside, name, open_index};
use crate::console::Console;
use crate::map;

/// Check that nothing changed since it was written
///
/// An index is checked whole: structure and hash. A model folder and an embedding file are
/// compared with their manifest.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// An index, a model folder, or an embedding file with its manifest beside it
    path: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    kind: &'static str,
    verified: Vec<String>,
}

impl Verify {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let path = &*self.path;
        let (kind, verified) = if path.is_dir() {
            (
                "folder",
                against_manifest(&path.join("manifest.json"), path)?,
            )
        } else if beside(path, "manifest.json").exists() {
            let folder = path.parent().unwrap_or(Path::new(""));
            (
                "file",
                against_manifest(&beside(path, "manifest.json"), folder)?,
            )
        } else if ItemIndex::open(&*map::open(path)?).is_ok() || is_safetensors(path) {
            open_index(path, false)?;
            ("index", vec![name(path)])
        } else {
            bail!(
                "{} is no index, and there is no {} to compare it with",
                path.display(),
                beside(path, "manifest.json").display()
            );
        };
        console.report(&Report {
            path: path.to_owned(),
            kind,
            verified,
        })
    }
}

/// Whether the problem with the file is worth telling in an index's own words.
fn is_safetensors(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending == "safetensors")
}

/// Compares all files that a manifest lists as its outputs.
pub(super) fn against_manifest(path: &Path, folder: &Path) -> anyhow::Result<Vec<String>> {
    let manifest: Manifest =
        serde_json::from_slice(&map::open(path)?).with_context(|| path.display().to_string())?;
    let mut verified = Vec::new();
    for file in manifest.outputs.keys() {
        // Names come from a file that may be hostile: nothing outside the folder is read.
        let inside = |part| matches!(part, Component::Normal(_));
        if !Path::new(file).components().all(inside) {
            bail!(
                "{}: output {file:?} is not inside the folder",
                path.display()
            );
        }
        let bytes = map::open(&folder.join(file))?;
        manifest.check(file, Digest::of(&bytes))?;
        verified.push(file.clone());
    }
    Ok(verified)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: unchanged ({})",
            self.path.display(),
            self.verified.join(", ")
        )
    }
}
