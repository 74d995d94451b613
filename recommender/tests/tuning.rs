//! Models that are trained: all of them, or adapters.

mod golden;

use std::collections::HashMap;

use golden::{difference, gradients, logits, model};
use safetensors::SafeTensors;
use semid_recommender::{
    Example, Examples, Llama, LlamaConfig, Lora, Result, Trainer, TrainingParams,
};
use tch::{Device, Tensor};

const LORA: Lora = Lora {
    rank: 3,
    alpha: 6.0,
    first_row: 10,
};

/// A golden model with adapters that add something.
fn adapted(name: &str) -> Llama {
    let mut model = model(name);
    model.adapt(LORA, 7).expect("a model that takes adapters");
    for (name, mut tensor) in model.trained() {
        if name.ends_with("lora_B.weight") {
            let noise = tensor.randn_like() * 0.2;
            tch::no_grad(|| tensor.copy_(&noise));
        }
    }
    model
}

fn all_logits(model: &Llama, tokens: &Tensor) -> Tensor {
    tch::no_grad(|| model.logits(&model.hidden(tokens)))
}

#[test]
fn a_merged_model_is_the_model() {
    for name in ["grouped", "tied"] {
        let (tokens, plain) = logits(name);
        let mut model = adapted(name);
        let expected = all_logits(&model, &tokens);
        assert!(
            difference(&plain, &expected) > 0.01,
            "adapters add something"
        );

        let (weights, config) = model.to_files();
        let saved = Llama::from_files(config.as_bytes(), &weights, Device::Cpu).expect("our own");
        let clone = tch::no_grad(|| model.shallow_clone());
        let frozen = model.trained().len();
        model.merge();
        assert!(frozen != model.trained().len() && model.lora().is_none());
        for merged in [&model, &saved, &clone] {
            let difference = difference(&all_logits(merged, &tokens), &expected);
            assert!(difference < 1e-5, "{name}: {difference}");
        }
    }
}

/// By the chain rule: a matrix `W + s B A` whose gradient is `G` has `A`'s at `s B^T G`, and `B`'s
/// at `s G A^T`. `G` is that of the merged model.
#[test]
fn gradients_of_adapters_follow_from_those_of_whole_matrices() {
    for name in ["grouped", "tied"] {
        let (tokens, _) = logits(name);
        let model = adapted(name);
        let values: HashMap<_, _> = model.trained().into_iter().collect();
        let (weights, config) = model.to_files();
        let merged = Llama::from_files(config.as_bytes(), &weights, Device::Cpu).expect("our own");
        let whole = gradients(&merged, &tokens);
        let scale = LORA.alpha / LORA.rank as f64;
        for (name, got) in gradients(&model, &tokens) {
            let expected = match name.rsplit_once(".lora_") {
                Some((module, part)) => {
                    let of = |part: &str| values[&format!("{module}.lora_{part}.weight")].detach();
                    let gradient = &whole[&format!("{module}.weight")];
                    match part.starts_with('A') {
                        true => of("B").transpose(0, 1).matmul(gradient) * scale,
                        false => gradient.matmul(&of("A").transpose(0, 1)) * scale,
                    }
                }
                None => {
                    let first = LORA.first_row as i64;
                    whole[&name].narrow(0, first, got.size()[0])
                }
            };
            let difference = difference(&got, &expected);
            assert!(difference < 1e-4, "{name}: {difference}");
        }
    }
}

/// After one of sixteen questions comes an answer of three tokens, drawn once.
struct Riddles;

impl Examples for Riddles {
    fn count(&self) -> usize {
        16
    }

    fn example(&self, _: u64, number: usize) -> Result<Example> {
        let answer = (1..4).map(|at| 16 + ((number + 3) * (number + 5) * at % 13) as u32);
        Ok(Example {
            tokens: [number as u32].into_iter().chain(answer).collect(),
            answer: 1,
            choices: None,
        })
    }

    fn digest(&self) -> String {
        "riddles".to_owned()
    }
}

fn small(seed: i64) -> Llama {
    let mut config = LlamaConfig::small(32, 32, 8);
    config.num_hidden_layers = 2;
    Llama::new(config, Device::Cpu, seed).expect("a small model")
}

fn with_adapters(lora: Lora) -> Llama {
    let mut model = small(3);
    model.adapt(lora, 5).expect("a model that takes adapters");
    model
}

const ALL_ROWS: Lora = Lora {
    rank: 8,
    alpha: 16.0,
    first_row: 0,
};

fn params(epochs: usize) -> TrainingParams {
    TrainingParams {
        epochs,
        learning_rate: 1e-2,
        weight_decay: 0.0,
        averaging: 0.0,
        dropout: 0.0,
        embedding_dropout: 0.0,
        label_smoothing: 0.0,
        row_tokens: 8,
        batch_tokens: 32,
        ..TrainingParams::default()
    }
}

fn run(trainer: &mut Trainer<'_>, epochs: usize) -> f64 {
    let mut loss = f64::INFINITY;
    for _ in 0..epochs {
        if let Some(report) = trainer.epoch(&mut |_| Ok(None)).expect("an epoch") {
            loss = report.loss;
        }
    }
    loss
}

