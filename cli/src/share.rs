//! The rows of some users of a recipe, for a cluster that shares the users out.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use self_cell::self_cell;
use semantic_id::ItemIndex;
use semid_tasks::audit::{Audit, AuditReport, Sources};
use semid_tasks::corpus::{Context, CorpusShare, Counts, Scratch, Share};
use semid_tasks::{Interactions, Part, SplitTable, read_rows};
use serde::{Deserialize, Serialize};

use crate::corpus::CorpusSource;
use crate::events::EventTable;
use crate::materials::{Materials, read_recipe};

/// The files that a recipe names, but for the interactions: a table of a cluster.
#[derive(Debug, Serialize)]
pub struct RecipeFiles {
    /// The items: likewise.
    items: String,
    index: String,
    /// All others, each a file or a folder.
    others: Vec<String>,
    /// Rows of a shard, at most.
    samples_per_shard: u64,
}

impl RecipeFiles {
    /// Reads a recipe whose users shall be shared out.
    ///
    /// # Errors
    ///
    /// A recipe that cannot be read; one that no share of the users can follow alone.
    pub fn of(recipe: &Path) -> anyhow::Result<Self> {
        let (_, recipe) = read_recipe(recipe)?;
        let params = recipe.params();
        let inputs = &params.inputs;
        ensure!(
            !matches!(inputs.interactions, Interactions::Parts(_)),
            "a split in files is not for a cluster: the events come from one table; give [split]"
        );
        ensure!(
            !matches!(params.split, SplitTable::Ratio { .. }),
            "split.by = \"ratio\" needs the times of all events; take the two times of that ratio, \
             and split.by = \"time\""
        );
        ensure!(
            params.interactions.core[1] == 0,
            "interactions.core counts the events of items over all users; filter the table, and \
             give core = [{}, 0]",
            params.interactions.core[0]
        );
        ensure!(
            inputs.beams.is_none(),
            "inputs.beams names users that a share does not have; choose other negatives"
        );
        let (output, tokens) = (params.output.chat.as_ref(), params.tokens.as_ref());
        let others = (inputs.side_texts.iter().cloned())
            .chain(inputs.users.clone())
            .chain(params.templates.clone())
            .chain(tokens.map(|tokens| tokens.tokenizer.clone()))
            .chain(output.map(|chat| chat.config.clone()))
            .chain(output.and_then(|chat| chat.template.clone()));
        Ok(Self {
            items: inputs.items.clone(),
            index: inputs.index.clone(),
            others: others.collect(),
            samples_per_shard: params.output.samples_per_shard,
        })
    }
}

/// What the users of a share have, for all others to know.
#[derive(Debug, Serialize)]
pub struct Counted {
    /// Samples of each task of a part; null for what is made of items.
    samples: BTreeMap<Part, Vec<Option<u64>>>,
    /// Events of training of each item, by row.
    #[serde(skip)]
    pub popularity: Vec<u32>,
}

impl Counted {
    /// Counts the users of some events, of a recipe whose files are at other places, by name.
    ///
    /// # Errors
    ///
    /// Those of the recipe and of its inputs.
    pub fn of(
        recipe: &Path,
        files: BTreeMap<String, PathBuf>,
        events: &[&EventTable],
    ) -> anyhow::Result<Self> {
        let materials = Materials::read_share(recipe, files, events)?;
        let context = materials.context();
        let samples = materials.recipe.parts().map(|part| {
            let plans = materials.recipe.plans(part, &materials.beams);
            Ok((part, Share::samples(&context, &plans)?))
        });
        Ok(Self {
            samples: samples.collect::<semid_tasks::Result<_>>()?,
            popularity: context.popularity().to_vec(),
        })
    }
}

/// Where a share stands among all.
#[derive(Debug, Deserialize)]
pub struct Standing {
    /// The items whose samples it has.
    items: Range<u32>,
    /// For each task of a part the number of its first sample, and those of all shares.
    samples: BTreeMap<Part, Vec<[u64; 2]>>,
}

/// Holds rows against what they were made of: rows of the users whose events are here, and rows
/// without a user. Rows that repeat others are counted among these alone.
///
/// # Errors
///
/// Those of the recipe and of its inputs; lines that are no rows.
pub fn audit_share(
    recipe: &Path,
    files: BTreeMap<String, PathBuf>,
    events: &[&EventTable],
    lines: &[u8],
) -> anyhow::Result<AuditReport> {
    let materials = Materials::read_share(recipe, files, events)?;
    let mut split = Vec::new();
    materials.write_split(&mut split)?;
    let sources = Sources {
        index: Some(ItemIndex::open(materials.index.bytes())?),
        items: Some(&materials.catalogue),
        histories: Some(&materials.histories),
    };
    report(Audit::new("split", &*split, sources)?, lines)
}

/// Counts rows that repeat others: to be given all rows of some prompts.
///
/// # Errors
///
/// Lines that are no rows.
pub fn audit_repeats(lines: &[u8]) -> anyhow::Result<AuditReport> {
    report(Audit::new("split", &b""[..], Sources::default())?, lines)
}

fn report(audit: Audit<'_>, lines: &[u8]) -> anyhow::Result<AuditReport> {
    let found = audit.shard("rows", lines.into())?;
    Ok(audit.finish([found])?)
}

