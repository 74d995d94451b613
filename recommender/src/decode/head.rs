use semantic_id::{Code, CodeSpace};
use tch::{Kind, Tensor};
use trie_decode::{Normalizer, TokenMap};

use crate::Llama;

/// The rows of a model's head that tell codes apart, and the sum over whatever a normalizer asks
/// for. The logits of a whole vocabulary are never held at once.
#[derive(Debug)]
pub(crate) struct CodeHead {
    /// The rows of each level's codes, `[K, D]`.
    levels: Vec<Tensor>,
    /// The row of the end of a shorter ID, `[1, D]`.
    end: Option<Tensor>,
    /// The rows of all tokens that the normalizer names, where the search does not find their sum
    /// among the logits of a level.
    named: Option<Tensor>,
}

/// Tokens whose logits are held at a time.
const CHUNK: i64 = 8192;

impl CodeHead {
    pub(crate) fn new(
        model: &Llama,
        tokens: &TokenMap,
        space: &CodeSpace,
        normalizer: Normalizer,
    ) -> Self {
        let codes = |level: usize| {
            let codes = (0..space.size(level)).map(|code| Code(code as u16));
            codes.map(move |code| tokens.token(level, code))
        };
        let head = model.head().detach();
        let rows = |tokens: &[i64]| {
            let tokens = Tensor::from_slice(tokens).to_device(model.device());
            head.index_select(0, &tokens)
        };
        let level = |level| {
            // No item has a code without a token; any row will do.
            let tokens = codes(level).map(|token| token.unwrap_or(0).into());
            rows(&tokens.collect::<Vec<i64>>())
        };
        let all = || {
            let all = (0..space.levels()).flat_map(codes).flatten();
            let mut all: Vec<i64> = all.chain(tokens.end()).map(i64::from).collect();
            all.sort_unstable();
            all.dedup();
            rows(&all)
        };
        Self {
            levels: (0..space.levels()).map(level).collect(),
            end: tokens.end().map(|end| rows(&[end.into()])),
            named: match normalizer {
                Normalizer::FullVocab => Some(head.shallow_clone()),
                Normalizer::SemanticIdVocab => Some(all()),
                Normalizer::Level | Normalizer::ValidChildren => None,
            },
        }
    }

    /// The logits of the codes of each row's level, `[n, K]` of the largest level, and that of the
    /// end in one more column, of hidden states `[n, D]`.
    pub(crate) fn logits(&self, hidden: &Tensor, levels: &[usize]) -> Tensor {
        let linear = |hidden: &Tensor, rows: &Tensor| hidden.linear::<&Tensor>(rows, None);
        let same = |run: &[usize]| {
            let rows = &self.levels[run[0]];
            (rows, run.len() as i64)
        };
        let runs: Vec<_> = levels.chunk_by(usize::eq).map(same).collect();
        let width = runs
            .iter()
            .map(|(rows, _)| rows.size()[0])
            .max()
            .unwrap_or(0);
        let mut first = 0;
        let logits = runs.iter().map(|&(rows, count)| {
            let run = hidden.narrow(0, first, count);
            first += count;
            linear(&run, rows).constant_pad_nd([0, width - rows.size()[0]])
        });
        let logits = Tensor::cat(&logits.collect::<Vec<_>>(), 0);
        match &self.end {
            Some(end) => Tensor::cat(&[logits, linear(hidden, end)], 1),
            None => logits,
        }
    }

    /// `ln(sum(exp(logits)))` of each row over all tokens that the normalizer names, `[n]`; `None`
    /// where the search finds it among the level's logits.
    pub(crate) fn log_sums(&self, hidden: &Tensor) -> Option<Tensor> {
        let sums = self
            .named
            .as_ref()?
            .split(CHUNK, 0)
            .into_iter()
            .map(|rows| {
                let logits = hidden.linear::<&Tensor>(&rows, None).to_kind(Kind::Float);
                logits.logsumexp([-1_i64], false)
            });
        sums.reduce(|all, sums| all.logaddexp(&sums))
    }
}
