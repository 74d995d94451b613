use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::Args;
use rq_vae::{LeastSquares, PrefixNeighbourRecall};
use semantic_id::{CodeMatrix, Collisions, ItemId, ItemIndex, LevelStatistics};
use serde::Serialize;
use serde_json::Value;

use crate::artefact::{EmbeddingFile, open_index, open_model};
use crate::console::Console;
use crate::map::Bytes;

/// Tell how good an index is, and fail if it is not good enough
///
/// Two gates are always there: `unique`, all IDs differ; and, given the embeddings, `recall`,
/// neighbours share their first code more often than in a shuffled index. More are set with
/// --gate on any number of the --json report. Exit status 1 when a gate fails.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The index file
    index: PathBuf,
    /// The embeddings it was made from
    #[arg(long, value_name = "EMB")]
    embeddings: Option<PathBuf>,
    /// The items that were embedded, for their keys [default: EMB.keys.json, else row numbers]
    #[arg(long, value_name = "ITEMS", requires = "embeddings")]
    keys: Option<PathBuf>,
    /// The model it was made with [default: least-squares codebooks]
    #[arg(long, value_name = "MODEL", requires = "embeddings")]
    model: Option<PathBuf>,
    /// A further gate, as --gate 'levels_stats.0.perplexity>=128' or 'collision_rate<=0.01'
    #[arg(long = "gate", value_name = "NAME>=LIMIT")]
    gates: Vec<Limit>,
    /// Leave out a gate: `unique` or `recall`
    #[arg(long, value_name = "GATE", value_parser = ["unique", "recall"])]
    without: Vec<String>,
    /// Seed of the shuffled control
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// A limit on a number of the report.
#[derive(Debug, Clone)]
struct Limit {
    name: String,
    at_least: bool,
    limit: f64,
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (at_least, (name, limit)) = match (text.split_once(">="), text.split_once("<=")) {
            (Some(parts), None) => (true, parts),
            (None, Some(parts)) => (false, parts),
            _ => return Err("expected NAME>=LIMIT or NAME<=LIMIT".to_owned()),
        };
        let limit = limit
            .trim()
            .parse()
            .map_err(|_| format!("{limit:?} is not a number"))?;
        Ok(Self {
            name: name.trim().to_owned(),
            at_least,
            limit,
        })
    }
}

/// What `check` reports; what was not given or cannot be told is null.
#[derive(Debug, Serialize)]
struct Report {
    items: usize,
    unique: usize,
    collision_rate: f64,
    items_in_collisions: f64,
    reconstruction_mse: Option<f64>,
    /// Whether the codebooks are those of a model, or fitted here.
    least_squares: bool,
    added_distance: Option<f64>,
    levels_stats: Vec<LevelStatistics>,
    /// Codes of each level that no item has.
    dead_codes: Vec<usize>,
    prefix_neighbour_recall: Option<PrefixNeighbourRecall>,
    gates: Vec<Gate>,
    ok: bool,
}

#[derive(Debug, Serialize)]
struct Gate {
    name: String,
    value: f64,
    limit: f64,
    ok: bool,
}

impl Check {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let index = open_index(&self.index, false)?;
        let mut report = report(&index)?;
        if let Some(path) = &self.embeddings {
            let file = EmbeddingFile::open(path, self.keys.as_deref())?;
            self.measure(&index, &file, &mut report)
                .with_context(|| path.display().to_string())?;
        }
        self.pass_gates(&mut report)?;
        console.report(&report)?;
        let failed: Vec<&str> = report
            .gates
            .iter()
            .filter(|gate| !gate.ok)
            .map(|gate| gate.name.as_str())
            .collect();
        ensure!(
            failed.is_empty(),
            "{} failed: {}",
            self.index.display(),
            failed.join(", ")
        );
        Ok(())
    }

    /// What only the embeddings can tell.
    fn measure(
        &self,
        index: &ItemIndex<Bytes>,
        file: &EmbeddingFile,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let paths = by_row(index, file)?;
        let embeddings = file.embeddings.all()?;
        let encoder = match &self.model {
            Some(model) => open_model(model)?,
            None => LeastSquares::fit(embeddings.view(), &paths, index.space())?.encoder,
        };
        ensure!(
            encoder.quantizer().space() == index.space(),
            "the model has {} codes, the index {}",
            encoder.quantizer().space(),
            index.space()
        );
        report.least_squares = self.model.is_none();
        report.reconstruction_mse = Some(encoder.mse(embeddings.view(), &paths)?);
        if embeddings.nrows() > 1 {
            let recall = PrefixNeighbourRecall::of(embeddings.view(), &paths, self.seed)?;
            report.prefix_neighbour_recall = Some(recall);
        }
        Ok(())
    }

    fn pass_gates(&self, report: &mut Report) -> anyhow::Result<()> {
        let wanted = |name: &str| !self.without.iter().any(|without| without == name);
        let mut gates = Vec::new();
        if wanted("unique") {
            let (value, limit) = (report.unique as f64, report.items as f64);
            gates.push(Gate {
                name: "unique".to_owned(),
                value,
                limit,
                ok: value >= limit,
            });
        }
        if let (true, Some(recall)) = (wanted("recall"), report.prefix_neighbour_recall) {
            let (value, limit) = (recall.value, recall.shuffled);
            gates.push(Gate {
                name: "recall".to_owned(),
                value,
                limit,
                ok: value > limit,
            });
        }
        let numbers = serde_json::to_value(&*report)?;
        for limit in &self.gates {
            gates.push(limit.gate(&numbers)?);
        }
        report.ok = gates.iter().all(|gate| gate.ok);
        report.gates = gates;
        Ok(())
    }
}

