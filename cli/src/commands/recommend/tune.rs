//! A language model that is taught what semantic IDs mean.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use semantic_id::{Digest, ItemIndex};
use semid_recommender::{
    Conversation, CorpusExamples, Lora, NewTokens, Pretrained, Reader, Settings, Speech,
    TrainingParams,
};
use semid_tasks::corpus::{Corpus, CorpusOptions};
use semid_tasks::{Part, Question, SplitTable};
use serde::Serialize;
use tch::{Device, Tensor};

use super::course::{Checkpoint, Course, Data, Start, Trained};
use crate::artefact::{enter_model, name, open_model};
use crate::console::Console;
use crate::map::{self, Bytes};
use crate::materials::Materials;

/// The tuning of a language model on a corpus.
#[derive(Debug, Clone, Args, Serialize)]
pub(super) struct Tune {
    /// Tune a language model on the corpus of this recipe (see `semid tasks`), whose rows are drawn
    /// anew in each epoch
    #[arg(
        long,
        value_name = "RECIPE",
        required = false,
        requires = "init",
        conflicts_with = "Scratch"
    )]
    corpus: PathBuf,
    /// The language model: a folder as Hugging Face's transformers save it, or a GGUF file
    #[arg(long, value_name = "CHECKPOINT", required = false, requires = "corpus")]
    init: PathBuf,
    /// Learn adapters of this rank (LoRA) and the new tokens alone, not all weights; they are
    /// merged when the model is written
    #[arg(long, value_name = "RANK", requires = "corpus")]
    lora: Option<NonZeroUsize>,
    /// The RQ-VAE of the index (see `semid train`), so that tokens of codes begin where their
    /// centroids are, and not all at the mean
    #[arg(long, value_name = "RQVAE", requires = "corpus")]
    centroids: Option<PathBuf>,
}

/// How much stronger an adapter is than its rank says (alpha over rank).
const STRENGTH: f64 = 2.0;

impl Tune {
    pub(super) fn train(
        &self,
        course: &Course,
        seed: Option<u64>,
        data: Data<'_>,
        events: Digest,
        checkpoint: &Checkpoint,
        console: &Console,
    ) -> anyhow::Result<Trained> {
        let device = course.device()?;
        let index = data.trie.index().expect("the trie was made of an index");
        let materials = self.materials(index, events, console)?;
        console.note("reading the language model");
        let (mut pretrained, mut inputs) = self.pretrained(device)?;
        inputs.extend(materials.inputs.clone());
        inputs.insert(name(&self.corpus), Digest::of(materials.text.as_bytes()));
        if let Some(centroids) = &self.centroids {
            enter_model(centroids, &mut inputs)?;
        }
        let context = pretrained.model.config().max_position_embeddings;
        let config = course.config(self.params(context), seed)?;
        ensure!(
            config.row_tokens <= context,
            "row_tokens: got {}, expected at most the {context} tokens that the model reads",
            config.row_tokens
        );

        let (space, format) = (index.space(), index.token_format());
        let tokens = NewTokens::add(&mut pretrained.tokenizer, format, space)?;
        let centroids = self.centroids.as_deref().map(centroids).transpose()?;
        let mut model = pretrained.model;
        model.extend(&tokens, centroids.as_deref(), config.seed as i64)?;
        if let Some(rank) = self.lora {
            let lora = Lora {
                rank: rank.get(),
                alpha: STRENGTH * rank.get() as f64,
                first_row: tokens.first(),
            };
            model.adapt(lora, config.seed as i64)?;
        }
        let params = materials.recipe.params();
        let speech = Speech {
            question: self.question(&materials)?,
            tokens: format.clone(),
            now: params.output.chat.as_ref().and_then(|chat| chat.now),
        };
        let (tokenizer, of_tokenizer) = (pretrained.tokenizer, pretrained.tokenizer_config);
        let settings = Settings {
            index: index.digest(),
            codes: space.sizes().to_vec(),
            items: params.history.max_items,
            speech: None,
        };
        let conversation = Conversation::new(speech, tokenizer, of_tokenizer, space)?;
        let reader = Reader::of_words(settings, conversation, context)?;

        let texts = reader.conversation().expect("of words").reader();
        let around = texts.around()?;
        let options = CorpusOptions {
            seed: config.seed,
            epochs: config.epochs.try_into()?,
            order: materials.recipe.order(),
            count: Some(&|text| texts.count(text)),
            tokens_per_row: Some(config.row_tokens.saturating_sub(around)),
            ..CorpusOptions::default()
        };
        let of_rows = materials.context();
        let plans = materials.recipe.plans(Part::Train, &materials.beams);
        let corpus = Corpus::new(&of_rows, &materials.templates, &plans, options)?;
        console.note("reading the corpus");
        let examples = CorpusExamples::drawn(&corpus, texts, config.row_tokens)?;
        let start = Start {
            model,
            reader: &reader,
            config,
        };
        let done = course.run(start, &examples, data, checkpoint, console)?;
        drop(examples);
        drop(corpus);
        Ok(Trained {
            inputs,
            ..done.with(reader)?
        })
    }

