use tch::{Device, Kind, Tensor};
use trie_decode::{Logits, Row, RowId, Scorer, Scores, Step, TokenMap};

use super::head::CodeHead;
use super::prefixes::{NewToken, Prefixes};
use crate::Llama;

/// Answers a search about prefixes behind some prompts, a prompt a request.
#[derive(Debug)]
pub(crate) struct PromptScorer<'a> {
    model: &'a Llama,
    tokens: &'a TokenMap,
    head: &'a CodeHead,
    prefixes: Prefixes<'a>,
    /// What follows the prompts, until it is asked for, `[B, D]`.
    begins: Tensor,
    /// The node of each row that was scored, and the codes of its prefix; no node at a root.
    rows: Vec<(Option<usize>, usize)>,
    logits: Vec<f32>,
    log_sums: Vec<f32>,
}

impl<'a> PromptScorer<'a> {
    /// Reads the prompts, none of them empty.
    pub(crate) fn new(
        model: &'a Llama,
        tokens: &'a TokenMap,
        head: &'a CodeHead,
        prompts: &[Vec<u32>],
    ) -> Self {
        let (prefixes, begins) = Prefixes::read(model, prompts);
        Self {
            model,
            tokens,
            head,
            prefixes,
            begins,
            rows: Vec::new(),
            logits: Vec::new(),
            log_sums: Vec::new(),
        }
    }

    /// The hidden states behind the rows' prefixes, `[rows, D]`.
    fn hidden(&mut self, rows: &[Row<'_>]) -> Tensor {
        let parent = |row: &Row<'_>| match row.parent {
            Some(RowId(parent)) => self.rows[parent as usize],
            None => (None, 0),
        };
        let mut ends: Vec<(Option<usize>, usize)> = rows.iter().map(parent).collect();
        let prompts: Vec<i64> = rows.iter().map(|row| row.request as i64).collect();
        let mut hidden = self.begins.index_select(0, &self.numbers(&prompts));
        // A prefix is mostly one token longer than what was read of it; it is more where the
        // search did not ask in between, as a code was the only one that could come.
        loop {
            let unread = |at: &usize| ends[*at].1 < rows[*at].prefix.len();
            let waiting: Vec<usize> = (0..rows.len()).filter(unread).collect();
            if waiting.is_empty() {
                break;
            }
            let first = self.prefixes.len();
            let tokens = waiting.iter().map(|&at| self.next(&rows[at], ends[at]));
            let tokens: Vec<NewToken> = tokens.collect();
            let read = self.prefixes.extend(&tokens);
            let places: Vec<i64> = waiting.iter().map(|&at| at as i64).collect();
            hidden = hidden.index_copy(0, &self.numbers(&places), &read);
            for (node, at) in (first..).zip(waiting) {
                ends[at] = (Some(node), ends[at].1 + 1);
            }
        }
        self.rows.extend(ends);
        hidden
    }

    /// The token that a row's prefix has behind what was read of it.
    fn next(&self, row: &Row<'_>, (parent, read): (Option<usize>, usize)) -> NewToken {
        let token = self.tokens.token(read, row.prefix[read]);
        NewToken {
            prompt: row.request,
            parent,
            token: token.expect("a search goes on with codes that have tokens"),
        }
    }

    fn numbers(&self, numbers: &[i64]) -> Tensor {
        Tensor::from_slice(numbers).to_device(self.model.device())
    }
}

impl Scorer for PromptScorer<'_> {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        let rows = step.rows();
        let levels: Vec<usize> = rows.iter().map(|row| row.prefix.len()).collect();
        let sums = tch::no_grad(|| {
            let hidden = self.hidden(rows);
            copy(&self.head.logits(&hidden, &levels), &mut self.logits);
            let sums = self.head.log_sums(&hidden);
            sums.map(|sums| copy(&sums, &mut self.log_sums))
        });
        let scores = Scores::level(Logits::F32(&self.logits));
        Ok(match sums {
            Some(()) => scores.normalized_by(&self.log_sums),
            None => scores,
        })
    }
}

/// Copies all values, row-major.
pub(super) fn copy(tensor: &Tensor, values: &mut Vec<f32>) {
    let tensor = tensor
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous();
    values.resize(tensor.numel(), 0.0);
    tensor.copy_data(values, tensor.numel());
}
