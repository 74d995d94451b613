//! Writes the index of six items that the C examples open:
//! `cargo run --release -p semid-c --example small_index -- FILE`.

use std::error::Error;
use std::{env, fs};

use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys, Manifest, TokenFormat,
};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args_os().nth(1).ok_or("expected a file to write")?;
    // The first code tells what an item is for: 0 light, 1 work, 2 rest.
    let keys = ItemKeys::new(["lamp", "torch", "candle", "desk", "sofa", "bed"])?;
    let ids = [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [2, 1]];
    let codes = CodeMatrix::new(ids.into_iter().flatten().map(Code).collect(), 2)?;
    let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("example", ().into()));
    let index = ItemIndex::build(&CodeSpace::uniform(2, 4)?, &codes, &keys, 1, info)?;
    Ok(fs::write(path, index.bytes())?)
}
