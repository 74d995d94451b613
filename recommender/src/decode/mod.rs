//! From a model and histories to items.

mod free;
mod head;
mod prefixes;
mod scorer;

use semantic_id::CodeSpace;
use semid_training::within_memory;
use trie_decode::TokenMap;
use trie_decode::{BeamParams, BeamSearch, Filter, ItemTrie, Outcome, Request, Scratch};

use crate::{Error, Llama, Result};
pub(crate) use free::FreeSearch;
use head::CodeHead;
use scorer::PromptScorer;

/// Names items after prompts: a model, and where codes are among its tokens.
///
/// Prompts are read once each, in one batch, and what the model keeps of them is shared by all
/// beams. Of the head, only the rows of a level's codes are computed, and a sum over the rest
/// where the normalizer asks for it.
#[derive(Debug)]
pub struct Generator<'a> {
    model: &'a Llama,
    tokens: &'a TokenMap,
    head: CodeHead,
    params: BeamParams,
}

/// Who asks: what a model is to read, and which items may be named.
#[derive(Debug, Clone, Default)]
pub struct Prompt<'a> {
    /// The tokens, at least one.
    pub tokens: Vec<u32>,
    /// The items that may be given; all that were not removed, if `None`.
    pub filter: Option<&'a Filter>,
}

impl<'a> Generator<'a> {
    /// # Errors
    ///
    /// Those of [`BeamParams::check`]; [`Error::Shape`] if the model has fewer tokens than the map
    /// names, or the map is for another code space.
    pub fn new(
        model: &'a Llama,
        tokens: &'a TokenMap,
        space: &CodeSpace,
        params: BeamParams,
    ) -> Result<Self> {
        params.clone().check()?;
        let vocabulary = model.config().vocab_size;
        if tokens.vocabulary() > vocabulary {
            return Err(Error::Shape {
                what: "tokens of the model",
                got: vocabulary,
                expected: tokens.vocabulary(),
            });
        }
        Ok(Self {
            head: CodeHead::new(model, tokens, space, params.normalizer),
            model,
            tokens,
            params,
        })
    }

    /// The best items after each prompt, as [`BeamSearch::run`] gives them.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyHistory`] for a prompt without tokens; [`Error::Setup`] if the device has too
    /// little memory; those of [`BeamSearch::run`].
    pub fn run<D: AsRef<[u8]> + Send + Sync>(
        &self,
        trie: &ItemTrie<D>,
        prompts: &[Prompt<'_>],
    ) -> Result<Vec<Outcome>> {
        if let Some(empty) = prompts.iter().position(|prompt| prompt.tokens.is_empty()) {
            return Err(Error::EmptyHistory(empty));
        }
        let search = BeamSearch::new(trie, Some(self.tokens), self.params.clone().check()?)?;
        let texts: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt.tokens.clone()).collect();
        let requests: Vec<_> = prompts
            .iter()
            .map(|prompt| Request {
                filter: prompt.filter,
            })
            .collect();
        let outcomes = within_memory(|| {
            tch::no_grad(|| {
                let mut scorer = PromptScorer::new(self.model, self.tokens, &self.head, &texts);
                search.run(&mut scorer, &requests, &mut Scratch::default())
            })
        })?;
        Ok(outcomes?)
    }
}

/// The hidden states behind prompts, `[B, D]`.
pub(crate) fn last_hidden(model: &Llama, prompts: &[Vec<u32>]) -> tch::Tensor {
    prefixes::Prefixes::read(model, prompts).1
}
