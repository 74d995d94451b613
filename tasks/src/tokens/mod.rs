//! How long rows are, and what to do with those that are too long.

mod lengths;
mod packing;
#[cfg(test)]
mod tests;
#[cfg(feature = "tokenizers")]
mod tokenizer;
mod truncation;

pub use lengths::{CorpusLengths, Lengths, Summary, TaskLengths};
pub use packing::{NextFit, Packing};
#[cfg(feature = "tokenizers")]
pub use tokenizer::Tokenizer;
pub use truncation::{Kept, Truncation, first_sentences, sentences};
