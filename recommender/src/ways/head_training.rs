use rand::RngExt;
use rand::seq::SliceRandom;
use semantic_id::{Code, CodeMatrix, ItemId};
use semid_tasks::{Draw, Histories, Split};
use semid_training::{AdamW, Parameter, seeded, within_memory};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use trie_decode::ItemTrie;

use super::ItemHead;
use super::offered::{Offered, index};
use crate::examples::windows;
use crate::model::{Causal, Dropout};
use crate::{EpochReport, Error, Llama, Reader, Result, Vocabulary};

/// How to train an [`ItemHead`]; [`check`](Self::check) makes a [`HeadConfig`] of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadParams {
    /// Passes over the histories, at most.
    pub epochs: usize,
    /// Epochs without a better head after which training ends.
    pub patience: usize,
    /// Largest learning rate; it falls to 0 along a half cosine.
    pub learning_rate: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Histories of a step.
    pub batch: usize,
    /// Share of hidden states' values that is dropped.
    pub dropout: f64,
    /// Share of each target's probability that is spread over all items.
    pub label_smoothing: f64,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for HeadParams {
    fn default() -> Self {
        Self {
            epochs: 8,
            patience: 4,
            learning_rate: 2e-3,
            weight_decay: 0.1,
            batch: 64,
            dropout: 0.2,
            label_smoothing: 0.1,
            seed: 42,
        }
    }
}

/// Settings that hold together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadConfig(HeadParams);

impl HeadParams {
    /// # Errors
    ///
    /// [`Error::Setting`] names the setting that makes no sense.
    pub fn check(self) -> Result<HeadConfig> {
        let counts = [
            ("epochs", self.epochs),
            ("patience", self.patience),
            ("batch", self.batch),
        ];
        let count = counts.iter().find(|(_, count)| *count == 0);
        let shares = [
            ("dropout", self.dropout),
            ("label_smoothing", self.label_smoothing),
        ];
        let share = shares.iter().find(|(_, share)| !(0.0..1.0).contains(share));
        let sizes = [
            ("learning_rate", self.learning_rate, f64::MIN_POSITIVE),
            ("weight_decay", self.weight_decay, 0.0),
        ];
        let size = sizes
            .iter()
            .find(|(_, size, least)| !(size >= least && size.is_finite()));
        let problem = count
            .map(|(name, _)| (*name, "0".to_owned(), "at least 1"))
            .or(share.map(|(name, share)| (*name, share.to_string(), "at least 0 and below 1")))
            .or(size.map(|(name, size, _)| (*name, size.to_string(), "a positive number")));
        match problem {
            None => Ok(HeadConfig(self)),
            Some((name, got, expected)) => Err(Error::Setting {
                name,
                got,
                expected: expected.to_owned(),
            }),
        }
    }
}

/// Trains an [`ItemHead`] on the training events of all users, by a softmax over all items; the
/// model that it reads stays as it is.
///
/// Every draw is keyed by seed and epoch: the same settings, model, histories and number of libtorch
/// threads make the same head.
#[derive(Debug)]
pub struct HeadTrainer<'a> {
    model: &'a Llama,
    config: HeadParams,
    offered: Offered,
    texts: Vec<Text>,
    head: ItemHead,
    optimizer: AdamW,
    epochs: Vec<EpochReport>,
    /// The best head so far, its epoch, and what it is worth.
    best: Option<(ItemHead, usize, f64)>,
}

/// A user's events, or a window of them.
#[derive(Debug)]
struct Text {
    tokens: Vec<u32>,
    /// Behind which of the tokens an item is learnt, and its place among all.
    learnt: Vec<(usize, usize)>,
}

/// Texts that are sorted by length together, so that those of a batch are about as long.
const SORTED: usize = 1024;

