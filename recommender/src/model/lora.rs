use semid_training::seeded;
use serde::{Deserialize, Serialize};

use super::{Llama, Rows};
use crate::{Error, Result};

/// How a model is tuned by adapters of low rank in place of all its weights (Hu et al., "LoRA",
/// arXiv 2106.09685): one beside each linear layer. Of the rest, rows of embedding and head are
/// learnt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rank of what an adapter adds.
    pub rank: usize,
    /// It is added `alpha / rank` times.
    pub alpha: f64,
    /// The first row of embedding and head that is learnt: 0 for all, the size of the old
    /// vocabulary for those of new tokens, that of the whole for none.
    pub first_row: usize,
}

impl Llama {
    /// Puts adapters into the model, which add nothing yet; from now on it is these, and some
    /// rows, that are [trained](Llama::trained). Those it has already are merged before.
    ///
    /// ```
    /// use semid_recommender::{Llama, LlamaConfig, Lora};
    ///
    /// let mut model = Llama::new(LlamaConfig::small(1_000, 64, 256), tch::Device::Cpu, 42)?;
    /// let lora = Lora { rank: 4, alpha: 8.0, first_row: 900 };
    /// model.adapt(lora, 42)?;
    /// let numbers: usize = model.trained().iter().map(|(_, tensor)| tensor.numel()).sum();
    /// assert_eq!(numbers, 4 * 4 * (4 * (64 + 64) + 3 * (64 + 168)) + 100 * 64);
    /// # Ok::<(), semid_recommender::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a rank of 0, a strength that is no positive number, or a row beyond
    /// the last one.
    pub fn adapt(&mut self, lora: Lora, seed: i64) -> Result<()> {
        lora.check(self.config.vocab_size)?;
        self.merge();
        let _turn = seeded(seed);
        self.tables(|rows| rows.freeze(lora.first_row));
        let _ = self.norm.set_requires_grad(false);
        for block in &mut self.blocks {
            for norm in block.norms_mut() {
                let _ = norm.set_requires_grad(false);
            }
            for linear in block.linears_mut() {
                linear.adapt(lora.rank, lora.alpha / lora.rank as f64);
            }
        }
        self.lora = Some(lora);
        Ok(())
    }

    /// Makes one matrix of each and its adapter: the model is the same, and all of it is trained
    /// from now on.
    pub fn merge(&mut self) {
        if self.lora.take().is_none() {
            return;
        }
        self.tables(Rows::merge);
        let _ = self.norm.set_requires_grad(true);
        for block in &mut self.blocks {
            for norm in block.norms_mut() {
                let _ = norm.set_requires_grad(true);
            }
            block
                .linears_mut()
                .iter_mut()
                .for_each(|linear| linear.merge());
        }
    }

    /// What its adapters are, if it has any.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// Embedding and head.
    pub(super) fn tables(&mut self, change: impl FnMut(&mut Rows)) {
        let head = self.head.iter_mut();
        std::iter::once(&mut self.embedding)
            .chain(head)
            .for_each(change);
    }
}

impl Lora {
    fn check(&self, vocabulary: usize) -> Result<()> {
        let setting = |name, got: &dyn ToString, expected: &str| {
            Err(Error::Setting {
                name,
                got: got.to_string(),
                expected: expected.to_owned(),
            })
        };
        if self.rank == 0 {
            return setting("rank", &0, "at least 1");
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return setting("alpha", &self.alpha, "a positive number");
        }
        match self.first_row > vocabulary {
            true => setting(
                "first_row",
                &self.first_row,
                &format!("at most the {vocabulary} tokens of the model"),
            ),
            false => Ok(()),
        }
    }
}
