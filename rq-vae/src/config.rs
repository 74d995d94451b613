use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The settings of a training as they were typed; [`RqVaeParams::check`] makes an
/// [`RqVaeConfig`] of them.
///
/// Starts from a preset: `RqVaeParams { levels: 3, ..RqVaeParams::preset(Preset::Default) }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RqVaeParams {
    /// Levels of a semantic ID, `L`.
    pub levels: usize,
    /// Codes a level, `K`.
    pub codes: usize,
    /// Seed of all draws.
    pub seed: u64,
    /// Centre the embeddings and divide them by one number, so that their mean square is 1.
    pub standardize: bool,
    /// Power of its standard deviation that each principal direction of the embeddings is
    /// multiplied by before residual k-means: above 0, directions of little variance, mostly
    /// noise, count for less in a distance. Without networks (`epochs` 0) only.
    pub spectrum_power: f64,
    /// Dimensions and levels of each source, where each is to have codes of its own: with
    /// `[[384, 3], [512, 1]]` the first 384 dimensions are quantized by the first three levels,
    /// the other 512 by the last. Empty: all levels quantize all dimensions. Without networks
    /// (`epochs` 0) only.
    pub blocks: Vec<(usize, usize)>,
    /// Rows that training sees, at most, drawn at random: they are held in memory.
    pub sample: usize,
    /// Lloyd iterations of the k-means that makes the first codebooks, at most.
    pub kmeans_iterations: usize,
    /// Rows that this k-means sees, at most.
    pub kmeans_sample: usize,
    /// Evenness of the shares that this k-means gives to its codes, 0 to 1.
    pub balance: f32,
    /// Passes over the catalogue, at most; 0 leaves a residual k-means without networks.
    pub epochs: usize,
    /// Optimizer steps after which training ends, once `min_epochs` are done: large catalogues
    /// need fewer passes.
    pub steps: usize,
    /// Passes over the catalogue, at least.
    pub min_epochs: usize,
    /// Items a step.
    pub batch_size: usize,
    /// Widths of the encoder's hidden layers; the decoder mirrors them.
    pub hidden: Vec<usize>,
    /// Dimension of the latents. `None`: as wide as the embeddings, and the networks become
    /// `x + f(x)` with `f` zero at the start, so that training starts from residual k-means.
    pub latent_dim: Option<usize>,
    /// Batch normalization after each hidden layer.
    pub batch_norm: bool,
    /// Share of a layer's inputs that is dropped in training.
    pub dropout: f64,
    /// Standard deviation of the Gaussian noise added to the encoder's inputs in training.
    pub noise: f64,
    /// Learning rate of the networks.
    pub learning_rate: f64,
    /// Learning rate of the codebooks.
    pub codebook_learning_rate: f64,
    /// Decoupled weight decay of the networks and the codebooks.
    pub weight_decay: f64,
    /// Share of all steps in which the learning rate rises from zero.
    pub warmup: f64,
    /// How the learning rate falls to zero after that.
    pub schedule: Schedule,
    /// Weight of the quantization loss beside the reconstruction loss.
    pub quantization_weight: f64,
    /// Weight of the commitment loss within the quantization loss.
    pub commitment: f64,
    /// Whether the commitment loss of the levels after the first reaches the encoder. In
    /// LC-Rec's code it does not: what a level leaves over carries no gradient.
    pub deep_commitment: bool,
    /// Whether the reconstruction loss moves the codebooks too.
    pub reconstruct_codebooks: bool,
    /// Regularization of the uniform assignment at the last level in training; 0 turns it off.
    pub sinkhorn_epsilon: f64,
    /// Iterations of that assignment.
    pub sinkhorn_iterations: usize,
    /// Set codes that no item chose during an epoch to the residuals of random items.
    pub restart_dead_codes: bool,
    /// Share of the items that is kept out of training to tell when to stop.
    pub holdout: f64,
    /// Epochs without a better held-out error after which training stops. The start counts
    /// too: a training that only makes things worse gives back residual k-means. With
    /// `alignment` or `diversity` the error is not all that counts, and all epochs are run.
    pub patience: usize,
    /// Weight of the contrastive loss that draws quantized items to their collaborative vectors
    /// (LETTER, arXiv 2405.07314); 0 turns it off.
    pub alignment: f64,
    /// Weight of LETTER's diversity loss, which keeps the codes of a level apart, those of
    /// different groups most; 0 turns it off.
    pub diversity: f64,
    /// Groups into which the diversity loss divides the codes of a level, anew each epoch.
    pub diversity_groups: usize,
}