impl<'a> HeadTrainer<'a> {
    /// A training from [`ItemHead::new`] on. The trie has the items of the histories' catalogue.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if it has not as many, [`Error::Index`] if it was not made of an index,
    /// [`Error::Training`] without events, or for a language model.
    pub fn new<D: AsRef<[u8]>>(
        model: &'a Llama,
        reader: &Reader,
        trie: &ItemTrie<D>,
        histories: &Histories,
        split: &Split,
        config: HeadConfig,
    ) -> Result<Self> {
        let (index, HeadConfig(config)) = (index(trie)?, config);
        if index.items() != histories.catalogue_len() {
            return Err(Error::Shape {
                what: "items of the index",
                got: index.items(),
                expected: histories.catalogue_len(),
            });
        }
        let vocabulary = reader.vocabulary().ok_or_else(|| {
            let problem = "an item head is trained behind items alone, and this model reads words";
            Error::Training(problem.to_owned())
        })?;
        let offered = Offered::new(trie, reader, model.device())?;
        let (ids, places) = (index.codes()?, offered.places(index.items()));
        let windows = windows(histories, split, reader.settings().items);
        let texts = windows.into_iter().map(|(user, window)| {
            Text::new(vocabulary, &ids, &places, &histories.items(user)[window])
        });
        let texts: Vec<Text> = texts.filter(|text| !text.learnt.is_empty()).collect();
        if texts.is_empty() {
            return Err(Error::Training("there is no event to learn from".into()));
        }
        let head = ItemHead::new(model);
        let parameters = head.tensors().map(|(name, tensor)| {
            let tensor = tensor.set_requires_grad(true);
            Parameter::new(name, tensor, config.learning_rate, config.weight_decay)
        });
        Ok(Self {
            optimizer: AdamW::new(parameters.into(), 0.98),
            model,
            config,
            offered,
            texts,
            head,
            epochs: Vec::new(),
            best: None,
        })
    }

    /// Runs one epoch and has the head judged, as e.g. by its NDCG@10 on validation; `None` when
    /// the training is over.
    ///
    /// # Errors
    ///
    /// [`Error::Training`] if the loss is no longer finite; [`Error::Setup`] if the device has too
    /// little memory; those of the judge.
    pub fn epoch(
        &mut self,
        judge: &mut dyn FnMut(&ItemHead) -> Result<Option<f64>>,
    ) -> Result<Option<EpochReport>> {
        let done = self.epochs.len();
        let best = self.best.as_ref().map_or(done, |(_, epoch, _)| *epoch);
        if done >= self.config.epochs || done - best >= self.config.patience {
            return Ok(None);
        }
        let batches = self.batches(done as u64);
        let mut draws = Draw::new(self.config.seed, "epoch of the item head", done as u64);
        let turn = seeded(draws.random::<u32>().into());
        let (mut sum, mut items) = (0.0, 0);
        for batch in &batches {
            let (loss, learnt) = within_memory(|| self.step(batch, batches.len()))?;
            sum += loss * learnt as f64;
            items += learnt;
        }
        drop(turn);
        let loss = sum / items as f64;
        if !loss.is_finite() {
            return Err(Error::Training(format!(
                "epoch {} of the item head diverged, its loss is {loss}; lower the learning rate \
                 (now {})",
                done + 1,
                self.config.learning_rate
            )));
        }
        let validation = judge(&self.head)?;
        if let Some(value) = validation
            && self.best.as_ref().is_none_or(|(_, _, best)| value > *best)
        {
            self.best = Some((self.head.copy(), done + 1, value));
        }
        let report = EpochReport {
            epoch: done + 1,
            loss,
            learning_rate: self.config.learning_rate * self.rate_factor(batches.len()),
            steps: batches.len(),
            tokens: items,
            validation,
        };
        self.epochs.push(report.clone());
        Ok(Some(report))
    }

    /// The trained head: that of the best epoch, or of the last where none was judged.
    pub fn finish(self) -> ItemHead {
        self.best
            .map_or_else(|| self.head.copy(), |(head, ..)| head)
    }

