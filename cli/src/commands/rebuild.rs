use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use rq_vae::{BEAMS, Continuation, LatentDistances, OldPaths};
use semantic_id::{
    Assignment, Certificate, Change, Churn, CodeMatrix, Draft, ItemId, ItemIndex, Objective,
    OptimalAssigner, Scope, Share,
};
use serde::Serialize;
use serde_json::json;

use crate::artefact::{EmbeddingFile, enter_model, write_model};
use crate::console::Console;
use crate::generation::{FullPrefixes, Generation, Published};
use crate::map;
use crate::output::{OutputFile, OutputFolder};
use crate::usage_error;
use crate::watched::Watched;

/// Retrain a published index, and let as many items as possible keep their IDs
///
/// A model that is trained again calls its codes by other names, and has other codes. `rebuild`
/// gives them the old names where items agree, then fits the codebooks again so that items can
/// stay on their old IDs: the most that can for the error that --tolerance allows. The fitted
/// model is MODEL2, the model of the new generation, with which `semid add` goes on.
///
/// EMB are the embeddings of all items, new ones among them. Items of OLD that are not there are
/// removed; removed ones that are there come back. The report tells the churn, as `semid diff`
/// does.
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// The embeddings: .npy, .safetensors or .parquet
    embeddings: PathBuf,
    /// The retrained model, with as many levels and codes as the old one
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// The published index
    #[arg(long, value_name = "OLD")]
    keep_ids: PathBuf,
    /// The index file to write: its next generation
    #[arg(long, value_name = "INDEX")]
    out: PathBuf,
    /// The model folder to write
    #[arg(long, value_name = "MODEL2")]
    out_model: PathBuf,
    /// The items that were embedded, for their keys [default: EMB.keys.json, else row numbers]
    #[arg(long, value_name = "ITEMS")]
    keys: Option<PathBuf>,
    /// How much farther from their codes the embeddings may lie, in latent space, than if no ID
    /// had to be kept. The more, the more items keep their IDs; 0% keeps those that cost nothing
    #[arg(long, value_name = "SHARE", default_value = "2%")]
    tolerance: Share,
    /// The share of the last-level codes that every prefix leaves free [default: as of OLD]
    #[arg(long, value_name = "SHARE")]
    reserve: Option<Share>,
    /// Forget the items that are removed, now or before, and let others have their IDs
    #[arg(long)]
    free: bool,
    /// Width of the beam search that encodes the items
    #[arg(long, value_name = "M", default_value_t = BEAMS)]
    beams: usize,
}

/// What `rebuild` reports.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    generation: Generation,
    #[serde(flatten)]
    churn: Churn,
    /// Share of the items of both whose ID changed.
    churn_share: f64,
    /// Mean squared distance of the items to their codes before assignment: if no ID had to be
    /// kept, and by MODEL2.
    free_distance: f64,
    distance: f64,
    /// Items that IDs being unique moved away from those they would have.
    moved_by_assignment: usize,
    added_distance: f64,
    full_prefixes: FullPrefixes,
    certificate: Option<Certificate>,
}

/// The items of the embeddings that the old index knows, and what becomes of the others.
struct Matched {
    /// Rows of the embeddings, and the items they were.
    rows: Vec<usize>,
    items: Vec<ItemId>,
    /// Rows of new items.
    new: Vec<usize>,
    /// Items that are not among the embeddings.
    missing: Vec<ItemId>,
}

impl Rebuild {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        if self.beams == 0 {
            return Err(usage_error("--beams 0: expected at least 1"));
        }
        let output = OutputFile::create(&self.out)?;
        let model = OutputFolder::create(&self.out_model)?;
        let old = Published::open(&self.keep_ids)?;
        let file = EmbeddingFile::open(&self.embeddings, self.keys.as_deref())?;
        let matched = Matched::of(&old, &file)?;
        let codes = old.index.codes()?;

        let encoder = old.model(&self.model, true)?;
        console.note("encoding");
        let latents = encoder.latents_of(&file.embeddings);
        let latents = latents.with_context(|| self.embeddings.display().to_string())?;
        console.note("fitting the codebooks to the old IDs");
        let paths = paths_of(&codes, &matched.items)?;
        let known = OldPaths {
            rows: &matched.rows,
            paths: &paths,
        };
        let tolerance = f64::from(self.tolerance);
        let fit = Continuation::fit(&encoder, latents.view(), known, tolerance, self.beams)?;

