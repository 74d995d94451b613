//! Training.

mod config;
mod loader;

use rand::RngExt;
use semid_tasks::Draw;
use semid_training::{
    AdamW, Parameter, copy_tensors, read_checkpoint, seeded, tensor_bytes, within_memory,
    write_checkpoint,
};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

pub use config::{TrainingConfig, TrainingParams};

use crate::model::{Causal, Dropout};
use crate::packing::DeviceBatch;
use crate::{Error, Examples, Llama, LlamaConfig, Lora, Result};

const FORMAT: &str = "semid.recommender.checkpoint.1";

/// Trains a [`Llama`] on [`Examples`], epoch by epoch, and keeps the model of the best one.
///
/// Every draw is keyed by seed and epoch, and a checkpoint holds all state, so a training that is
/// killed and resumed ends in the same model as one that was not, on the same device with the
/// same number of libtorch threads.
///
/// ```
/// use semid_recommender::{Example, Examples, Llama, LlamaConfig, Trainer, TrainingParams};
///
/// /// Every text counts from 1 to 5.
/// struct Counting;
///
/// impl Examples for Counting {
///     fn count(&self) -> usize {
///         64
///     }
///     fn example(&self, _epoch: u64, _number: usize) -> semid_recommender::Result<Example> {
///         Ok(Example { tokens: vec![1, 2, 3, 4, 5], answer: 1, choices: None })
///     }
///     fn digest(&self) -> String {
///         "counting".to_owned()
///     }
/// }
///
/// let model = Llama::new(LlamaConfig::small(6, 32, 8), tch::Device::Cpu, 42)?;
/// let params = TrainingParams { epochs: 20, row_tokens: 8, batch_tokens: 256, ..Default::default() };
/// let params = TrainingParams { label_smoothing: 0.0, ..params };
/// let mut trainer = Trainer::new(model, params.check()?, &Counting)?;
/// while let Some(report) = trainer.epoch(&mut |_model| Ok(None))? {
///     println!("epoch {}: {} nats a token", report.epoch, report.loss);
/// }
/// let losses: Vec<f64> = trainer.epochs().iter().map(|epoch| epoch.loss).collect();
/// assert!(losses[19] < losses[0] / 2.0);
/// # Ok::<(), semid_recommender::Error>(())
/// ```
pub struct Trainer<'a> {
    model: Llama,
    examples: &'a dyn Examples,
    optimizer: AdamW,
    state: State,
    /// The mean of what was trained, over the last steps, by name; empty where it is not wanted.
    average: Vec<(String, Tensor)>,
    /// What was trained of the model at its best epoch, by name.
    best: Vec<(String, Tensor)>,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The numbers of a training that are not tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    config: TrainingConfig,
    model: LlamaConfig,
    lora: Option<Lora>,
    /// Hash of what training leaves as it is.
    frozen: String,
    data: String,
    epochs: Vec<EpochReport>,
    steps: i64,
    /// Steps of all epochs, as far as the first one tells.
    total_steps: i64,
    best: Option<(usize, f64)>,
}

/// What an epoch did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Number of this epoch, from 1.
    pub epoch: usize,
    /// Mean loss of its answers' tokens, in nats.
    pub loss: f64,
    /// Learning rate at its end.
    pub learning_rate: f64,
    /// Steps it took.
    pub steps: usize,
    /// Tokens that were learnt; of an [`ItemHead`](crate::ItemHead), items.
    pub tokens: usize,
    /// What the model was found to be worth after it: more is better.
    pub validation: Option<f64>,
}

/// Tells what a model is worth, e.g. its NDCG@10 on validation; `None` to not judge this time.
pub type Judge<'a> = dyn FnMut(&Llama) -> Result<Option<f64>> + 'a;

impl<'a> Trainer<'a> {
    /// A training from `model` on.
    ///
    /// # Errors
    ///
    /// [`Error::Training`] without examples.
    pub fn new(model: Llama, config: TrainingConfig, examples: &'a dyn Examples) -> Result<Self> {
        if examples.count() == 0 {
            return Err(Error::Training("there is no example to learn from".into()));
        }
        let parameters = model.trained().into_iter().map(|(name, tensor)| {
            let decay = if tensor.dim() > 1 {
                config.weight_decay
            } else {
                0.0
            };
            Parameter::new(name, tensor, config.learning_rate, decay)
        });
        let average = match config.averaging {
            0.0 => Vec::new(),
            _ => copies(&model.trained()),
        };
        Ok(Self {
            optimizer: AdamW::new(parameters.collect(), config.beta_2),
            average,
            state: State {
                model: model.config().clone(),
                lora: model.lora().copied(),
                frozen: digest(&model.frozen()),
                data: examples.digest(),
                epochs: Vec::new(),
                steps: 0,
                total_steps: 0,
                best: None,
                config,
            },
            best: Vec::new(),
            model,
            examples,
        })
    }