#[test]
fn a_toy_set_is_learnt_by_heart() {
    tch::set_num_threads(1);
    for model in [small(3), with_adapters(ALL_ROWS)] {
        let config = params(60).check().expect("settings");
        let mut trainer = Trainer::new(model, config, &Riddles).expect("a training");
        let loss = run(&mut trainer, 60);
        assert!(loss < 0.05, "{loss}");
        let model = trainer.finish();
        for number in 0..Riddles.count() {
            let tokens: Vec<i64> = Riddles
                .example(0, number)
                .expect("a riddle")
                .tokens
                .iter()
                .map(|&token| token.into())
                .collect();
            let logits = all_logits(&model, &Tensor::from_slice(&tokens[..3]).unsqueeze(0));
            let said = Vec::<i64>::try_from(logits.argmax(-1, false).squeeze()).expect("tokens");
            assert_eq!(said, tokens[1..]);
        }
    }
}

#[test]
fn only_adapters_and_new_rows_change() {
    tch::set_num_threads(1);
    let lora = Lora {
        first_row: 20,
        ..ALL_ROWS
    };
    let config = params(3).check().expect("settings");
    let mut trainer = Trainer::new(with_adapters(lora), config, &Riddles).expect("a training");
    run(&mut trainer, 3);
    let bytes = trainer.checkpoint();
    let file = SafeTensors::deserialize(&bytes).expect("our own");
    let names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    assert!(
        names
            .iter()
            .all(|name| name.contains("lora_") || name.ends_with("embed_tokens.weight"))
    );
    // A and B of 7 matrices of 2 layers, the rows, and two moments of each.
    assert_eq!(names.len(), (2 * 7 * 2 + 1) * 3);
    let rows = file
        .tensor("first.model.embed_tokens.weight")
        .expect("moments");
    assert_eq!(rows.shape(), [12, 32]);

    let before: HashMap<_, _> = small(3).tensors().into_iter().collect();
    for (name, after) in trainer.finish().tensors() {
        let changed = |first, rows| {
            let [before, after] = [&before[&name], &after].map(|all| all.narrow(0, first, rows));
            before != after
        };
        match &*name {
            "model.embed_tokens.weight" => assert!(!changed(0, 20) && changed(20, 12)),
            _ => assert_eq!(
                changed(0, after.size()[0]),
                name.ends_with("proj.weight"),
                "{name}"
            ),
        }
    }
}

#[test]
fn a_resumed_training_ends_as_one_that_was_not_interrupted() {
    tch::set_num_threads(1);
    let config = TrainingParams {
        averaging: 0.9,
        dropout: 0.1,
        ..params(4)
    };
    let config = || config.clone().check().expect("settings");
    let lora = Lora {
        first_row: 16,
        ..ALL_ROWS
    };
    let train = |epochs| {
        let mut trainer =
            Trainer::new(with_adapters(lora), config(), &Riddles).expect("a training");
        run(&mut trainer, epochs);
        trainer
    };
    let bytes = train(2).checkpoint();
    let resume = |model| Trainer::resume(model, config(), &Riddles, &bytes);
    let mut resumed = resume(with_adapters(lora)).expect("the same model");
    run(&mut resumed, 2);
    assert_eq!(resumed.finish().to_files(), train(4).finish().to_files());

    let refused = |model| resume(model).expect_err("another model").to_string();
    let mut other = small(4);
    other.adapt(lora, 5).expect("a model that takes adapters");
    assert!(refused(other).contains("other weights below its adapters"));
    let alpha = Lora { alpha: 1.0, ..lora };
    assert!(refused(with_adapters(alpha)).contains("other adapters"));
    assert!(refused(small(3)).contains("other adapters"));
}

#[test]
fn what_cannot_be_is_named() {
    let refused = |lora| {
        let error = small(1).adapt(lora, 1).expect_err("no adapters");
        error.to_string()
    };
    let none = Lora { rank: 0, ..LORA };
    assert!(refused(none).contains("`rank`: got 0, expected at least 1"));
    let weak = Lora {
        alpha: f64::NAN,
        ..LORA
    };
    assert!(refused(weak).contains("`alpha`: got NaN"));
    let far = Lora {
        first_row: 33,
        ..LORA
    };
    assert!(refused(far).contains("`first_row`: got 33, expected at most the 32 tokens"));

    struct Foreign;
    impl Examples for Foreign {
        fn count(&self) -> usize {
            1
        }
        fn example(&self, _: u64, _: usize) -> Result<Example> {
            Ok(Example {
                tokens: vec![1, 32],
                answer: 1,
                choices: None,
            })
        }
        fn digest(&self) -> String {
            String::new()
        }
    }
    let config = params(1).check().expect("settings");
    let mut trainer = Trainer::new(small(1), config, &Foreign).expect("a training");
    let error = trainer
        .epoch(&mut |_| Ok(None))
        .expect_err("a foreign token");
    assert!(
        error
            .to_string()
            .contains("have token 32, the model has 32"),
        "{error}"
    );
}
