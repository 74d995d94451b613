use semantic_id::{Code, CodeSpace};
use tch::Tensor;
use trie_decode::{Normalizer, TokenMap};

use super::head::CodeHead;
use super::prefixes::{NewToken, Prefixes};
use super::scorer::copy;
use crate::{Error, Llama, Result};

/// A beam search without a trie: at each level all its codes compete, whether or not any item
/// has them there. So what it finds need not be an item.
#[derive(Debug)]
pub(crate) struct FreeSearch<'a> {
    model: &'a Llama,
    tokens: &'a TokenMap,
    space: &'a CodeSpace,
    head: CodeHead,
    /// Whether an ID may end before each level, `[L]`.
    ends: Vec<bool>,
    beams: usize,
}

/// A sequence of codes behind a prompt.
#[derive(Debug, Clone, Default)]
struct Beam {
    codes: Vec<Code>,
    /// Where it was read to; nowhere yet at a root.
    node: Option<usize>,
    /// The sum of the log-probabilities of its codes, and of its end.
    score: f32,
    ended: bool,
}

impl<'a> FreeSearch<'a> {
    pub(crate) fn new(
        model: &'a Llama,
        tokens: &'a TokenMap,
        space: &'a CodeSpace,
        ends: Vec<bool>,
        beams: usize,
    ) -> Self {
        Self {
            head: CodeHead::new(model, tokens, space, Normalizer::Level),
            model,
            tokens,
            space,
            ends,
            beams,
        }
    }

    /// The best sequence behind each prompt, none of which is empty. Ties go to lower codes.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for logits that are no numbers.
    pub(crate) fn best(&self, prompts: &[Vec<u32>]) -> Result<Vec<Vec<Code>>> {
        let (mut prefixes, mut hidden) = Prefixes::read(self.model, prompts);
        let mut beams = vec![vec![Beam::default()]; prompts.len()];
        for level in 0..self.space.levels() {
            let scores = self.scores(&hidden, level)?;
            let width = self.space.size(level) + usize::from(self.ends[level]);
            let mut rows = scores.chunks_exact(width);
            for beams in &mut beams {
                *beams = self.next(beams, &mut rows, level);
            }
            let Some(read) = self.read(&mut prefixes, &mut beams, level) else {
                break;
            };
            hidden = read;
        }
        let best = |beams: Vec<Beam>| beams.into_iter().next().unwrap_or_default().codes;
        Ok(beams.into_iter().map(best).collect())
    }

    /// The log-probabilities of a level's codes behind hidden states `[n, D]`, and of the end in
    /// one more column where an ID may end, row-major.
    fn scores(&self, hidden: &Tensor, level: usize) -> Result<Vec<f32>> {
        let levels = vec![level; hidden.size()[0] as usize];
        let logits = self.head.logits(hidden, &levels);
        let width = self.space.size(level) + usize::from(self.ends[level]);
        let logits = logits.narrow(1, 0, width as i64);
        let mut scores = Vec::new();
        copy(&logits.log_softmax(-1, tch::Kind::Float), &mut scores);
        match scores.iter().any(|score| score.is_nan()) {
            true => Err(Error::Model("its logits are no numbers".into())),
            false => Ok(scores),
        }
    }

    /// The best beams of a prompt that are a level longer, best first; `rows` has the scores of
    /// each one that did not end.
    fn next<'s>(
        &self,
        beams: &[Beam],
        rows: &mut impl Iterator<Item = &'s [f32]>,
        level: usize,
    ) -> Vec<Beam> {
        let mut found: Vec<(f32, usize, Option<usize>)> = Vec::new();
        for (from, beam) in beams.iter().enumerate() {
            if beam.ended {
                found.push((beam.score, from, None));
                continue;
            }
            let row = rows.next().unwrap_or_default().iter().enumerate();
            found.extend(row.map(|(code, score)| (beam.score + score, from, Some(code))));
        }
        let order = |a: &(f32, usize, Option<usize>), b: &(f32, usize, Option<usize>)| {
            b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
        };
        if self.beams < found.len() {
            found.select_nth_unstable_by(self.beams, order);
            found.truncate(self.beams);
        }
        found.sort_unstable_by(order);
        let longer = |(score, from, code): (f32, usize, Option<usize>)| {
            let mut beam = beams[from].clone();
            beam.score = score;
            match code.filter(|&code| code < self.space.size(level)) {
                Some(code) => beam.codes.push(Code(code as u16)),
                None => beam.ended = true,
            }
            beam
        };
        found.into_iter().map(longer).collect()
    }

    /// Reads the last codes of all beams that go on: the hidden states behind them, `[n, D]`;
    /// `None` if none goes on.
    fn read(
        &self,
        prefixes: &mut Prefixes<'_>,
        beams: &mut [Vec<Beam>],
        level: usize,
    ) -> Option<Tensor> {
        let first = prefixes.len();
        let mut tokens = Vec::new();
        for (prompt, beams) in beams.iter_mut().enumerate() {
            for beam in beams.iter_mut().filter(|beam| !beam.ended) {
                let code = beam
                    .codes
                    .last()
                    .and_then(|&code| self.tokens.token(level, code));
                tokens.push(NewToken {
                    prompt,
                    parent: beam.node.replace(first + tokens.len()),
                    token: code.expect("every code has a token"),
                });
            }
        }
        let goes_on = level + 1 < self.space.levels() && !tokens.is_empty();
        goes_on.then(|| prefixes.extend(&tokens))
    }
}