    /// All that the recipe names, if it teaches what will be asked and hides what will be measured.
    fn materials(
        &self,
        index: &ItemIndex<Bytes>,
        events: Digest,
        console: &Console,
    ) -> anyhow::Result<Materials> {
        let recipe = self.corpus.display();
        if self.corpus.is_dir() {
            bail!(
                "{recipe}: got a folder, expected the recipe that such a corpus is built from; its \
                 rows are drawn anew in each epoch"
            );
        }
        let materials = Materials::read(&self.corpus, console)?;
        let (got, expected) = (materials.index.digest(), index.digest());
        ensure!(
            got == expected,
            "{recipe}: its index is {got}, --index is {expected}; give both the same"
        );
        let params = materials.recipe.params();
        ensure!(
            params.split == SplitTable::LeaveOneOut,
            "{recipe}: `split` is not leave-one-out, by which the model is measured, so that it \
             would learn some of what it is asked; set `split.by = \"leave-one-out\"`"
        );
        let files = params.inputs.interactions.files();
        let same = |(_, file): &(_, &str)| materials.inputs[*file] == events;
        ensure!(
            files.len() == 1 && files.iter().all(same),
            "{recipe}: its interactions are not those of --interactions, by which the model is \
             measured, so that it could learn what it is asked; give both the same file"
        );
        Ok(materials)
    }

    /// What the corpus teaches the model to answer, and users' histories will be put into.
    fn question(&self, materials: &Materials) -> anyhow::Result<Question> {
        let mut tasks = materials.recipe.params().tasks.iter();
        let task = tasks.find(|task| task.task == "sequential" && task.part == Part::Train);
        let task = task.with_context(|| {
            format!(
                "{}: it has no task `sequential` for training, by whose question the model is \
                 asked later; add it",
                self.corpus.display()
            )
        })?;
        let style = materials.recipe.style();
        let question = Question::of(&materials.templates, &task.templates, &style);
        question.with_context(|| self.corpus.display().to_string())
    }

    /// The language model, and the hash of each file that it was read from.
    fn pretrained(&self, device: Device) -> anyhow::Result<(Pretrained, BTreeMap<String, Digest>)> {
        let path = &self.init;
        let inputs = RefCell::new(BTreeMap::new());
        let enter = |file: &str, bytes: &[u8]| {
            let name = format!("init/{file}");
            inputs.borrow_mut().insert(name, Digest::of(bytes));
        };
        let pretrained = if path.is_dir() {
            let read = |file: &str| {
                let bytes = fs::read(path.join(file))?;
                enter(file, &bytes);
                Ok(bytes)
            };
            Pretrained::from_files(&read, device)
        } else {
            let bytes = map::open(path)?;
            enter(&name(path), &bytes);
            Pretrained::from_gguf(&bytes, device)
        };
        let pretrained = pretrained.with_context(|| path.display().to_string())?;
        Ok((pretrained, inputs.into_inner()))
    }

    /// Settings for a model that knows a lot, and for adapters that know nothing yet.
    fn params(&self, context: usize) -> TrainingParams {
        let row_tokens = context.min(ROW_TOKENS);
        TrainingParams {
            epochs: 4,
            learning_rate: if self.lora.is_some() { 3e-4 } else { 5e-5 },
            weight_decay: 0.01,
            averaging: 0.0,
            dropout: if self.lora.is_some() { 0.05 } else { 0.0 },
            embedding_dropout: 0.0,
            label_smoothing: 0.0,
            row_tokens,
            batch_tokens: TrainingParams::default().batch_tokens.max(row_tokens),
            ..TrainingParams::default()
        }
    }
}

/// Tokens of a row, of which short texts share one.
const ROW_TOKENS: usize = 1024;

/// The centroids of each level, `[K, d]`.
fn centroids(model: &Path) -> anyhow::Result<Vec<Tensor>> {
    let encoder = open_model(model)?;
    let codebooks = encoder.quantizer().codebooks().iter().map(|codebook| {
        let (codes, width) = codebook.0.dim();
        let values: Vec<f32> = codebook.0.iter().copied().collect();
        Tensor::from_slice(&values).view([codes as i64, width as i64])
    });
    Ok(codebooks.collect())
}
