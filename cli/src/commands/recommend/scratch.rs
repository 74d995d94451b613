//! A small model that learns from nothing but histories.

use std::num::NonZeroUsize;

use clap::Args;
use semid_recommender::{
    HistoryExamples, Llama, LlamaConfig, Reader, Settings, TrainingConfig, TrainingParams,
    Vocabulary,
};
use serde::Serialize;

use super::course::{Checkpoint, Course, Data, Start, Trained};
use crate::console::Console;

/// The shape of a model that is trained from scratch.
#[derive(Debug, Clone, Args, Serialize)]
pub(super) struct Scratch {
    /// Items of a history that the model reads, its last ones
    #[arg(long, value_name = "N", default_value = "20")]
    pub(super) history: NonZeroUsize,
    /// Width of the transformer, a multiple of 32
    #[arg(long, value_name = "D", default_value = "128")]
    width: NonZeroUsize,
    /// Layers of the transformer
    #[arg(long, value_name = "N", default_value = "2")]
    layers: NonZeroUsize,
}

impl Scratch {
    pub(super) fn train(
        &self,
        course: &Course,
        seed: Option<u64>,
        data: Data<'_>,
        checkpoint: &Checkpoint,
        console: &Console,
    ) -> anyhow::Result<Trained> {
        let device = course.device()?;
        let Data {
            histories,
            split,
            trie,
        } = data;
        let index = trie.index().expect("the trie was made of an index");
        let items = self.history.get();
        let reader = Reader::new(Settings {
            index: index.digest(),
            codes: index.space().sizes().to_vec(),
            items,
            speech: None,
        })?;
        let vocabulary = Vocabulary::new(index.space())?;
        let config = self.config(course, seed, index.levels())?;
        let model = Llama::new(
            self.shape(&vocabulary, index.levels()),
            device,
            config.seed as i64,
        )?;
        let examples = HistoryExamples::new(histories, split, trie, &vocabulary, items)?;
        let start = Start {
            model,
            reader: &reader,
            config,
        };
        let done = course.run(start, &examples, data, checkpoint, console)?;
        done.with(reader)
    }

    /// How an index of so many levels is trained on.
    pub(super) fn config(
        &self,
        course: &Course,
        seed: Option<u64>,
        levels: usize,
    ) -> anyhow::Result<TrainingConfig> {
        course.config(self.params(levels), seed)
    }

    /// Rows that hold the longest history.
    fn params(&self, levels: usize) -> TrainingParams {
        let mut params = TrainingParams::default();
        params.row_tokens = 1 + self.history.get() * levels;
        params.batch_tokens = params.batch_tokens.max(params.row_tokens);
        params
    }

    fn shape(&self, vocabulary: &Vocabulary, levels: usize) -> LlamaConfig {
        let context = 1 + (self.history.get() + 1) * levels;
        let mut shape = LlamaConfig::small(vocabulary.len(), self.width.get(), context);
        shape.num_hidden_layers = self.layers.get();
        shape
    }
}
