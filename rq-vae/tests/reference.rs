//! RQ-VAEs against plain PyTorch (`fixtures/rq_vae_reference.py`), and the two paths of this
//! crate, with and without libtorch, against each other.
#![cfg(feature = "torch")]

use std::path::Path;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use rq_vae::{Encoder, Guidance, Preset, RqVae, RqVaeParams};
use safetensors::{Dtype, SafeTensors};
use semantic_id::{Code, CodeMatrix, ItemId};
use tch::{Device, Kind, Tensor};

const DIM: usize = 12;

/// One case of the fixture: a model with its weights, and the tensors to compare with.
struct Case {
    name: &'static str,
    file: Vec<u8>,
    model: RqVae,
}

impl Case {
    fn new(name: &'static str, params: RqVaeParams) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rq_vae_reference.safetensors");
        let file = std::fs::read(path).expect("the fixture is committed");
        let model = RqVae::new(params.check().expect("sound settings"), DIM, Device::Cpu);
        let case = Self { name, file, model };
        for (name, mut tensor) in case.model.tensors() {
            tch::no_grad(|| tensor.copy_(&case.tensor(&format!("weights.{name}"))));
        }
        case
    }

    /// LC-Rec's form: batch normalization, gradients straight through at each level.
    fn lc_rec(name: &'static str, sinkhorn_epsilon: f64) -> Self {
        let params = RqVaeParams {
            levels: 3,
            codes: 16,
            hidden: vec![16],
            latent_dim: Some(8),
            sinkhorn_epsilon,
            ..RqVaeParams::preset(Preset::LcRec)
        };
        Self::new(name, params)
    }

    /// `x + f(x)`, trained jointly with the codebooks.
    fn skip() -> Self {
        let params = RqVaeParams {
            levels: 3,
            codes: 16,
            hidden: vec![16],
            noise: 0.0,
            ..RqVaeParams::preset(Preset::Default)
        };
        Self::new("skip", params)
    }

    fn tensor(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.file).expect("a safetensors file");
        let name = format!("{}.{name}", self.name);
        let view = file.tensor(&name).expect("a tensor of the fixture");
        let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::I64 => Kind::Int64,
            other => panic!("{name} is {other:?}"),
        };
        Tensor::from_data_size(view.data(), &shape, kind)
    }

    fn array(&self, name: &str) -> Array2<f32> {
        array(&self.tensor(name))
    }

    fn assert_near(&self, what: &str, got: &Tensor) {
        let expected = self.tensor(what);
        assert_eq!(got.size(), expected.size(), "{} {what}", self.name);
        let difference = (got - expected).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{} {what}: {difference}", self.name);
    }

    fn assert_array_near(&self, what: &str, got: ArrayView2<'_, f32>) {
        let difference = farthest(got, self.array(what).view());
        assert!(difference < 1e-5, "{} {what}: {difference}", self.name);
    }

    /// Losses, codes and gradients of one batch in training mode.
    fn trains_as_the_reference(&self) {
        let losses = self
            .model
            .losses(&self.tensor("batch"), &Guidance::default());
        self.assert_near("train.latents", &losses.residuals[0]);
        self.assert_near("train.last_residuals", &losses.residuals[2]);
        let codes = Tensor::stack(&losses.codes, 1);
        assert_eq!(codes, self.tensor("train.codes"), "{}", self.name);
        self.assert_near("train.reconstruction", &losses.reconstruction);
        self.assert_near("train.quantization", &losses.quantization);
        self.assert_near("train.total", &losses.total);

        losses.total.backward();
        for (name, tensor) in self.model.tensors() {
            if name.contains("running") {
                self.assert_near(&format!("after.{name}"), &tensor);
            } else {
                self.assert_near(&format!("gradient.{name}"), &tensor.grad());
            }
        }
    }

    /// Codes by libtorch, and all that is computed without it.
    fn encodes_as_the_reference(&self) {
        let expected = self.tensor("eval.codes");
        assert_eq!(self.model.codes(&self.tensor("batch")), expected);

        let encoder = encoder(&self.model, DIM);
        let batch = self.array("batch");
        let latents = encoder.latents(batch.view()).expect("dimensions agree");
        self.assert_array_near("eval.latents", latents.view());
        let (paths, _) = encoder.encode(batch.view(), 1).expect("dimensions agree");
        assert_eq!(paths, matrix(&expected), "{}", self.name);
        let quantized = encoder.quantizer().decode(&paths);
        self.assert_array_near("eval.quantized", quantized.view());
        self.assert_array_near("eval.output", encoder.reconstruct(&paths).view());
        let mse = encoder.mse(batch.view(), &paths).expect("one path an item");
        let expected = self.tensor("eval.reconstruction").double_value(&[]);
        assert!((mse - expected).abs() < 1e-5, "{mse} {expected}");
    }
}

