use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use semantic_id::{Code, ItemIndex};
use serde::Serialize;
use trie_decode::{
    BeamConfig, BeamParams, BeamSearch, Exact, Filter, ItemTrie, Normalizer, Outcome, Request,
    Scratch, TokenMap,
};

use crate::artefact::{keys, open_index};
use crate::console::Console;
use crate::map::{self, Bytes};
use crate::scores::ScoreFile;
use crate::usage_error;

/// Find the items that a model's logits rank highest
///
/// Searches the index as `trie-decode` does behind a model, with a file in the model's place: row
/// [l, r] holds the logits of the code at level l for request r, whatever the codes before it. So
/// an answer can be checked by hand, or two programs be compared.
///
/// Columns are codes, of which a level of K codes reads the first K. If there is one column more
/// than the largest level has codes, column K of a level is that of the end of a shorter ID. With
/// --token-map, columns are the tokens of a model.
///
/// An answer says whether it is proven, that is, whether no other item can have a higher score;
/// if not, by how much one may. More beams, or --exact, prove more.
#[derive(Debug, Args)]
pub(crate) struct Decode {
    /// The index file
    index: PathBuf,
    /// Logits, a .npy of f32 or f16 [levels, requests, columns]
    #[arg(long, value_name = "FILE")]
    scores: PathBuf,
    /// Items to find for each request
    #[arg(short = 'k', long = "results", value_name = "N", default_value = "10")]
    results: NonZeroUsize,
    /// Prefixes kept after each level; of several, as 20,50, the last serves all further levels
    #[arg(
        long,
        value_name = "N",
        default_value = "20",
        value_delimiter = ',',
        num_args = 1
    )]
    beams: Vec<NonZeroUsize>,
    /// Over what a step's probabilities sum to one [default: full-vocab with --token-map, else
    /// level]
    #[arg(long)]
    normalizer: Option<NormalizerName>,
    /// A: scores are divided by (number of codes)^A, for IDs of different lengths
    #[arg(
        long,
        value_name = "A",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    length_penalty: f32,
    /// Go on, best first, until the answer is proven or so many rows were scored for a request
    #[arg(long, value_name = "ROW_BUDGET")]
    exact: Option<usize>,
    /// A Hugging Face tokenizer.json: columns are its tokens
    #[arg(long, value_name = "FILE")]
    token_map: Option<PathBuf>,
    /// Keys of the only items that may be found, between commas, or @FILE with one a line
    #[arg(long, value_name = "KEYS", conflicts_with = "deny")]
    allow: Option<String>,
    /// Keys of items that may not be found, between commas, or @FILE with one a line
    #[arg(long, value_name = "KEYS")]
    deny: Option<String>,
    /// Do not validate the index first
    #[arg(long)]
    trusted: bool,
}

/// Over what a step's probabilities sum to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NormalizerName {
    /// All tokens of the model; needs --token-map
    FullVocab,
    /// The tokens of all levels; needs --token-map
    SemanticIdVocab,
    /// The codes of the level
    Level,
    /// The codes that an item continues with
    ValidChildren,
}

#[derive(Debug, Serialize)]
struct Report {
    requests: Vec<Answer>,
}

#[derive(Debug, Serialize)]
struct Answer {
    hits: Vec<Hit>,
    exact: bool,
    gap: Option<f32>,
    rows: usize,
}

#[derive(Debug, Serialize)]
struct Hit {
    key: String,
    item: u32,
    codes: Vec<Code>,
    score: f32,
    /// The codes as tokens.
    #[serde(skip)]
    text: String,
}

