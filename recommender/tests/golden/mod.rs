//! What Hugging Face made of two small models, see `fixtures/recommender/make.py`.

use std::collections::HashMap;

use safetensors::SafeTensors;
use semid_recommender::Llama;
use tch::{Device, Kind, Tensor};

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../fixtures/recommender/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).expect("a committed file")
}

pub(crate) fn model(name: &str) -> Llama {
    let config = fixture(&format!("{name}.config.json"));
    let weights = fixture(&format!("{name}.safetensors"));
    Llama::from_files(&config, &weights, Device::Cpu).expect("a Llama")
}

/// Tokens `[3, 17]` and the logits that follow each, `[3, 17, V]`.
pub(crate) fn logits(name: &str) -> (Tensor, Tensor) {
    let golden = fixture(&format!("{name}.logits.safetensors"));
    let file = SafeTensors::deserialize(&golden).expect("a sound file");
    let tensor = |name: &str, kind| {
        let view = file.tensor(name).expect("a tensor");
        let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        Tensor::from_data_size(view.data(), &shape, kind)
    };
    (tensor("tokens", Kind::Int64), tensor("logits", Kind::Float))
}

/// The largest difference between two tensors, beside the largest value of the second.
pub(crate) fn difference(got: &Tensor, expected: &Tensor) -> f64 {
    let largest = |tensor: Tensor| tensor.abs().max().double_value(&[]);
    largest(got - expected) / largest(expected.shallow_clone())
}

/// The gradients of all that is trained, for the loss of the next tokens, by name.
pub(crate) fn gradients(model: &Llama, tokens: &Tensor) -> HashMap<String, Tensor> {
    let last = tokens.size()[1] - 1;
    let logits = model.logits(&model.hidden(&tokens.narrow(1, 0, last)));
    let targets = tokens.narrow(1, 1, last).flatten(0, 1);
    logits
        .flatten(0, 1)
        .cross_entropy_for_logits(&targets)
        .backward();
    let trained = model.trained().into_iter();
    trained
        .map(|(name, tensor)| (name, tensor.grad()))
        .collect()
}
