//! Encoding without libtorch against plain searches, and model files that cannot be.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, ShapeBuilder};
use proptest::prelude::*;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rq_vae::{BEAMS, Codebook, Encoder, Error, LatentDistances, ResidualQuantizer};
use safetensors::tensor::{Dtype, TensorView};
use semantic_id::{Code, CodeMatrix, Distances, ItemId};
use serde_json::json;

fn random(seed: u64, rows: usize, columns: usize) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_fn((rows, columns), |_| rng.random_range(-1.0..1.0))
}

/// A quantizer with `codes[l]` random centroids at level `l`.
fn quantizer(seed: u64, codes: &[usize], dim: usize) -> ResidualQuantizer {
    let book = |(level, &codes): (usize, &usize)| {
        Codebook(random(seed + 1000 * level as u64, codes, dim) / 1.5_f32.powi(level as i32))
    };
    ResidualQuantizer::new(codes.iter().enumerate().map(book).collect()).expect("sound codebooks")
}

/// The files of a model, tensor by tensor: a ReLU network of one hidden layer each way.
#[derive(Clone)]
struct Files {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<f32>)>,
    config: serde_json::Value,
}

impl Files {
    fn new() -> Self {
        let (dim, hidden, latent, codes) = (6, 5, 4, 7);
        let mut tensors = Vec::new();
        let mut add = |name: &str, shape: &[usize]| {
            let count = shape.iter().product();
            let values = random(tensors.len() as u64, 1, count)
                .into_raw_vec_and_offset()
                .0;
            tensors.push((name.to_owned(), Dtype::F32, shape.to_vec(), values));
        };
        add("mean", &[dim]);
        for (name, input, output) in [("encoder", dim, latent), ("decoder", latent, dim)] {
            add(&format!("{name}.0.weight"), &[hidden, input]);
            add(&format!("{name}.0.bias"), &[hidden]);
            add(&format!("{name}.1.weight"), &[output, hidden]);
            add(&format!("{name}.1.bias"), &[output]);
        }
        for level in 0..3 {
            add(&format!("codebook.{level}"), &[codes, latent]);
        }
        tensors.push(("scale".to_owned(), Dtype::F32, vec![1], vec![1.5]));
        let network = json!({ "layers": 2, "skip": false });
        let config = json!({
            "format": "semid.model", "version": 1, "dim": dim, "levels": 3,
            "encoder": network, "decoder": network,
        });
        Self { tensors, config }
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Dtype, Vec<usize>, Vec<f32>) {
        let mut tensors = self.tensors.iter_mut();
        tensors
            .find(|tensor| tensor.0 == name)
            .expect("there is one")
    }

    fn open(&self) -> rq_vae::Result<Encoder> {
        let bytes: Vec<Vec<u8>> = (self.tensors.iter())
            .map(|(.., values)| values.iter().flat_map(|x| x.to_le_bytes()).collect())
            .collect();
        let views = (self.tensors.iter().zip(&bytes)).map(|((name, dtype, shape, _), bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).expect("sizes agree");
            (name, view)
        });
        let model = safetensors::serialize(views, None).expect("names are distinct");
        Encoder::from_files(&model, self.config.to_string().as_bytes())
    }
}

/// All paths of a small space.
fn all_paths(codes: &[usize]) -> Vec<Vec<Code>> {
    codes.iter().fold(vec![Vec::new()], |paths, &codes| {
        let longer = |path: Vec<Code>| {
            (0..codes).map(move |code| [&path[..], &[Code(code as u16)]].concat())
        };
        paths.into_iter().flat_map(longer).collect()
    })
}

/// Squared distance of a latent to the sum of the centroids of a path or prefix, in f64.
fn plain_distance(quantizer: &ResidualQuantizer, x: ArrayView1<'_, f32>, path: &[Code]) -> f64 {
    let mut residual = x.mapv(f64::from);
    for (book, code) in quantizer.codebooks().iter().zip(path) {
        residual -= &book.0.row(code.index()).mapv(f64::from);
    }
    residual.dot(&residual)
}

/// As near as f32 sums of a few dozen numbers below 10 can be.
fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-5 * (1.0 + a.max(b))
}

fn codes_of(encoder: &Encoder, x: ArrayView2<'_, f32>, threads: usize) -> CodeMatrix {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let encode = || encoder.encode(x, BEAMS).expect("dimensions agree").0;
    pool.expect("threads can be had").install(encode)
}

