use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::Args;
use semantic_id::ItemIndex;
use semid_tasks::audit::{self, AuditReport, Found, RuleReport, Sources};
use semid_tasks::{Catalogue, Histories, ItemOptions};
use serde::Serialize;
use serde_json::Value;

use super::shards::CorpusFolder;
use crate::artefact::open_index;
use crate::commands::verify::against_manifest;
use crate::console::Console;
use crate::map::{self, Bytes};
use crate::materials::Materials;

/// Prove that a corpus knows nothing it must not
///
/// Every row says which events it has read. The audit holds that against the split, and with the
/// recipe that made the corpus (or the index and the items alone) the texts of the rows against
/// the items that are held out from each user. It also counts prompts with different answers,
/// repeated rows, and the time that leaks between users. Exit status 1 when a rule is broken.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// The corpus's folder
    corpus: PathBuf,
    /// The recipe that made it, where it was: for its index, items and interactions
    #[arg(long, value_name = "RECIPE", conflicts_with_all = ["index", "items"])]
    recipe: Option<PathBuf>,
    /// The index whose IDs the rows hold
    #[arg(long, value_name = "INDEX")]
    index: Option<PathBuf>,
    /// The items
    #[arg(long, value_name = "ITEMS")]
    items: Option<PathBuf>,
    /// The most rows, of all, whose prompt has other answers too, as 0.2
    #[arg(long, value_name = "SHARE")]
    max_contradictions: Option<f64>,
    /// The most rows, of all, that repeat another one, as 0.01
    #[arg(long, value_name = "SHARE")]
    max_duplicates: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    shards: usize,
    #[serde(flatten)]
    audit: AuditReport,
    /// As the build measured it; null if it could not, without times.
    time_leakage: Value,
    ok: bool,
}

/// What the corpus was made of, read.
struct Given {
    index: Option<ItemIndex<Bytes>>,
    items: Option<Catalogue>,
    histories: Option<Histories>,
}

impl Audit {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let corpus = CorpusFolder::open(&self.corpus)?;
        let given = self.given(&corpus, console)?;
        let index = given
            .index
            .as_ref()
            .map(|index| ItemIndex::open(index.bytes()));
        let sources = Sources {
            index: index.transpose()?,
            items: given.items.as_ref(),
            histories: given.histories.as_ref(),
        };
        let split = map::open(&corpus.path.join("split.jsonl"))?;
        let audit = audit::Audit::new("split.jsonl", &*split, sources)
            .with_context(|| self.corpus.display().to_string())?;
        let shards = corpus.read(|name, input| audit.shard(name, input))?;
        let mut report = audit.finish(shards)?;
        report.rules.insert(0, hashes(&corpus));
        self.limit(&mut report);
        let report = Report {
            shards: corpus.shards.len(),
            ok: report.ok(),
            audit: report,
            time_leakage: corpus.manifest.results["time_leakage"].clone(),
        };
        console.report(&report)?;
        let broken = report.audit.rules.iter().filter(|rule| rule.findings > 0);
        let broken: Vec<_> = broken.map(|rule| rule.rule).collect();
        ensure!(
            report.ok,
            "{}: broken: {}",
            self.corpus.display(),
            broken.join(", ")
        );
        Ok(())
    }

    fn given(&self, corpus: &CorpusFolder, console: &Console) -> anyhow::Result<Given> {
        if let Some(recipe) = &self.recipe {
            let materials = Materials::read(recipe, console)?;
            for (name, digest) in &materials.inputs {
                if corpus
                    .manifest
                    .inputs
                    .get(name)
                    .is_some_and(|made_of| made_of != digest)
                {
                    bail!("{name} has changed since the corpus was built");
                }
            }
            return Ok(Given {
                index: Some(materials.index),
                items: Some(materials.catalogue),
                histories: Some(materials.histories),
            });
        }
        let items = |path: &PathBuf| {
            let file = path.display().to_string();
            anyhow::Ok(Catalogue::read(
                &file,
                &map::open(path)?,
                &ItemOptions::default(),
            )?)
        };
        Ok(Given {
            index: self
                .index
                .as_ref()
                .map(|path| open_index(path, false))
                .transpose()?,
            items: self.items.as_ref().map(items).transpose()?,
            histories: None,
        })
    }

    /// Makes rules of the limits that were given.
    fn limit(&self, report: &mut AuditReport) {
        let repeats = [
            (
                "contradictions",
                self.max_contradictions,
                report.contradictions.rows,
                report.contradictions.share,
            ),
            (
                "duplicates",
                self.max_duplicates,
                report.duplicates.rows,
                report.duplicates.share,
            ),
        ];
        for (rule, limit, rows, share) in repeats {
            if let Some(limit) = limit {
                let problem = format!("a share of {share:.4} is more than {limit}");
                let broken = (share > limit).then_some(problem);
                let advice = "leave rows out, or merge their answers";
                report
                    .rules
                    .push(own_rule(rule, report.rows, rows, broken, advice));
            }
        }
    }
}

