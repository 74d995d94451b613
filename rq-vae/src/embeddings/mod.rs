//! Readers of embedding files.

mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod safetensors;

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

#[cfg(feature = "parquet")]
pub use parquet::parquet_to_npy;

use crate::random::shuffled;
use crate::{Error, Result};

/// The number type of a file's values, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DType {
    F16,
    Bf16,
    F32,
    F64,
}

impl DType {
    fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Decodes whole values.
    fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let pairs = bytes.chunks_exact(self.size()).zip(&mut *out);
        match self {
            Self::F16 => decode_f16(bytes, out),
            Self::Bf16 => {
                pairs.for_each(|(b, out)| *out = bf16::from_le_bytes([b[0], b[1]]).to_f32());
            }
            Self::F32 => pairs.for_each(|(b, out)| {
                *out = f32::from_le_bytes(b.try_into().expect("four bytes"));
            }),
            Self::F64 => pairs.for_each(|(b, out)| {
                *out = f64::from_le_bytes(b.try_into().expect("eight bytes")) as f32;
            }),
        }
    }
}

/// A block at a time, as the processor converts eight numbers at once.
fn decode_f16(bytes: &[u8], out: &mut [f32]) {
    const BLOCK: usize = 64;
    let mut halves = [f16::ZERO; BLOCK];
    for (bytes, out) in bytes.chunks(2 * BLOCK).zip(out.chunks_mut(BLOCK)) {
        let halves = &mut halves[..out.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(out);
    }
}

/// Where the values lie in the file: `rows * dim` values from `start`, row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) dtype: DType,
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    pub(crate) start: usize,
}

#[derive(Debug)]
enum Source<D> {
    /// Values are decoded from the file as they are asked for.
    Bytes(D, Layout),
    /// A columnar file was decoded when it was opened.
    #[cfg(feature = "parquet")]
    Decoded(Array2<f32>, Option<Vec<String>>),
}

/// The embeddings of a catalogue, `[N, D]`: row `i` belongs to item `i`.
///
/// Reads `.npy`, `.safetensors` (f32, f16, bf16, f64; from a memory map, decoded a slice at a
/// time) and, with the feature `parquet`, Parquet (decoded when opened). The bytes are
/// treated as hostile: a file that lies about its size is an error, never a panic.
///
/// ```
/// use rq_vae::{Embeddings, npy};
///
/// let file = npy(ndarray::array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]].view());
/// let embeddings = Embeddings::open(file)?;
/// assert_eq!((embeddings.len(), embeddings.dim()), (3, 2));
/// assert_eq!(embeddings.rows(1..3)?, ndarray::array![[3.0, 4.0], [5.0, 6.0]]);
/// # Ok::<(), rq_vae::Error>(())
/// ```
#[derive(Debug)]
pub struct Embeddings<D>(Source<D>);

impl<D: AsRef<[u8]> + Sync> Embeddings<D> {
    /// Opens a file; its format is told by its first bytes. Reads the header only, except
    /// for Parquet.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] for bytes that are none of the formats, that are cut short, or hold
    /// no two-dimensional array of floats; [`Error::Empty`] without rows.
    pub fn open(bytes: D) -> Result<Self> {
        let head = bytes.as_ref();
        let source = if head.starts_with(npy::MAGIC) {
            let layout = npy::layout(head)?;
            Source::Bytes(bytes, layout)
        } else if head.starts_with(b"PAR1") {
            #[cfg(not(feature = "parquet"))]
            return Err(Error::Format("Parquet needs the feature `parquet`".into()));
            #[cfg(feature = "parquet")]
            {
                let (values, keys) = parquet::read(head)?;
                Source::Decoded(values, keys)
            }
        } else {
            let layout = safetensors::layout(head)?;
            Source::Bytes(bytes, layout)
        };
        match &source {
            Source::Bytes(bytes, layout) => layout.check(bytes.as_ref().len())?,
            #[cfg(feature = "parquet")]
            Source::Decoded(..) => {}
        }
        Ok(Self(source))
    }

