//! Logits from a file, in the place of a model.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use half::f16;
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};
use semantic_id::CodeSpace;
use trie_decode::{Logits, Scorer, Scores, Step};

use crate::map::{self, Bytes};

/// Logits `[L, requests, V]` of a `.npy` file: the row of a level serves every prefix of that
/// length of that request.
#[derive(Debug)]
pub(crate) struct ScoreFile {
    bytes: Bytes,
    /// Where the values begin.
    start: usize,
    /// Whether they are f16, not f32.
    half: bool,
    shape: [usize; 3],
}

impl ScoreFile {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let read = || Self::read(map::open(path)?);
        read().with_context(|| path.display().to_string())
    }

    fn read(bytes: Bytes) -> anyhow::Result<Self> {
        let mut values = &bytes[..];
        let header = NpyHeader::from_reader(&mut values).context("bad .npy header")?;
        let &[levels, requests, columns] = header.shape() else {
            bail!(
                "got logits of shape {:?}, expected [levels, requests, columns]",
                header.shape()
            );
        };
        ensure!(
            header.order() == Order::C,
            "the .npy array is in column order; save `numpy.ascontiguousarray(x)`"
        );
        let size = match header.dtype() {
            DType::Plain(plain)
                if plain.type_char() == TypeChar::Float
                    && plain.endianness() == Endianness::Little
                    && matches!(plain.size_field(), 2 | 4) =>
            {
                plain.size_field()
            }
            other => bail!(
                "got logits of type {}, expected little-endian floats: <f4 or <f2",
                other.descr()
            ),
        };
        let expected = [requests, columns, size]
            .into_iter()
            .try_fold(levels, u64::checked_mul);
        ensure!(
            expected == Some(values.len() as u64),
            "the header tells of {levels} x {requests} x {columns} values of {size} bytes, but the \
             file has {} bytes of them",
            values.len()
        );
        Ok(Self {
            start: bytes.len() - values.len(),
            half: size == 2,
            // They are at most the file's length, unless there are no values.
            shape: [levels, requests, columns].map(|size| size as usize),
            bytes,
        })
    }

    pub(crate) fn requests(&self) -> usize {
        self.shape[1]
    }

    pub(crate) fn columns(&self) -> usize {
        self.shape[2]
    }

    /// The logits of a level and a request, `[V]`.
    fn row(&self, level: usize, request: usize) -> impl Iterator<Item = f32> + '_ {
        let size = if self.half { 2 } else { 4 };
        let length = size * self.columns();
        let start = self.start + (level * self.requests() + request) * length;
        self.bytes[start..start + length]
            .chunks_exact(size)
            .map(|value| match *value {
                [a, b] => f16::from_le_bytes([a, b]).to_f32(),
                [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                _ => unreachable!("values have 2 or 4 bytes"),
            })
    }

    /// A scorer for a trie whose columns are a model's tokens.
    pub(crate) fn of_tokens(&self, space: &CodeSpace) -> anyhow::Result<FileScorer<'_>> {
        self.scorer(space, Columns::Tokens)
    }

    /// A scorer for a trie whose columns are a level's codes: the first `K_l` or, where there is
    /// one column more than the largest level has codes, `K_l + 1` with the end of shorter IDs.
    pub(crate) fn of_codes(&self, space: &CodeSpace) -> anyhow::Result<FileScorer<'_>> {
        let largest = space.sizes().iter().max().map_or(0, |&size| size as usize);
        let columns = self.columns();
        ensure!(
            columns == largest || columns == largest + 1,
            "got logits of shape {:?}, so {columns} columns; expected {largest}, the codes of a \
             level, or {} with the end of shorter IDs; logits of a whole vocabulary need \
             --token-map",
            self.shape,
            largest + 1
        );
        let ends = columns > largest;
        self.scorer(space, Columns::Codes { ends })
    }

    fn scorer(&self, space: &CodeSpace, columns: Columns) -> anyhow::Result<FileScorer<'_>> {
        ensure!(
            self.shape[0] == space.levels(),
            "got logits of shape {:?}, so {} levels; expected {}, one row for each level of the \
             index",
            self.shape,
            self.shape[0],
            space.levels()
        );
        let scorer = FileScorer {
            file: self,
            sizes: space.sizes().iter().map(|&size| size as usize).collect(),
            columns,
            logits: Vec::new(),
        };
        scorer.check()?;
        Ok(scorer)
    }
}

/// What the columns of a file stand for.
#[derive(Debug, Clone, Copy)]
enum Columns {
    Tokens,
    Codes {
        /// Whether the column after a level's codes is the end of a shorter ID.
        ends: bool,
    },
}

/// Plays the model of which a file holds the logits.
#[derive(Debug)]
pub(crate) struct FileScorer<'a> {
    file: &'a ScoreFile,
    /// Codes of each level.
    sizes: Vec<usize>,
    columns: Columns,
    /// Of one step.
    logits: Vec<f32>,
}

impl FileScorer<'_> {
    /// The columns of a level that are read.
    fn width(&self, level: usize) -> usize {
        match self.columns {
            Columns::Tokens => self.file.columns(),
            Columns::Codes { ends } => self.sizes[level] + usize::from(ends),
        }
    }

    /// Holds that all logits can be ones. A search would tell of a row of its step only.
    fn check(&self) -> anyhow::Result<()> {
        for level in 0..self.sizes.len() {
            for request in 0..self.file.requests() {
                let row = self.file.row(level, request).take(self.width(level));
                for (column, logit) in row.enumerate() {
                    ensure!(
                        !logit.is_nan() && logit != f32::INFINITY,
                        "level {level}, request {request}, column {column}: got the logit {logit}, \
                         expected a number (-inf for what cannot be)"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Scorer for FileScorer<'_> {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        self.logits.clear();
        let size = |level: usize| self.sizes[level];
        let levels = || step.rows().iter().map(|row| row.prefix.len());
        let largest = levels().map(size).max().unwrap_or(0);
        for (row, level) in step.rows().iter().zip(levels()) {
            let mut logits = self.file.row(level, row.request);
            match self.columns {
                Columns::Tokens => self.logits.extend(logits),
                Columns::Codes { ends } => {
                    self.logits.extend(logits.by_ref().take(size(level)));
                    // Rows of a step are equally wide, and the end is their last column.
                    let padding = largest - size(level);
                    let padded = self.logits.len() + padding;
                    self.logits.resize(padded, f32::NEG_INFINITY);
                    self.logits.extend(logits.take(usize::from(ends)));
                }
            }
        }
        let logits = Logits::F32(&self.logits);
        Ok(match self.columns {
            Columns::Tokens => Scores::vocabulary(logits),
            Columns::Codes { .. } => Scores::level(logits),
        })
    }
}
