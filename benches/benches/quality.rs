//! The default model beside residual k-means: same data, sizes and seed.
//!
//! `SEMID_DATA=folder cargo bench -p semid-benches --bench quality [-- SEED...]`

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::path::Path;
use std::time::Instant;

use ndarray::{Array2, ArrayView2, Axis};
use rq_vae::{BEAMS, Embeddings, Encoder, LatentDistances, Preset, Result, RqVaeParams, Trainer};
use semantic_id::{Assigner, CodeMatrix, Draft, ItemKeys, LevelStatistics, OptimalAssigner};

const DATA: [(&str, &str); 2] = [
    ("Scientific", "scientific/Scientific.emb-minilm-td.npy"),
    ("Games", "games/Games.emb-minilm-tc.npy"),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(folder) = std::env::var_os("SEMID_DATA") else {
        println!("quality: SEMID_DATA is not set, nothing is measured");
        return Ok(());
    };
    // `cargo test` runs benches once, to see that they work; this one would take minutes.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let mut seeds: Vec<u64> = arguments
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    if seeds.is_empty() {
        seeds.push(0);
    }
    tch::set_num_threads(1);
    println!(
        "data        seed preset     mse      assigned  held out  level-0 perplexity  raw rate  seconds"
    );
    for (name, file) in DATA {
        let bytes = std::fs::read(Path::new(&folder).join(file)).expect("the data is there");
        let all = Embeddings::open(bytes)?.all()?;
        for &seed in &seeds {
            for preset in [Preset::RkMeans, Preset::Default] {
                println!("{name:11} {seed:4} {}", row(&all, preset, seed)?);
            }
        }
    }
    Ok(())
}

fn row(all: &Array2<f32>, preset: Preset, seed: u64) -> Result<String> {
    let start = Instant::now();
    let encoder = fit(all.view(), preset, seed)?;
    let seconds = start.elapsed().as_secs_f64();
    let (paths, costs) = encoder.encode(all.view(), BEAMS)?;
    let assigned = assign(&encoder, all, &paths, costs)?;
    let statistics = LevelStatistics::of(&paths, encoder.quantizer().space());

    // Every tenth item is kept from this fit.
    let rows = |kept: bool| -> Vec<usize> {
        (0..all.nrows())
            .filter(|row| (row % 10 == 9) == kept)
            .collect()
    };
    let (train, held_out) = (
        all.select(Axis(0), &rows(false)),
        all.select(Axis(0), &rows(true)),
    );
    let of_most = fit(train.view(), preset, seed)?;
    let (unseen, _) = of_most.encode(held_out.view(), BEAMS)?;
    let preset = format!("{preset:?}");
    Ok(format!(
        "{preset:9} {:.6}  {:.6}  {:.6}  {:18.1}  {:8.4}  {seconds:7.1}",
        encoder.mse(all.view(), &paths)?,
        encoder.mse(all.view(), &assigned)?,
        of_most.mse(held_out.view(), &unseen)?,
        statistics[0].perplexity,
        paths.collision_rate(),
    ))
}

fn fit(embeddings: ArrayView2<'_, f32>, preset: Preset, seed: u64) -> Result<Encoder> {
    let config = RqVaeParams {
        seed,
        ..RqVaeParams::preset(preset)
    }
    .check()?;
    if config.epochs == 0 {
        return Encoder::residual_kmeans(&config, embeddings, |_| ());
    }
    let mut trainer = Trainer::new(config, embeddings, tch::Device::Cpu, |_| ())?;
    while trainer.epoch()?.is_some() {}
    trainer.finish()
}

fn assign(
    encoder: &Encoder,
    all: &Array2<f32>,
    paths: &CodeMatrix,
    costs: Vec<f32>,
) -> Result<CodeMatrix> {
    let quantizer = encoder.quantizer();
    let distances = LatentDistances::new(quantizer, encoder.latents(all.view())?)?;
    let draft = Draft::new(quantizer.space().clone(), paths.clone(), costs, &distances)?;
    let keys = ItemKeys::numbered(paths.len())?;
    Ok(OptimalAssigner::default()
        .assign(&draft, &keys)?
        .into_paths())
}