/// How the learning rate falls after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Along a straight line.
    Linear,
    /// Along half a cosine.
    Cosine,
}

/// A named set of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Ours: residual k-means, then networks and codebooks trained together.
    Default,
    /// The published recipe of LC-Rec (arXiv 2311.09049), for comparison: 10,000 epochs,
    /// codebooks from the first batch, and batch normalization, since the `--bn False` of its
    /// script is parsed as true.
    LcRec,
    /// Residual k-means alone.
    RkMeans,
}

/// Checked settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RqVaeParams", into = "RqVaeParams")]
pub struct RqVaeConfig(RqVaeParams);

#[cfg(feature = "torch")]
impl RqVaeConfig {
    /// Whether more than the error of the reconstruction is minimized.
    pub(crate) fn has_further_losses(&self) -> bool {
        self.alignment > 0.0 || self.diversity > 0.0
    }
}

impl std::ops::Deref for RqVaeConfig {
    type Target = RqVaeParams;

    fn deref(&self) -> &RqVaeParams {
        &self.0
    }
}

impl TryFrom<RqVaeParams> for RqVaeConfig {
    type Error = Error;

    fn try_from(params: RqVaeParams) -> Result<Self> {
        params.check()
    }
}

impl From<RqVaeConfig> for RqVaeParams {
    fn from(config: RqVaeConfig) -> Self {
        config.0
    }
}

