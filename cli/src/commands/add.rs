use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use ndarray::Axis;
use rq_vae::{BEAMS, LatentDistances};
use semantic_id::{
    Assignment, Certificate, Change, CodeMatrix, Draft, ItemId, ItemKeys, Objective,
    OptimalAssigner, Scope, Share,
};
use serde::Serialize;
use serde_json::json;

use crate::artefact::{EmbeddingFile, some_keys};
use crate::console::Console;
use crate::generation::{FullPrefixes, Generation, Published};
use crate::output::OutputFile;
use crate::usage_error;
use crate::watched::Watched;

/// Give new items IDs in a published index, and leave all others as they are
///
/// The new items get the free IDs that add the least distance, with a certificate; no item of the
/// index gets another ID, and no ID is given that a removed item holds. A removed item that is
/// among the new ones comes back under the ID it had.
///
/// OUT is the next generation: rows keep their numbers, new ones follow. Beside it,
/// OUT.delta-GENERATION.json holds the change alone, from which a copy of INDEX becomes OUT byte
/// for byte. Both appear whole or not at all, so OUT may be INDEX.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The index file
    index: PathBuf,
    /// The model of its IDs
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Embeddings of the new items
    #[arg(long, value_name = "NEW")]
    embeddings: PathBuf,
    /// The items that were embedded, for their keys [default: NEW.keys.json]
    #[arg(long, value_name = "ITEMS")]
    keys: Option<PathBuf>,
    /// The index file to write
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Pass over items that are in the index already
    #[arg(long)]
    skip_existing: bool,
    /// Encode with MODEL although the index was made with another one, or names none
    #[arg(long)]
    any_model: bool,
    /// The share of the last-level codes to leave free in every prefix [default: none, as what
    /// `semid index --reserve` left is for this command]
    #[arg(long, value_name = "SHARE")]
    reserve: Option<Share>,
    /// Width of the beam search that encodes the items
    #[arg(long, value_name = "M", default_value_t = BEAMS)]
    beams: usize,
}

/// What `add` reports.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    generation: Generation,
    added: usize,
    revived: usize,
    skipped: usize,
    /// Added items that do not have the ID nearest to them.
    moved: usize,
    added_distance: f64,
    full_prefixes: Option<FullPrefixes>,
    certificate: Option<Certificate>,
}

/// The rows of the new embeddings, by what the index knows of them.
#[derive(Default)]
struct Sorted {
    new: Vec<usize>,
    /// Keys.
    revived: Vec<String>,
    existing: Vec<String>,
}

impl Add {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        if self.beams == 0 {
            return Err(usage_error("--beams 0: expected at least 1"));
        }
        let output = OutputFile::create(&self.out)?;
        let published = Published::open(&self.index)?;
        let file = EmbeddingFile::open(&self.embeddings, self.keys.as_deref())?;
        ensure!(
            !file.numbered,
            "{} has no keys; give --keys the items that were embedded",
            self.embeddings.display()
        );
        let sorted = sorted(&published, &file.keys)?;
        ensure!(
            self.skip_existing || sorted.existing.is_empty(),
            "{} of {} items are in {} already: {}; leave them out, or say --skip-existing",
            sorted.existing.len(),
            file.keys.len(),
            self.index.display(),
            some_keys(&sorted.existing)
        );
        let configuration = json!({ "beams": self.beams, "reserve": self.reserve });
        let mut manifest = published.manifest("add", configuration);
        file.enter(&mut manifest);

        let assignment = self.assign(&published, &file, &sorted.new, console)?;
        let keys = sorted.new.iter().map(|&row| file.key(row).to_owned());
        let paths = assignment.iter().flat_map(|a| a.paths().rows());
        let added = keys.zip(paths.map(|path| path.iter().copied().collect()));
        let change = Change {
            added: added.collect(),
            revived: sorted.revived,
            ..Change::default()
        };
        let added_distance = assignment.as_ref().map_or(0.0, Assignment::added_distance);
        let certificate = assignment.as_ref().and_then(Assignment::certificate);
        manifest.results = json!({
            "added_distance": published.added_distance().map(|before| before + added_distance),
            "certificate": certificate,
        });
        let report = Report {
            added: change.added.len(),
            revived: change.revived.len(),
            skipped: sorted.existing.len(),
            moved: assignment.as_ref().map_or(0, Assignment::moved),
            added_distance,
            full_prefixes: assignment.as_ref().map(FullPrefixes::of),
            certificate: certificate.cloned(),
            generation: published.publish(
                output,
                &self.out,
                change,
                published.capacity().get() as usize,
                manifest,
            )?,
        };
        console.report(&report)
    }

    /// IDs for some rows, beside all that are in use or were; none if there are no such rows.
    fn assign(
        &self,
        published: &Published,
        file: &EmbeddingFile,
        rows: &[usize],
        console: &Console,
    ) -> anyhow::Result<Option<Assignment>> {
        let encoder = published.model(&self.model, self.any_model)?;
        if rows.is_empty() {
            return Ok(None);
        }
        console.note("encoding the new items");
        let latents = encoder.latents_of(&file.embeddings);
        let latents = latents.with_context(|| self.embeddings.display().to_string())?;
        let latents = latents.select(Axis(0), rows);
        let quantizer = encoder.quantizer();
        let (paths, costs) = quantizer.encode(latents.view(), self.beams);
        let distances = LatentDistances::new(quantizer, latents)?;
        let distances = Watched::new(&distances, &paths, console);
        let draft = Draft::new(quantizer.space().clone(), paths, costs, &distances)?;
        let keys = ItemKeys::new(rows.iter().map(|&row| file.key(row)))?;
        let assigner = OptimalAssigner {
            capacity: published.capacity(),
            scope: Scope::Prefix,
            objective: Objective::MovesThenDistance,
            reserve: self.reserve.unwrap_or(Share::NONE),
        };
        let taken: CodeMatrix = published.index.codes()?;
        Ok(Some(assigner.assign_beside(&taken, &draft, &keys)?))
    }
}

fn sorted(published: &Published, keys: &ItemKeys) -> anyhow::Result<Sorted> {
    let mut sorted = Sorted::default();
    for (row, key) in keys.iter().enumerate() {
        let found: Option<ItemId> = published.index.find(key)?;
        match found {
            None => sorted.new.push(row),
            Some(item) if published.index.is_alive(item)? => sorted.existing.push(key.to_owned()),
            Some(_) => sorted.revived.push(key.to_owned()),
        }
    }
    Ok(sorted)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n{} items added, {} came back, {} were there already",
            self.generation, self.added, self.revived, self.skipped
        )?;
        if let Some(certificate) = &self.certificate {
            write!(
                f,
                "\n{} could not have the ID nearest to them, at a squared distance of {:.4} more: {}",
                self.moved,
                self.added_distance,
                certificate.verdict()
            )?;
        }
        match &self.full_prefixes {
            Some(full) => full.fmt(f),
            None => Ok(()),
        }
    }
}