    /// Goes on with a training from a [`Trainer::checkpoint`]; `model` is the one it began with,
    /// or any of its shape that has no adapters.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] if the bytes are no checkpoint, [`Error::Training`] if they are one of
    /// other settings or examples; those of [`Trainer::new`].
    pub fn resume(
        model: Llama,
        config: TrainingConfig,
        examples: &'a dyn Examples,
        bytes: &[u8],
    ) -> Result<Self> {
        let state: State = read_checkpoint(FORMAT, bytes)?;
        let mut trainer = Self::new(model, config, examples)?;
        let own = &trainer.state;
        let differs = [
            (state.config != own.config, "settings"),
            (state.model != own.model, "model"),
            (state.lora != own.lora, "adapters"),
            (state.frozen != own.frozen, "weights below its adapters"),
            (state.data != own.data, "examples"),
        ];
        if let Some((_, what)) = differs.iter().find(|(differs, _)| *differs) {
            return Err(Error::Training(format!(
                "the checkpoint was made with other {what}; train with the same, or remove the \
                 checkpoint to train from the start"
            )));
        }
        if state.best.is_some() {
            trainer.best = copies(&trainer.model.trained());
        }
        copy_tensors(bytes, &mut trainer.tensors())?;
        trainer.optimizer.steps = state.steps;
        trainer.state = state;
        Ok(trainer)
    }

    /// Runs one epoch and has the model judged; `None` when the training is over.
    ///
    /// # Errors
    ///
    /// [`Error::Training`] if the loss is no longer finite; [`Error::Setup`] if the device has too
    /// little memory; those of the examples and the judge.
    pub fn epoch(&mut self, judge: &mut Judge<'_>) -> Result<Option<EpochReport>> {
        if self.is_over() {
            return Ok(None);
        }
        let (config, examples) = (self.state.config.clone(), self.examples);
        let epoch = self.state.epochs.len();
        let (device, vocabulary) = (self.model.device(), self.model.config().vocab_size);
        let turn = seeded(
            Draw::new(config.seed, "epoch", epoch as u64)
                .random::<u32>()
                .into(),
        );
        let mut sum = Tensor::zeros([1], (Kind::Double, device));
        let (mut tokens, mut steps) = (0, 0);
        if epoch == 0 {
            self.count_steps()?;
        }
        loader::each_batch(examples, &config, epoch as u64, |batch| {
            batch.check(vocabulary)?;
            let batch = batch.on(device, vocabulary);
            let answers = batch.targets.numel();
            if answers == 0 {
                return Ok(());
            }
            let loss = within_memory(|| self.step(&batch))?;
            sum += loss.detach().to_kind(Kind::Double) * answers as f64;
            tokens += answers;
            steps += 1;
            Ok(())
        })?;
        drop(turn);
        let loss = sum.double_value(&[0]) / tokens.max(1) as f64;
        if !loss.is_finite() {
            return Err(Error::Training(format!(
                "epoch {} diverged, its loss is {loss}; lower the learning rate (now {})",
                epoch + 1,
                config.learning_rate
            )));
        }
        self.state.steps = self.optimizer.steps;
        let validation = self.judged(epoch + 1, judge)?;
        let report = EpochReport {
            epoch: epoch + 1,
            loss,
            learning_rate: config.learning_rate * self.rate_factor(),
            steps,
            tokens,
            validation,
        };
        self.state.epochs.push(report.clone());
        Ok(Some(report))
    }

    fn is_over(&self) -> bool {
        let done = self.state.epochs.len();
        let best = self.state.best.map_or(done, |(epoch, _)| epoch);
        done >= self.state.config.epochs || done - best >= self.state.config.patience
    }

    /// One step, whose mean loss is returned.
    fn step(&mut self, batch: &DeviceBatch) -> Tensor {
        let loss = match self.model.device() {
            Device::Cuda(_) => tch::autocast(true, || self.loss(batch)),
            _ => self.loss(batch),
        };
        self.optimizer.zero_grad();
        loss.backward();
        self.optimizer.clip(self.state.config.clip);
        self.optimizer.step(self.rate_factor());
        self.average();
        loss
    }

    /// Moves the average towards the model: by more at first, so that it forgets where it began.
    fn average(&mut self) {
        let steps = self.optimizer.steps as f64;
        let kept = self
            .state
            .config
            .averaging
            .min((1.0 + steps) / (10.0 + steps));
        let pairs = self.average.iter_mut().zip(self.model.trained());
        tch::no_grad(|| {
            for ((_, average), (_, value)) in pairs {
                let _ = average.lerp_(&value, 1.0 - kept);
            }
        });
    }

