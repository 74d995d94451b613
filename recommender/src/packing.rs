use tch::{Device, Tensor};

use crate::{Error, Example, Result};

/// Examples side by side in rows of one length. A token sees those of its own example alone, and
/// positions begin anew with each (Krell et al., arXiv 2107.02027).
///
/// ```text
/// row 0   a a a a b b c c c .        a token sees         what follows is learnt
/// row 1   d d d d d d e e . .        a's see a's          within an answer only
/// ```
#[derive(Debug)]
pub(crate) struct Batch {
    /// `[rows, length]` each.
    tokens: Vec<i64>,
    positions: Vec<i64>,
    /// The number of a token's example in its row, from 1; 0 where there is none.
    examples: Vec<i64>,
    /// The next token where it is learnt, else [`IGNORED`].
    targets: Vec<i64>,
    /// Places and the tokens among which the next one is chosen, where that is not the vocabulary.
    choices: Vec<(usize, Vec<u32>)>,
    /// Tokens in each row.
    filled: Vec<usize>,
    length: usize,
}

const IGNORED: i64 = -100;

/// A batch on the device of a model.
#[derive(Debug)]
pub(crate) struct DeviceBatch {
    /// `[rows, length]`.
    pub(crate) tokens: Tensor,
    /// `[rows, length]`.
    pub(crate) positions: Tensor,
    /// `[rows, 1, length, length]`: which tokens see which.
    pub(crate) visible: Tensor,
    /// Places among all tokens of the batch whose next token is learnt, `[answers]`.
    pub(crate) places: Tensor,
    /// Those next tokens, `[answers]`.
    pub(crate) targets: Tensor,
    /// Among which tokens each is chosen, `[answers, V]`; all if `None`.
    pub(crate) choices: Option<Tensor>,
}

impl Batch {
    pub(crate) fn new(rows: usize, length: usize) -> Self {
        Self {
            tokens: vec![0; rows * length],
            positions: vec![0; rows * length],
            examples: vec![0; rows * length],
            targets: vec![IGNORED; rows * length],
            choices: Vec::new(),
            filled: vec![0; rows],
            length,
        }
    }

    /// Puts an example into the first row that has room for it; false if none has. One that is
    /// longer than a row loses its oldest tokens.
    pub(crate) fn push(&mut self, example: &Example) -> bool {
        let cut = example.tokens.len().saturating_sub(self.length);
        let tokens = &example.tokens[cut..];
        let has_room = |&filled: &usize| self.length - filled >= tokens.len();
        let Some(row) = self.filled.iter().position(has_room) else {
            return false;
        };
        let first = row * self.length + self.filled[row];
        let number = match self.filled[row] {
            0 => 1,
            _ => self.examples[first - 1] + 1,
        };
        for (at, &token) in tokens.iter().enumerate() {
            self.tokens[first + at] = token.into();
            self.positions[first + at] = at as i64;
            self.examples[first + at] = number;
            if at > 0 {
                self.learn(first + at - 1, token, example, cut + at);
            }
        }
        self.filled[row] += tokens.len();
        true
    }

    /// The token behind a place is the one at `at` of an example.
    fn learn(&mut self, place: usize, token: u32, example: &Example, at: usize) {
        let Some(at) = at.checked_sub(example.answer) else {
            return;
        };
        let choices = example.choices.as_ref().map(|choices| &choices[at]);
        if choices.is_some_and(|choices| choices.len() == 1) {
            return;
        }
        self.targets[place] = token.into();
        self.choices
            .extend(choices.map(|choices| (place, choices.clone())));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filled[0] == 0
    }

    /// # Errors
    ///
    /// [`Error::Training`] for a token that a model of so many does not have.
    pub(crate) fn check(&self, vocabulary: usize) -> Result<()> {
        match self
            .tokens
            .iter()
            .find(|&&token| token >= vocabulary as i64)
        {
            None => Ok(()),
            Some(token) => Err(Error::Training(format!(
                "the examples have token {token}, the model has {vocabulary}, from 0; extend it \
                 by the tokens that were added to its tokenizer"
            ))),
        }
    }

