use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use semantic_id::{Change, Churn, Digest, ItemIndex};
use serde::Serialize;

use crate::artefact::open_index;
use crate::console::Console;
use crate::map::Bytes;

/// Tell what became of the items and IDs of one index in another
///
/// Items are the same if they have the same key. Of those whose ID changed it tells at which level
/// it first differs: the earlier, the more a model has to learn anew.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// An index file
    a: PathBuf,
    /// Another, as a later generation
    b: PathBuf,
    /// Name the items that differ, and their IDs
    #[arg(long)]
    items: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    a: Side,
    b: Side,
    relation: Relation,
    #[serde(flatten)]
    churn: Churn,
    /// Share of the items of both whose ID changed.
    churn_share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
}

#[derive(Debug, Serialize)]
struct Side {
    path: PathBuf,
    digest: Digest,
    parent: Option<Digest>,
    generation: u64,
    items: usize,
}

/// What the second index is to the first.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Relation {
    Same,
    Child,
    Parent,
    Sibling,
    Other,
}

impl Diff {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let (a, b) = (open_index(&self.a, false)?, open_index(&self.b, false)?);
        let churn = Churn::between(&a, &b)?;
        let change = self.items.then(|| Change::between(&a, &b)).transpose()?;
        let (a, b) = (Side::of(&self.a, &a)?, Side::of(&self.b, &b)?);
        console.report(&Report {
            relation: Relation::of(&a, &b),
            a,
            b,
            churn_share: churn.share(),
            churn,
            change,
        })
    }
}

impl Side {
    fn of(path: &Path, index: &ItemIndex<Bytes>) -> anyhow::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            digest: index.digest(),
            parent: index.info().parent,
            generation: index.info().generation,
            items: index.living()?.len(),
        })
    }
}

impl Relation {
    fn of(a: &Side, b: &Side) -> Self {
        if a.digest == b.digest {
            Self::Same
        } else if b.parent == Some(a.digest) {
            Self::Child
        } else if a.parent == Some(b.digest) {
            Self::Parent
        } else if a.parent.is_some() && a.parent == b.parent {
            Self::Sibling
        } else {
            Self::Other
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Same => "the same file",
            Self::Child => "the next generation",
            Self::Parent => "the generation before",
            Self::Sibling => "another child of the same generation",
            Self::Other => "neither its parent nor its child",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, generation) = (self.path.display(), self.generation);
        write!(f, "{path} (generation {generation}, {} items)", self.items)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let churn = &self.churn;
        writeln!(f, "{} and {}, {}", self.a, self.b, self.relation.words())?;
        write!(f, "{churn}")?;
        let Some(change) = &self.change else {
            return Ok(());
        };
        for (sign, items) in [('+', &change.added), ('~', &change.moved)] {
            for (key, id) in items {
                write!(f, "\n{sign} {key} {id}")?;
            }
        }
        for (sign, keys) in [
            ('^', &change.revived),
            ('-', &change.removed),
            ('x', &change.freed),
        ] {
            for key in keys {
                write!(f, "\n{sign} {key}")?;
            }
        }
        Ok(())
    }
}
