//! Trainings on small catalogues: that they help, can be resumed, and fail with a reason.
#![cfg(feature = "torch")]

use ndarray::{Array2, Axis, s};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rq_vae::{BEAMS, Encoder, Error, Preset, RqVaeConfig, RqVaeParams, Trainer};
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

fn trainer(params: RqVaeParams, x: &Array2<f32>) -> Trainer {
    Trainer::new(checked(params), x.view(), Device::Cpu, |_| ()).expect("a sound start")
}

fn finish(mut trainer: Trainer) -> Encoder {
    while trainer.epoch().expect("a sound epoch").is_some() {}
    trainer.finish().expect("a sound model")
}

fn resume(params: RqVaeParams, x: &Array2<f32>, bytes: &[u8]) -> rq_vae::Result<Trainer> {
    Trainer::resume(checked(params), x.view(), Device::Cpu, bytes)
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
    let trained = finish(trainer(params, &known.to_owned()));
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
        let mut through = trainer(params.clone(), &x);
        let mut bytes = Vec::new();
        for epoch in 1.. {
            match through.epoch().expect("a sound epoch") {
                Some(_) if epoch == 2 => bytes = through.checkpoint(),
                Some(_) => {}
                None => break,
            }
        }
        let through = through.finish().expect("a sound model").to_files();
        let resumed = finish(resume(params, &x, &bytes).expect("our own checkpoint")).to_files();
        assert!(resumed == through, "the model files differ");
    }
}

#[test]
fn other_settings_or_embeddings_cannot_be_resumed() {
    let x = catalogue(100);
    let mut trainer = trainer(small(), &x);
    trainer.epoch().expect("a sound epoch");
    let bytes = trainer.checkpoint();
    let refused = |params, x: &Array2<f32>| match resume(params, x, &bytes) {
        Err(Error::Training(problem)) => problem,
        other => panic!("{other:?}"),
    };
    let other = RqVaeParams { seed: 9, ..small() };
    assert!(refused(other, &x).contains("other settings"));
    let mut other = x.clone();
    other[[7, 3]] += 1e-3;
    assert!(refused(small(), &other).contains("other embeddings"));
    assert!(resume(small(), &x, &bytes).is_ok());
}

#[test]
fn a_damaged_checkpoint_is_an_error() {
    let x = catalogue(30);
    let mut trainer = trainer(small(), &x);
    trainer.epoch().expect("a sound epoch");
    let bytes = trainer.checkpoint();
    for end in (0..bytes.len()).step_by(bytes.len() / 300) {
        let error = resume(small(), &x, &bytes[..end]).expect_err("cut short");
        assert!(error.to_string().contains("checkpoint"), "{error}");
    }
    for at in (0..bytes.len()).step_by(53) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = resume(small(), &x, &flipped).expect_err("one bit is wrong");
        assert!(matches!(error, Error::Training(_)), "byte {at}: {error}");
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
        let mut trainer = trainer(params, &x);
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
            let encoder = finish(trainer(params.clone(), &x));
            let (paths, distances) = encoder.encode(x.view(), BEAMS).expect("dimensions agree");
            assert_eq!(paths.len(), items);
            assert!(distances.iter().all(|distance| distance.is_finite()));
        }
        let one = catalogue(1);
        let twins = ndarray::concatenate(Axis(0), &[one.view(), one.view()]).expect("alike");
        let encoder = finish(trainer(params, &twins));
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
    let (_, distances) = finish(trainer(params, &x))
        .encode(x.view(), 1)
        .expect("dimensions agree");
    assert!(distances.iter().all(|distance| distance.is_finite()));
}

#[test]
fn a_device_that_is_not_there_is_a_wrong_setting() {
    if tch::Cuda::is_available() {
        return;
    }
    let config = checked(small());
    let error = Trainer::new(config, catalogue(30).view(), Device::Cuda(0), |_| ());
    match error.expect_err("there is no such device") {
        Error::Setting { name, got, .. } => assert_eq!((name, &*got), ("device", "cuda:0")),
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
    let encoder = finish(trainer(lc_rec(), &x));
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
