use ndarray::ArrayView2;
use npyz::{DType as NpyType, NpyHeader, Order, TypeChar};

use super::{DType, Layout};
use crate::{Error, Result};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads the header of a `.npy` file.
pub(super) fn layout(bytes: &[u8]) -> Result<Layout> {
    let mut rest = bytes;
    let header = NpyHeader::from_reader(&mut rest)
        .map_err(|error| Error::Format(format!("bad .npy header: {error}")))?;
    let &[rows, dim] = header.shape() else {
        return Err(Error::Format(format!(
            "the .npy array has shape {:?}, expected two dimensions [items, dimension]",
            header.shape()
        )));
    };
    if header.order() == Order::Fortran {
        return Err(Error::Format(
            "the .npy array is in column order; save `numpy.ascontiguousarray(x)`".into(),
        ));
    }
    let too_large = |_| Error::Format(format!("shape {rows} x {dim} does not fit the memory"));
    Ok(Layout {
        dtype: dtype(&header.dtype())?,
        rows: usize::try_from(rows).map_err(too_large)?,
        dim: usize::try_from(dim).map_err(too_large)?,
        start: bytes.len() - rest.len(),
    })
}

fn dtype(dtype: &NpyType) -> Result<DType> {
    if let NpyType::Plain(plain) = dtype
        && plain.type_char() == TypeChar::Float
        && plain.endianness() == npyz::Endianness::Little
    {
        match plain.size_field() {
            2 => return Ok(DType::F16),
            4 => return Ok(DType::F32),
            8 => return Ok(DType::F64),
            _ => {}
        }
    }
    Err(Error::Format(format!(
        "the .npy array has type {}, expected little-endian floats: <f2, <f4 or <f8",
        dtype.descr()
    )))
}

/// The bytes of a whole file.
pub(super) fn write(values: ArrayView2<'_, f32>) -> Vec<u8> {
    let mut bytes = header(values.nrows(), values.ncols());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// What comes before the values: version 1.0 of the format, C order, padded so that the data
/// starts at a multiple of 64.
pub(super) fn header(rows: usize, dim: usize) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(
        ' ',
        unpadded.next_multiple_of(64) - unpadded,
    ));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes
}
