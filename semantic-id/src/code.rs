use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// An entry of one level's codebook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub u16);

impl Code {
    /// The code as an array index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The path of codes, one a level, that names an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SemanticId(pub Box<[Code]>);

impl std::ops::Deref for SemanticId {
    type Target = [Code];

    fn deref(&self) -> &[Code] {
        &self.0
    }
}

impl FromIterator<Code> for SemanticId {
    fn from_iter<I: IntoIterator<Item = Code>>(codes: I) -> Self {
        Self(codes.into_iter().collect())
    }
}

impl fmt::Display for SemanticId {
    /// Writes `12.7.201`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, code) in self.iter().enumerate() {
            write!(f, "{}{code}", if level == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// How many levels there are, and how many codes each level has.
///
/// ```
/// use semantic_id::{Code, CodeSpace};
///
/// let space = CodeSpace::uniform(4, 256)?;
/// assert_eq!(space.levels(), 4);
/// assert_eq!(space.capacity(), 1 << 32);
/// assert!(space.contains(&[Code(0), Code(255), Code(7), Code(1)]));
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct CodeSpace {
    sizes: Vec<u32>,
}

impl CodeSpace {
    /// The most levels of a semantic ID (titles as token sequences are long).
    pub const MAX_LEVELS: usize = 64;
    /// The most codes of one level: a code is 16 bits.
    pub const MAX_CODES: u32 = 1 << 16;

    /// A space with `sizes[l]` codes at level `l`.
    ///
    /// # Errors
    ///
    /// [`Error::CodeSpace`] without levels, with more than [`Self::MAX_LEVELS`], or with a
    /// level of 0 or more than [`Self::MAX_CODES`] codes.
    pub fn new(sizes: Vec<u32>) -> Result<Self> {
        if sizes.is_empty() || sizes.len() > Self::MAX_LEVELS {
            return Err(Error::CodeSpace(format!(
                "got {} levels, expected 1 to {}",
                sizes.len(),
                Self::MAX_LEVELS
            )));
        }
        for (level, &size) in sizes.iter().enumerate() {
            if size == 0 || size > Self::MAX_CODES {
                return Err(Error::CodeSpace(format!(
                    "got {size} codes at level {level}, expected 1 to {}",
                    Self::MAX_CODES
                )));
            }
        }
        Ok(Self { sizes })
    }

    /// `levels` levels of `codes` codes each.
    ///
    /// # Errors
    ///
    /// Those of [`CodeSpace::new`].
    pub fn uniform(levels: usize, codes: u32) -> Result<Self> {
        Self::new(vec![codes; levels])
    }

    /// Number of levels `L`.
    pub fn levels(&self) -> usize {
        self.sizes.len()
    }

    /// The codes of each level, `[L]`.
    pub fn sizes(&self) -> &[u32] {
        &self.sizes
    }

    /// Codes of one level, `K_l`.
    ///
    /// # Panics
    ///
    /// If there is no such level.
    pub fn size(&self, level: usize) -> usize {
        self.sizes[level] as usize
    }

    /// The code that pads a path from its end to this level, `K_l`: one beyond the codebook.
    /// `None` at a level of 2^16 codes, which has none to spare, or if there is no such level.
    pub fn end(&self, level: usize) -> Option<Code> {
        let size = *self.sizes.get(level)?;
        u16::try_from(size).ok().map(Code)
    }

    /// A path without the padding at its end.
    pub fn unpadded<'p>(&self, path: &'p [Code]) -> &'p [Code] {
        let mut levels = path.iter().enumerate();
        let last = levels.rposition(|(level, &code)| Some(code) != self.end(level));
        &path[..last.map_or(0, |last| last + 1)]
    }

    /// A path with padding up to the last level. One that is too long stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::NoPadding`] where a level that it lacks has 2^16 codes.
    pub fn padded(&self, path: &[Code]) -> Result<Vec<Code>> {
        let end = |level| self.end(level).ok_or(Error::NoPadding { level });
        let padding = (path.len()..self.levels()).map(end);
        path.iter().copied().map(Ok).chain(padding).collect()
    }

    /// Number of distinct paths, `prod K_l`, at most `u128::MAX`.
    pub fn capacity(&self) -> u128 {
        self.sizes
            .iter()
            .fold(1, |paths: u128, &size| paths.saturating_mul(size.into()))
    }

    /// Whether a path has one code a level, each in its codebook.
    pub fn contains(&self, path: &[Code]) -> bool {
        path.len() == self.levels()
            && path
                .iter()
                .zip(&self.sizes)
                .all(|(code, &size)| u32::from(code.0) < size)
    }
}

impl fmt::Display for CodeSpace {
    /// Writes `256 x 256 x 256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, size) in self.sizes.iter().enumerate() {
            write!(f, "{}{size}", if level == 0 { "" } else { " x " })?;
        }
        Ok(())
    }
}

impl TryFrom<Vec<u32>> for CodeSpace {
    type Error = Error;

    fn try_from(sizes: Vec<u32>) -> Result<Self> {
        Self::new(sizes)
    }
}

impl From<CodeSpace> for Vec<u32> {
    fn from(space: CodeSpace) -> Self {
        space.sizes
    }
}
