use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use semid_tasks::read_rows;
use semid_tasks::tokens::{CorpusLengths, Lengths, Packing, Summary, TaskLengths};
use serde::Serialize;

use super::shards::CorpusFolder;
use crate::console::Console;
use crate::corpus::tokenizer;

/// Say how long the rows of a corpus are, and how well they pack
///
/// Lengths of prompts and answers by task, in characters and, with a tokenizer, in tokens: then
/// also the share of tokens that a model learns from, the rows beyond its context, and the share
/// of the context that is used when rows are packed into it. Chat templates add a few tokens.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The corpus's folder
    corpus: PathBuf,
    /// The model's tokenizer.json
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Tokens that the model reads at once
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    context: u32,
}

/// Bars of a histogram.
const BARS: usize = 24;

#[derive(Debug, Serialize)]
struct Report {
    rows: u64,
    characters: Measured,
    tokens: Option<Measured>,
    packing: Option<Packings>,
}

/// Lengths in one unit.
#[derive(Debug, Serialize)]
struct Measured {
    tasks: BTreeMap<String, Task>,
    all: Task,
}

#[derive(Debug, Serialize)]
struct Task {
    rows: u64,
    prompt: Summary,
    answer: Summary,
    row: Summary,
    /// Of the length of all rows that of their answers.
    answer_share: f64,
    /// Rows in equal ranges of lengths, from 0 to the longest row of all tasks.
    histogram: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct Packings {
    context: u32,
    /// Rows that do not fit.
    beyond: u64,
    best_fit: Packed,
    in_order: Packed,
}

#[derive(Debug, Serialize)]
struct Packed {
    sequences: u64,
    used: f64,
}

impl Stats {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let corpus = CorpusFolder::open(&self.corpus)?;
        let tokenizer = self.tokenizer.as_deref().map(tokenizer).transpose()?;
        let shards = corpus.read(|name, input| {
            let mut characters = CorpusLengths::new(self.context);
            let mut tokens = CorpusLengths::new(self.context);
            read_rows(name, input, |_, row| {
                let task = &row.provenance.task;
                let [prompt, answer] = [row.prompt, row.answer].map(|text| text.chars().count());
                characters.add(task, prompt, answer);
                if let Some(tokenizer) = &tokenizer {
                    tokens.add(
                        task,
                        tokenizer.count(row.prompt)?,
                        tokenizer.count(row.answer)?,
                    );
                }
                Ok(())
            })?;
            Ok([characters, tokens])
        })?;
        let [mut characters, mut tokens] = [(); 2].map(|()| CorpusLengths::new(self.context));
        for shard in &shards {
            characters.merge(&shard[0]);
            tokens.merge(&shard[1]);
        }
        let has_tokens = tokenizer.is_some();
        console.report(&Report {
            rows: characters.all().row.texts(),
            characters: Measured::of(&characters),
            tokens: has_tokens.then(|| Measured::of(&tokens)),
            packing: has_tokens.then(|| Packings::of(&tokens, self.context)),
        })
    }
}

impl Measured {
    fn of(lengths: &CorpusLengths) -> Self {
        let all = lengths.all();
        let longest = all.row.summary().max;
        let tasks = lengths.tasks().iter();
        let tasks = tasks.map(|(name, task)| (name.clone(), Task::of(task, longest)));
        Self {
            tasks: tasks.collect(),
            all: Task::of(&all, longest),
        }
    }
}

impl Task {
    fn of(lengths: &TaskLengths, longest: u32) -> Self {
        let total = |lengths: &Lengths| lengths.total() as f64;
        Self {
            rows: lengths.row.texts(),
            prompt: lengths.prompt.summary(),
            answer: lengths.answer.summary(),
            row: lengths.row.summary(),
            answer_share: total(&lengths.answer) / total(&lengths.row).max(1.0),
            histogram: lengths.row.histogram(BARS, longest),
        }
    }
}

impl Packings {
    fn of(lengths: &CorpusLengths, context: u32) -> Self {
        let rows = lengths.all().row;
        let packed = |packing: Packing| Packed {
            sequences: packing.sequences,
            used: packing.used(),
        };
        Self {
            context,
            beyond: rows.beyond(context),
            best_fit: packed(Packing::best_fit(&rows, context)),
            in_order: packed(lengths.in_order()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows\n\ncharacters{}", self.rows, self.characters)?;
        let (Some(tokens), Some(packing)) = (&self.tokens, &self.packing) else {
            return f.write_str("give --tokenizer for lengths in tokens, and packing");
        };
        let Packings {
            context,
            beyond,
            best_fit,
            in_order,
        } = packing;
        writeln!(f, "\ntokens    {tokens}")?;
        writeln!(
            f,
            "{beyond} rows are beyond a context of {context}; the others fill"
        )?;
        let percent = |packed: &Packed| 100.0 * packed.used;
        writeln!(
            f,
            "{:>6.2} % of {} sequences, best-fit decreasing",
            percent(best_fit),
            best_fit.sequences
        )?;
        write!(
            f,
            "{:>6.2} % of {} sequences, in their order",
            percent(in_order),
            in_order.sequences
        )
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>19} {:^30} {:^30} {:>8}  rows of 0 to {}",
            "rows", "prompt", "answer", "answers", self.all.row.max
        )?;
        let columns = "   min   med   p95   p99   max";
        writeln!(f, "{:29} {columns} {columns}", "")?;
        let all = (&"all".to_owned(), &self.all);
        for (name, task) in self.tasks.iter().chain([all]) {
            write!(f, "{name:<16} {:>12}", task.rows)?;
            for of in [&task.prompt, &task.answer] {
                let Summary {
                    min,
                    median,
                    p95,
                    p99,
                    max,
                    ..
                } = of;
                write!(f, " {min:>6}{median:>6}{p95:>6}{p99:>6}{max:>6}")?;
            }
            let share = 100.0 * task.answer_share;
            writeln!(f, " {share:>6.2} %  {}", bars(&task.histogram))?;
        }
        Ok(())
    }
}

/// A histogram of one line; what is there at all is seen.
fn bars(counts: &[u64]) -> String {
    const HEIGHTS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = counts.iter().copied().max().unwrap_or_default().max(1);
    let bar = |&count: &u64| HEIGHTS[(8 * count).div_ceil(highest) as usize];
    counts.iter().map(bar).collect()
}
