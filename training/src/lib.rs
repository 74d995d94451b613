//! What all trainings on libtorch share: an optimizer whose state can be saved, checkpoints, seeds.
//!
//! A training that is killed and resumed must end in the same model as one that was not. So the
//! moments of [`AdamW`] lie open, a [checkpoint](write_checkpoint) holds all of them beside the
//! model, and [`seeded`] gives each epoch draws of its own.

mod adamw;
mod checkpoint;
mod device;
mod error;
mod memory;
mod seed;

pub use adamw::{AdamW, Parameter};
pub use checkpoint::{copy_tensors, read_checkpoint, tensor_bytes, tensor_of, write_checkpoint};
pub use device::check_device;
pub use error::{Error, Result};
pub use memory::{memory_needed, within_memory};
pub use seed::seeded;
