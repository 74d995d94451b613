use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use rq_vae::Embeddings;
use semantic_id::{ItemIndex, Manifest};
use serde::Serialize;
use serde_json::{Value, json};

use crate::artefact::{beside, open_model};
use crate::console::Console;
use crate::map;
use crate::tree::TreeShape;

/// Say what a file or folder is: an index, a model, a recommender, embeddings, a corpus
///
/// Of an index it also shows the tree: for each level its nodes, into how many of them the prefixes
/// before it fan out, and the share of those prefixes whose next code is certain.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The file or folder
    path: PathBuf,
}

/// Items that are shown as examples.
const EXAMPLES: usize = 5;

#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    #[serde(flatten)]
    facts: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<TreeShape>,
    manifest: Option<Manifest>,
}

impl Inspect {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let path = &*self.path;
        let is_corpus = ["split.jsonl", "journal.json"].map(|file| path.join(file).exists());
        let report = if is_corpus.contains(&true) {
            corpus(path)?
        } else if path.join("recommender.json").exists() {
            recommender(path)?
        } else if path.is_dir() {
            model(path)?
        } else {
            file(path)?
        };
        console.report(&report)
    }
}

fn corpus(path: &Path) -> anyhow::Result<Report> {
    let manifest = manifest(&path.join("manifest.json"))?;
    let Some(manifest) = manifest else {
        bail!(
            "{} is a corpus in the making: `semid tasks build` has not ended; run it again",
            path.display()
        );
    };
    let facts = json!({
        "rows": manifest.counts,
        "files": manifest.outputs.keys().collect::<Vec<_>>(),
        "format": manifest.configuration["output"]["format"],
        "seed": manifest.seed,
    });
    Ok(Report {
        kind: "corpus",
        facts,
        tree: None,
        manifest: Some(manifest),
    })
}

fn recommender(path: &Path) -> anyhow::Result<Report> {
    let json = |file: &str| -> anyhow::Result<Value> {
        let path = path.join(file);
        serde_json::from_slice(&map::open(&path)?).with_context(|| path.display().to_string())
    };
    let (reader, shape) = (json("recommender.json")?, json("config.json")?);
    let facts = json!({
        "codes": reader["codes"],
        "history": reader["items"],
        "width": shape["hidden_size"],
        "layers": shape["num_hidden_layers"],
        "index": reader["index"],
    });
    Ok(Report {
        kind: "recommender",
        facts,
        tree: None,
        manifest: manifest(&path.join("manifest.json"))?,
    })
}

fn model(path: &Path) -> anyhow::Result<Report> {
    let encoder = open_model(path)?;
    let facts = json!({
        "dim": encoder.dim(),
        "latent_dim": encoder.quantizer().dim(),
        "codes": encoder.quantizer().space().sizes(),
    });
    Ok(Report {
        kind: "model",
        facts,
        tree: None,
        manifest: manifest(&path.join("manifest.json"))?,
    })
}

fn file(path: &Path) -> anyhow::Result<Report> {
    let bytes = map::open(path)?;
    let index_problem = match ItemIndex::open(&*bytes) {
        Ok(index) => return index_report(&index).with_context(|| path.display().to_string()),
        Err(problem) => problem,
    };
    match Embeddings::open(&*bytes) {
        Ok(embeddings) => {
            let facts = json!({ "items": embeddings.len(), "dim": embeddings.dim() });
            let manifest = manifest(&beside(path, "manifest.json"))?;
            Ok(Report {
                kind: "embeddings",
                facts,
                tree: None,
                manifest,
            })
        }
        Err(problem) => bail!(
            "{} is neither an index ({index_problem}) nor embeddings ({problem})",
            path.display()
        ),
    }
}

fn index_report(index: &ItemIndex<&[u8]>) -> anyhow::Result<Report> {
    let living = index.living()?;
    let examples = living
        .iter()
        .take(EXAMPLES)
        .map(|&item| Ok(json!({ "key": index.key(item)?, "id": index.text(item)? })))
        .collect::<semantic_id::Result<Vec<_>>>()?;
    let facts = json!({
        "items": living.len(),
        "codes": index.space().sizes(),
        "generation": index.info().generation,
        "parent": index.info().parent,
        "removed": index.items() - living.len(),
        "bytes": index.bytes().len(),
        "digest": index.digest(),
        "examples": examples,
    });
    Ok(Report {
        kind: "index",
        facts,
        tree: Some(TreeShape::of(index)?),
        manifest: Some(index.info().manifest.clone()),
    })
}

fn manifest(path: &Path) -> anyhow::Result<Option<Manifest>> {
    if !path.exists() {
        return Ok(None);
    }
    let manifest = serde_json::from_slice(&map::open(path)?);
    Ok(Some(manifest.with_context(|| path.display().to_string())?))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        for (name, fact) in self.facts.as_object().into_iter().flatten() {
            match fact {
                Value::Null => {}
                Value::Array(rows) if rows.iter().any(Value::is_object) => {
                    write!(f, "\n{name}:")?;
                    for row in rows {
                        write!(f, "\n  {}  {}", text(&row["key"]), text(&row["id"]))?;
                    }
                }
                fact => write!(f, "\n{name}: {}", text(fact))?,
            }
        }
        if let Some(tree) = &self.tree {
            write!(f, "\n{tree}")?;
        }
        if let Some(manifest) = &self.manifest {
            write!(f, "\nmade by: {} {}", manifest.tool, manifest.command)?;
            for (name, digest) in &manifest.inputs {
                write!(f, "\n  from {name} {digest}")?;
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
