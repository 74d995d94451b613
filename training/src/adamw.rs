use tch::Tensor;

/// AdamW with decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2), written here
/// because tch's optimizers cannot save their state.
#[derive(Debug)]
pub struct AdamW {
    parameters: Vec<Parameter>,
    /// Steps taken so far; the moments' correction depends on it.
    pub steps: i64,
    beta_2: f64,
}

/// One trained tensor and its moments.
#[derive(Debug)]
pub struct Parameter {
    name: String,
    value: Tensor,
    first: Tensor,
    second: Tensor,
    learning_rate: f64,
    weight_decay: f64,
}

const BETA_1: f64 = 0.9;
const EPSILON: f64 = 1e-8;

impl Parameter {
    /// A tensor that requires gradients, and how it learns.
    pub fn new(name: String, value: Tensor, learning_rate: f64, weight_decay: f64) -> Self {
        let (first, second) = (value.zeros_like(), value.zeros_like());
        Self {
            name,
            value,
            first,
            second,
            learning_rate,
            weight_decay,
        }
    }
}

impl AdamW {
    /// An optimizer that has not taken a step; of the second moment, a step keeps `beta_2`.
    pub fn new(parameters: Vec<Parameter>, beta_2: f64) -> Self {
        Self {
            parameters,
            steps: 0,
            beta_2,
        }
    }

    /// The moments of all parameters, `first.NAME` and `second.NAME`: what a checkpoint must hold
    /// beside the model and [`steps`](Self::steps).
    pub fn moments(&self) -> Vec<(String, Tensor)> {
        let moments = self.parameters.iter().flat_map(|p| {
            let named = |which: &str, moment: &Tensor| {
                (format!("{which}.{}", p.name), moment.shallow_clone())
            };
            [named("first", &p.first), named("second", &p.second)]
        });
        moments.collect()
    }

    /// Forgets the gradients of the last step.
    pub fn zero_grad(&mut self) {
        self.parameters
            .iter_mut()
            .for_each(|parameter| parameter.value.zero_grad());
    }

    /// Scales all gradients down to a joint norm of at most `limit`.
    pub fn clip(&mut self, limit: f64) {
        let gradients: Vec<Tensor> = self.parameters.iter().map(|p| p.value.grad()).collect();
        let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
        let norm = Tensor::stack(&norms, 0).norm();
        let factor = (limit / (norm + 1e-6)).clamp_max(1.0);
        for mut gradient in gradients {
            let _ = gradient.g_mul_(&factor);
        }
    }

    /// One step with all learning rates multiplied by `factor`.
    pub fn step(&mut self, factor: f64) {
        self.steps += 1;
        let steps = self.steps as i32;
        let (correction_1, correction_2) =
            (1.0 - BETA_1.powi(steps), 1.0 - self.beta_2.powi(steps));
        tch::no_grad(|| {
            for p in &mut self.parameters {
                let rate = p.learning_rate * factor;
                let gradient = p.value.grad();
                let _ = p.value.g_mul_scalar_(1.0 - rate * p.weight_decay);
                let _ = p.first.lerp_(&gradient, 1.0 - BETA_1);
                let _ = p.second.lerp_(&gradient.square(), 1.0 - self.beta_2);
                let size = p.second.sqrt() / correction_2.sqrt() + EPSILON;
                let update = &p.first / size * (rate / correction_1);
                p.value -= update;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::{self, OptimizerConfig};
    use tch::{Device, Kind, Tensor};

    use super::*;

    /// The same losses on the same start, stepped by libtorch's AdamW and by ours.
    #[test]
    fn follows_libtorch() {
        tch::manual_seed(5);
        let start = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
        let target = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
        let loss = |w: &Tensor| ((w - &target).pow_tensor_scalar(4)).sum(Kind::Float);

        let store = nn::VarStore::new(Device::Cpu);
        let theirs = store.root().var_copy("w", &start);
        let mut reference = nn::AdamW {
            wd: 0.1,
            ..Default::default()
        }
        .build(&store, 0.05)
        .expect("libtorch has AdamW");
        let value = start.copy().set_requires_grad(true);
        let mut ours = AdamW::new(vec![Parameter::new("w".into(), value, 0.05, 0.1)], 0.999);
        for step in 0..50 {
            reference.backward_step(&loss(&theirs));
            ours.zero_grad();
            loss(&ours.parameters[0].value).backward();
            ours.step(1.0);
            let difference = (&theirs - &ours.parameters[0].value).abs().max();
            assert!(
                difference.double_value(&[]) < 1e-5,
                "step {step}: {difference:?}"
            );
        }
    }

    #[test]
    fn clipping_bounds_the_joint_norm() {
        let value = Tensor::from_slice(&[3.0_f32, 4.0]).set_requires_grad(true);
        let mut optimizer = AdamW::new(vec![Parameter::new("w".into(), value, 0.1, 0.0)], 0.999);
        let loss = optimizer.parameters[0].value.square().sum(Kind::Float);
        optimizer.zero_grad();
        loss.backward();
        optimizer.clip(1.0);
        let gradient = optimizer.parameters[0].value.grad();
        assert!((gradient.norm().double_value(&[]) - 1.0).abs() < 1e-5);
        assert!(
            (gradient.double_value(&[1]) / gradient.double_value(&[0]) - 4.0 / 3.0).abs() < 1e-6
        );
    }
}
