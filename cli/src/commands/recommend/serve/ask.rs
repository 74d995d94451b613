//! A question and its answer, as they are on the wire.

use axum::body::Bytes;
use semantic_id::ItemId;
use semid_recommender::Reader;
use serde::{Deserialize, Serialize};
use trie_decode::{BeamParams, Filter, Outcome};

use super::catalogue::{Branch, Named, Snapshot};
use super::problem::Problem;
use crate::artefact::some_keys;

/// Who asks for items.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `history`")]
pub(super) struct Ask {
    /// Keys of the user's items, the oldest first.
    history: Vec<String>,
    #[serde(default = "ten")]
    k: usize,
    #[serde(default = "fifty")]
    beams: usize,
    /// Keys of items that may not be recommended.
    #[serde(default)]
    deny: Vec<String>,
    /// Keys of those that may, if not all.
    #[serde(default)]
    allow: Option<Vec<String>>,
    /// Whether items of the history may be.
    #[serde(default)]
    with_seen: bool,
    #[serde(default)]
    unknown: Unknown,
    /// Whether to tell the items' paths.
    #[serde(default)]
    paths: bool,
}

fn ten() -> usize {
    10
}

fn fifty() -> usize {
    50
}

/// What to do about keys that the index lacks. By default they are left out: a catalogue lives,
/// and what was in a history may be in it no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unknown {
    #[default]
    Skip,
    Refuse,
}

impl Ask {
    /// Reads a body; `most` bounds results and beams.
    pub(super) fn read(body: &Bytes, most: usize) -> Result<Self, Problem> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let ask: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let at = match error.path().to_string() {
                at if [".", "?"].contains(&&*at) => "body".to_owned(),
                at => at,
            };
            Problem::bad(at, error.inner())
        })?;
        json.end().map_err(|error| Problem::bad("body", error))?;
        for (at, got) in [("k", ask.k), ("beams", ask.beams)] {
            if !(1..=most).contains(&got) {
                return Err(Problem::bad(at, format!("got {got}, expected 1 to {most}")));
            }
        }
        Ok(ask)
    }

    /// Looks its keys up.
    pub(super) fn resolve(self, snapshot: &Snapshot, reader: &Reader) -> Result<Resolved, Problem> {
        let mut unknown = Vec::new();
        let mut find = |at: &str, keys: &[String]| -> Result<Vec<ItemId>, Problem> {
            let mut items = Vec::with_capacity(keys.len());
            let before = unknown.len();
            for key in keys {
                match snapshot.index().find(key).map_err(damaged)? {
                    Some(item) => items.push(item),
                    None => unknown.push(key.clone()),
                }
            }
            if self.unknown == Unknown::Refuse && unknown.len() > before {
                let lacking = some_keys(&unknown[before..]);
                let message = format!(
                    "got {lacking}, expected keys of the index; correct them, or say \
                     \"unknown\": \"skip\""
                );
                return Err(Problem::bad(at, message));
            }
            Ok(items)
        };
        let history = find("history", &self.history)?;
        let mut denied = find("deny", &self.deny)?;
        let allowed = self.allow.as_ref().map(|keys| find("allow", keys));
        if !self.with_seen {
            denied.extend(&history);
        }
        let filter = match allowed.transpose()? {
            None => Filter::deny_items(&snapshot.trie, denied),
            Some(mut allowed) => {
                denied.sort_unstable();
                allowed.retain(|item| denied.binary_search(item).is_err());
                Filter::allow_items(&snapshot.trie, allowed)
            }
        };
        Ok(Resolved {
            params: reader.search(self.k, self.beams),
            filter: filter.map_err(damaged)?,
            history,
            unknown,
            paths: self.paths,
        })
    }
}

/// An [`Ask`] about the items of one snapshot.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) history: Vec<ItemId>,
    pub(super) filter: Filter,
    pub(super) params: BeamParams,
    unknown: Vec<String>,
    paths: bool,
}

/// What is recommended.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// The best first.
    items: Vec<Item>,
    /// Whether it is proven that no other item is better than these.
    exact: bool,
    /// By how much one may be better than the last of them, where that is known.
    gap: Option<f32>,
    /// Keys of the question that the index lacks.
    unknown: Vec<String>,
    /// Items of the history that are older than what the model reads.
    dropped: usize,
    /// The generation of the index that all of this is about.
    generation: u64,
}

#[derive(Debug, Serialize)]
struct Item {
    #[serde(flatten)]
    named: Named,
    id: String,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Vec<Branch>>,
}

impl Resolved {
    /// Tells what a search found.
    pub(super) fn answer(
        self,
        snapshot: &Snapshot,
        reader: &Reader,
        outcome: Outcome,
    ) -> Result<Answer, Problem> {
        let index = snapshot.index();
        let item = |hit: trie_decode::Hit| {
            Ok(Item {
                named: snapshot.named(hit.item).map_err(damaged)?,
                id: index.token_format().text(&hit.codes),
                score: hit.score,
                path: match self.paths {
                    true => Some(snapshot.path(&hit.codes).map_err(damaged)?),
                    false => None,
                },
            })
        };
        Ok(Answer {
            items: (outcome.hits.into_iter())
                .map(item)
                .collect::<Result<_, Problem>>()?,
            exact: outcome.exact,
            gap: outcome.gap,
            unknown: self.unknown,
            dropped: (self.history.len()).saturating_sub(reader.settings().items),
            generation: index.info().generation,
        })
    }
}

fn damaged(error: impl ToString) -> Problem {
    Problem::failed("index", error)
}
