//! Other ways from a generative model to items than a beam search, to be compared with it.

mod certified;
mod grounded;
mod head_training;
mod item_head;
mod offered;

pub use certified::{Certified, Proofs};
pub use grounded::{Grounded, GroundingParams};
pub use head_training::{HeadConfig, HeadParams, HeadTrainer};
pub use item_head::{HEAD_FILE, Headed, ItemHead};