#[test]
fn items_become_paths_and_come_back() {
    let encoder = Files::new().open().expect("sound files");
    let x = random(9, 50, 6);
    let (paths, distances) = encoder.encode(x.view(), BEAMS).expect("6 dimensions");
    assert_eq!((paths.len(), paths.levels(), distances.len()), (50, 3, 50));
    assert_eq!(encoder.reconstruct(&paths).dim(), (50, 6));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Neither the batch, nor its order, nor its memory layout, nor threads.
    #[test]
    fn codes_depend_on_the_item_alone(
        seed: u32, order in Just((0..450_usize).collect::<Vec<_>>()).prop_shuffle(), cut in 1..449_usize
    ) {
        let encoder = Files::new().open().expect("sound files");
        let x = random(seed.into(), 450, 6);
        let expected = codes_of(&encoder, x.view(), 1);
        prop_assert_eq!(&codes_of(&encoder, x.view(), 3), &expected);
        let mut by_column = Array2::zeros((450, 6).f());
        by_column.assign(&x);
        prop_assert_eq!(&codes_of(&encoder, by_column.view(), 2), &expected);

        let shuffled = codes_of(&encoder, x.select(Axis(0), &order[..cut]).view(), 2);
        for (path, &item) in shuffled.rows().zip(&order) {
            prop_assert_eq!(path, expected.row(ItemId(item as u32)));
        }
    }

    /// At each level, no code is nearer to what the levels before left over.
    #[test]
    fn one_beam_is_greedy(
        seed: u32, codes in prop::collection::vec(1..40_usize, 1..5), dim in 1..20_usize
    ) {
        let quantizer = quantizer(seed.into(), &codes, dim);
        let x = random(u64::from(seed) + 1, 20, dim);
        let (paths, _) = quantizer.encode(x.view(), 1);
        for (x, path) in x.outer_iter().zip(paths.rows()) {
            for level in 0..codes.len() {
                let to = |code: usize| {
                    let prefix = [&path[..level], &[Code(code as u16)]].concat();
                    plain_distance(&quantizer, x, &prefix)
                };
                let least = (0..codes[level]).map(to).fold(f64::INFINITY, f64::min);
                prop_assert!(near(to(path[level].index()), least));
            }
        }
    }

    #[test]
    fn a_wide_beam_is_exhaustive(
        seed: u32, codes in prop::collection::vec(1..6_usize, 1..4), dim in 1..9_usize
    ) {
        let quantizer = quantizer(seed.into(), &codes, dim);
        let x = random(u64::from(seed) + 1, 10, dim);
        let all = all_paths(&codes);
        let (paths, distances) = quantizer.encode(x.view(), all.len());
        for ((x, path), distance) in x.outer_iter().zip(paths.rows()).zip(distances) {
            let to = |path: &Vec<Code>| plain_distance(&quantizer, x, path);
            let least = all.iter().map(to).fold(f64::INFINITY, f64::min);
            prop_assert!(near(distance.into(), least), "{} {}", distance, least);
            prop_assert!(near(plain_distance(&quantizer, x, path), least));
        }
    }

    /// Every answer of [`Distances`] is the plain distance, and the same bits however asked.
    #[test]
    fn distances_agree(
        seed: u32, codes in prop::collection::vec(1..8_usize, 1..5), dim in 1..40_usize,
        count in 1..60_usize
    ) {
        let quantizer = quantizer(seed.into(), &codes, dim);
        let x = random(u64::from(seed) + 1, 5, dim);
        let (paths, found) = quantizer.encode(x.view(), BEAMS);
        let distances = LatentDistances::new(&quantizer, x.clone()).expect("dimensions agree");
        for item in (0..5).map(ItemId) {
            let (x, path) = (x.row(item.index()), paths.row(item));
            let distance = distances.path(item, path);
            prop_assert_eq!(distance.to_bits(), found[item.index()].to_bits());
            prop_assert!(near(distance.into(), plain_distance(&quantizer, x, path)));

            let (last, prefix) = path.split_last().expect("at least one level");
            let mut row = vec![0.0; codes[codes.len() - 1]];
            distances.last_level(item, prefix, &mut row);
            for (code, value) in row.iter().enumerate() {
                let path = [prefix, &[Code(code as u16)]].concat();
                prop_assert_eq!(value.to_bits(), distances.path(item, &path).to_bits());
            }
            prop_assert_eq!(row[last.index()].to_bits(), distance.to_bits());

            let candidates = distances.candidates(item, count);
            let paths: usize = codes.iter().product();
            prop_assert_eq!(candidates.len(), count.min(paths));
            for pair in candidates.windows(2) {
                let [(a, to_a), (b, to_b)] = pair else { unreachable!("windows of two") };
                prop_assert!(to_a < to_b || (to_a == to_b && a < b));
            }
            for (path, distance) in candidates {
                prop_assert_eq!(distance.to_bits(), distances.path(item, &path).to_bits());
            }
        }
    }
}

