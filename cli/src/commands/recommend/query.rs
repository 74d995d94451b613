use std::fmt;
use std::num::NonZeroUsize;

use anyhow::bail;
use clap::Args;
use semantic_id::ItemId;
use semid_recommender::Ask;
use serde::Serialize;
use trie_decode::{Exact, Filter};

use super::folder::{Folder, Source};
use crate::artefact::{keys, some_keys};
use crate::console::Console;

/// Recommend items to a user, from what they had
///
/// Items are found by beam search over the index, so each exists. A score is the logarithm of the
/// probability that the model gives the item among all items; the answer says whether it is
/// proven that none is better.
#[derive(Debug, Args)]
pub(crate) struct Query {
    #[command(flatten)]
    source: Source,
    /// Keys of the user's items between commas, the oldest first, or @FILE with one a line
    #[arg(long, value_name = "KEYS")]
    history: String,
    /// Leave out items of the history that the index lacks, instead of refusing them
    #[arg(long)]
    skip_unknown: bool,
    /// Items to recommend
    #[arg(short = 'k', long = "results", value_name = "N", default_value = "10")]
    results: NonZeroUsize,
    /// Prefixes kept after each level
    #[arg(long, value_name = "N", default_value = "50")]
    beams: NonZeroUsize,
    /// Go on, best first, until the answer is proven or so many rows were scored
    #[arg(long, value_name = "ROW_BUDGET")]
    exact: Option<usize>,
    /// Keys of items that may not be recommended, between commas, or @FILE with one a line
    #[arg(long, value_name = "KEYS")]
    deny: Option<String>,
    /// Recommend items of the history too
    #[arg(long)]
    with_seen: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Of the history, what was read.
    read: Vec<Item>,
    /// Keys that the index lacks.
    unknown: Vec<String>,
    /// Items of the history that are older than what the model reads.
    dropped: usize,
    hits: Vec<Hit>,
    exact: bool,
    gap: Option<f32>,
}

#[derive(Debug, Serialize)]
struct Item {
    key: String,
    title: Option<String>,
}

#[derive(Debug, Serialize)]
struct Hit {
    #[serde(flatten)]
    item: Item,
    id: String,
    score: f32,
}

impl Query {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let folder = self.source.open()?;
        let (history, unknown) = self.history(&folder)?;
        let mut filter = Filter::all(&folder.trie);
        if let Some(deny) = &self.deny {
            filter = filter.and(&Filter::deny_keys(&folder.trie, keys(deny)?)?)?;
        }
        if !self.with_seen {
            let seen = Filter::deny_items(&folder.trie, history.iter().copied())?;
            filter = filter.and(&seen)?;
        }
        let ask = Ask {
            history: &history,
            filter: Some(&filter),
        };
        let reader = folder.recommender.reader();
        let mut params = reader.search(self.results.get(), self.beams.get());
        params.exact = self.exact.map(|row_budget| Exact { row_budget });
        let outcomes = folder.recommender.recommend(&folder.trie, &[ask], params)?;
        let outcome = &outcomes[0];
        let most = reader.settings().items;
        let dropped = history.len().saturating_sub(most);
        let read = history[dropped..].iter().map(|&item| folder.item(item));
        let hits = outcome.hits.iter().map(|hit| {
            Ok(Hit {
                item: folder.item(hit.item)?,
                id: folder.index().token_format().text(&hit.codes),
                score: hit.score,
            })
        });
        console.report(&Report {
            read: read.collect::<anyhow::Result<_>>()?,
            unknown,
            dropped,
            hits: hits.collect::<anyhow::Result<_>>()?,
            exact: outcome.exact,
            gap: outcome.gap,
        })
    }

    /// The items of the history, and the keys that are none.
    fn history(&self, folder: &Folder) -> anyhow::Result<(Vec<ItemId>, Vec<String>)> {
        let (mut items, mut unknown) = (Vec::new(), Vec::new());
        let given = match &*self.history {
            "" => Vec::new(),
            given => keys(given)?,
        };
        for key in given {
            match folder.index().find(&key)? {
                Some(item) => items.push(item),
                None => unknown.push(key),
            }
        }
        if !unknown.is_empty() && !self.skip_unknown {
            bail!(
                "the index has no item {}; correct --history, or leave such items out with \
                 --skip-unknown",
                some_keys(&unknown)
            );
        }
        Ok((items, unknown))
    }
}

impl Folder {
    fn item(&self, item: ItemId) -> anyhow::Result<Item> {
        Ok(Item {
            key: self.index().key(item)?.to_owned(),
            title: self.title(item)?.map(str::to_owned),
        })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.title {
            Some(title) => write!(f, "{title} ({})", self.key),
            None => f.write_str(&self.key),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.unknown.is_empty() {
            writeln!(
                f,
                "not in the index, left out: {}",
                some_keys(&self.unknown)
            )?;
        }
        if self.dropped > 0 {
            writeln!(
                f,
                "older than what the model reads, left out: {} items",
                self.dropped
            )?;
        }
        match self.read.as_slice() {
            [] => write!(f, "after nothing, what users begin with:")?,
            read => {
                write!(f, "after")?;
                read.iter()
                    .try_for_each(|item| write!(f, "\n          {item}"))?;
                write!(f, "\nrecommended:")?;
            }
        }
        for hit in &self.hits {
            write!(f, "\n{:8.3}  {}  {}", hit.score, hit.item, hit.id)?;
        }
        match (self.exact, self.gap) {
            (true, _) => write!(f, "\nproven to be the best"),
            (false, Some(gap)) => write!(f, "\nan item may be better by {gap:.3} than the last"),
            (false, None) => Ok(()),
        }
    }
}
