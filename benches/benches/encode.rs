//! How near encoding comes to the machine's rate of plain f32 matrix products.
//!
//! Not criterion: what matters is a ratio of rates within one run, so the contenders take
//! turns and the medians are compared. `cargo bench -p semid-benches --bench encode`

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::time::Instant;

use ndarray::{Array1, Array2};
use rq_vae::{BEAMS, Codebook, Encoder, Preset, ResidualQuantizer, RqVae, RqVaeParams};

const ITEMS: usize = 16_384;
const DIM: usize = 384;
const LEVELS: usize = 4;
const CODES: usize = 256;
const HIDDEN: usize = 512;
const ROUNDS: usize = 9;

fn main() {
    // `cargo test` runs benches once, to see that they work.
    let (items, rounds) = match std::env::args().any(|argument| argument == "--bench") {
        true => (ITEMS, ROUNDS),
        false => (256, 1),
    };
    let latents = values(items, DIM, 1);
    let codebooks = (0..LEVELS).map(|level| Codebook(values(CODES, DIM, 2 + level as u64)));
    let quantizer = ResidualQuantizer::new(codebooks.collect()).expect("equal dimensions");
    let centroids = values(LEVELS * CODES, DIM, 9);
    let tensors = (tensor(&latents), tensor(&centroids).tr());
    tch::set_num_threads(rayon::current_num_threads() as i32);

    let model = model(&latents);

    let mut times = [(); 5].map(|()| Vec::new());
    for _ in 0..rounds {
        times[0].push(seconds(|| faer_product(&latents, &centroids)));
        times[1].push(seconds(|| tensors.0.matmul(&tensors.1)));
        times[2].push(seconds(|| quantizer.encode(latents.view(), 1)));
        times[3].push(seconds(|| quantizer.encode(latents.view(), BEAMS)));
        times[4].push(seconds(|| model.encode(latents.view(), BEAMS)));
    }
    let product = (2 * items * DIM * LEVELS * CODES) as f64;
    // The default model's encoder: one hidden layer between D and D.
    let networks = (2 * items * 2 * DIM * HIDDEN) as f64;
    let mut operations = [product; 5];
    operations[4] += networks;
    let rate = |(times, operations): (&mut Vec<f64>, f64)| {
        times.sort_by(f64::total_cmp);
        operations / times[times.len() / 2] / 1e9
    };
    let rates: Vec<f64> = times.iter_mut().zip(operations).map(rate).collect();
    let ceiling = rates[0].max(rates[1]);
    println!(
        "{items} x {DIM}, {LEVELS} x {CODES} codes, {} threads",
        rayon::current_num_threads()
    );
    let names = [
        "product, faer",
        "product, libtorch",
        "encode, greedy",
        "encode, 8 beams",
        "default model, 8 beams",
    ];
    for (name, rate) in names.iter().zip(rates) {
        println!(
            "{name:22} {rate:7.1} GFLOP/s  {:5.1} % of the ceiling",
            100.0 * rate / ceiling
        );
    }
}

/// A model of the default preset's shape, hardly trained: its speed is that of any other.
fn model(sample: &Array2<f32>) -> Encoder {
    let params = RqVaeParams {
        kmeans_iterations: 1,
        kmeans_sample: 1024,
        hidden: vec![HIDDEN],
        ..RqVaeParams::preset(Preset::Default)
    };
    let config = params.check().expect("in range");
    let mut model = RqVae::new(config, DIM, tch::Device::Cpu);
    let sample = model.tensor(sample.slice(ndarray::s![..1024.min(sample.nrows()), ..]));
    model
        .start_codebooks(&sample, |_| ())
        .expect("there is a sample");
    model
        .to_encoder((Array1::zeros(DIM), 1.0))
        .expect("the model is whole")
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64()
}

/// Values in [-1, 1) by a linear congruential generator.
fn values(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
    let mut state = seed;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

fn tensor(values: &Array2<f32>) -> tch::Tensor {
    let (rows, columns) = values.dim();
    tch::Tensor::from_slice(values.as_slice().expect("row-major"))
        .view([rows as i64, columns as i64])
}

fn faer_product(x: &Array2<f32>, w: &Array2<f32>) -> faer::Mat<f32> {
    let x =
        faer::MatRef::from_row_major_slice(x.as_slice().expect("row-major"), x.nrows(), x.ncols());
    let w =
        faer::MatRef::from_row_major_slice(w.as_slice().expect("row-major"), w.nrows(), w.ncols());
    let mut out = faer::Mat::zeros(x.nrows(), w.nrows());
    let threads = faer::Par::rayon(0);
    faer::linalg::matmul::matmul(
        out.as_mut(),
        faer::Accum::Replace,
        x,
        w.transpose(),
        1.0,
        threads,
    );
    out
}
