//! The reader of `tokenizer.json` against damaged files, and every handle against damaged
//! indexes that nobody validated.

use damage::survives;

#[expect(unreachable_pub, reason = "public to the fuzz targets")]
#[path = "../../fuzz/bodies/trie_decode.rs"]
mod bodies;
#[expect(unreachable_pub, reason = "shared between crates")]
#[path = "../../fuzz/bodies/damage.rs"]
mod damage;

#[test]
fn tokenizer_files() {
    survives("tokenizer", bodies::tokenizer);
}

#[test]
fn tries_of_index_files() {
    survives("index", bodies::trie);
}
