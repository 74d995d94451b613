//! Trainings on small catalogues: that they help, can be resumed, and fail with a reason.
#![cfg(feature = "torch")]

use ndarray::{Array2, ArrayView2, Axis, s};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rq_vae::{BEAMS, Encoder, Error, Preset, RqVaeConfig, RqVaeParams, Trainer, TrainingItems};
use tch::Device;

const DIM: usize = 16;

/// Items around 24 centres, `[N, 16]`; within a cluster they lie on a plane.
fn catalogue(items: usize) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut draw = |rows| Array2::from_shape_fn((rows, DIM), |_| rng.random_range(-1.0_f32..1.0));
    let (centres, planes, along) = (draw(24), draw(48), draw(items));
    let rows = (0..items).map(|item| {
        let cluster = item % 24;
        let [u, v] = [0, 1].map(|axis| along[[item, axis]] * 0.8);
        let (first, second) = (planes.row(2 * cluster), planes.row(2 * cluster + 1));
        &centres.row(cluster) + &(&first * u) + &second * v
    });
    let rows: Vec<_> = rows.map(|row| row.insert_axis(Axis(0))).collect();
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    ndarray::concatenate(Axis(0), &views).expect("rows of one length")
}

fn small() -> RqVaeParams {
    RqVaeParams {
        levels: 3,
        codes: 8,
        hidden: vec![32],
        batch_size: 64,
        epochs: 5,
        ..RqVaeParams::preset(Preset::Default)
    }
}

fn lc_rec() -> RqVaeParams {
    RqVaeParams {
        levels: 3,
        codes: 16,
        hidden: vec![32],
        latent_dim: Some(8),
        batch_size: 64,
        epochs: 2,
        ..RqVaeParams::preset(Preset::LcRec)
    }
}

fn checked(params: RqVaeParams) -> RqVaeConfig {
    params.check().expect("sound settings")
}

fn trainer<'a>(params: RqVaeParams, items: impl Into<TrainingItems<'a>>) -> Trainer {
    Trainer::new(checked(params), items, Device::Cpu, |_| ()).expect("a sound start")
}

fn finish(mut trainer: Trainer) -> Encoder {
    while trainer.epoch().expect("a sound epoch").is_some() {}
    trainer.finish().expect("a sound model")
}

fn resume<'a>(
    params: RqVaeParams,
    items: impl Into<TrainingItems<'a>>,
    bytes: &[u8],
) -> rq_vae::Result<Trainer> {
    Trainer::resume(checked(params), items, Device::Cpu, bytes)
}

/// Items in four clusters far apart, whose histories tell four groups that their embeddings
/// hardly show: embeddings `[N, 8]`, collaborative vectors `[N, 4]`, groups. Of every ninth item
/// the histories tell nothing.
fn grouped(items: usize) -> (Array2<f32>, Array2<f32>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut x = Array2::from_shape_fn((items, 8), |_| rng.random_range(-0.1_f32..0.1));
    let mut vectors = Array2::zeros((items, 4));
    let groups: Vec<usize> = (0..items).map(|item| item / 4 % 4).collect();
    for (item, &group) in groups.iter().enumerate() {
        x[[item, item % 4]] += 1.0;
        x[[item, 4 + group]] += 0.8;
        vectors[[item, group]] = if item % 9 == 0 { 0.0 } else { 1.0 };
    }
    (x, vectors, groups)
}

/// Weights of both further losses.
fn guided(alignment: f64, diversity: f64) -> RqVaeParams {
    RqVaeParams {
        levels: 1,
        codes: 4,
        diversity_groups: 2,
        alignment,
        diversity,
        noise: 0.0,
        epochs: 40,
        ..small()
    }
}

#[test]
fn training_beats_residual_kmeans_on_new_items() {
    tch::set_num_threads(1);
    let all = catalogue(1200);
    let (known, new) = all.view().split_at(Axis(0), 900);
    let params = RqVaeParams {
        epochs: 40,
        ..small()
    };
    let kmeans = Encoder::residual_kmeans(&checked(params.clone()), known, |_| ());
    let trained = finish(trainer(params, known));
    let error = |encoder: &Encoder| {
        let (paths, _) = encoder.encode(new, BEAMS).expect("dimensions agree");
        encoder.mse(new, &paths).expect("one path an item")
    };
    let (before, after) = (error(&kmeans.expect("there are items")), error(&trained));
    assert!(after < 0.97 * before, "{before} before, {after} after");
}

