//! The Python module `semid._semid`; `python/semid/_semid.pyi` is its manual.

mod array;
mod bytes;
mod corpus;
mod cursor;
mod encoder;
mod error;
mod filter;
mod index;
mod scoring;
mod search;
mod session;
mod share;
mod threads;
mod tokens;
mod trie;
mod writer;

use pyo3::prelude::*;

#[pymodule]
mod _semid {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::threads::imported();
        Ok(())
    }

    #[pymodule_export]
    use super::corpus::{RecipeRows, build_corpus, check};
    #[pymodule_export]
    use super::cursor::{Cursor, Cursors};
    #[pymodule_export]
    use super::encoder::{Assignment, Encoder, assign, assign_latents};
    #[pymodule_export]
    use super::error::SemidError;
    #[pymodule_export]
    use super::filter::Filter;
    #[pymodule_export]
    use super::index::Index;
    #[pymodule_export]
    use super::scoring::{held_out_gain, reward, scores};
    #[pymodule_export]
    use super::search::{BeamSearch, Hit, Outcome, Step};
    #[pymodule_export]
    use super::session::DecodeSession;
    #[pymodule_export]
    use super::share::{EventTable, ShareRows, audit_rows, recipe_files, row_keys, share_counts};
    #[pymodule_export]
    use super::tokens::TokenMap;
    #[pymodule_export]
    use super::trie::Trie;
    #[pymodule_export]
    use super::writer::IndexWriter;
}