impl RqVaeParams {
    /// The settings of a preset.
    pub fn preset(preset: Preset) -> Self {
        let default = Self {
            levels: 4,
            codes: 256,
            seed: 0,
            standardize: true,
            spectrum_power: 0.0,
            blocks: Vec::new(),
            sample: 1 << 19,
            kmeans_iterations: 25,
            kmeans_sample: 1 << 16,
            balance: 0.0,
            epochs: 50,
            steps: 1000,
            min_epochs: 10,
            batch_size: 256,
            hidden: vec![512],
            latent_dim: None,
            batch_norm: false,
            dropout: 0.0,
            noise: 0.65,
            learning_rate: 1e-3,
            codebook_learning_rate: 2e-2,
            weight_decay: 1e-4,
            warmup: 0.05,
            schedule: Schedule::Cosine,
            quantization_weight: 1.0,
            commitment: 0.25,
            deep_commitment: true,
            reconstruct_codebooks: true,
            sinkhorn_epsilon: 0.0,
            sinkhorn_iterations: 50,
            restart_dead_codes: true,
            holdout: 0.05,
            patience: 20,
            alignment: 0.0,
            diversity: 0.0,
            diversity_groups: 10,
        };
        match preset {
            Preset::Default => default,
            Preset::RkMeans => Self {
                epochs: 0,
                holdout: 0.0,
                ..default
            },
            Preset::LcRec => Self {
                seed: 2024,
                standardize: false,
                kmeans_iterations: 100,
                kmeans_sample: 1024,
                epochs: 10_000,
                steps: usize::MAX,
                batch_size: 1024,
                hidden: vec![2048, 1024, 512, 256, 128, 64],
                latent_dim: Some(32),
                batch_norm: true,
                noise: 0.0,
                codebook_learning_rate: 1e-3,
                warmup: 50.0 / 10_000.0,
                schedule: Schedule::Linear,
                deep_commitment: false,
                reconstruct_codebooks: false,
                sinkhorn_epsilon: 0.003,
                restart_dead_codes: false,
                holdout: 0.0,
                patience: usize::MAX,
                ..default
            },
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] names the first one out of range.
    pub fn check(self) -> Result<RqVaeConfig> {
        let at_least_one = |name, got: usize| check(name, got, got >= 1, "at least 1");
        at_least_one("levels", self.levels)?;
        check(
            "codes",
            self.codes,
            (1..=1 << 16).contains(&self.codes),
            "1 to 65536",
        )?;
        at_least_one("sample", self.sample)?;
        at_least_one("kmeans_sample", self.kmeans_sample)?;
        at_least_one("batch_size", self.batch_size)?;
        at_least_one("patience", self.patience)?;
        if let Some(&width) = self.hidden.iter().find(|&&width| width == 0) {
            at_least_one("hidden", width)?;
        }
        if let Some(dim) = self.latent_dim {
            at_least_one("latent_dim", dim)?;
        }
        let share = |name, got: f64| check(name, got, (0.0..1.0).contains(&got), "0 to below 1");
        share("dropout", self.dropout)?;
        share("warmup", self.warmup)?;
        share("holdout", self.holdout)?;
        check(
            "balance",
            self.balance,
            (0.0..=1.0).contains(&self.balance),
            "0 to 1",
        )?;
        for (name, got) in [
            ("spectrum_power", self.spectrum_power),
            ("noise", self.noise),
            ("learning_rate", self.learning_rate),
            ("codebook_learning_rate", self.codebook_learning_rate),
            ("weight_decay", self.weight_decay),
            ("quantization_weight", self.quantization_weight),
            ("commitment", self.commitment),
            ("sinkhorn_epsilon", self.sinkhorn_epsilon),
            ("alignment", self.alignment),
            ("diversity", self.diversity),
        ] {
            check(
                name,
                got,
                got.is_finite() && got >= 0.0,
                "a finite number, at least 0",
            )?;
        }
        check(
            "spectrum_power",
            self.spectrum_power,
            self.spectrum_power == 0.0 || self.epochs == 0,
            "0 where networks are trained (`epochs` above 0)",
        )?;
        if !self.blocks.is_empty() {
            self.check_blocks()?;
        }
        for (name, got) in [("alignment", self.alignment), ("diversity", self.diversity)] {
            let expected = "0 for residual k-means (`epochs` 0), which has no losses";
            check(name, got, got == 0.0 || self.epochs > 0, expected)?;
        }
        at_least_one("diversity_groups", self.diversity_groups)?;
        check(
            "diversity_groups",
            self.diversity_groups,
            self.diversity == 0.0 || 2 * self.diversity_groups <= self.codes,
            "at most half as many as there are codes",
        )?;
        // The table of products between centroids of different levels (ResidualQuantizer).
        let pairs = self.levels.saturating_mul(self.levels - 1) / 2;
        let table = pairs
            .saturating_mul(self.codes.saturating_mul(self.codes))
            .saturating_mul(4);
        check(
            "codes",
            self.codes,
            table <= 4 << 30,
            "few enough that 2 L (L-1) K^2 <= 4 GiB",
        )?;
        Ok(RqVaeConfig(self))
    }

    fn check_blocks(&self) -> Result<()> {
        let got = || format!("{:?}", self.blocks);
        let whole = self
            .blocks
            .iter()
            .all(|&(dim, levels)| dim > 0 && levels > 0);
        check(
            "blocks",
            got(),
            whole,
            "at least a dimension and a level each",
        )?;
        let levels = self
            .blocks
            .iter()
            .fold(0_usize, |sum, block| sum.saturating_add(block.1));
        let expected = format!("{} levels in all, as `levels` says", self.levels);
        check("blocks", got(), levels == self.levels, &expected)?;
        let alone = self.epochs == 0 && self.spectrum_power == 0.0;
        let expected =
            "none where networks are trained (`epochs` above 0), or with `spectrum_power`";
        check("blocks", got(), alone, expected)
    }
}

fn check(name: &'static str, got: impl ToString, ok: bool, expected: &str) -> Result<()> {
    if ok {
        return Ok(());
    }
    Err(Error::Setting {
        name,
        got: got.to_string(),
        expected: expected.to_owned(),
    })
}
