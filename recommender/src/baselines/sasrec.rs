use semantic_id::ItemId;
use semid_tasks::{Histories, Split};
use tch::{Kind, Tensor};

use crate::decode::last_hidden;
use crate::examples::{Window, windows};
use crate::{Example, Examples, Llama, LlamaConfig, Query, Ranker, Result};

/// A sequential recommender without semantic IDs: each item is a token of its own, and the model
/// predicts the next one (SASRec, Kang and McAuley, arXiv 1808.09781).
///
/// It is trained as the generative model is, on the same packed histories by the same
/// [`Trainer`](crate::Trainer), with the same blocks, and with a softmax over all items, which
/// makes SASRec stronger than its paper's sampled loss (Klenitskiy and Vasilev, arXiv 2309.07602):
/// what differs is what an item is called.
#[derive(Debug)]
pub struct SasRec {
    model: Llama,
    items: usize,
}

/// The token that begins a history; that of an item is its row and one more.
const BEGIN: u32 = 0;

impl SasRec {
    /// The shape of a small model over so many items: two layers.
    pub fn config(items: usize, width: usize, context: usize) -> LlamaConfig {
        let mut config = LlamaConfig::small(items + 1, width, context + 1);
        config.num_hidden_layers = 2;
        config
    }

    /// A model that was trained on [`ItemExamples`], which reads the last `items` of a history.
    pub fn new(model: Llama, items: usize) -> Self {
        Self { model, items }
    }

    fn best(&self, scores: &Tensor, query: &Query<'_>, count: usize) -> Result<Vec<ItemId>> {
        // As many more as may have to be left out.
        let most = (count + query.without.len()).min(scores.numel());
        let (_, best) = scores.topk(most as i64, 0, true, true);
        let best = Vec::<i64>::try_from(&best)?;
        Ok(query.first(best.into_iter().map(|row| ItemId(row as u32)), count))
    }
}

impl Ranker for SasRec {
    fn rank(&self, queries: &[Query<'_>], count: usize) -> Result<Vec<Vec<ItemId>>> {
        let prompts = queries
            .iter()
            .map(|query| tokens(query.history, self.items));
        let prompts: Vec<Vec<u32>> = prompts.collect();
        tch::no_grad(|| {
            let logits = self.model.logits(&last_hidden(&self.model, &prompts));
            let scores = logits
                .narrow(1, 1, logits.size()[1] - 1)
                .to_kind(Kind::Float);
            let rows = queries.iter().enumerate();
            rows.map(|(row, query)| self.best(&scores.get(row as i64), query, count))
                .collect()
        })
    }
}

fn tokens(history: &[ItemId], items: usize) -> Vec<u32> {
    let seen = &history[history.len().saturating_sub(items)..];
    let tokens = seen.iter().map(|item| item.0 + 1);
    std::iter::once(BEGIN).chain(tokens).collect()
}

/// Whole histories, or windows of long ones, an item a token.
#[derive(Debug)]
pub struct ItemExamples<'a> {
    histories: &'a Histories,
    windows: Vec<Window>,
    items: usize,
}

impl<'a> ItemExamples<'a> {
    /// The training events of all users, in windows of `items`.
    pub fn new(histories: &'a Histories, split: &'a Split, items: usize) -> Self {
        Self {
            windows: windows(histories, split, items),
            histories,
            items,
        }
    }

    fn tokens(&self, number: usize) -> Vec<u32> {
        let (user, window) = self.windows[number].clone();
        tokens(&self.histories.items(user)[window], self.items)
    }
}

impl Examples for ItemExamples<'_> {
    fn count(&self) -> usize {
        self.windows.len()
    }

    fn example(&self, _: u64, number: usize) -> Result<Example> {
        Ok(Example {
            tokens: self.tokens(number),
            answer: 1,
            choices: None,
        })
    }

    fn digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for number in 0..self.count() {
            let tokens = self.tokens(number);
            hash.update(&(tokens.len() as u64).to_le_bytes());
            tokens.iter().for_each(|token| {
                hash.update(&token.to_le_bytes());
            });
        }
        hash.finalize().to_hex().to_string()
    }
}
