use semantic_id::{Code, CodeSpace, Digest, ItemId, ItemIndex, SemanticId};
use serde::{Deserialize, Serialize};
use tch::Device;
use trie_decode::{BeamParams, Filter, ItemTrie, Normalizer, Outcome, TokenMap};

use crate::{
    Conversation, Error, Generator, Llama, Prompt, Query, Ranker, Result, Speech, Vocabulary,
};

/// How a model reads a history, and where codes are among its tokens: all that its weights do
/// not tell.
#[derive(Debug)]
pub struct Reader {
    language: Language,
    space: CodeSpace,
    settings: Settings,
}

/// What a model knows.
#[derive(Debug)]
enum Language {
    /// Items alone.
    Codes(Vocabulary),
    /// Words too.
    Words(Box<Conversation>),
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
    /// How a language model is asked; `None` for a model that knows nothing but items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech: Option<Speech>,
}

impl Reader {
    /// That of a model which knows nothing but items.
    ///
    /// # Errors
    ///
    /// [`Error::SemanticId`] for codes that make no space.
    pub fn new(settings: Settings) -> Result<Self> {
        let space = CodeSpace::new(settings.codes.clone())?;
        Ok(Self {
            language: Language::Codes(Vocabulary::new(&space)?),
            space,
            settings: Settings {
                speech: None,
                ..settings
            },
        })
    }

    /// That of a language model, which reads no more items than its `context`, in tokens, has room
    /// for.
    ///
    /// # Errors
    ///
    /// [`Error::SemanticId`] for codes that make no space; [`Error::Setting`] if not even one item
    /// has room; those of [`Conversation::prompt`].
    pub fn of_words(
        mut settings: Settings,
        conversation: Conversation,
        context: usize,
    ) -> Result<Self> {
        let space = CodeSpace::new(settings.codes.clone())?;
        let any: Vec<Code> = vec![Code(0); space.levels()];
        let length = |items: usize| {
            let prompt = conversation.prompt(&vec![&any; items])?;
            Ok::<_, Error>(prompt.len() + space.levels())
        };
        // Of so many items there is room for `room`, none for `none`. An item has a token at least.
        let (mut room, mut none) = (0, settings.items.min(context) + 1);
        while none - room > 1 {
            let items = room.midpoint(none);
            match length(items)? <= context {
                true => room = items,
                false => none = items,
            }
        }
        if room == 0 {
            return Err(Error::Setting {
                name: "max_position_embeddings",
                got: context.to_string(),
                expected: format!("at least {}, for a history of one item", length(1)?),
            });
        }
        settings.items = room;
        settings.speech = Some(conversation.speech().clone());
        Ok(Self {
            language: Language::Words(Box::new(conversation)),
            space,
            settings,
        })
    }

    /// What it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Which token stands for which code.
    pub fn tokens(&self) -> &TokenMap {
        match &self.language {
            Language::Codes(vocabulary) => vocabulary.tokens(),
            Language::Words(conversation) => conversation.tokens(),
        }
    }

    /// The tokens of a model that knows nothing but items.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        match &self.language {
            Language::Codes(vocabulary) => Some(vocabulary),
            Language::Words(_) => None,
        }
    }

    /// How a language model is asked.
    pub fn conversation(&self) -> Option<&Conversation> {
        match &self.language {
            Language::Codes(_) => None,
            Language::Words(conversation) => Some(conversation),
        }
    }

    /// How to search. A model that was trained on histories alone has learnt to choose among the
    /// codes that items have, so its probabilities are of those; a language model's are of its
    /// whole vocabulary.
    pub fn search(&self, results: usize, beams: usize) -> BeamParams {
        BeamParams {
            results,
            beams: vec![beams.max(results)],
            normalizer: match self.language {
                Language::Codes(_) => Normalizer::ValidChildren,
                Language::Words(_) => Normalizer::FullVocab,
            },
            ..BeamParams::default()
        }
    }

    /// The codes of each level.
    pub(crate) fn space(&self) -> &CodeSpace {
        &self.space
    }

    /// The tokens of an ID, padded or not, with that of its end if it is shorter than others.
    pub(crate) fn id(&self, id: &[Code]) -> Vec<u32> {
        match &self.language {
            Language::Codes(vocabulary) => vocabulary.id(id).collect(),
            Language::Words(conversation) => {
                let codes = id.iter().enumerate();
                let tokens = conversation.tokens();
                codes
                    .map_while(|(level, &code)| tokens.token(level, code))
                    .collect()
            }
        }
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
        match &self.language {
            Language::Codes(vocabulary) => Ok(vocabulary.prompt(&ids, items)),
            Language::Words(conversation) => conversation.prompt(&ids),
        }
    }
}

