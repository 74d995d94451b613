//! Training on libtorch.

mod contrastive;
mod model;
mod sinkhorn;
mod trainer;

pub use contrastive::Guidance;
pub use model::{Losses, RqVae};
pub use trainer::{EpochReport, Trainer, TrainingItems};

use ndarray::{Array1, Array2, ArrayView2};
use tch::{Device, Kind, Tensor};

/// Copies `[N, D]` values to a device.
fn to_tensor(values: ArrayView2<'_, f32>, device: Device) -> Tensor {
    let (rows, columns) = values.dim();
    let values = values.as_standard_layout();
    let flat = values.as_slice().expect("standard layout");
    Tensor::from_slice(flat)
        .view([rows as i64, columns as i64])
        .to_device(device)
}

/// All values of a tensor, row-major.
fn to_vec(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor
        .detach()
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous()
        .view(-1);
    Vec::try_from(flat).expect("a flat f32 tensor on the CPU")
}

fn to_vector(tensor: &Tensor) -> Array1<f32> {
    Array1::from(to_vec(tensor))
}

fn to_matrix(tensor: &Tensor) -> Array2<f32> {
    let (rows, columns) = tensor.size2().expect("a matrix");
    Array2::from_shape_vec((rows as usize, columns as usize), to_vec(tensor)).expect("sizes agree")
}
