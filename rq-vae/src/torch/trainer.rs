use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::seq::SliceRandom;
use semantic_id::{Collisions, LevelStatistics};
use semid_training::{
    AdamW, Parameter, check_device, copy_tensors, read_checkpoint, seeded, write_checkpoint,
};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::contrastive::{CodeGroups, Guidance};
use super::model::{Losses, RqVae};
use super::{to_matrix, to_tensor};
use crate::embeddings::check_finite;
use crate::encoder::{sample, standard, standardize};
use crate::random::{generator, shuffled};
use crate::{BEAMS, Encoder, Error, Result, RqVaeConfig, Schedule};

/// The joint norm of all gradients of a step is cut down to this.
const CLIP: f64 = 1.0;

/// How much of the mean squared gradient a step keeps.
const BETA_2: f64 = 0.999;

const FORMAT: &str = "semid.checkpoint.1";

/// Trains an [`RqVae`], epoch by epoch.
///
/// Every draw is keyed by seed and epoch, and a checkpoint holds all state, so a training that
/// is killed and resumed ends in the same model as one that was not, on the same device with
/// the same number of libtorch threads.
///
/// ```no_run
/// use rq_vae::{Preset, RqVaeParams, Trainer};
///
/// # let embeddings = ndarray::Array2::<f32>::zeros((1000, 64));
/// let config = RqVaeParams::preset(Preset::Default).check()?;
/// let mut trainer = Trainer::new(config, embeddings.view(), tch::Device::Cpu, |_| ())?;
/// while let Some(report) = trainer.epoch()? {
///     eprintln!("epoch {}: {}", report.epoch, report.reconstruction);
/// }
/// let encoder = trainer.finish()?;
/// # Ok::<(), rq_vae::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    model: RqVae,
    optimizer: AdamW,
    state: State,
    /// All tensors of the model at its best epoch, by name.
    best: Vec<(String, Tensor)>,
    standard: (Array1<f32>, f32),
    /// `[n, D]`, standardized, on the device.
    train: Tensor,
    /// Their collaborative vectors, `[n, rank]`, where `alignment` is above 0.
    vectors: Option<Tensor>,
    /// `[N, D]`, as given.
    catalogue: Array2<f32>,
    /// Rows of the catalogue that are kept out of training.
    held_out: Vec<usize>,
}

/// The numbers of a training that are not tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    config: RqVaeConfig,
    /// blake3 of the embeddings: a training goes on with the data it began with.
    data: String,
    epochs: Vec<EpochReport>,
    steps: i64,
    best_epoch: usize,
    best_error: Option<f64>,
}

/// What a model is trained on; a matrix of embeddings is enough.
#[derive(Debug, Clone, Copy)]
pub struct TrainingItems<'a> {
    /// `[N, D]`.
    pub embeddings: ArrayView2<'a, f32>,
    /// What histories tell of the same items, `[N, rank]`, as of
    /// [`CollaborativeVectors`](crate::CollaborativeVectors): rows of zeros tell nothing. Used
    /// where [`RqVaeParams::alignment`](crate::RqVaeParams::alignment) is above 0.
    pub vectors: Option<ArrayView2<'a, f32>>,
}

impl<'a> From<ArrayView2<'a, f32>> for TrainingItems<'a> {
    fn from(embeddings: ArrayView2<'a, f32>) -> Self {
        let vectors = None;
        Self {
            embeddings,
            vectors,
        }
    }
}

/// What an epoch did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Number of this epoch, from 1.
    pub epoch: usize,
    /// Learning rate of the networks at its end.
    pub learning_rate: f64,
    /// Mean total loss of its steps.
    pub loss: f64,
    /// Mean reconstruction loss of its steps, in standardized units.
    pub reconstruction: f64,
    /// Mean quantization loss of its steps, in standardized units.
    pub quantization: f64,
    /// Mean alignment loss of its steps, in nats; `None` where it is off.
    pub alignment: Option<f64>,
    /// Mean diversity loss of its steps, in nats; `None` where it is off.
    pub diversity: Option<f64>,
    /// Mean squared reconstruction error of the items kept out of training, in the
    /// embeddings' own units; `None` without such items.
    pub held_out_mse: Option<f64>,
    /// Use of the codes by the whole catalogue, `[L]`.
    pub levels: Vec<LevelStatistics>,
    /// Collisions of the whole catalogue, before any assignment.
    pub collisions: Collisions,
    /// Codes that no item had chosen and that were restarted.
    pub restarted: usize,
}

