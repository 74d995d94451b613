//! Reading and describing the things that commands hand to each other.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rq_vae::{Embeddings, Encoder, parquet_to_npy};
use semantic_id::interchange::{Table, csv, index_json, parquet};
use semantic_id::{Digest, ItemId, ItemIndex, ItemKeys, Manifest};
use semid_tasks::{Catalogue, ItemOptions};

use crate::map::{self, Bytes};
use crate::output::{OutputFolder, parent};

/// The files of a model folder.
pub(crate) const MODEL_FILES: [&str; 2] = ["model.safetensors", "config.json"];

/// Bytes of a Parquet file from which on its values are not held in memory.
const WRITTEN_OUT: usize = 256 << 20;

/// `EMB.npy` -> `EMB.npy.{ending}`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

/// The last component of a path, for manifests: those do not depend on where a file lies.
pub(crate) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// An embedding file and the keys of its rows.
pub(crate) struct EmbeddingFile {
    pub(crate) embeddings: Embeddings<Bytes>,
    pub(crate) keys: ItemKeys,
    /// Whether the keys are mere row numbers, since nothing told any.
    pub(crate) numbered: bool,
    digest: Digest,
    path: PathBuf,
}

impl EmbeddingFile {
    /// Opens embeddings. Their keys come from `items`, else from EMB.keys.json, else from the
    /// file itself, else they are the row numbers.
    pub(crate) fn open(path: &Path, items: Option<&Path>) -> anyhow::Result<Self> {
        let bytes = map::open(path)?;
        let digest = Digest::of(&bytes);
        let opened = open_embeddings(path, bytes);
        let (embeddings, own_keys) = opened.with_context(|| path.display().to_string())?;
        let sidecar = beside(path, "keys.json");
        let keys = if let Some(items) = items {
            Some(item_keys(items)?)
        } else if sidecar.exists() {
            let listed: Vec<String> = serde_json::from_slice(&map::open(&sidecar)?)
                .with_context(|| format!("{} is not a list of keys", sidecar.display()))?;
            Some(ItemKeys::new(listed).with_context(|| sidecar.display().to_string())?)
        } else {
            let keys = own_keys.map(ItemKeys::new).transpose();
            keys.with_context(|| path.display().to_string())?
        };
        let numbered = keys.is_none();
        let keys = match keys {
            Some(keys) => keys,
            None => ItemKeys::numbered(embeddings.len())?,
        };
        if keys.len() != embeddings.len() {
            bail!(
                "{} has {} rows, but there are {} item keys; give --keys the items that were \
                 embedded",
                path.display(),
                embeddings.len(),
                keys.len()
            );
        }
        Ok(Self {
            embeddings,
            keys,
            numbered,
            digest,
            path: path.to_owned(),
        })
    }

    /// The key of a row.
    pub(crate) fn key(&self, row: usize) -> &str {
        self.keys.get(ItemId(row as u32))
    }

    /// Enters the file among a manifest's inputs.
    pub(crate) fn enter(&self, manifest: &mut Manifest) {
        manifest.inputs.insert(name(&self.path), self.digest);
    }
}

/// Embeddings, and the keys that the file itself holds. A large Parquet file is written out into
/// an unnamed temporary file beside it, or where temporary files go, since its rows cannot be read
/// in place.
fn open_embeddings(
    path: &Path,
    bytes: Bytes,
) -> anyhow::Result<(Embeddings<Bytes>, Option<Vec<String>>)> {
    if !bytes.starts_with(b"PAR1") || bytes.len() < WRITTEN_OUT {
        let embeddings = Embeddings::open(bytes)?;
        let keys = embeddings.keys().map(<[String]>::to_vec);
        return Ok((embeddings, keys));
    }
    let file = tempfile::tempfile_in(parent(path)).or_else(|_| tempfile::tempfile());
    let mut out = BufWriter::new(file.context("no place for a temporary file")?);
    let keys = parquet_to_npy(bytes, &mut out)?;
    let file = out.into_inner()?;
    Ok((Embeddings::open(map::of(&file)?)?, keys))
}

fn item_keys(items: &Path) -> anyhow::Result<ItemKeys> {
    let bytes = map::open(items)?;
    let file = items.display().to_string();
    Ok(Catalogue::read(&file, &bytes, &ItemOptions::default())?
        .keys()
        .clone())
}

/// The keys on the lines of a file.
pub(crate) fn listed_keys(path: &Path) -> anyhow::Result<Vec<String>> {
    let bytes = map::open(path)?;
    let text = std::str::from_utf8(&bytes);
    let text = text.with_context(|| format!("{} is not UTF-8", path.display()))?;
    let keys = text.lines().filter(|key| !key.is_empty());
    Ok(keys.map(str::to_owned).collect())
}

