//! The bodies of the fuzz targets: a function of bytes for every reader of
//! untrusted files. Each crate's own tests run them too, over `seeds/` and mutations of it.
//!
//! To add a reader: a function in `bodies/<crate>.rs`, five lines in `fuzz_targets/`, a
//! `[[bin]]` in `Cargo.toml`, and a seed or more in `seeds/<target>/`.

#[path = "../bodies/rq_vae.rs"]
pub mod rq_vae;
#[path = "../bodies/semantic_id.rs"]
pub mod semantic_id;
#[path = "../bodies/tasks.rs"]
pub mod tasks;
#[path = "../bodies/trie_decode.rs"]
pub mod trie_decode;
