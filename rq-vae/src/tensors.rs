//! Tensors of f32 in `.safetensors` files.

use std::collections::{BTreeMap, HashMap};

use ndarray::{Array1, Array2};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result};

/// The file of some tensors, with what its metadata say.
pub(crate) fn serialize(
    tensors: &BTreeMap<String, (Vec<usize>, Vec<u8>)>,
    metadata: Option<HashMap<String, String>>,
) -> Vec<u8> {
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("shapes and bytes were made together"))
    });
    safetensors::serialize(views, metadata).expect("names are distinct")
}

/// The shape and the bytes of a tensor of f32.
pub(crate) fn tensor<'a>(
    shape: &[usize],
    values: impl Iterator<Item = &'a f32>,
) -> (Vec<usize>, Vec<u8>) {
    (
        shape.to_vec(),
        values.flat_map(|value| value.to_le_bytes()).collect(),
    )
}

/// Named tensors of an untrusted file.
pub(crate) struct Tensors<'a>(pub(crate) &'a SafeTensors<'a>);

impl Tensors<'_> {
    fn values(&self, name: &str, dims: usize) -> Result<(Vec<usize>, Vec<f32>)> {
        let bad = |problem: String| Error::Model(format!("tensor `{name}`: {problem}"));
        let tensor = self
            .0
            .tensor(name)
            .map_err(|error| bad(error.to_string()))?;
        let shape = tensor.shape().to_vec();
        if tensor.dtype() != Dtype::F32 || shape.len() != dims || shape.contains(&0) {
            return Err(bad(format!(
                "got {:?} {shape:?}, expected F32 with {dims} dimension(s), none of them 0",
                tensor.dtype()
            )));
        }
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        let values: Vec<f32> = tensor.data().chunks_exact(4).map(number).collect();
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(bad(format!("holds {value}, expected finite numbers"))),
            None => Ok((shape, values)),
        }
    }

    pub(crate) fn vector(&self, name: &str) -> Result<Array1<f32>> {
        Ok(Array1::from(self.values(name, 1)?.1))
    }

    pub(crate) fn matrix(&self, name: &str) -> Result<Array2<f32>> {
        let (shape, values) = self.values(name, 2)?;
        Ok(Array2::from_shape_vec((shape[0], shape[1]), values).expect("the reader checked"))
    }
}
