use semantic_id::Code;

use crate::{Error, Result};

/// A reward for the codes that agree from the front: the more, the higher.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    rungs: Box<[f64]>,
    exact: f64,
}

impl Ladder {
    /// `rungs[d - 1]` rewards `d` codes that agree, the last rung all that are more, and `exact`
    /// an ID that is the true one. Without a code that agrees there is no reward.
    ///
    /// # Errors
    ///
    /// [`Error::Ladder`] if a number is not finite.
    pub fn new(rungs: &[f64], exact: f64) -> Result<Self> {
        if let Some(&got) = rungs.iter().chain([&exact]).find(|rung| !rung.is_finite()) {
            return Err(Error::Ladder { got });
        }
        let rungs = rungs.into();
        Ok(Self { rungs, exact })
    }

    /// GREAM's: .5, .707, .866, .95, and 1 if exact.
    pub fn gream() -> Self {
        Self {
            rungs: Box::new([0.5, 0.707, 0.866, 0.95]),
            exact: 1.0,
        }
    }

    /// OpenOneRec's, for its IDs of three codes: 1, 10, and 100 if exact.
    pub fn open_one_rec() -> Self {
        Self {
            rungs: Box::new([1.0, 10.0]),
            exact: 100.0,
        }
    }

    /// The reward of one ID.
    pub fn score(&self, answer: &[Code], truth: &[Code]) -> f64 {
        if answer == truth {
            return self.exact;
        }
        let agree = answer.iter().zip(truth).take_while(|(a, b)| a == b).count();
        match agree.min(self.rungs.len()).checked_sub(1) {
            Some(rung) => self.rungs[rung],
            None => 0.0,
        }
    }
}