impl Settings {
    /// Sees that an index is one that the model knows: that of its training, or the generation
    /// that was made of it by adding and removing items, or, `forced`, any with the same codes.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] if not.
    pub fn check_index<D: AsRef<[u8]>>(&self, index: &ItemIndex<D>, forced: bool) -> Result<()> {
        let trained = self.index;
        let (got, expected) = (index.space().sizes(), &*self.codes);
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

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const SETTINGS: &str = "recommender.json";

impl Recommender {
    /// # Errors
    ///
    /// [`Error::Shape`] if the model is not one of as many tokens as its reader needs: just as many
    /// if it knows nothing but items, at least as many if it is a language model.
    pub fn new(model: Llama, reader: Reader) -> Result<Self> {
        let (got, expected) = (model.config().vocab_size, reader.tokens().vocabulary());
        let fits = match reader.language {
            Language::Codes(_) => got == expected,
            Language::Words(_) => got >= expected,
        };
        match fits {
            true => Ok(Self { model, reader }),
            false => Err(Error::Shape {
                what: "tokens of the model",
                got,
                expected,
            }),
        }
    }

    /// Reads a model's files, which `read` gives by name: `model.safetensors`, `config.json` and
    /// `recommender.json`, and of a language model `tokenizer.json` and `tokenizer_config.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for a file that cannot be read, those of [`Llama::from_files`],
    /// [`Recommender::new`] and [`Conversation::new`].
    pub fn from_files(
        read: &dyn Fn(&str) -> std::io::Result<Vec<u8>>,
        device: Device,
    ) -> Result<Self> {
        let bytes =
            |file: &str| read(file).map_err(|error| Error::Model(format!("{file}: {error}")));
        let settings: Settings = serde_json::from_slice(&bytes(SETTINGS)?)
            .map_err(|error| Error::Model(format!("{SETTINGS}: {error}")))?;
        let model = Llama::from_files(&bytes(CONFIG)?, &bytes(WEIGHTS)?, device)?;
        let reader = match settings.speech.clone() {
            None => Reader::new(settings)?,
            Some(speech) => {
                let space = CodeSpace::new(settings.codes.clone())?;
                let conversation = Conversation::from_files(speech, read, &space)?;
                Reader::of_words(
                    settings,
                    conversation,
                    model.config().max_position_embeddings,
                )?
            }
        };
        Self::new(model, reader)
    }

    /// These files by name.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the tokenizer cannot be written.
    pub fn to_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let (weights, config) = self.model.to_files();
        let settings = serde_json::to_string_pretty(&self.reader.settings);
        let settings = settings.expect("plain data serialises") + "\n";
        let mut files = vec![
            (WEIGHTS, weights),
            (CONFIG, config.into_bytes()),
            (SETTINGS, settings.into_bytes()),
        ];
        if let Some(conversation) = self.reader.conversation() {
            files.extend(conversation.files()?);
        }
        Ok(files)
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
    Generator::new(model, reader.tokens(), &reader.space, params)?.run(trie, &prompts)
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
        let outcomes = self.outcomes(queries, self.reader.search(count, self.beams))?;
        Ok(outcomes.into_iter().map(items).collect())
    }
}

/// The items of an answer, best first.
pub(crate) fn items(outcome: Outcome) -> Vec<ItemId> {
    outcome.hits.into_iter().map(|hit| hit.item).collect()
}