impl Limit {
    fn gate(&self, report: &Value) -> anyhow::Result<Gate> {
        let pointer = format!("/{}", self.name.replace('.', "/"));
        let Some(value) = report.pointer(&pointer).and_then(Value::as_f64) else {
            bail!("gate {}: the --json report has no such number", self.name);
        };
        let ok = if self.at_least {
            value >= self.limit
        } else {
            value <= self.limit
        };
        Ok(Gate {
            name: self.name.clone(),
            value,
            limit: self.limit,
            ok,
        })
    }
}

/// What the index alone can tell.
fn report(index: &ItemIndex<Bytes>) -> anyhow::Result<Report> {
    let paths = index.codes()?;
    let collisions = Collisions::of(&paths);
    let levels_stats = LevelStatistics::of(&paths, index.space());
    let dead =
        |(&size, level): (&u32, &LevelStatistics)| size as usize - level.used.min(size as usize);
    Ok(Report {
        items: index.items(),
        unique: collisions.unique,
        collision_rate: collisions.rate,
        items_in_collisions: collisions.items,
        reconstruction_mse: None,
        least_squares: false,
        added_distance: index.info().manifest.results["added_distance"].as_f64(),
        dead_codes: index
            .space()
            .sizes()
            .iter()
            .zip(&levels_stats)
            .map(dead)
            .collect(),
        levels_stats,
        prefix_neighbour_recall: None,
        gates: Vec::new(),
        ok: true,
    })
}

/// The paths in the order of the embeddings' rows: matched by key, or where the embeddings
/// have no keys and the index has other ones than row numbers, by row.
fn by_row(index: &ItemIndex<Bytes>, file: &EmbeddingFile) -> anyhow::Result<CodeMatrix> {
    ensure!(
        index.items() == file.keys.len(),
        "there are {} embeddings, but the index has {} items",
        file.keys.len(),
        index.items()
    );
    let all = index.codes()?;
    if file.numbered && index.find("0")?.is_none() {
        return Ok(all);
    }
    let mut paths = Vec::with_capacity(all.len() * all.levels());
    for key in file.keys.iter() {
        let item: Option<ItemId> = index.find(key)?;
        let item = item.with_context(|| {
            format!("the index has no item {key:?}; give --keys the items that were embedded")
        })?;
        paths.extend_from_slice(all.row(item));
    }
    Ok(CodeMatrix::new(paths, all.levels())?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} items, {} distinct IDs; {:.2} % of the items share theirs",
            self.items,
            self.unique,
            100.0 * self.items_in_collisions
        )?;
        writeln!(f, "level   used   dead  perplexity   gini")?;
        for (level, (stats, dead)) in self.levels_stats.iter().zip(&self.dead_codes).enumerate() {
            writeln!(
                f,
                "{level:>5} {:>6} {dead:>6} {:>11.1} {:>6.3}",
                stats.used, stats.perplexity, stats.gini
            )?;
        }
        if let Some(mse) = self.reconstruction_mse {
            let by = if self.least_squares {
                "least-squares codebooks"
            } else {
                "the model"
            };
            writeln!(f, "reconstruction error {mse:.6} by {by}")?;
        }
        if let Some(added) = self.added_distance {
            writeln!(f, "squared distance added by the assignment {added:.4}")?;
        }
        if let Some(recall) = self.prefix_neighbour_recall {
            writeln!(
                f,
                "neighbours that share the first code {:.1} %, shuffled {:.1} %",
                100.0 * recall.value,
                100.0 * recall.shuffled
            )?;
        }
        for gate in &self.gates {
            let verdict = if gate.ok { "ok  " } else { "FAIL" };
            writeln!(
                f,
                "{verdict} {}: {} against {}",
                gate.name, gate.value, gate.limit
            )?;
        }
        f.write_str(if self.ok {
            "all gates passed"
        } else {
            "not good enough"
        })
    }
}