impl Decode {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let config = self.config()?;
        let trie = ItemTrie::new(open_index(&self.index, self.trusted)?);
        let filter = self.filter(&trie)?;
        let scores = ScoreFile::open(&self.scores)?;
        let tokens = match &self.token_map {
            Some(path) => Some(token_map(path, &trie, scores.columns())?),
            None => None,
        };
        let search = BeamSearch::new(&trie, tokens.as_ref(), config)?;
        let run = || {
            let mut scorer = match tokens {
                Some(_) => scores.of_tokens(trie.space())?,
                None => scores.of_codes(trie.space())?,
            };
            let filter = filter.as_ref();
            let requests = vec![Request { filter }; scores.requests()];
            anyhow::Ok(search.run(&mut scorer, &requests, &mut Scratch::default())?)
        };
        let outcomes = run().with_context(|| self.scores.display().to_string())?;
        let index = trie.index().expect("the trie was made of an index");
        let answers = outcomes.iter().map(|outcome| answer(index, outcome));
        console.report(&Report {
            requests: answers.collect::<anyhow::Result<_>>()?,
        })
    }

    fn config(&self) -> anyhow::Result<BeamConfig> {
        let normalizer = match (self.normalizer, &self.token_map) {
            (Some(NormalizerName::FullVocab | NormalizerName::SemanticIdVocab), None) => {
                return Err(usage_error(
                    "this --normalizer sums over a model's tokens, but without --token-map the \
                     logits are those of a level's codes only; give it, or choose level or \
                     valid-children",
                ));
            }
            (Some(name), _) => name.into(),
            (None, Some(_)) => Normalizer::FullVocab,
            (None, None) => Normalizer::Level,
        };
        let params = BeamParams {
            results: self.results.get(),
            beams: self.beams.iter().map(|beams| beams.get()).collect(),
            normalizer,
            length_penalty: self.length_penalty,
            exact: self.exact.map(|row_budget| Exact { row_budget }),
        };
        params.check().map_err(usage_error)
    }

    fn filter(&self, trie: &ItemTrie<Bytes>) -> anyhow::Result<Option<Filter>> {
        Ok(match (&self.allow, &self.deny) {
            (Some(allow), _) => Some(Filter::allow_keys(trie, keys(allow)?)?),
            (None, Some(deny)) => Some(Filter::deny_keys(trie, keys(deny)?)?),
            (None, None) => None,
        })
    }
}

impl From<NormalizerName> for Normalizer {
    fn from(name: NormalizerName) -> Self {
        match name {
            NormalizerName::FullVocab => Self::FullVocab,
            NormalizerName::SemanticIdVocab => Self::SemanticIdVocab,
            NormalizerName::Level => Self::Level,
            NormalizerName::ValidChildren => Self::ValidChildren,
        }
    }
}

/// The tokens of a `tokenizer.json`, of a model with logits `columns` wide.
fn token_map(path: &Path, trie: &ItemTrie<Bytes>, columns: usize) -> anyhow::Result<TokenMap> {
    let json = map::open(path)?;
    let index = trie.index().expect("the trie was made of an index");
    TokenMap::from_tokenizer(&json, index.token_format(), trie, columns)
        .with_context(|| path.display().to_string())
}

fn answer(index: &ItemIndex<Bytes>, outcome: &Outcome) -> anyhow::Result<Answer> {
    let hit = |hit: &trie_decode::Hit| {
        Ok(Hit {
            key: index.key(hit.item)?.to_owned(),
            item: hit.item.0,
            codes: hit.codes.to_vec(),
            score: hit.score,
            text: index.token_format().text(&hit.codes),
        })
    };
    Ok(Answer {
        hits: outcome
            .hits
            .iter()
            .map(hit)
            .collect::<anyhow::Result<_>>()?,
        exact: outcome.exact,
        gap: outcome.gap,
        rows: outcome.rows,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hits = || self.requests.iter().flat_map(|answer| &answer.hits);
        let width = hits().map(|hit| hit.text.len()).max().unwrap_or(0).max(2);
        writeln!(f, "request  rank       score  {:width$}  key", "ID")?;
        for (request, answer) in self.requests.iter().enumerate() {
            for (hit, rank) in answer.hits.iter().zip(1..) {
                let Hit {
                    score, text, key, ..
                } = hit;
                writeln!(
                    f,
                    "{request:>7}  {rank:>4}  {score:>10.4}  {text:width$}  {key}"
                )?;
            }
        }
        for (request, answer) in self.requests.iter().enumerate() {
            let line = if request == 0 { "" } else { "\n" };
            write!(f, "{line}request {request}: {answer}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.exact, self.gap) {
            (true, _) if self.hits.is_empty() => f.write_str("no item may be given")?,
            (true, _) => f.write_str("exact")?,
            (false, Some(gap)) => write!(f, "not exact, a missed item may score {gap:.4} higher")?,
            (false, None) => f.write_str("not exact, fewer items than asked for were reached")?,
        }
        write!(f, "; {} rows scored", self.rows)
    }
}