/// What rows are shared out by: the user of each, if it has one, and a hash of its prompt.
#[derive(Debug, Default)]
pub struct RowKeys {
    /// The key of each row's user.
    pub users: Vec<Option<String>>,
    /// A hash of each row's prompt.
    pub prompts: Vec<u64>,
}

impl RowKeys {
    /// Reads rows.
    ///
    /// # Errors
    ///
    /// Lines that are no rows.
    pub fn of(lines: &[u8]) -> anyhow::Result<Self> {
        let mut keys = Self::default();
        read_rows("rows", lines.into(), |_, row| {
            // Of slots in place of texts all together are the prompt.
            let asked = Some(row.prompt).filter(|prompt| !prompt.is_empty());
            let hash = blake3::hash(asked.unwrap_or(row.answer).as_bytes());
            let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
            keys.prompts.push(u64::from_le_bytes(*first));
            let user = row.provenance.user.as_deref();
            keys.users.push(user.map(str::to_owned));
            Ok(())
        })?;
        Ok(keys)
    }
}

self_cell!(
    struct Prepared {
        owner: CorpusSource,
        #[covariant]
        dependent: Context,
    }
);

type Parts<'a> = BTreeMap<Part, CorpusShare<'a>>;

self_cell!(
    struct Planned {
        owner: Prepared,
        #[covariant]
        dependent: Parts,
    }
);

/// The rows of a share's users and items: together with those of all other shares, in the order
/// of their places, what `semid tasks build` makes.
pub struct ShareRows(Planned);

/// Some rows, as lines of JSON one after the other.
#[derive(Debug, Default)]
pub struct Placed {
    /// Where each row stands.
    pub places: Vec<u64>,
    /// Where its bytes end; a row of several lines is one.
    pub ends: Vec<i64>,
    /// The lines, without an end of the line at the end of a row.
    pub bytes: Vec<u8>,
    /// How many were made, and why others were not.
    pub counts: Counts,
}

impl ShareRows {
    /// Reads a recipe whose files are at other places, by name. The events are those of the share's
    /// users, the popularity is that of all, by row of the items.
    ///
    /// # Errors
    ///
    /// Those of the recipe and of its inputs; rows that are no JSON (MiniOneRec's); a budget of
    /// tokens.
    pub fn open(
        recipe: &Path,
        files: BTreeMap<String, PathBuf>,
        events: &[&EventTable],
        standing: &Standing,
        popularity: Vec<u32>,
        seed: Option<u64>,
    ) -> anyhow::Result<Self> {
        let materials = Materials::read_share(recipe, files, events)?;
        let (got, expected) = (popularity.len(), materials.catalogue.len());
        ensure!(
            got == expected,
            "got the popularity of {got} items, expected that of {expected}"
        );
        let source = CorpusSource::of(materials, seed)?;
        source.check_json()?;
        let prepared = Prepared::new(source, |source| {
            source.materials.context().with_popularity(popularity)
        });
        let planned = Planned::try_new(prepared, |prepared| {
            prepared.with_dependent(|source, context| parts(source, context, standing))
        })?;
        Ok(Self(planned))
    }

    /// Of each part the number of its samples here, and that of the places of the whole.
    pub fn parts(&self) -> impl Iterator<Item = (Part, u64, u64)> {
        let parts = self.0.borrow_dependent().iter();
        parts.map(|(&part, corpus)| (part, corpus.len(), corpus.places()))
    }

    /// Makes the rows of some samples of a part, on the calling thread. They are in no order.
    ///
    /// # Errors
    ///
    /// A part without rows; samples beyond the last one; a row that does not fit the format.
    pub fn rows(&self, part: Part, samples: Range<u64>) -> anyhow::Result<Placed> {
        let corpus = self.0.borrow_dependent().get(&part);
        let all = corpus.map_or(0, CorpusShare::len);
        let Some(corpus) = corpus.filter(|_| samples.end <= all) else {
            anyhow::bail!("got the samples {samples:?} of {part}, expected some of 0..{all}");
        };
        let writer = &self.0.borrow_owner().borrow_owner().writer;
        let mut placed = Placed::default();
        placed.counts = corpus.rows(samples, &mut Scratch::default(), |place, row| {
            writer.write(row, &mut placed.bytes)?;
            if placed.bytes.last() == Some(&b'\n') {
                placed.bytes.pop();
            }
            placed.places.push(place);
            placed.ends.push(placed.bytes.len() as i64);
            Ok(())
        })?;
        Ok(placed)
    }
}

impl fmt::Debug for ShareRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.parts().map(|(part, samples, _)| (part, samples)))
            .finish()
    }
}

/// The rows of all parts.
fn parts<'a>(
    source: &'a CorpusSource,
    context: &'a Context<'a>,
    standing: &Standing,
) -> anyhow::Result<Parts<'a>> {
    let Materials {
        recipe,
        templates,
        beams,
        ..
    } = &source.materials;
    let corpus = |part: Part| {
        let plans = recipe.plans(part, beams);
        let samples = standing.samples.get(&part).cloned().unwrap_or_default();
        let items = standing.items.clone();
        let share = Share { items, samples };
        let corpus = CorpusShare::new(context, templates, &plans, &share, source.options())?;
        Ok((part, corpus))
    };
    recipe.parts().map(corpus).collect()
}
