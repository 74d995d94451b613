use safetensors::{Dtype, SafeTensors};

use super::{DType, Layout};
use crate::{Error, Result};

/// The name preferred where a file holds several arrays.
const NAME: &str = "embeddings";

/// Finds the embeddings in a `.safetensors` file: the tensor `embeddings`, or the only
/// two-dimensional one.
pub(super) fn layout(bytes: &[u8]) -> Result<Layout> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| {
        Error::Format(format!("none of .npy, .parquet and .safetensors ({error})"))
    })?;
    refuse_our_own(bytes)?;
    let matrices: Vec<_> = file
        .iter()
        .filter(|(_, tensor)| tensor.shape().len() == 2)
        .collect();
    let (name, tensor) = matrices
        .iter()
        .find(|(name, _)| *name == NAME)
        .or(matrices.first().filter(|_| matrices.len() == 1))
        .ok_or_else(|| {
            Error::Format(format!(
                "the .safetensors file holds {} two-dimensional tensors, expected one, or one \
                 named `{NAME}`",
                matrices.len()
            ))
        })?;
    let dtype = match tensor.dtype() {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        other => {
            return Err(Error::Format(format!(
                "tensor `{name}` has type {other:?}, expected F16, BF16, F32 or F64"
            )));
        }
    };
    let start = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
    Ok(Layout {
        dtype,
        rows: tensor.shape()[0],
        dim: tensor.shape()[1],
        start,
    })
}

/// An index or a fusion holds matrices too, but no embeddings.
fn refuse_our_own(bytes: &[u8]) -> Result<()> {
    let header = SafeTensors::read_metadata(bytes).ok();
    let metadata = header.and_then(|(_, header)| header.metadata().clone());
    let names = metadata.into_iter().flatten().map(|(name, _)| name);
    match names.into_iter().find(|name| name.starts_with("semid.")) {
        None => Ok(()),
        Some(name) => Err(Error::Format(format!(
            "the file is a {name}, expected embeddings"
        ))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ndarray::{Array2, ArrayView2};
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::Embeddings;

    pub(crate) fn file(values: ArrayView2<'_, f32>) -> Vec<u8> {
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let (rows, dim) = values.dim();
        let view = TensorView::new(Dtype::F32, vec![rows, dim], &data).expect("sizes agree");
        safetensors::serialize([("vectors", view)], None).expect("serialises")
    }

    #[test]
    fn the_only_matrix_is_taken_whatever_its_name() {
        let values = Array2::from_shape_fn((4, 2), |(row, column)| (row * 2 + column) as f32);
        let embeddings = Embeddings::open(file(values.view())).expect("opens");
        assert_eq!(embeddings.all().expect("finite"), values);
    }
}