    /// Numbers of texts, those of a batch about as long.
    fn batches(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut draws = Draw::new(self.config.seed, "order of the item head", epoch);
        let mut order: Vec<usize> = (0..self.texts.len()).collect();
        order.shuffle(&mut draws);
        for some in order.chunks_mut(SORTED) {
            some.sort_by_key(|&text| self.texts[text].tokens.len());
        }
        let mut batches: Vec<Vec<usize>> = order
            .chunks(self.config.batch)
            .map(<[usize]>::to_vec)
            .collect();
        batches.shuffle(&mut draws);
        batches
    }

    /// One step: its mean loss, and the items that were learnt.
    fn step(&mut self, batch: &[usize], steps: usize) -> (f64, usize) {
        let (hidden, targets) = tch::no_grad(|| self.read(batch));
        let hidden = hidden.dropout(self.config.dropout, self.config.dropout > 0.0);
        let scores = self
            .head
            .scores(&hidden, &self.offered.sums(&self.head.codes));
        let loss = scores.cross_entropy_loss::<&Tensor>(
            &targets,
            None,
            tch::Reduction::Mean,
            -100,
            self.config.label_smoothing,
        );
        self.optimizer.zero_grad();
        loss.backward();
        self.optimizer.clip(1.0);
        self.optimizer.step(self.rate_factor(steps));
        (loss.double_value(&[]), targets.numel())
    }

    /// The hidden states behind which items are learnt, `[m, D]`, and their places, `[m]`.
    fn read(&self, batch: &[usize]) -> (Tensor, Tensor) {
        let device = self.model.device();
        let texts = || batch.iter().map(|&text| &self.texts[text]);
        let longest = texts().map(|text| text.tokens.len()).max().unwrap_or(0);
        // What fills up a text is behind it, where none of its tokens looks.
        let padded = texts().flat_map(|text| {
            let tokens = text.tokens.iter().map(|&token| i64::from(token));
            tokens.chain(std::iter::repeat_n(0, longest - text.tokens.len()))
        });
        let tokens = Tensor::from_slice(&padded.collect::<Vec<i64>>());
        let tokens = tokens.view([-1, longest as i64]).to_device(device);
        let positions = Tensor::arange(longest as i64, (Kind::Int64, device));
        let dropout = Dropout::default();
        let hidden = self
            .model
            .forward(&tokens, &positions, &mut Causal::default(), dropout);
        let learnt = texts().enumerate().flat_map(|(row, text)| {
            let learnt = text.learnt.iter();
            learnt.map(move |&(at, item)| ((row * longest + at) as i64, item as i64))
        });
        let (at, items): (Vec<i64>, Vec<i64>) = learnt.unzip();
        let [at, items] = [at, items].map(|list| Tensor::from_slice(&list).to_device(device));
        (hidden.flatten(0, 1).index_select(0, &at), items)
    }

    /// The share of the full learning rate that the next step takes, of so many an epoch.
    fn rate_factor(&self, steps: usize) -> f64 {
        let passed = self.optimizer.steps as f64 / (steps * self.config.epochs) as f64;
        0.5 * (1.0 + (std::f64::consts::PI * passed.min(1.0)).cos())
    }
}

impl Text {
    /// Of events, all but the last are read, and all are learnt that a trie offers.
    fn new(
        vocabulary: &Vocabulary,
        ids: &CodeMatrix,
        places: &[Option<usize>],
        events: &[ItemId],
    ) -> Self {
        let read: Vec<&[Code]> = events.iter().map(|&item| ids.row(item)).collect();
        let read = &read[..events.len().saturating_sub(1)];
        let mut at = 0;
        let lengths = read.iter().map(|id| vocabulary.id(id).count());
        let ends = std::iter::once(0).chain(lengths.map(|length| {
            at += length;
            at
        }));
        let learnt = ends.zip(events).filter_map(|(at, item)| {
            let place = places[item.index()]?;
            Some((at, place))
        });
        Self {
            learnt: learnt.collect(),
            tokens: vocabulary.prompt(read, read.len()),
        }
    }
}

impl ItemHead {
    /// One that does not change with this one.
    fn copy(&self) -> Self {
        let [history, codes] = [&self.history, &self.codes].map(|tensor| tensor.detach().copy());
        Self { history, codes }
    }
}
