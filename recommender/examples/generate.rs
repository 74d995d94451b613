//! Items after prompts, by a language model of a Hugging Face folder:
//!
//! ```text
//! generate MODEL INDEX PROMPTS FIRST [THREADS [BEAMS]]
//! ```
//!
//! MODEL has config.json and model.safetensors; PROMPTS is JSON, a list of lists of token ids; FIRST
//! is the token of the first code, behind which those of all levels follow one another. Prints
//! JSON: the seconds that generation took, the codes of ten items a prompt, their scores, and the
//! most memory that the process ever had, in megabytes, where the system tells.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use semantic_id::ItemIndex;
use semid_recommender::{Generator, Llama, Prompt};
use tch::Device;
use trie_decode::{BeamParams, ItemTrie, TokenMap};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, index, prompts, first, numbers @ ..] = &*arguments else {
        return Err("generate MODEL INDEX PROMPTS FIRST [THREADS [BEAMS]]".into());
    };
    let number = |at: usize, usual| numbers.get(at).map_or(Ok(usual), |number| number.parse());
    tch::set_num_threads(number(0, 1)?.try_into()?);
    let params = BeamParams {
        beams: vec![number(1, 20)?],
        ..BeamParams::default()
    };

    let folder = Path::new(model);
    let [config, weights] =
        ["config.json", "model.safetensors"].map(|file| fs::read(folder.join(file)));
    let model = Llama::from_files(&config?, &weights?, Device::Cpu)?;
    let trie = ItemTrie::new(ItemIndex::open(fs::read(index)?)?);
    let prompts: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(prompts)?)?;
    let prompts = prompts.into_iter().map(|tokens| Prompt {
        tokens,
        filter: None,
    });
    let prompts: Vec<Prompt<'_>> = prompts.collect();

    let mut next: u32 = first.parse()?;
    let firsts = trie.space().sizes().iter().map(|size| {
        let first = next;
        next += size;
        first
    });
    let firsts: Vec<u32> = firsts.collect();
    let tokens = TokenMap::ranges(trie.space(), &firsts, model.config().vocab_size)?;
    let generator = Generator::new(&model, &tokens, trie.space(), params)?;

    let start = Instant::now();
    let outcomes = generator.run(&trie, &prompts)?;
    let seconds = start.elapsed().as_secs_f64();
    let codes = outcomes.iter().map(|outcome| {
        let hits = outcome.hits.iter();
        hits.map(|hit| hit.codes.to_vec()).collect::<Vec<_>>()
    });
    let scores = outcomes.iter().flat_map(|outcome| &outcome.hits);
    println!(
        "{}",
        serde_json::json!({
            "seconds": seconds,
            "found": codes.collect::<Vec<_>>(),
            "scores": scores.map(|hit| hit.score).collect::<Vec<_>>(),
            "peak": peak(),
        })
    );
    Ok(())
}

/// Megabytes that this process had at its peak; proc(5).
fn peak() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}