/// The keys between commas, or on the lines of `@FILE`.
pub(crate) fn keys(given: &str) -> anyhow::Result<Vec<String>> {
    let owned = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect();
    let Some(path) = given.strip_prefix('@') else {
        return Ok(owned(given.split(',').collect()));
    };
    listed_keys(Path::new(path))
}

/// A few of many keys, for an error.
pub(crate) fn some_keys(keys: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = keys
        .iter()
        .take(SHOWN)
        .map(|key| format!("{key:?}"))
        .collect();
    let more = if keys.len() > SHOWN { ", ..." } else { "" };
    shown.join(", ") + more
}

/// A trained model, from its folder.
pub(crate) fn open_model(folder: &Path) -> anyhow::Result<Encoder> {
    let read = |file| {
        let path = folder.join(file);
        fs::read(&path).with_context(|| {
            format!(
                "{} is no model folder: cannot read {}",
                folder.display(),
                path.display()
            )
        })
    };
    let encoder = Encoder::from_files(&read(MODEL_FILES[0])?, &read(MODEL_FILES[1])?);
    encoder.with_context(|| folder.display().to_string())
}

/// Writes a model folder, with `more` files in it.
pub(crate) fn write_model(
    output: OutputFolder,
    encoder: &Encoder,
    more: &[(&str, &[u8])],
    mut manifest: Manifest,
) -> anyhow::Result<()> {
    let write = |file: &str, bytes: &[u8]| {
        let path = output.path().join(file);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let (model, config) = encoder.to_files();
    let files = [
        (MODEL_FILES[0], &*model),
        (MODEL_FILES[1], config.as_bytes()),
    ];
    for (file, bytes) in files.iter().chain(more) {
        manifest
            .outputs
            .insert((*file).to_owned(), Digest::of(bytes));
        write(file, bytes)?;
    }
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    write("manifest.json", text.as_bytes())?;
    output.commit()
}

/// Enters a model's files among a manifest's inputs.
pub(crate) fn enter_model(
    folder: &Path,
    inputs: &mut BTreeMap<String, Digest>,
) -> anyhow::Result<()> {
    for file in MODEL_FILES {
        let digest = Digest::of(&map::open(&folder.join(file))?);
        inputs.insert(format!("model/{file}"), digest);
    }
    Ok(())
}

/// An index, validated unless it is trusted.
pub(crate) fn open_index(path: &Path, trusted: bool) -> anyhow::Result<ItemIndex<Bytes>> {
    let open = || {
        let index = ItemIndex::open(map::open(path)?)?;
        if !trusted {
            index.validate()?;
        }
        anyhow::Ok(index)
    };
    open().with_context(|| path.display().to_string())
}

/// A format that other tools write indexes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TableFormat {
    /// `.index.json` of LC-Rec, MiniOneRec and LETTER
    LcRec,
    /// Parquet of OpenOneRec: columns `pid` and `codes`
    #[value(alias = "parquet")]
    Openonerec,
    /// `key,c0,c1,...`
    Csv,
}

impl TableFormat {
    fn told_by(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"PAR1") {
            Self::Openonerec
        } else if bytes.trim_ascii_start().starts_with(b"{") {
            Self::LcRec
        } else {
            Self::Csv
        }
    }

    pub(crate) fn write(self, table: &Table) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Self::LcRec => index_json::write(table),
            Self::Openonerec => parquet::write(table)?,
            Self::Csv => csv::write(table),
        })
    }
}

/// Reads an index of another tool, or one of ours.
pub(crate) fn open_table(
    path: &Path,
    format: Option<TableFormat>,
    codes: Option<u32>,
) -> anyhow::Result<(Table, Digest)> {
    let bytes = map::open(path)?;
    let read = || {
        if format.is_none()
            && let Ok(index) = ItemIndex::open(&*bytes)
        {
            index.validate()?;
            return Table::of(&index);
        }
        match format.unwrap_or_else(|| TableFormat::told_by(&bytes)) {
            TableFormat::LcRec => index_json::read(&bytes, codes),
            TableFormat::Openonerec => parquet::read(bytes.to_vec(), codes),
            TableFormat::Csv => csv::read(&bytes, codes),
        }
    };
    Ok((
        read().with_context(|| path.display().to_string())?,
        Digest::of(&bytes),
    ))
}

/// The most memory this process ever held, in bytes; `None` where the system does not tell.
pub(crate) fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}