    /// Copies the batch to a device; the model has `vocabulary` tokens.
    pub(crate) fn on(&self, device: Device, vocabulary: usize) -> DeviceBatch {
        // Rows that were not reached, and the places that none has reached, are not computed.
        let rows = self.filled.iter().filter(|&&filled| filled > 0).count() as i64;
        let longest = *self.filled.iter().max().expect("a row");
        let grid = |values: &[i64]| {
            let all = Tensor::from_slice(values).view([-1, self.length as i64]);
            let used = all.narrow(0, 0, rows).narrow(1, 0, longest as i64);
            used.contiguous().to_device(device)
        };
        let list = |values: Vec<i64>| Tensor::from_slice(&values).to_device(device);
        let examples = grid(&self.examples);
        let same = examples.unsqueeze(2).eq_tensor(&examples.unsqueeze(1));
        let is_learnt = |&place: &usize| self.targets[place] != IGNORED;
        let learnt: Vec<usize> = (0..self.targets.len()).filter(is_learnt).collect();
        let used = |place: &usize| (place / self.length * longest + place % self.length) as i64;
        DeviceBatch {
            tokens: grid(&self.tokens),
            positions: grid(&self.positions),
            visible: same.tril(0).unsqueeze(1),
            places: list(learnt.iter().map(used).collect()),
            targets: list(learnt.iter().map(|&place| self.targets[place]).collect()),
            choices: self
                .choices(&learnt, vocabulary)
                .map(|choices| choices.to_device(device)),
        }
    }

    /// For each place that is learnt, which tokens there are to choose among, `[answers, V]`.
    fn choices(&self, learnt: &[usize], vocabulary: usize) -> Option<Tensor> {
        if self.choices.is_empty() {
            return None;
        }
        let mut given: Vec<_> = self.choices.iter().collect();
        given.sort_by_key(|(place, _)| *place);
        let mut given = given.into_iter().peekable();
        let mut choices = vec![false; learnt.len() * vocabulary];
        for (place, row) in learnt.iter().zip(choices.chunks_exact_mut(vocabulary)) {
            match given.next_if(|(at, _)| at == place) {
                Some((_, tokens)) => tokens.iter().for_each(|&token| row[token as usize] = true),
                None => row.fill(true),
            }
        }
        Some(Tensor::from_slice(&choices).view([-1, vocabulary as i64]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_share_rows_and_do_not_see_each_other() {
        let mut batch = Batch::new(2, 6);
        let example = |tokens: &[u32], answer| Example {
            tokens: tokens.to_vec(),
            answer,
            choices: None,
        };
        assert!(batch.push(&example(&[1, 2, 3, 4], 1)));
        assert!(batch.push(&example(&[5, 6, 7], 2)));
        assert!(batch.push(&example(&[8, 9], 1)));
        assert!(!batch.push(&example(&[1, 2, 3, 4], 1)));

        assert_eq!(batch.tokens, [1, 2, 3, 4, 8, 9, 5, 6, 7, 0, 0, 0]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 0, 0]);
        let device = batch.on(Device::Cpu, 10);
        assert_eq!(
            Vec::<i64>::try_from(&device.targets).unwrap(),
            [2, 3, 4, 9, 7]
        );
        assert_eq!(
            Vec::<i64>::try_from(&device.places).unwrap(),
            [0, 1, 2, 4, 7]
        );
        let sees = |row: i64, token: i64| {
            let visible = device.visible.get(row).get(0).get(token);
            Vec::<bool>::try_from(&visible).unwrap()
        };
        assert_eq!(sees(0, 2), [true, true, true, false, false, false]);
        assert_eq!(sees(0, 5), [false, false, false, false, true, true]);
    }

    #[test]
    fn a_long_example_loses_what_is_oldest() {
        let mut batch = Batch::new(1, 3);
        let example = Example {
            tokens: vec![1, 2, 3, 4, 5],
            answer: 3,
            choices: Some(vec![vec![4, 7], vec![5]]),
        };
        assert!(batch.push(&example));
        assert_eq!(batch.tokens, [3, 4, 5]);
        // There is no alternative to the 5.
        assert_eq!(batch.targets, [4, IGNORED, IGNORED]);
        let choices = batch.on(Device::Cpu, 8).choices.expect("two tokens");
        let choices = Vec::<bool>::try_from(&choices.view(-1)).unwrap();
        let chosen: Vec<usize> = (0..8).filter(|&token| choices[token]).collect();
        assert_eq!(chosen, [4, 7]);
    }
}