    /// Has the averaged model judged, and remembers it if it is the best so far.
    fn judged(&mut self, epoch: usize, judge: &mut Judge<'_>) -> Result<Option<f64>> {
        let trained = copies(&self.model.trained());
        put(&self.average, &self.model);
        let value = tch::no_grad(|| judge(&self.model));
        if let Ok(Some(value)) = value
            && self.state.best.is_none_or(|(_, best)| value > best)
        {
            self.state.best = Some((epoch, value));
            self.best = copies(&self.model.trained());
        }
        put(&trained, &self.model);
        value
    }

    fn loss(&self, batch: &DeviceBatch) -> Tensor {
        let config = &self.state.config;
        let mut causal = Causal {
            visible: Some(batch.visible.shallow_clone()),
            dropout: config.attention_dropout,
        };
        let dropout = match self.model.lora() {
            None => Dropout {
                embedded: config.embedding_dropout,
                added: config.dropout,
                adapters: 0.0,
            },
            Some(_) => Dropout {
                adapters: config.dropout,
                ..Dropout::default()
            },
        };
        let hidden = self
            .model
            .forward(&batch.tokens, &batch.positions, &mut causal, dropout);
        // Logits are made where something is learnt, and nowhere else.
        let hidden = hidden.flatten(0, 1).index_select(0, &batch.places);
        let logits = self.model.logits(&hidden).to_kind(Kind::Float);
        let logits = match &batch.choices {
            Some(choices) => logits.masked_fill(&choices.logical_not(), f64::NEG_INFINITY),
            None => logits,
        };
        let scores = logits.log_softmax(-1, Kind::Float);
        let missed = -scores
            .gather(1, &batch.targets.unsqueeze(1), false)
            .mean(Kind::Float);
        match config.label_smoothing {
            0.0 => missed,
            share => missed * (1.0 - share) + spread(&scores) * share,
        }
    }

    /// The share of the full learning rate that the next step takes.
    fn rate_factor(&self) -> f64 {
        let total = self.state.total_steps as f64;
        let done = self.optimizer.steps as f64;
        let warmup = (self.state.config.warmup * total).max(1.0);
        if done < warmup {
            return (done + 1.0) / warmup;
        }
        let passed = ((done - warmup) / (total - warmup).max(1.0)).min(1.0);
        0.5 * (1.0 + (std::f64::consts::PI * passed).cos())
    }

    /// Epochs differ by a few steps, as their examples fill batches in another order.
    fn count_steps(&mut self) -> Result<()> {
        let config = &self.state.config;
        let mut steps = 0;
        loader::each_batch(self.examples, config, 0, |_| {
            steps += 1;
            Ok(())
        })?;
        self.state.total_steps = steps * config.epochs as i64;
        Ok(())
    }

    /// Everything that is needed to go on, as the bytes of a safetensors file.
    pub fn checkpoint(&self) -> Vec<u8> {
        write_checkpoint(FORMAT, &self.state, &self.tensors())
    }

    /// All tensors that change in training.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.model.trained();
        tensors.extend(self.optimizer.moments());
        for (which, values) in [("average", &self.average), ("best", &self.best)] {
            let named = |(name, value): &(String, Tensor)| {
                (format!("{which}.{name}"), value.shallow_clone())
            };
            tensors.extend(values.iter().map(named));
        }
        tensors
    }

    /// What every epoch did so far, those before a resume included.
    pub fn epochs(&self) -> &[EpochReport] {
        &self.state.epochs
    }

    /// The trained model: that of the best epoch, or of the last where none was judged. Adapters
    /// are merged.
    pub fn finish(mut self) -> Llama {
        put(&self.average, &self.model);
        put(&self.best, &self.model);
        self.model.merge();
        self.model
    }
}

/// Copies of tensors, which do not change with them.
fn copies(tensors: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let copy = |(name, tensor): &(String, Tensor)| (name.clone(), tensor.detach().copy());
    tensors.iter().map(copy).collect()
}

/// Copies values of all that is trained into a model; no values change nothing.
fn put(values: &[(String, Tensor)], model: &Llama) {
    for ((_, mut own), (_, value)) in model.trained().into_iter().zip(values) {
        tch::no_grad(|| own.copy_(value));
    }
}

/// A hash of the values of tensors.
fn digest(tensors: &[(String, Tensor)]) -> String {
    let mut hash = blake3::Hasher::new();
    for (_, tensor) in tensors {
        hash.update(&tensor_bytes(tensor).2);
    }
    hash.finalize().to_hex().to_string()
}

/// The loss of scores `[n, V]` against all choices alike (Szegedy et al., arXiv 1512.00567,
/// section 7): no choice is a score of negative infinity.
fn spread(scores: &Tensor) -> Tensor {
    let absent = scores.eq(f64::NEG_INFINITY);
    let choices = absent.logical_not().sum_dim_intlist(-1, false, Kind::Float);
    let sums = scores
        .masked_fill(&absent, 0.0)
        .sum_dim_intlist(-1, false, Kind::Float);
    -(sums / choices).mean(Kind::Float)
}