        let quantizer = fit.encoder.quantizer();
        let distances = LatentDistances::new(quantizer, latents)?;
        let costs = distances.costs(&fit.paths)?;
        let distances = Watched::new(&distances, &fit.paths, console);
        let draft = Draft::new(quantizer.space().clone(), fit.paths, costs, &distances)?;
        // Of items that collide, the one that may keep its ID does.
        let draft = draft.weighted(fit.kept.iter().map(|&kept| 1 + u32::from(kept)).collect())?;
        let assigner = OptimalAssigner {
            capacity: old.capacity(),
            scope: Scope::Prefix,
            objective: Objective::MovesThenDistance,
            reserve: self.reserve.unwrap_or(old.reserve()),
        };
        let held: &[ItemId] = if self.free { &[] } else { &matched.missing };
        let taken = paths_of(&codes, held)?;
        let assignment = assigner.assign_beside(&taken, &draft, &file.keys)?;
        distances.finish();

        let configuration = json!({
            "tolerance": self.tolerance,
            "reserve": assigner.reserve,
            "free": self.free,
            "beams": self.beams,
        });
        let mut manifest = semantic_id::Manifest::new("rebuild", configuration.clone());
        manifest.results = json!({ "free_distance": fit.free_distance, "distance": fit.distance });
        file.enter(&mut manifest);
        enter_model(&self.model, &mut manifest.inputs)?;
        write_model(model, &fit.encoder, &[], manifest)?;

        let mut manifest = old.manifest("rebuild", configuration);
        file.enter(&mut manifest);
        enter_model(&self.out_model, &mut manifest.inputs)?;
        manifest.results = json!({
            "added_distance": assignment.added_distance(),
            "certificate": assignment.certificate(),
        });
        let change = self.change(&old, &file, &matched, &assignment)?;
        let capacity = assigner.capacity.get() as usize;
        let generation = old.publish(output, &self.out, change, capacity, manifest)?;
        let churn = Churn::between(&old.index, &ItemIndex::open(map::open(&self.out)?)?)?;
        console.report(&Report {
            generation,
            churn_share: churn.share(),
            churn,
            free_distance: fit.free_distance,
            distance: fit.distance,
            moved_by_assignment: assignment.moved(),
            added_distance: assignment.added_distance(),
            full_prefixes: FullPrefixes::of(&assignment),
            certificate: assignment.certificate().cloned(),
        })
    }

    fn change(
        &self,
        old: &Published,
        file: &EmbeddingFile,
        matched: &Matched,
        assignment: &Assignment,
    ) -> anyhow::Result<Change> {
        let path = |row: usize| assignment.paths().row(ItemId(row as u32));
        let entry = |row: usize| {
            let id = path(row).iter().copied().collect();
            (file.key(row).to_owned(), id)
        };
        let mut change = Change {
            added: matched.new.iter().map(|&row| entry(row)).collect(),
            ..Change::default()
        };
        let codes = old.index.codes()?;
        for (&row, &item) in matched.rows.iter().zip(&matched.items) {
            if codes.row(item) != path(row) {
                change.moved.push(entry(row));
            }
            if !old.index.is_alive(item)? {
                change.revived.push(file.key(row).to_owned());
            }
        }
        for &item in &matched.missing {
            let key = old.index.key(item)?.to_owned();
            if self.free {
                change.freed.push(key);
            } else if old.index.is_alive(item)? {
                change.removed.push(key);
            }
        }
        Ok(change)
    }
}

impl Matched {
    fn of(old: &Published, file: &EmbeddingFile) -> anyhow::Result<Self> {
        let mut matched = Self {
            rows: Vec::new(),
            items: Vec::new(),
            new: Vec::new(),
            missing: Vec::new(),
        };
        for (row, key) in file.keys.iter().enumerate() {
            match old.index.find(key)? {
                Some(item) => {
                    matched.rows.push(row);
                    matched.items.push(item);
                }
                None => matched.new.push(row),
            }
        }
        let found: HashSet<ItemId> = matched.items.iter().copied().collect();
        matched.missing = old
            .index
            .rows()
            .filter(|item| !found.contains(item))
            .collect();
        Ok(matched)
    }
}

/// The paths of some items.
fn paths_of(codes: &CodeMatrix, items: &[ItemId]) -> anyhow::Result<CodeMatrix> {
    let rows = items.iter().flat_map(|&item| codes.row(item));
    Ok(CodeMatrix::new(rows.copied().collect(), codes.levels())?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n{}\nsquared distance of an item to its codes {:.6}, if no ID had to be kept {:.6}; \
             {} items moved for their IDs to be unique",
            self.generation,
            self.churn,
            self.distance,
            self.free_distance,
            self.moved_by_assignment
        )?;
        self.full_prefixes.fmt(f)
    }
}
