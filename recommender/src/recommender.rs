use semantic_id::{Code, CodeSpace, Digest, ItemId, ItemIndex, SemanticId};
use serde::{Deserialize, Serialize};
use tch::Device;
use trie_decode::{BeamParams, Filter, ItemTrie, Normalizer, Outcome};

use crate::{Error, Generator, Llama, Prompt, Query, Ranker, Result, Vocabulary};

/// How a model reads a history, and where codes are among its tokens: all that its weights do
/// not tell.
#[derive(Debug)]
pub struct Reader {
    vocabulary: Vocabulary,
    space: CodeSpace,
    settings: Settings,
}

/// What a [`Reader`] is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The index the model was trained with.
    pub index: Digest,
    /// Codes of each level of it, `[L]`.
    pub codes: Vec<u32>,
    /// The items of a history that the model reads, its last ones.
    pub items: usize,
}

impl Reader {
    /// # Errors
    ///
    /// [`Error::SemanticId`] for codes that make no space.
    pub fn new(settings: Settings) -> Result<Self> {
        let space = CodeSpace::new(settings.codes.clone())?;
        Ok(Self {
            vocabulary: Vocabulary::new(&space)?,
            space,
            settings,
        })
    }

    /// What it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The codes of each level.
    pub(crate) fn space(&self) -> &CodeSpace {
        &self.space
    }

    /// The tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What a model reads of a history; of one that is longer than it reads, the last items.
    ///
    /// # Errors
    ///
    /// [`Error::SemanticId`] for an item that the index does not have.
    pub fn prompt<D: AsRef<[u8]>>(
        &self,
        index: &ItemIndex<D>,
        history: &[ItemId],
    ) -> Result<Vec<u32>> {
        let items = self.settings.items;
        let read = &history[history.len().saturating_sub(items)..];
        let ids = read.iter().map(|&item| index.semantic_id(item));
        let ids: Vec<SemanticId> = ids.collect::<semantic_id::Result<_>>()?;
        let ids: Vec<&[Code]> = ids.iter().map(|id| &**id).collect();
        Ok(self.vocabulary.prompt(&ids, items))
    }

    /// Sees that an index is one that the model knows: that of its training, or the generation
    /// that was made of it by adding and removing items, or, `forced`, any with the same codes.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] if not.
    pub fn check_index<D: AsRef<[u8]>>(&self, index: &ItemIndex<D>, forced: bool) -> Result<()> {
        let trained = self.settings.index;
        let (got, expected) = (index.space().sizes(), &*self.settings.codes);
        if got != expected {
            return Err(Error::Index(format!(
                "its levels have {got:?} codes, those of the model's index {expected:?}"
            )));
        }
        if forced || [Some(index.digest()), index.info().parent].contains(&Some(trained)) {
            return Ok(());
        }
        Err(Error::Index(format!(
            "it is {}, the model was trained with {trained}; its IDs mean something else to the \
             model. Give that index, or one that `add` or `remove` made of it, or force it",
            index.digest()
        )))
    }
}

/// A trained model that can be asked for items.
#[derive(Debug)]
pub struct Recommender {
    model: Llama,
    reader: Reader,
}

/// Who asks for items: [`Query`] with any filter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The user's items, the oldest first; may be empty.
    pub history: &'a [ItemId],
    /// The items that may be given; all that were not removed, if `None`.
    pub filter: Option<&'a Filter>,
}

/// The files of a model's folder.
pub const MODEL_FILES: [&str; 3] = ["model.safetensors", "config.json", "recommender.json"];

impl Recommender {
    /// # Errors
    ///
    /// [`Error::Shape`] if the model is not one of as many tokens as the codes need.
    pub fn new(model: Llama, reader: Reader) -> Result<Self> {
        let (got, expected) = (model.config().vocab_size, reader.vocabulary.len());
        match got == expected {
            true => Ok(Self { model, reader }),
            false => Err(Error::Shape {
                what: "tokens of the model",
                got,
                expected,
            }),
        }
    }

