//! What a generative recommender has to beat.

mod item_knn;
mod popularity;
mod sasrec;

pub use item_knn::ItemKnn;
pub use popularity::Popularity;
pub use sasrec::{ItemExamples, SasRec};