#[test]
fn a_resumed_training_ends_in_the_same_files() {
    tch::set_num_threads(1);
    let x = catalogue(600);
    for params in [
        small(),
        RqVaeParams {
            epochs: 4,
            ..lc_rec()
        },
    ] {
        let mut through = trainer(params.clone(), x.view());
        let mut bytes = Vec::new();
        for epoch in 1.. {
            match through.epoch().expect("a sound epoch") {
                Some(_) if epoch == 2 => bytes = through.checkpoint(),
                Some(_) => {}
                None => break,
            }
        }
        let through = through.finish().expect("a sound model").to_files();
        let resumed =
            finish(resume(params, x.view(), &bytes).expect("our own checkpoint")).to_files();
        assert!(resumed == through, "the model files differ");
    }
}

#[test]
fn aligned_codes_tell_what_histories_tell() {
    tch::set_num_threads(1);
    let (x, vectors, groups) = grouped(800);
    let items = TrainingItems {
        embeddings: x.view(),
        vectors: Some(vectors.view()),
    };
    // The share of the items that are of the greatest group of their code.
    let purity = |params| {
        let (paths, _) = finish(trainer(params, items))
            .encode(x.view(), 1)
            .expect("dimensions");
        let mut counts = [[0_usize; 4]; 4];
        for (path, &group) in paths.rows().zip(&groups) {
            counts[path[0].index()][group] += 1;
        }
        let most = counts
            .iter()
            .map(|counts| *counts.iter().max().expect("four"));
        most.sum::<usize>() as f64 / 800.0
    };
    let (without, with) = (purity(guided(0.0, 0.0)), purity(guided(10.0, 0.0)));
    assert!(without < 0.5 && with > 0.75, "{without} {with}");
}

#[test]
fn a_resumed_training_with_all_losses_ends_in_the_same_files() {
    tch::set_num_threads(1);
    let (x, vectors, _) = grouped(300);
    let embeddings = x.view();
    let items = |vectors| TrainingItems {
        embeddings,
        vectors: Some(vectors),
    };
    let params = RqVaeParams {
        epochs: 4,
        ..guided(0.5, 0.1)
    };
    let mut through = trainer(params.clone(), items(vectors.view()));
    let report = through
        .epoch()
        .expect("a sound epoch")
        .expect("the first of four");
    assert!(report.alignment.is_some_and(|nats| nats > 0.0));
    assert!(report.diversity.is_some_and(|nats| nats > 0.0));
    let bytes = through.checkpoint();
    let resumed = resume(params.clone(), items(vectors.view()), &bytes).expect("our own");
    assert!(finish(resumed).to_files() == finish(through).to_files());

    let mut other = vectors.clone();
    other[[5, 1]] += 0.5;
    match resume(params, items(other.view()), &bytes) {
        Err(Error::Training(problem)) => assert!(problem.contains("interactions"), "{problem}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn alignment_needs_a_vector_for_each_item() {
    let (x, vectors, _) = grouped(40);
    let new = |vectors: Option<ArrayView2<'_, f32>>| {
        let items = TrainingItems {
            embeddings: x.view(),
            vectors,
        };
        Trainer::new(checked(guided(0.1, 0.0)), items, Device::Cpu, |_| ()).map(|_| ())
    };
    assert!(matches!(
        new(None),
        Err(Error::Setting {
            name: "alignment",
            ..
        })
    ));
    let few = vectors.slice(s![..39, ..]);
    assert!(matches!(
        new(Some(few)),
        Err(Error::Shape {
            got: 39,
            expected: 40,
            ..
        })
    ));
    let bad = &vectors / 0.0;
    assert!(matches!(
        new(Some(bad.view())),
        Err(Error::NotFinite { row: 0, .. })
    ));
    let nothing = Array2::zeros((40, 4));
    assert!(new(Some(nothing.view())).is_ok());
}

#[test]
fn other_settings_or_embeddings_cannot_be_resumed() {
    let x = catalogue(100);
    let mut trainer = trainer(small(), x.view());
    trainer.epoch().expect("a sound epoch");
    let bytes = trainer.checkpoint();
    let refused = |params, x: &Array2<f32>| match resume(params, x.view(), &bytes) {
        Err(Error::Training(problem)) => problem,
        other => panic!("{other:?}"),
    };
    let other = RqVaeParams { seed: 9, ..small() };
    assert!(refused(other, &x).contains("other settings"));
    let mut other = x.clone();
    other[[7, 3]] += 1e-3;
    assert!(refused(small(), &other).contains("other embeddings"));
    assert!(resume(small(), x.view(), &bytes).is_ok());
}

#[test]
fn a_damaged_checkpoint_is_an_error() {
    let x = catalogue(30);
    let mut trainer = trainer(small(), x.view());
    trainer.epoch().expect("a sound epoch");
    let bytes = trainer.checkpoint();
    for end in (0..bytes.len()).step_by(bytes.len() / 300) {
        let error = resume(small(), x.view(), &bytes[..end]).expect_err("cut short");
        assert!(error.to_string().contains("checkpoint"), "{error}");
    }
    for at in (0..bytes.len()).step_by(53) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = resume(small(), x.view(), &flipped).expect_err("one bit is wrong");
        assert!(matches!(error, Error::Setup(_)), "byte {at}: {error}");
    }
}