fn encoder(model: &RqVae, dim: usize) -> Encoder {
    let unit = (Array1::zeros(dim), 1.0);
    model.to_encoder(unit).expect("a sound model")
}

fn array(tensor: &Tensor) -> Array2<f32> {
    let (rows, columns) = tensor.size2().expect("a matrix");
    let values = Vec::try_from(tensor.contiguous().view(-1)).expect("f32 values");
    Array2::from_shape_vec((rows as usize, columns as usize), values).expect("sizes agree")
}

fn matrix(codes: &Tensor) -> CodeMatrix {
    let levels = codes.size()[1] as usize;
    let codes = Vec::<i64>::try_from(codes.contiguous().view(-1)).expect("i64 codes");
    let codes = codes.into_iter().map(|code| Code(code as u16)).collect();
    CodeMatrix::new(codes, levels).expect("whole rows")
}

fn farthest(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> f32 {
    assert_eq!(a.dim(), b.dim());
    let difference = (&a - &b).mapv(f32::abs);
    difference
        .into_iter()
        .max_by(f32::total_cmp)
        .expect("not empty")
}

#[test]
fn lc_rec_trains_as_in_pytorch() {
    Case::lc_rec("lc_rec", 0.0).trains_as_the_reference();
}

#[test]
fn lc_rec_encodes_as_in_pytorch() {
    Case::lc_rec("lc_rec", 0.0).encodes_as_the_reference();
}

/// The published iterations span `e^-333` to `e^333`, so the reference holds them in float64;
/// ours run on float32 logarithms.
#[test]
fn the_uniform_assignment_is_the_published_one() {
    let case = Case::lc_rec("lc_rec_sinkhorn", 0.003);
    case.trains_as_the_reference();
    let nearest = case.tensor("eval.codes");
    assert_ne!(case.tensor("train.codes"), nearest, "it changes something");
}

#[test]
fn the_skip_form_trains_as_in_pytorch() {
    Case::skip().trains_as_the_reference();
}

#[test]
fn the_skip_form_encodes_as_in_pytorch() {
    Case::skip().encodes_as_the_reference();
}

/// Both forms with weights far from their first values, on many items: the codes agree save
/// where two paths are as near as rounding can tell.
#[test]
fn codes_agree_with_and_without_libtorch() {
    const ITEMS: i64 = 4000;
    const DIM: usize = 48;
    tch::manual_seed(11);
    let lc_rec = RqVaeParams {
        hidden: vec![64, 32],
        latent_dim: Some(16),
        codes: 64,
        ..RqVaeParams::preset(Preset::LcRec)
    };
    let skip = RqVaeParams {
        hidden: vec![64],
        codes: 64,
        ..RqVaeParams::preset(Preset::Default)
    };
    for params in [lc_rec, skip] {
        let model = RqVae::new(params.check().expect("sound settings"), DIM, Device::Cpu);
        for (name, mut tensor) in model.tensors() {
            let noise = tensor.randn_like() * 0.3;
            tch::no_grad(|| match name.contains("running_var") {
                true => tensor.copy_(&noise.exp()),
                false => tensor += noise,
            });
        }
        let items = Tensor::randn([ITEMS, DIM as i64], (Kind::Float, Device::Cpu));
        let (encoder, x) = (encoder(&model, DIM), array(&items));
        let latents = encoder.latents(x.view()).expect("dimensions agree");
        let theirs = matrix(&model.codes(&items));
        let (ours, distances) = encoder.encode(x.view(), 1).expect("dimensions agree");

        let different: Vec<usize> = (ours.rows().zip(theirs.rows()).enumerate())
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(item, _)| item)
            .collect();
        assert!(different.len() * 500 <= ITEMS as usize, "{different:?}");
        for item in different {
            let first = first_difference(&encoder, latents.row(item), (&ours, &theirs), item);
            assert!(first < 1e-5, "item {item}: {first} of {}", distances[item]);
        }
    }
}

/// By how much the squared distances of two paths differ at the first level where they part,
/// as a share of the greater.
fn first_difference(
    encoder: &Encoder,
    latent: ArrayView1<'_, f32>,
    (ours, theirs): (&CodeMatrix, &CodeMatrix),
    item: usize,
) -> f64 {
    let item = ItemId(item as u32);
    let mut residual = latent.mapv(f64::from);
    let levels = ours.row(item).iter().zip(theirs.row(item));
    for ((a, b), book) in levels.zip(encoder.quantizer().codebooks()) {
        let to = |code: &Code| &residual - &book.0.row(code.index()).mapv(f64::from);
        let (to_a, to_b) = (to(a), to(b));
        if a != b {
            let (a, b) = (to_a.dot(&to_a), to_b.dot(&to_b));
            return (a - b).abs() / a.max(b);
        }
        residual = to_a;
    }
    0.0
}