/// Whether all files are those that the build wrote.
fn hashes(corpus: &CorpusFolder) -> RuleReport {
    let manifest = corpus.path.join("manifest.json");
    let problem = match against_manifest(&manifest, &corpus.path) {
        Err(changed) => Some(format!("{changed:#}")),
        Ok(_) => {
            let unlisted = corpus.unlisted();
            (!unlisted.is_empty()).then(|| format!("not in the manifest: {}", unlisted.join(", ")))
        }
    };
    let files = corpus.manifest.outputs.len() as u64;
    let advice = "build the corpus again: files were changed since";
    own_rule("hashes", files, 1, problem, advice)
}

/// A rule about the whole corpus.
fn own_rule(
    rule: &'static str,
    checked: u64,
    broken: u64,
    problem: Option<String>,
    advice: &'static str,
) -> RuleReport {
    let found = |problem| Found {
        file: String::new(),
        place: String::new(),
        problem,
    };
    RuleReport {
        rule,
        checked,
        findings: if problem.is_some() { broken } else { 0 },
        places: problem.map(found).into_iter().collect(),
        advice,
        needs: None,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditReport {
            rows,
            users,
            rules,
            chosen_again,
            drawn,
            contradictions,
            duplicates,
        } = &self.audit;
        writeln!(f, "{rows} rows in {} shards, {users} users", self.shards)?;
        writeln!(f, "{:<14} {:>12} {:>12}", "rule", "checked", "findings")?;
        for rule in rules {
            let RuleReport {
                rule,
                checked,
                findings,
                needs,
                ..
            } = rule;
            match needs {
                Some(needs) => writeln!(f, "{rule:<14} not checked: give {needs}")?,
                None if *findings > 0 => {
                    writeln!(f, "{rule:<14} {checked:>12} {findings:>12}  FAIL")?
                }
                None => writeln!(f, "{rule:<14} {checked:>12} {findings:>12}")?,
            }
        }
        for rule in rules.iter().filter(|rule| rule.findings > 0) {
            writeln!(f, "{}: {}", rule.rule, rule.advice)?;
            for Found {
                file,
                place,
                problem,
            } in &rule.places
            {
                match file.as_str() {
                    "" => writeln!(f, "  {problem}")?,
                    file => writeln!(f, "  {file}, {place}: {problem}")?,
                }
            }
            match rule.findings - rule.places.len() as u64 {
                _ if rule.places.iter().any(|place| place.file.is_empty()) => {}
                0 => {}
                more => writeln!(f, "  and {more} more")?,
            }
        }
        let by_task = |tasks: &std::collections::BTreeMap<String, u64>| {
            let tasks = tasks.iter().map(|(task, rows)| format!(", {task} {rows}"));
            tasks.collect::<String>()
        };
        writeln!(
            f,
            "{} prompts have different answers: {} rows ({:.2} %){}",
            contradictions.prompts,
            contradictions.rows,
            100.0 * contradictions.share,
            by_task(&contradictions.by_task)
        )?;
        writeln!(
            f,
            "{} rows repeat another ({:.2} %){}",
            duplicates.rows,
            100.0 * duplicates.share,
            by_task(&duplicates.by_task)
        )?;
        if chosen_again + drawn > 0 {
            writeln!(
                f,
                "held-out items that are no leak: in {chosen_again} rows chosen before too, in \
                 {drawn} drawn by chance"
            )?;
        }
        match self.time_leakage["per_test"].as_f64() {
            Some(share) => writeln!(
                f,
                "time leakage: of what training learns {:.2} % happened after a test target",
                100.0 * share
            )?,
            None => writeln!(f, "time leakage: not known, the interactions have no times")?,
        }
        f.write_str(if self.ok {
            "every rule holds"
        } else {
            "the corpus is not sound"
        })
    }
}