    /// Number of items `N`, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "never empty by construction")]
    pub fn len(&self) -> usize {
        match &self.0 {
            Source::Bytes(_, layout) => layout.rows,
            #[cfg(feature = "parquet")]
            Source::Decoded(values, _) => values.nrows(),
        }
    }

    /// Dimension `D`.
    pub fn dim(&self) -> usize {
        match &self.0 {
            Source::Bytes(_, layout) => layout.dim,
            #[cfg(feature = "parquet")]
            Source::Decoded(values, _) => values.ncols(),
        }
    }

    /// The item keys, where the file holds them (Parquet with a key column).
    pub fn keys(&self) -> Option<&[String]> {
        match &self.0 {
            Source::Bytes(..) => None,
            #[cfg(feature = "parquet")]
            Source::Decoded(_, keys) => keys.as_deref(),
        }
    }

    /// Some rows as f32, `[range.len(), D]`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] names the first row with a NaN or an infinity; [`Error::Shape`]
    /// for a range that ends beyond the last row.
    pub fn rows(&self, range: Range<usize>) -> Result<Array2<f32>> {
        if range.end > self.len() || range.start > range.end {
            return Err(Error::Shape {
                what: "end of the range of rows",
                got: range.end,
                expected: self.len(),
            });
        }
        let values = self.decode(range.clone());
        check_finite(values.view(), range.start)?;
        Ok(values)
    }

    fn decode(&self, range: Range<usize>) -> Array2<f32> {
        match &self.0 {
            Source::Bytes(bytes, layout) => layout.decode(bytes.as_ref(), range),
            #[cfg(feature = "parquet")]
            Source::Decoded(values, _) => values.slice(ndarray::s![range, ..]).to_owned(),
        }
    }

    /// `count` rows drawn without replacement, and their numbers, in their order: `[count, D]`;
    /// all, if there are no more.
    ///
    /// # Errors
    ///
    /// Those of [`Embeddings::rows`].
    pub fn sample(&self, count: usize, seed: u64) -> Result<(Vec<usize>, Array2<f32>)> {
        if count >= self.len() {
            return Ok(((0..self.len()).collect(), self.all()?));
        }
        let mut drawn = shuffled(self.len(), seed, "training sample", 0);
        drawn.truncate(count);
        drawn.sort_unstable();
        let mut values = Array2::zeros((count, self.dim()));
        (values.outer_iter_mut().into_par_iter())
            .zip(&drawn)
            .try_for_each(|(mut out, &row)| {
                let values = self.row(row);
                check_finite(values.view(), row)?;
                out.assign(&values.row(0));
                Ok::<(), Error>(())
            })?;
        Ok((drawn, values))
    }

    /// One row, whatever its values, `[1, D]`.
    pub(crate) fn row(&self, row: usize) -> Array2<f32> {
        self.decode(row..row + 1)
    }

    /// All rows as f32, `[N, D]`.
    ///
    /// # Errors
    ///
    /// Those of [`Embeddings::rows`].
    pub fn all(&self) -> Result<Array2<f32>> {
        self.rows(0..self.len())
    }
}

impl Layout {
    fn check(&self, file: usize) -> Result<()> {
        if self.rows == 0 {
            return Err(Error::Empty);
        }
        if self.dim == 0 {
            return Err(Error::Format(
                "got vectors of dimension 0, expected at least 1".into(),
            ));
        }
        let end = (self.rows.checked_mul(self.dim))
            .and_then(|values| values.checked_mul(self.dtype.size()))
            .and_then(|bytes| bytes.checked_add(self.start));
        match end {
            Some(end) if end <= file => Ok(()),
            _ => Err(Error::Format(format!(
                "the header tells of {} x {} values of {} bytes, but the file has only {file} \
                 bytes: it was cut short or altered",
                self.rows,
                self.dim,
                self.dtype.size(),
            ))),
        }
    }

