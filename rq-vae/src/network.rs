use ndarray::{Array1, Array2, ArrayView2};

use crate::matmul::Packed;
use crate::{Error, Result};

/// One affine map `y = W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Linear {
    /// `[out, in]`.
    pub(crate) weight: Array2<f32>,
    /// `[out]`.
    pub(crate) bias: Array1<f32>,
}

/// A multi-layer perceptron with ReLU between its layers; with `skip`, its input is added to
/// its output. Without layers it is the identity.
#[derive(Debug, Clone)]
pub(crate) struct Mlp {
    layers: Vec<Linear>,
    packed: Vec<Packed>,
    skip: bool,
}

impl Mlp {
    pub(crate) fn new(layers: Vec<Linear>, skip: bool) -> Result<Self> {
        let shape = |what, got, expected| {
            Err(Error::Shape {
                what,
                got,
                expected,
            })
        };
        for layer in &layers {
            if layer.bias.len() != layer.weight.nrows() {
                return shape("bias of a layer", layer.bias.len(), layer.weight.nrows());
            }
        }
        for pair in layers.windows(2) {
            if pair[1].weight.ncols() != pair[0].weight.nrows() {
                return shape(
                    "inputs of a layer",
                    pair[1].weight.ncols(),
                    pair[0].weight.nrows(),
                );
            }
        }
        if let (true, [first, .., last]) = (skip, &layers[..])
            && first.weight.ncols() != last.weight.nrows()
        {
            return shape(
                "width of a skip network",
                last.weight.nrows(),
                first.weight.ncols(),
            );
        }
        let packed = layers
            .iter()
            .map(|layer| Packed::new(layer.weight.view()).starting_from(&layer.bias))
            .collect();
        Ok(Self {
            layers,
            packed,
            skip,
        })
    }

    pub(crate) fn layers(&self) -> &[Linear] {
        &self.layers
    }

    pub(crate) fn skip(&self) -> bool {
        self.skip
    }

    /// Whether vectors of dimension `input` become vectors of dimension `output`.
    pub(crate) fn maps(&self, input: usize, output: usize) -> bool {
        match &self.layers[..] {
            [] => input == output,
            [first, ..] => {
                let last = self.layers.last().expect("there is a first");
                first.weight.ncols() == input && last.weight.nrows() == output
            }
        }
    }

    /// Applies the network to each row of `x`. Runs on all threads of the pool.
    pub(crate) fn forward(&self, x: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut hidden: Option<Array2<f32>> = None;
        for (at, (layer, packed)) in self.layers.iter().zip(&self.packed).enumerate() {
            let input = hidden.as_ref().map_or(x, |hidden| hidden.view());
            let mut output = Array2::zeros((x.nrows(), layer.bias.len()));
            packed.product(input, output.view_mut());
            if at + 1 < self.layers.len() {
                output.mapv_inplace(|y| y.max(0.0));
            }
            hidden = Some(output);
        }
        match hidden {
            None => x.to_owned(),
            Some(output) if self.skip => output + x,
            Some(output) => output,
        }
    }
}
