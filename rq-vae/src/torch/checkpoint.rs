use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{to_tensor, to_vec};
use crate::{Error, Result};

/// The numbers of a training that are not tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) config: crate::RqVaeConfig,
    /// blake3 of the embeddings: a training goes on with the data it began with.
    pub(super) data: String,
    pub(super) epochs: usize,
    pub(super) steps: i64,
    pub(super) best_epoch: usize,
    pub(super) best_error: Option<f64>,
}

const FORMAT: &str = "semid.checkpoint.1";

/// A safetensors file of all tensors, with the state as JSON in its metadata.
pub(super) fn write(state: &State, tensors: &[(String, Tensor)]) -> Vec<u8> {
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let shape = tensor.size().iter().map(|&size| size as usize).collect();
            let bytes = to_vec(tensor)
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (name.clone(), shape, bytes)
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("shapes and bytes were made together"))
    });
    let state = serde_json::to_string(state).expect("plain data serialises");
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("state".to_owned(), state),
    ]);
    safetensors::serialize(views, Some(metadata)).expect("names are distinct")
}

pub(super) fn state(bytes: &[u8]) -> Result<State> {
    let bad = |problem: String| Error::Training(format!("bad checkpoint: {problem}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| bad(error.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    if metadata.get("format").map(String::as_str) != Some(FORMAT) {
        return Err(bad(format!(
            "got format {:?}, expected {FORMAT:?}; remove it to train from the start",
            metadata.get("format")
        )));
    }
    let state = metadata
        .get("state")
        .ok_or_else(|| bad("no state".into()))?;
    serde_json::from_str(state).map_err(|error| bad(error.to_string()))
}

/// Copies the tensors of a checkpoint over those of the same names.
pub(super) fn restore(bytes: &[u8], tensors: &mut [(String, Tensor)]) -> Result<()> {
    let bad = |problem: String| Error::Training(format!("bad checkpoint: {problem}"));
    let file = SafeTensors::deserialize(bytes).map_err(|error| bad(error.to_string()))?;
    for (name, tensor) in tensors {
        let view = file.tensor(name).map_err(|error| bad(error.to_string()))?;
        let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        if view.dtype() != Dtype::F32 || shape != tensor.size() {
            return Err(bad(format!(
                "tensor `{name}` is {:?} {shape:?}, expected F32 {:?}",
                view.dtype(),
                tensor.size()
            )));
        }
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
        let flat = ndarray::ArrayView2::from_shape((1, values.len()), &values).expect("one row");
        let values = to_tensor(flat, tensor.device())
            .view(shape.as_slice())
            .to_kind(Kind::Float);
        tch::no_grad(|| tensor.copy_(&values));
    }
    Ok(())
}
