//! What the masks of many beams take, for `make peers`, which asks the wheel the same:
//! `cargo run --release -p trie-decode --example masks INDEX ROWS VOCABULARY`.
//!
//! Prints the milliseconds at each level after the first, as JSON: the median of 301 calls for rows that
//! are spread over the items. The last tokens stand for the codes.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::error::Error;
use std::time::Instant;

use semantic_id::ItemIndex;
use trie_decode::{ItemTrie, TokenMap, TokenMask};

const ROUNDS: usize = 301;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, rows, vocabulary] = &arguments[..] else {
        return Err("expected INDEX ROWS VOCABULARY".into());
    };
    let (rows, vocabulary): (usize, usize) = (rows.parse()?, vocabulary.parse()?);

    let trie = ItemTrie::new(ItemIndex::open(std::fs::read(path)?)?);
    let index = trie.index().expect("the trie was made of it");
    let sizes = trie.space().sizes().to_vec();
    let mut first = vocabulary as u32 - sizes.iter().sum::<u32>();
    let firsts = sizes.iter().map(|size| {
        first += size;
        first - size
    });
    let tokens = TokenMap::ranges(trie.space(), &firsts.collect::<Vec<_>>(), vocabulary)?;

    let mut times = Vec::new();
    for level in 1..trie.levels() {
        let mut cursors = Vec::new();
        for item in index.rows().step_by(trie.items() / rows).take(rows) {
            cursors.extend(trie.find(&index.semantic_id(item)?[..level])?);
        }
        let mask = || TokenMask::new(&trie, &tokens);
        let mut words = vec![0; cursors.len() * mask()?.words()];
        let mut seconds = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            mask()?.fill_batch(&cursors, &mut words)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        times.push(1e3 * seconds[ROUNDS / 2]);
    }
    println!("{times:?}");
    Ok(())
}