    /// Reads the bytes of [`MODEL_FILES`].
    ///
    /// # Errors
    ///
    /// Those of [`Llama::from_files`] and [`Recommender::new`]; [`Error::Model`] for settings that
    /// are none.
    pub fn from_files(files: [&[u8]; 3], device: Device) -> Result<Self> {
        let [weights, config, settings] = files;
        let settings = serde_json::from_slice(settings)
            .map_err(|error| Error::Model(format!("{}: {error}", MODEL_FILES[2])))?;
        let model = Llama::from_files(config, weights, device)?;
        Self::new(model, Reader::new(settings)?)
    }

    /// The bytes of [`MODEL_FILES`].
    pub fn to_files(&self) -> [Vec<u8>; 3] {
        let (weights, config) = self.model.to_files();
        let settings = serde_json::to_string_pretty(&self.reader.settings);
        let settings = settings.expect("plain data serialises") + "\n";
        [weights, config.into_bytes(), settings.into_bytes()]
    }

    /// The transformer.
    pub fn model(&self) -> &Llama {
        &self.model
    }

    /// How it reads.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The best items for each of those who ask, all in one batch.
    ///
    /// # Errors
    ///
    /// Those of [`Reader::prompt`] and [`Generator::run`].
    pub fn recommend<D: AsRef<[u8]> + Send + Sync>(
        &self,
        trie: &ItemTrie<D>,
        asks: &[Ask<'_>],
        params: BeamParams,
    ) -> Result<Vec<Outcome>> {
        recommend(&self.model, &self.reader, trie, asks, params)
    }
}

fn recommend<D: AsRef<[u8]> + Send + Sync>(
    model: &Llama,
    reader: &Reader,
    trie: &ItemTrie<D>,
    asks: &[Ask<'_>],
    params: BeamParams,
) -> Result<Vec<Outcome>> {
    let index = trie.index();
    let index = index.ok_or_else(|| Error::Index("the trie is of none".into()))?;
    let mut prompts = Vec::with_capacity(asks.len());
    for ask in asks {
        let tokens = reader.prompt(index, ask.history)?;
        let filter = ask.filter;
        prompts.push(Prompt { tokens, filter });
    }
    let tokens = reader.vocabulary.tokens();
    Generator::new(model, tokens, &reader.space, params)?.run(trie, &prompts)
}

/// How to search with a model that was trained on histories alone: it has learnt to choose among
/// the codes that items have, so its probabilities are of those.
pub fn search(results: usize, beams: usize) -> BeamParams {
    BeamParams {
        results,
        beams: vec![beams.max(results)],
        normalizer: Normalizer::ValidChildren,
        ..BeamParams::default()
    }
}

/// A model with a catalogue, for evaluation.
#[derive(Debug)]
pub struct Generative<'a, D: AsRef<[u8]>> {
    /// The model, which may still be in training.
    pub model: &'a Llama,
    /// How it reads.
    pub reader: &'a Reader,
    /// Its index.
    pub trie: &'a ItemTrie<D>,
    /// Beams of the search.
    pub beams: usize,
}

impl<D: AsRef<[u8]> + Send + Sync> Generative<'_, D> {
    /// What the search says to each query.
    pub(crate) fn outcomes(
        &self,
        queries: &[Query<'_>],
        params: BeamParams,
    ) -> Result<Vec<Outcome>> {
        let filter = |query: &Query<'_>| match query.without {
            [] => Ok(None),
            without => Filter::deny_items(self.trie, without.iter().copied()).map(Some),
        };
        let filters = queries.iter().map(filter);
        let filters: Vec<Option<Filter>> = filters.collect::<trie_decode::Result<_>>()?;
        let asks = queries.iter().zip(&filters).map(|(query, filter)| Ask {
            history: query.history,
            filter: filter.as_ref(),
        });
        let asks: Vec<Ask<'_>> = asks.collect();
        recommend(self.model, self.reader, self.trie, &asks, params)
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Ranker for Generative<'_, D> {
    fn rank(&self, queries: &[Query<'_>], count: usize) -> Result<Vec<Vec<ItemId>>> {
        let outcomes = self.outcomes(queries, search(count, self.beams))?;
        Ok(outcomes.into_iter().map(items).collect())
    }
}

/// The items of an answer, best first.
pub(crate) fn items(outcome: Outcome) -> Vec<ItemId> {
    outcome.hits.into_iter().map(|hit| hit.item).collect()
}