#[test]
fn a_diverging_training_names_the_learning_rate() {
    let x = catalogue(200);
    for params in [small(), lc_rec()] {
        let params = RqVaeParams {
            learning_rate: 1e30,
            codebook_learning_rate: 1e30,
            ..params
        };
        let mut trainer = trainer(params, x.view());
        let error = loop {
            match trainer.epoch() {
                Ok(report) => assert!(report.is_some(), "it ended well"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("lower the learning rate"), "{error}");
    }
}

/// One item, two of the same, fewer items than codes, fewer items than a batch.
#[test]
fn tiny_catalogues_train() {
    for params in [small(), lc_rec()] {
        for items in [1, 2, 5, 63] {
            let x = catalogue(items);
            let encoder = finish(trainer(params.clone(), x.view()));
            let (paths, distances) = encoder.encode(x.view(), BEAMS).expect("dimensions agree");
            assert_eq!(paths.len(), items);
            assert!(distances.iter().all(|distance| distance.is_finite()));
        }
        let one = catalogue(1);
        let twins = ndarray::concatenate(Axis(0), &[one.view(), one.view()]).expect("alike");
        let encoder = finish(trainer(params, twins.view()));
        let (paths, _) = encoder
            .encode(twins.view(), BEAMS)
            .expect("dimensions agree");
        assert_eq!(paths.unique(), 1);
    }
}

/// With one item in each batch there is no variance to normalize by.
#[test]
fn batches_of_one_item_train() {
    let params = RqVaeParams {
        batch_size: 1,
        ..lc_rec()
    };
    let x = catalogue(20);
    let (_, distances) = finish(trainer(params, x.view()))
        .encode(x.view(), 1)
        .expect("dimensions agree");
    assert!(distances.iter().all(|distance| distance.is_finite()));
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    if tch::Cuda::is_available() {
        return;
    }
    let config = checked(small());
    let error = Trainer::new(config, catalogue(30).view(), Device::Cuda(0), |_| ());
    match error.expect_err("there is no such device") {
        Error::Setup(error) => assert!(error.to_string().contains("cuda:0"), "{error}"),
        other => panic!("{other}"),
    }
}

#[test]
fn no_items_are_an_error() {
    let none = Array2::zeros((0, DIM));
    let error = Trainer::new(checked(small()), none.view(), Device::Cpu, |_| ());
    assert!(matches!(error, Err(Error::Empty)));
}

#[test]
fn the_published_recipe_runs_and_its_model_survives_the_disk() {
    tch::set_num_threads(1);
    let x = catalogue(600);
    let encoder = finish(trainer(lc_rec(), x.view()));
    let (model, config) = encoder.to_files();
    let again = Encoder::from_files(&model, config.as_bytes()).expect("our own files");
    assert!(again.to_files() == (model, config));
    let codes = |encoder: &Encoder| encoder.encode(x.view(), BEAMS).expect("dimensions agree");
    assert_eq!(codes(&again), codes(&encoder));
    assert_eq!(
        again.latents(x.slice(s![..1, ..])).expect("agree").dim(),
        (1, 8)
    );
}