impl Trainer {
    /// Prepares a training: draws the networks and starts the codebooks by residual k-means,
    /// telling `progress` after each level.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without items; [`Error::Setup`] for a CUDA device that is not there;
    /// [`Error::Setting`] for an `alignment` above 0 without vectors; [`Error::Shape`] if these are not of the same
    /// number of items; [`Error::NotFinite`] for one that is not finite.
    pub fn new<'a>(
        config: RqVaeConfig,
        items: impl Into<TrainingItems<'a>>,
        device: Device,
        progress: impl FnMut(usize),
    ) -> Result<Self> {
        let mut trainer = Self::prepare(config, items.into(), device)?;
        trainer.start_codebooks(progress)?;
        Ok(trainer)
    }

    /// Goes on with a training from a [`Trainer::checkpoint`].
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] if the bytes are no checkpoint; [`Error::Training`] if they are one of other
    /// settings, embeddings or vectors; those of [`Trainer::new`].
    pub fn resume<'a>(
        config: RqVaeConfig,
        items: impl Into<TrainingItems<'a>>,
        device: Device,
        bytes: &[u8],
    ) -> Result<Self> {
        let state: State = read_checkpoint(FORMAT, bytes)?;
        let mut trainer = Self::prepare(config, items.into(), device)?;
        let differs = |what| {
            Err(Error::Training(format!(
                "the checkpoint was made with other {what}; train with the same, or remove the \
                 checkpoint to train from the start"
            )))
        };
        if state.config != trainer.state.config {
            return differs("settings");
        }
        if state.data != trainer.state.data {
            return differs(match trainer.vectors {
                Some(_) => "embeddings or interactions",
                None => "embeddings",
            });
        }
        if state.best_error.is_some() {
            trainer.best = trainer.snapshot();
        }
        copy_tensors(bytes, &mut trainer.tensors())?;
        trainer.optimizer.steps = state.steps;
        trainer.state = state;
        Ok(trainer)
    }

    fn prepare(config: RqVaeConfig, items: TrainingItems<'_>, device: Device) -> Result<Self> {
        let embeddings = items.embeddings;
        if embeddings.is_empty() {
            return Err(Error::Empty);
        }
        check_device(device)?;
        let vectors = vectors(&config, &items)?;
        let standard = match config.standardize {
            true => standard(embeddings),
            false => (Array1::zeros(embeddings.ncols()), 1.0),
        };
        let (held_out, rows) = split(&config, embeddings.nrows());
        let train = embeddings.select(Axis(0), &rows);
        let train = standardize(train.view(), &standard.0, standard.1);
        let turn = seeded(draw(&config, "networks", 0));
        let mut model = RqVae::new(config.clone(), embeddings.ncols(), device);
        if let Some(vectors) = vectors {
            model.add_projection(vectors.ncols());
        }
        drop(turn);
        let optimizer = AdamW::new(parameters(&model, &config), BETA_2);
        let state = State {
            data: hash(embeddings, vectors),
            config,
            epochs: Vec::new(),
            steps: 0,
            best_epoch: 0,
            best_error: None,
        };
        Ok(Self {
            train: model.tensor(train.view()),
            vectors: vectors
                .map(|vectors| to_tensor(vectors.select(Axis(0), &rows).view(), device)),
            model,
            optimizer,
            state,
            best: Vec::new(),
            standard,
            catalogue: embeddings.to_owned(),
            held_out,
        })
    }

    fn start_codebooks(&mut self, progress: impl FnMut(usize)) -> Result<()> {
        let config = self.state.config.clone();
        let rows = self.index(&sample(self.train.size()[0] as usize, &config));
        let rows = self.train.index_select(0, &rows);
        self.model.start_codebooks(&rows, progress)?;
        let encoder = self.model.to_encoder(self.standard.clone())?;
        self.remember_best(&encoder, 0)?;
        Ok(())
    }

    /// Runs one epoch; `None` when the training is over.
    ///
    /// # Errors
    ///
    /// [`Error::Training`] if the loss is no longer finite.
    pub fn epoch(&mut self) -> Result<Option<EpochReport>> {
        if self.is_over() {
            return Ok(None);
        }
        let config = self.state.config.clone();
        let epoch = self.state.epochs.len() as u64;
        let _turn = seeded(draw(&config, "epoch", epoch));
        let items = self.train.size()[0] as usize;
        let order = shuffled(items, config.seed, "shuffle", epoch);
        let mut sums = Tensor::zeros([5], (Kind::Float, self.train.device()));
        let groups = (config.diversity > 0.0).then(|| self.code_groups(epoch));
        let mut rng = generator(config.seed, "diversity partners", epoch);
        let mut last = None;
        let mut counts = self.no_counts();
        let mut steps = 0;
        for batch in order.chunks_exact(config.batch_size.min(items)) {
            if self.optimizer.steps as usize >= self.total_steps() {
                break;
            }
            let partners = groups.as_ref().map(|groups| {
                let level = |groups: &CodeGroups| groups.partners(&mut rng, self.train.device());
                groups.iter().map(level).collect()
            });
            let losses = self.step(batch, partners);
            let parts = [
                &losses.total,
                &losses.reconstruction,
                &losses.quantization,
                &losses.alignment,
                &losses.diversity,
            ];
            sums += Tensor::stack(&parts.map(Tensor::detach), 0);
            for (counts, codes) in counts.iter_mut().zip(&losses.codes) {
                *counts += codes.bincount::<Tensor>(None, config.codes as i64);
            }
            last = Some(losses);
            steps += 1;
        }
        let restarted = match last {
            Some(losses) if config.restart_dead_codes => self.restart_dead_codes(&counts, &losses),
            _ => 0,
        };
        self.state.steps = self.optimizer.steps;
        let means = super::to_vec(&(sums / f64::from(steps.max(1))));
        if !means[0].is_finite() || !self.model.is_finite() {
            return Err(Error::Training(format!(
                "epoch {} diverged, its loss is {}; lower the learning rate (now {})",
                epoch + 1,
                means[0],
                config.learning_rate
            )));
        }
        let report = self.report(&means, restarted)?;
        self.state.epochs.push(report.clone());
        Ok(Some(report))
    }

    fn is_over(&self) -> bool {
        let epochs = self.state.epochs.len();
        let waited = epochs.saturating_sub(self.state.best_epoch);
        epochs >= self.state.config.epochs
            || self.optimizer.steps as usize >= self.total_steps()
            || (self.state.best_error.is_some() && waited >= self.state.config.patience)
    }

    /// One optimizer step on some items; `partners` as in [`Guidance`].
    fn step(&mut self, batch: &[usize], partners: Option<Vec<Tensor>>) -> Losses {
        let rows = self.index(batch);
        let vectors = self.vectors.as_ref();
        let guidance = Guidance {
            vectors: vectors.map(|vectors| vectors.index_select(0, &rows)),
            partners,
        };
        let losses = self
            .model
            .losses(&self.train.index_select(0, &rows), &guidance);
        self.optimizer.zero_grad();
        losses.total.backward();
        self.optimizer.clip(CLIP);
        let factor = self.rate_factor();
        self.optimizer.step(factor);
        losses
    }

    fn index(&self, rows: &[usize]) -> Tensor {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        Tensor::from_slice(&rows).to_device(self.train.device())
    }

    /// The groups of each level's codes in an epoch.
    fn code_groups(&mut self, epoch: u64) -> Vec<CodeGroups> {
        let config = &self.state.config;
        let mut rng = generator(config.seed, "diversity groups", epoch);
        let groups = config.diversity_groups;
        let of = |codebook: &Tensor| CodeGroups::of(to_matrix(codebook).view(), groups, &mut rng);
        self.model.codebooks().iter().map(of).collect()
    }

    fn total_steps(&self) -> usize {
        let config = &self.state.config;
        let items = self.train.size()[0] as usize;
        let per_epoch = items / config.batch_size.min(items);
        let steps = config
            .steps
            .max(per_epoch.saturating_mul(config.min_epochs));
        per_epoch.saturating_mul(config.epochs).min(steps)
    }

    /// The share of the full learning rate that the next step takes.
    fn rate_factor(&self) -> f64 {
        let config = &self.state.config;
        let total = self.total_steps() as f64;
        let (done, warmup) = (
            self.optimizer.steps as f64,
            (config.warmup * total).max(1.0),
        );
        if done < warmup {
            return (done + 1.0) / warmup;
        }
        let passed = ((done - warmup) / (total - warmup).max(1.0)).min(1.0);
        match config.schedule {
            Schedule::Linear => 1.0 - passed,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * passed).cos()),
        }
    }

    fn no_counts(&self) -> Vec<Tensor> {
        let options = (Kind::Int64, self.train.device());
        let codes = self.state.config.codes as i64;
        (0..self.state.config.levels)
            .map(|_| Tensor::zeros([codes], options))
            .collect()
    }

    /// Sets each code without items to a residual that its level had to quantize in the last
    /// batch, as in Dhariwal et al., "Jukebox" (2020). Returns how many there were.
    fn restart_dead_codes(&mut self, counts: &[Tensor], last: &Losses) -> usize {
        let mut restarted = 0;
        let mut rng = generator(
            self.state.config.seed,
            "restart",
            self.state.epochs.len() as u64,
        );
        for (level, codebook) in self.model.codebooks().iter_mut().enumerate() {
            let dead = counts[level].eq(0).nonzero().view(-1);
            let residuals = &last.residuals[level];
            let mut rows: Vec<i64> = (0..residuals.size()[0]).collect();
            rows.shuffle(&mut rng);
            let count = dead.size()[0].min(rows.len() as i64);
            let rows = Tensor::from_slice(&rows[..count as usize]).to_device(dead.device());
            let fresh = residuals.index_select(0, &rows);
            tch::no_grad(|| {
                let _ = codebook.index_copy_(0, &dead.narrow(0, 0, count), &fresh);
            });
            restarted += count as usize;
        }
        restarted
    }

    /// Measures the model on the whole catalogue and remembers it if it is the best so far.
    fn report(&mut self, means: &[f32], restarted: usize) -> Result<EpochReport> {
        let epoch = self.state.epochs.len() + 1;
        let encoder = self.model.to_encoder(self.standard.clone())?;
        let (paths, _) = encoder.encode(self.catalogue.view(), 1)?;
        let held_out_mse = self.remember_best(&encoder, epoch)?;
        let config = &self.state.config;
        let mean = |weight: f64, at: usize| (weight > 0.0).then_some(means[at].into());
        Ok(EpochReport {
            epoch,
            learning_rate: config.learning_rate * self.rate_factor(),
            loss: means[0].into(),
            reconstruction: means[1].into(),
            quantization: means[2].into(),
            alignment: mean(config.alignment, 3),
            diversity: mean(config.diversity, 4),
            held_out_mse,
            levels: LevelStatistics::of(&paths, encoder.quantizer().space()),
            collisions: Collisions::of(&paths),
            restarted,
        })
    }

    /// The error of the held-out items, if there are any; keeps the model if none was better,
    /// unless more than the error counts.
    fn remember_best(&mut self, encoder: &Encoder, epoch: usize) -> Result<Option<f64>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let held_out = self.catalogue.select(Axis(0), &self.held_out);
        let (paths, _) = encoder.encode(held_out.view(), BEAMS)?;
        let error = encoder.mse(held_out.view(), &paths)?;
        let judged = !self.state.config.has_further_losses();
        if judged && self.state.best_error.is_none_or(|best| error < best) {
            self.state.best_error = Some(error);
            self.state.best_epoch = epoch;
            self.best = self.snapshot();
        }
        Ok(Some(error))
    }

    /// Everything that is needed to go on, as the bytes of a safetensors file.
    pub fn checkpoint(&self) -> Vec<u8> {
        let tensors = self.tensors();
        write_checkpoint(FORMAT, &self.state, &tensors)
    }

    /// What every epoch did so far, those before a resume included.
    pub fn epochs(&self) -> &[EpochReport] {
        &self.state.epochs
    }

    /// The trained model: that of the best epoch, or of the last where no items were held out.
    ///
    /// # Errors
    ///
    /// Those of [`RqVae::to_encoder`].
    pub fn finish(self) -> Result<Encoder> {
        let mut own = self.model.tensors();
        for ((_, own), (_, best)) in own.iter_mut().zip(&self.best) {
            tch::no_grad(|| own.copy_(best));
        }
        self.model.to_encoder(self.standard)
    }

    fn snapshot(&self) -> Vec<(String, Tensor)> {
        self.model
            .tensors()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.detach().copy()))
            .collect()
    }

    /// All tensors that change in training.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.model.tensors();
        tensors.extend(self.optimizer.moments());
        let best = self.best.iter();
        tensors.extend(best.map(|(name, best)| (format!("best.{name}"), best.shallow_clone())));
        tensors
    }
}

