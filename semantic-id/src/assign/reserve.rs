use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The share of the slots of every prefix that an assignment leaves free, for items to come.
///
/// A slot is a place for one item on a path, a prefix the first `L - 1` codes.
///
/// ```
/// use semantic_id::Reserve;
///
/// let reserve: Reserve = "5%".parse()?;
/// assert_eq!(reserve.of(256), 13); // rounded up
/// assert!("100%".parse::<Reserve>().is_err());
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Reserve(f64);

impl Reserve {
    /// Nothing is left free.
    pub const NONE: Self = Self(0.0);

    /// A share from 0 to below 1.
    ///
    /// # Errors
    ///
    /// [`Error::Reserve`] for any other number.
    pub fn new(share: f64) -> Result<Self> {
        if (0.0..1.0).contains(&share) {
            return Ok(Self(share));
        }
        Err(Error::Reserve(share.to_string()))
    }

    /// So many of `slots`, rounded up.
    pub fn of(self, slots: u128) -> u128 {
        // A product may come out a little above the whole number it stands for.
        (self.0 * slots as f64 - 1e-9).ceil() as u128
    }
}

impl FromStr for Reserve {
    type Err = Error;

    /// Reads `5%` or `0.05`.
    fn from_str(text: &str) -> Result<Self> {
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().map(|percent: f64| percent / 100.0),
            None => text.parse(),
        };
        let bad = || Error::Reserve(text.to_owned());
        share
            .map_err(|_| bad())
            .and_then(Self::new)
            .map_err(|_| bad())
    }
}

impl TryFrom<f64> for Reserve {
    type Error = Error;

    fn try_from(share: f64) -> Result<Self> {
        Self::new(share)
    }
}

impl From<Reserve> for f64 {
    fn from(reserve: Reserve) -> Self {
        reserve.0
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", 100.0 * self.0)
    }
}
