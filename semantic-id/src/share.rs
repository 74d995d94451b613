use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A part of a whole, from nothing to almost all.
///
/// ```
/// use semantic_id::Share;
///
/// let share: Share = "5%".parse()?;
/// assert_eq!(share.of(256), 13); // rounded up
/// assert!("100%".parse::<Share>().is_err());
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0.0);

    /// A share from 0 to below 1.
    ///
    /// # Errors
    ///
    /// [`Error::Share`] for any other number.
    pub fn new(share: f64) -> Result<Self> {
        if (0.0..1.0).contains(&share) {
            return Ok(Self(share));
        }
        Err(Error::Share(share.to_string()))
    }

    /// So many of `whole`, rounded up.
    pub fn of(self, whole: u128) -> u128 {
        // A product may come out a little above the whole number it stands for.
        (self.0 * whole as f64 - 1e-9).ceil() as u128
    }
}

impl FromStr for Share {
    type Err = Error;

    /// Reads `5%` or `0.05`.
    fn from_str(text: &str) -> Result<Self> {
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().map(|percent: f64| percent / 100.0),
            None => text.parse(),
        };
        let bad = || Error::Share(text.to_owned());
        share
            .map_err(|_| bad())
            .and_then(Self::new)
            .map_err(|_| bad())
    }
}

impl TryFrom<f64> for Share {
    type Error = Error;

    fn try_from(share: f64) -> Result<Self> {
        Self::new(share)
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", 100.0 * self.0)
    }
}
