use std::fmt;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use rq_vae::{BEAMS, Encoder, LeastSquares};
use semantic_id::{
    Affinity, Assigner, Assignment, Certificate, CodeMatrix, Draft, IndexInfo, ItemId, ItemIndex,
    ItemKeys, Manifest, Objective, OptimalAssigner, Scope, Share, SinkhornAssigner, SuffixAssigner,
    TokenFormat,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::artefact::{EmbeddingFile, beside, enter_model, name, open_model, open_table, peak_rss};
use crate::console::Console;
use crate::generation::FullPrefixes;
use crate::interactions::Interactions;
use crate::output::OutputFile;
use crate::watched::Watched;
use crate::{encoding, progress, usage_error};

/// Give every item a unique semantic ID
///
/// With --model, the model encodes the embeddings; with --draft, another tool's index is
/// repaired: items that share an ID are told apart at the least cost, all others keep theirs.
///
/// The embeddings may be larger than memory. While a large catalogue is encoded, INDEX.encoding
/// holds what is done: the same command goes on there if it was killed.
#[derive(Debug, Args)]
pub(crate) struct Index {
    /// The embeddings: .npy, .safetensors or .parquet
    embeddings: PathBuf,
    /// The model folder that `semid train` wrote
    #[arg(long, value_name = "MODEL", required_unless_present = "draft")]
    model: Option<PathBuf>,
    /// Another tool's index: .index.json, OpenOneRec Parquet, CSV, or one of ours
    #[arg(long, value_name = "OTHER", conflicts_with = "model")]
    draft: Option<PathBuf>,
    /// The index file to write
    #[arg(long, value_name = "INDEX")]
    out: PathBuf,
    /// The items that were embedded, for their keys [default: EMB.keys.json, else row numbers]
    #[arg(long, value_name = "ITEMS")]
    keys: Option<PathBuf>,
    /// How IDs are made unique. `optimal`: fewest moves, then least distance, with a
    /// certificate; `sinkhorn`: LC-Rec's rounds; `suffix`: TIGER's extra level
    #[arg(long, default_value = "optimal")]
    assigner: AssignerName,
    /// Items that may share an ID
    #[arg(long, value_name = "C", default_value = "1")]
    capacity: NonZeroU32,
    /// `prefix` settles each prefix alone, `global` all items at once
    #[arg(long, default_value = "prefix")]
    scope: ScopeName,
    /// What counts first: `moves` away from the draft, or total `distance` alone
    #[arg(long, default_value = "moves")]
    objective: ObjectiveName,
    /// The share of the last-level codes that every prefix leaves free, for `semid add` to use:
    /// 5%, or 0.05
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    reserve: Share,
    /// What users did, for --popularity and --affinity: JSONL, Parquet, CSV, LC-Rec, RecBole. Of
    /// each user the last two events are not looked at
    #[arg(long, value_name = "INTERACTIONS")]
    interactions: Option<PathBuf>,
    /// Of items that collide, let the most popular keep its native ID; as many move as without
    #[arg(long, requires = "interactions")]
    popularity: bool,
    /// How much an item that must move is drawn to where items of the same histories are, 0 to 1:
    /// the squared distance to an ID shrinks by up to that share
    #[arg(long, value_name = "W", requires = "interactions")]
    affinity: Option<f32>,
    /// Width of the beam search that encodes the items
    #[arg(long, value_name = "M", default_value_t = BEAMS)]
    beams: usize,
    /// Write the index although IDs still collide (`sinkhorn` leaves some)
    #[arg(long)]
    accept_collisions: bool,
    /// Codes a level of the draft [default: 256, or the next power of two above its largest]
    #[arg(long, value_name = "K", requires = "draft")]
    codes: Option<u32>,
    /// Spelling of the tokens: `lc-rec`, `openonerec` [default: lc-rec, or that of the draft]
    #[arg(long, value_name = "FORMAT")]
    tokens: Option<TokenName>,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum AssignerName {
    Optimal,
    Sinkhorn,
    Suffix,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ScopeName {
    Prefix,
    Global,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ObjectiveName {
    Moves,
    Distance,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TokenName {
    LcRec,
    Openonerec,
}

/// What `index` reports; times in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    items: usize,
    unique_before: usize,
    unique: usize,
    moved: usize,
    added_distance: f64,
    reconstruction_mse_before: f64,
    /// `None` where the assigner added a level that no codebook explains.
    reconstruction_mse: Option<f64>,
    /// Share of the variance that least-squares codebooks explain; only for a draft.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft_r2: Option<f64>,
    certificate: Option<Certificate>,
    full_prefixes: FullPrefixes,
    seconds_encode: f64,
    seconds_assign: f64,
    peak_rss: Option<u64>,
}

/// What the assigner starts from: native paths, and the codebooks they live in.
struct Source {
    encoder: Encoder,
    paths: Option<CodeMatrix>,
    tokens: Option<TokenFormat>,
    r2: Option<f64>,
}

impl Source {
    /// The reconstruction error after assignment; `None` where a level was added.
    fn mse_after(
        &self,
        file: &EmbeddingFile,
        assignment: &Assignment,
    ) -> anyhow::Result<Option<f64>> {
        let (space, paths) = (assignment.space(), assignment.paths());
        if space != self.encoder.quantizer().space() {
            return Ok(None);
        }
        if self.r2.is_none() {
            return Ok(Some(self.encoder.mse_of(&file.embeddings, paths)?));
        }
        // Codes that the draft did not use lie nowhere until they have items.
        let fit = LeastSquares::fit(file.embeddings.all()?.view(), paths, space)?;
        Ok(Some(fit.encoder.mse_of(&file.embeddings, paths)?))
    }
}

impl Index {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let assigner = self.assigner()?;
        if self.beams == 0 {
            return Err(usage_error("--beams 0: expected at least 1"));
        }
        let output = OutputFile::create(&self.out)?;
        let file = EmbeddingFile::open(&self.embeddings, self.keys.as_deref())?;
        let mut manifest = Manifest::new("index", self.configuration());
        file.enter(&mut manifest);
        let interactions = self.interactions.as_ref().map(|path| {
            let interactions = Interactions::open(path, None, &file.keys)?;
            interactions.enter(&mut manifest);
            anyhow::Ok(interactions)
        });
        let interactions = interactions.transpose()?;

        let start = Instant::now();
        let source = self.source(&file, &mut manifest)?;
        let place = || self.embeddings.display().to_string();
        let distances = source.encoder.distances(&file.embeddings);
        let distances = distances.with_context(place)?;
        let (paths, costs) = match &source.paths {
            Some(paths) => (paths.clone(), distances.costs(paths)?),
            None => self
                .encode(&source.encoder, &file, &manifest, console)
                .with_context(place)?,
        };
        let space = source.encoder.quantizer().space().clone();
        let distances = Watched::new(&distances, &paths, console);
        let draft = Draft::new(space, paths, costs, &distances)?;
        let seconds_encode = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let draft = self.weighed(draft, interactions.as_ref())?;
        let assignment = self.assign(&*assigner, &draft, &file.keys, interactions.as_ref())?;
        distances.finish();
        let seconds_assign = start.elapsed().as_secs_f64();

        let report = Report {
            out: self.out.clone(),
            items: file.keys.len(),
            unique_before: draft.paths().unique(),
            unique: assignment.paths().unique(),
            moved: assignment.moved(),
            added_distance: self.added_distance(&assignment, &draft),
            reconstruction_mse_before: source.encoder.mse_of(&file.embeddings, draft.paths())?,
            reconstruction_mse: source.mse_after(&file, &assignment)?,
            draft_r2: source.r2,
            certificate: assignment.certificate().cloned(),
            full_prefixes: FullPrefixes::of(&assignment),
            seconds_encode,
            seconds_assign,
            peak_rss: peak_rss(),
        };
        self.write(output, &file, &assignment, source.tokens, manifest, &report)?;
        encoding::forget(&self.journal());
        console.report(&report)
    }

    fn encode(
        &self,
        encoder: &Encoder,
        file: &EmbeddingFile,
        manifest: &Manifest,
        console: &Console,
    ) -> anyhow::Result<(CodeMatrix, Vec<f32>)> {
        let inputs = json!({ "inputs": manifest.inputs, "beams": self.beams });
        let bar = progress::bar(console, "encoding", file.embeddings.len());
        encoding::encode(encoder, file, self.beams, (&self.journal(), &inputs), &bar)
    }

    /// Where the rows that were encoded are kept until the index is written.
    fn journal(&self) -> PathBuf {
        beside(&self.out, "encoding")
    }

    /// The draft with the weights that are asked for.
    fn weighed<'a>(
        &self,
        draft: Draft<'a>,
        interactions: Option<&Interactions>,
    ) -> anyhow::Result<Draft<'a>> {
        let Some(interactions) = interactions.filter(|_| self.popularity) else {
            return Ok(draft);
        };
        let mut events = vec![0_u32; draft.paths().len()];
        for item in interactions.training().into_iter().flatten() {
            events[item.index()] = events[item.index()].saturating_add(1);
        }
        Ok(draft.weighted(events)?)
    }

    /// Assigns by the distances that are asked for.
    fn assign(
        &self,
        assigner: &dyn Assigner,
        draft: &Draft<'_>,
        keys: &ItemKeys,
        interactions: Option<&Interactions>,
    ) -> anyhow::Result<Assignment> {
        let (Some(strength), Some(interactions)) = (self.affinity, interactions) else {
            return Ok(assigner.assign(draft, keys)?);
        };
        let affinity = Affinity::new(draft, &interactions.training(), strength)?;
        Ok(assigner.assign(&affinity.draft()?, keys)?)
    }

    /// What the moves added to the squared distance, by the quantizer's own geometry.
    fn added_distance(&self, assignment: &Assignment, draft: &Draft) -> f64 {
        if self.affinity.is_none() {
            return assignment.added_distance();
        }
        let items = (0..draft.paths().len() as u32).map(ItemId);
        let added = items.map(|item| {
            let moved = draft.distances().path(item, assignment.paths().row(item));
            f64::from(moved) - f64::from(draft.costs()[item.index()])
        });
        added.sum()
    }

    fn configuration(&self) -> Value {
        json!({
            "assigner": self.assigner,
            "capacity": self.capacity,
            "scope": self.scope,
            "objective": self.objective,
            "reserve": self.reserve,
            "popularity": self.popularity,
            "affinity": self.affinity,
            "beams": self.beams,
            "accept_collisions": self.accept_collisions,
            "codes": self.codes,
        })
    }

    fn source(&self, file: &EmbeddingFile, manifest: &mut Manifest) -> anyhow::Result<Source> {
        if let Some(model) = &self.model {
            enter_model(model, &mut manifest.inputs)?;
            let encoder = open_model(model)?;
            return Ok(Source {
                encoder,
                paths: None,
                tokens: None,
                r2: None,
            });
        }
        let path = self.draft.as_ref().expect("clap requires one of the two");
        let (table, digest) = open_table(path, None, self.codes)?;
        manifest.inputs.insert(name(path), digest);
        let paths = by_embedding(table.codes(), table.keys(), file)
            .with_context(|| path.display().to_string())?;
        let fit = LeastSquares::fit(file.embeddings.all()?.view(), &paths, table.space())?;
        Ok(Source {
            encoder: fit.encoder,
            paths: Some(paths),
            tokens: Some(table.token_format().clone()),
            r2: Some(fit.r2),
        })
    }

    fn assigner(&self) -> anyhow::Result<Box<dyn Assigner>> {
        let optimal = OptimalAssigner {
            capacity: self.capacity,
            scope: match self.scope {
                ScopeName::Prefix => Scope::Prefix,
                ScopeName::Global => Scope::Global,
            },
            objective: match self.objective {
                ObjectiveName::Moves => Objective::MovesThenDistance,
                ObjectiveName::Distance => Objective::Distance,
            },
            reserve: self.reserve,
        };
        let is_optimal = matches!(self.assigner, AssignerName::Optimal);
        let is_weighed = self.popularity || self.affinity.is_some();
        if !is_optimal && (is_weighed || optimal != OptimalAssigner::default()) {
            return Err(usage_error(
                "--capacity, --scope, --objective, --reserve, --popularity and --affinity are for \
                 --assigner optimal only",
            ));
        }
        if let Some(strength) = self.affinity.filter(|w| !(0.0..=1.0).contains(w)) {
            return Err(usage_error(format!(
                "--affinity {strength}: expected 0 to 1"
            )));
        }
        Ok(match self.assigner {
            AssignerName::Optimal => Box::new(optimal),
            AssignerName::Sinkhorn => Box::new(SinkhornAssigner {
                accept_collisions: self.accept_collisions,
                ..SinkhornAssigner::default()
            }),
            AssignerName::Suffix => Box::new(SuffixAssigner),
        })
    }

    fn token_format(&self, levels: usize, of_draft: Option<TokenFormat>) -> TokenFormat {
        match self.tokens {
            Some(TokenName::LcRec) => TokenFormat::lc_rec(levels),
            Some(TokenName::Openonerec) => TokenFormat::open_one_rec(levels),
            None => of_draft
                .filter(|format| format.levels() == levels)
                .unwrap_or_else(|| TokenFormat::lc_rec(levels)),
        }
    }

    fn write(
        &self,
        mut output: OutputFile,
        file: &EmbeddingFile,
        assignment: &Assignment,
        tokens: Option<TokenFormat>,
        mut manifest: Manifest,
        report: &Report,
    ) -> anyhow::Result<()> {
        for (what, count) in [
            ("items", report.items),
            ("unique_before", report.unique_before),
            ("unique", report.unique),
            ("moved", report.moved),
        ] {
            manifest.counts.insert(what.to_owned(), count as u64);
        }
        manifest.results = json!({
            "added_distance": report.added_distance,
            "reconstruction_mse": report.reconstruction_mse,
            "certificate": report.certificate,
        });
        let tokens = self.token_format(assignment.space().levels(), tokens);
        let index = ItemIndex::build(
            assignment.space(),
            assignment.paths(),
            &file.keys,
            assignment.capacity(),
            IndexInfo::new(tokens, manifest),
        )?;
        output.write_all(index.bytes())?;
        output.commit()?;
        Ok(())
    }
}

/// The paths of a table in the order of the embeddings' rows, matched by key.
fn by_embedding(
    codes: &CodeMatrix,
    keys: &semantic_id::ItemKeys,
    file: &EmbeddingFile,
) -> anyhow::Result<CodeMatrix> {
    ensure!(
        keys.len() == file.keys.len(),
        "it has {} items, but there are {} embeddings",
        keys.len(),
        file.keys.len()
    );
    let mut paths = Vec::with_capacity(keys.len() * codes.levels());
    for key in file.keys.iter() {
        let Some(item) = keys.find(key) else {
            let hint = if file.numbered {
                "; give --keys the items that were embedded"
            } else {
                ""
            };
            bail!("it has no item {key:?}, which is among the embeddings{hint}");
        };
        paths.extend_from_slice(codes.row(item));
    }
    Ok(CodeMatrix::new(paths, codes.levels())?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} items, {} distinct IDs (before assignment {}), {} items moved",
            self.out.display(),
            self.items,
            self.unique,
            self.unique_before,
            self.moved
        )?;
        if let Some(r2) = self.draft_r2 {
            writeln!(
                f,
                "least-squares codebooks explain {:.1} % of the variance",
                100.0 * r2
            )?;
        }
        write!(
            f,
            "reconstruction error {:.6}",
            self.reconstruction_mse_before
        )?;
        if let Some(mse) = self.reconstruction_mse {
            write!(f, ", after assignment {mse:.6}")?;
        }
        if let Some(certificate) = &self.certificate {
            write!(
                f,
                "\ncertificate: {} moves (at least {} must), {}",
                certificate.moves,
                certificate.moves_bound,
                certificate.verdict()
            )?;
        }
        self.full_prefixes.fmt(f)?;
        write!(
            f,
            "\nencoded in {:.2} s, assigned in {:.2} s",
            self.seconds_encode, self.seconds_assign
        )
    }
}