    fn decode(&self, bytes: &[u8], range: Range<usize>) -> Array2<f32> {
        let row_size = self.dim * self.dtype.size();
        let bytes = &bytes[self.start + range.start * row_size..][..range.len() * row_size];
        let mut values = vec![0.0; range.len() * self.dim];
        (bytes.par_chunks(row_size))
            .zip(values.par_chunks_mut(self.dim))
            .for_each(|(bytes, row)| self.dtype.decode(bytes, row));
        Array2::from_shape_vec((range.len(), self.dim), values).expect("sizes agree")
    }
}

pub(crate) fn check_finite(values: ArrayView2<'_, f32>, first: usize) -> Result<()> {
    let all = values.as_slice().expect("row-major");
    match all.par_iter().position_first(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NotFinite {
            row: first + at / values.ncols(),
            column: at % values.ncols(),
            value: all[at],
        }),
    }
}

/// The bytes of a `.npy` file that holds `values` `[N, D]` as little-endian f32.
pub fn npy(values: ArrayView2<'_, f32>) -> Vec<u8> {
    npy::write(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small() -> Array2<f32> {
        Array2::from_shape_fn((5, 3), |(row, column)| row as f32 - 0.5 * column as f32)
    }

    #[test]
    fn every_number_type_is_read() {
        let values = small();
        let bytes = |encode: &dyn Fn(f32) -> Vec<u8>| -> Vec<u8> {
            values.iter().flat_map(|&x| encode(x)).collect()
        };
        for (dtype, bytes) in [
            (
                DType::F16,
                bytes(&|x| f16::from_f32(x).to_le_bytes().to_vec()),
            ),
            (
                DType::Bf16,
                bytes(&|x| bf16::from_f32(x).to_le_bytes().to_vec()),
            ),
            (DType::F32, bytes(&|x| x.to_le_bytes().to_vec())),
            (DType::F64, bytes(&|x| f64::from(x).to_le_bytes().to_vec())),
        ] {
            let layout = Layout {
                dtype,
                rows: 5,
                dim: 3,
                start: 0,
            };
            assert_eq!(layout.decode(&bytes, 0..5), values, "{dtype:?}");
        }
    }

    #[test]
    fn a_nan_is_named_by_its_row() {
        let mut values = small();
        values[[3, 1]] = f32::NAN;
        let embeddings = Embeddings::open(npy(values.view())).expect("the header is fine");
        let error = embeddings
            .all()
            .expect_err("row 3 is not finite")
            .to_string();
        assert!(
            error.contains("item 3") && error.contains("column 1"),
            "{error}"
        );
        assert!(embeddings.rows(0..3).is_ok());
    }

    #[test]
    fn files_that_cannot_be_are_refused() {
        let message = |bytes: Vec<u8>| Embeddings::open(bytes).expect_err("refused").to_string();
        assert!(message(npy(Array2::zeros((0, 4)).view())).contains("no rows"));
        assert!(message(npy(Array2::zeros((4, 0)).view())).contains("dimension 0"));
        assert!(message(Vec::new()).contains("none of"));
        let mut cut = npy(small().view());
        cut.truncate(cut.len() - 1);
        assert!(message(cut).contains("cut short"));
    }

    proptest! {
        #[test]
        fn npy_round_trip(rows in 1_usize..20, dim in 1_usize..20, seed: u32) {
            let values = Array2::from_shape_fn((rows, dim), |(r, c)| (r * 31 + c) as f32 + seed as f32);
            let embeddings = Embeddings::open(npy(values.view())).unwrap();
            prop_assert_eq!(embeddings.all().unwrap(), values);
        }

        /// Whatever the bytes: an answer or an error.
        #[test]
        fn hostile_bytes_do_not_panic(
            at in 0_usize..200, byte: u8, cut in 0_usize..200, kind in 0..2
        ) {
            let mut bytes = if kind == 0 {
                npy(small().view())
            } else {
                safetensors::tests::file(small().view())
            };
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut / 4));
            if let Ok(embeddings) = Embeddings::open(bytes) {
                let _ = embeddings.all();
            }
        }
    }
}
