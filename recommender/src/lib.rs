//! A generative recommender: a small Llama that names items by their semantic IDs.

mod baselines;
mod config;
mod conversation;
mod corpus;
mod decode;
mod error;
mod evaluation;
mod examples;
#[cfg(feature = "gguf")]
mod gguf;
mod model;
mod new_tokens;
mod packing;
mod pretrained;
mod ranker;
mod recommender;
mod training;
mod vocabulary;
mod ways;

pub use baselines::{ItemExamples, ItemKnn, Popularity, SasRec};
pub use config::{LlamaConfig, RopeParameters};
pub use conversation::{Conversation, Speech};
pub use corpus::{CorpusExamples, StoredRows, TextReader};
pub use decode::{Generator, Prompt};
pub use error::{Error, Result};
pub use evaluation::Evaluation;
pub use examples::{Example, Examples, HistoryExamples};
#[cfg(feature = "gguf")]
pub use gguf::Gguf;
pub use model::{Llama, Lora, shard_names};
pub use new_tokens::NewTokens;
pub use pretrained::Pretrained;
pub use ranker::{Query, Ranker};
pub use recommender::{Ask, Generative, Reader, Recommender, Settings};
pub use training::{EpochReport, Judge, Trainer, TrainingConfig, TrainingParams};
pub use vocabulary::Vocabulary;
pub use ways::{
    Certified, Grounded, GroundingParams, HEAD_FILE, HeadConfig, HeadParams, HeadTrainer, Headed,
    ItemHead, Proofs,
};
