use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// A safetensors file of all tensors, with the state of a training as JSON in its metadata.
/// `format` tells one kind of training from another, and one version of it from the next.
///
/// # Panics
///
/// If two tensors have one name, a tensor is not of f32, f16 or bf16, or the state cannot be
/// JSON.
pub fn write_checkpoint(
    format: &str,
    state: &impl Serialize,
    tensors: &[(String, Tensor)],
) -> Vec<u8> {
    let parts = |(name, tensor): &(String, Tensor)| (name.clone(), tensor_bytes(tensor));
    let mut data: Vec<_> = tensors.iter().map(parts).collect();
    data.sort_by(|a, b| a.0.cmp(&b.0));
    let state = serde_json::to_string(state).expect("plain data serialises");
    let views = data.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        (name, view.expect("shapes and bytes were made together"))
    });
    let views: Vec<_> = views.collect();
    let metadata = HashMap::from([
        ("format".to_owned(), format.to_owned()),
        ("blake3".to_owned(), digest(&state, &views)),
        ("state".to_owned(), state),
    ]);
    safetensors::serialize(views, Some(metadata)).expect("names are distinct")
}

/// Of the state, and of the names, types, shapes and values of all tensors in order of their names.
fn digest(state: &str, tensors: &[(impl AsRef<str>, TensorView<'_>)]) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(state.as_bytes());
    for (name, tensor) in tensors {
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        hash.update(format!("{:?}{dtype:?}{shape:?}", name.as_ref()).as_bytes());
        hash.update(tensor.data());
    }
    hash.finalize().to_hex().to_string()
}

/// The state of a checkpoint whose bytes are all as they were written.
///
/// # Errors
///
/// [`Error::Checkpoint`] if they are not, or are of another format.
pub fn read_checkpoint<S: DeserializeOwned>(format: &str, bytes: &[u8]) -> Result<S> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(bad)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    if metadata.get("format").map(String::as_str) != Some(format) {
        return Err(bad(format!(
            "got format {:?}, expected {format:?}; remove it to train from the start",
            metadata.get("format")
        )));
    }
    let state = metadata.get("state").ok_or_else(|| bad("no state"))?;
    let file = SafeTensors::deserialize(bytes).map_err(bad)?;
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    if metadata.get("blake3") != Some(&digest(state, &tensors)) {
        return Err(bad(
            "its bytes were altered; remove it to train from the start",
        ));
    }
    serde_json::from_str(state).map_err(bad)
}

/// Copies the tensors of a safetensors file over those of the same names.
///
/// # Errors
///
/// [`Error::Checkpoint`] if one is not there, or has another shape.
pub fn copy_tensors(bytes: &[u8], tensors: &mut [(String, Tensor)]) -> Result<()> {
    let file = SafeTensors::deserialize(bytes).map_err(bad)?;
    for (name, tensor) in tensors {
        let view = file.tensor(name).map_err(bad)?;
        let value = tensor_of(&view)?;
        if value.size() != tensor.size() {
            return Err(bad(format!(
                "tensor `{name}` is {:?}, expected {:?}",
                value.size(),
                tensor.size()
            )));
        }
        tch::no_grad(|| tensor.copy_(&value));
    }
    Ok(())
}

/// A tensor's type, shape and values as a safetensors file has them.
///
/// # Panics
///
/// If it is not of f32, f16 or bf16.
pub fn tensor_bytes(tensor: &Tensor) -> (Dtype, Vec<usize>, Vec<u8>) {
    let (dtype, width) = match tensor.kind() {
        Kind::Float => (Dtype::F32, 4),
        Kind::Half => (Dtype::F16, 2),
        Kind::BFloat16 => (Dtype::BF16, 2),
        kind => panic!("a weight of type {kind:?}"),
    };
    let shape = tensor.size().iter().map(|&size| size as usize).collect();
    let values = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0_u8; values.numel() * width];
    let raw = values.view(-1).view_dtype(Kind::Uint8);
    raw.copy_data(&mut bytes, raw.numel());
    (dtype, shape, bytes)
}

/// A tensor of a safetensors file, on the CPU.
///
/// # Errors
///
/// [`Error::Checkpoint`] for one that is not of f32, f16 or bf16.
pub fn tensor_of(view: &TensorView<'_>) -> Result<Tensor> {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        dtype => return Err(bad(format!("a tensor of {dtype:?}, expected a float"))),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    let tensor = Tensor::f_from_data_size(view.data(), &shape, kind);
    tensor.map_err(bad)
}

fn bad(problem: impl ToString) -> Error {
    Error::Checkpoint(problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<(String, Tensor)> {
        let w = Tensor::from_slice(&[1.0_f32, -2.5, 3.25]);
        let half = Tensor::from_slice(&[0.5_f32, 7.0]).to_kind(Kind::BFloat16);
        vec![("w".to_owned(), w), ("half".to_owned(), half.view([2, 1]))]
    }

    #[test]
    fn gives_back_what_went_in() {
        let bytes = write_checkpoint("test.1", &[3, 4], &tensors());
        let state: Vec<i32> = read_checkpoint("test.1", &bytes).expect("as written");
        assert_eq!(state, [3, 4]);
        let blank = |(name, tensor): (String, Tensor)| (name, tensor.zeros_like());
        let mut back: Vec<_> = tensors().into_iter().map(blank).collect();
        copy_tensors(&bytes, &mut back).expect("the same shapes");
        let pairs = back.iter().zip(tensors());
        assert!(pairs.into_iter().all(|(a, b)| a.1 == b.1));
    }

    #[test]
    fn altered_bytes_and_other_formats_are_refused() {
        let bytes = write_checkpoint("test.1", &(), &tensors());
        let error = read_checkpoint::<()>("test.2", &bytes).expect_err("another format");
        assert!(error.to_string().contains("test.2"), "{error}");
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            // White space behind the header is not of the values.
            let padding = bytes[at] == b' ' && bytes.get(at + 1) != Some(&b'"');
            assert!(
                padding || read_checkpoint::<()>("test.1", &altered).is_err(),
                "{at}"
            );
        }
        let mut other = [(
            "w".to_owned(),
            Tensor::zeros([4], (Kind::Float, Device::Cpu)),
        )];
        let error = copy_tensors(&bytes, &mut other).expect_err("another shape");
        assert!(error.to_string().contains("[3], expected [4]"), "{error}");
    }
}