fn parameters(model: &RqVae, config: &RqVaeConfig) -> Vec<Parameter> {
    let rate = |name: &str| match name.starts_with("codebook") {
        true => config.codebook_learning_rate,
        false => config.learning_rate,
    };
    model
        .tensors()
        .into_iter()
        .filter(|(_, tensor)| tensor.requires_grad())
        .map(|(name, tensor)| {
            let rate = rate(&name);
            Parameter::new(name, tensor, rate, config.weight_decay)
        })
        .collect()
}

/// The vectors, if the settings use them.
fn vectors<'a>(
    config: &RqVaeConfig,
    items: &TrainingItems<'a>,
) -> Result<Option<ArrayView2<'a, f32>>> {
    if config.alignment == 0.0 {
        return Ok(None);
    }
    let vectors = items.vectors.ok_or_else(|| Error::Setting {
        name: "alignment",
        got: config.alignment.to_string(),
        expected: "0 where there are no collaborative vectors to align with".to_owned(),
    })?;
    if vectors.nrows() != items.embeddings.nrows() {
        return Err(Error::Shape {
            what: "items with collaborative vectors",
            got: vectors.nrows(),
            expected: items.embeddings.nrows(),
        });
    }
    check_finite(vectors.as_standard_layout().view(), 0)?;
    Ok(Some(vectors))
}

/// Rows held out and rows trained on. Too few to tell anything are not held out.
fn split(config: &RqVaeConfig, items: usize) -> (Vec<usize>, Vec<usize>) {
    const LEAST: usize = 20;
    let rows = shuffled(items, config.seed, "holdout", 0);
    let count = (items as f64 * config.holdout) as usize;
    let (held_out, train) = rows.split_at(if count < LEAST { 0 } else { count });
    let mut train = train.to_vec();
    train.sort_unstable();
    (held_out.to_vec(), train)
}

/// A seed for libtorch's own generator.
fn draw(config: &RqVaeConfig, purpose: &str, key: u64) -> i64 {
    use rand::RngExt;
    generator(config.seed, purpose, key).random::<u32>().into()
}

fn hash(embeddings: ArrayView2<'_, f32>, vectors: Option<ArrayView2<'_, f32>>) -> String {
    let mut hash = blake3::Hasher::new();
    for row in std::iter::once(embeddings).chain(vectors).flatten() {
        hash.update(&row.to_le_bytes());
    }
    hash.finalize().to_hex().to_string()
}