#[test]
fn copies_of_an_item_are_identical() {
    let quantizer = quantizer(1, &[4, 4], 3);
    let x = ndarray::array![[0.5, 0.25, 1.0], [0.5, 0.25, 1.0], [0.5, 0.25, 2.0]];
    let distances = LatentDistances::new(&quantizer, x).expect("dimensions agree");
    assert!(distances.identical(ItemId(0), ItemId(1)));
    assert!(!distances.identical(ItemId(0), ItemId(2)));
}

/// Squares that no f32 holds: some path, and a distance that says so.
#[test]
fn overflow_is_no_panic() {
    let quantizer = quantizer(1, &[40, 40, 3], 3);
    let x = Array2::from_elem((2, 3), 1e30);
    let (paths, distances) = quantizer.encode(x.view(), BEAMS);
    assert_eq!(paths.len(), 2);
    assert!(distances.iter().all(|distance| !distance.is_finite()));
    let distances = LatentDistances::new(&quantizer, x).expect("dimensions agree");
    assert!(!distances.candidates(ItemId(0), 5).is_empty());
}

#[test]
fn another_dimension_is_an_error() {
    let encoder = Files::new().open().expect("sound files");
    let error = encoder.encode(random(1, 3, 5).view(), 1);
    assert!(matches!(
        error,
        Err(Error::Shape {
            got: 5,
            expected: 6,
            ..
        })
    ));
    let none = encoder.encode(Array2::zeros((0, 6)).view(), 1);
    assert!(none.expect("six dimensions").0.is_empty());
}

#[test]
fn tables_that_no_memory_holds_are_refused() {
    let books = vec![Codebook(Array2::zeros((1 << 16, 1))); 2];
    let error = ResidualQuantizer::new(books)
        .expect_err("16 GiB")
        .to_string();
    assert!(error.contains("table"), "{error}");
}

#[test]
fn a_missing_tensor_is_named() {
    for at in 0..Files::new().tensors.len() {
        let mut files = Files::new();
        let (name, ..) = files.tensors.remove(at);
        let error = files.open().expect_err("a tensor is missing").to_string();
        assert!(error.contains(&name), "{error}");
    }
}

#[test]
fn every_tensor_must_have_its_shape() {
    for at in 0..Files::new().tensors.len() {
        let mut files = Files::new();
        let (.., shape, values) = &mut files.tensors[at];
        shape[0] += 1;
        values.extend(vec![0.5; shape.iter().product::<usize>() - values.len()]);
        // One more code in a codebook is no fault.
        let codebook = files.tensors[at].0.starts_with("codebook");
        assert_eq!(files.open().is_ok(), codebook, "{}", files.tensors[at].0);

        let mut files = Files::new();
        files.tensors[at].2.push(1);
        let error = files
            .open()
            .expect_err("one dimension too many")
            .to_string();
        assert!(error.contains(&files.tensors[at].0), "{error}");
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in 0..Files::new().tensors.len() {
            let mut files = Files::new();
            *files.tensors[at].3.last_mut().expect("not empty") = value;
            let error = files.open().expect_err("not finite").to_string();
            assert!(error.contains(&files.tensors[at].0), "{error}");
        }
    }
    for scale in [0.0, -1.0] {
        let mut files = Files::new();
        files.tensor("scale").3[0] = scale;
        let error = files.open().expect_err("no scale").to_string();
        assert!(error.contains("scale"), "{error}");
    }
}

#[test]
fn other_types_and_other_configurations_are_refused() {
    let mut files = Files::new();
    files.tensor("mean").1 = Dtype::I32;
    assert!(files.open().is_err());
    for (key, value) in [
        ("format", json!("semid.index")),
        ("version", json!(2)),
        ("dim", json!(7)),
        ("levels", json!(0)),
        ("levels", json!(4)),
        ("levels", json!(u64::MAX)),
        ("encoder", json!({ "layers": 1, "skip": false })),
        ("encoder", json!({ "layers": 2, "skip": true })),
        ("encoder", json!({ "layers": u64::MAX, "skip": true })),
    ] {
        let mut files = Files::new();
        files.config[key] = value.clone();
        assert!(files.open().is_err(), "{key} = {value}");
    }
}
