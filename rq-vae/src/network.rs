use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

use crate::matmul::Packed;
use crate::{Error, Result};

/// Rows that pass through all layers together, while they are in the cache.
const CHUNK: usize = 192;

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
        let width = self.packed.last().map_or(x.ncols(), Packed::outputs);
        let mut out = Array2::zeros((x.nrows(), width));
        x.axis_chunks_iter(Axis(0), CHUNK)
            .into_par_iter()
            .zip(out.axis_chunks_iter_mut(Axis(0), CHUNK))
            .for_each_init(
                || self.hidden(),
                |hidden, (x, out)| self.forward_here(x, hidden, out),
            );
        out
    }

    /// Room for what lies between the layers, for one chunk of rows.
    fn hidden(&self) -> Vec<Array2<f32>> {
        let inner = self.packed.len().saturating_sub(1);
        let room = |layer: &Packed| Array2::zeros((CHUNK, layer.outputs()));
        self.packed[..inner].iter().map(room).collect()
    }

    fn forward_here(
        &self,
        x: ArrayView2<'_, f32>,
        hidden: &mut [Array2<f32>],
        mut out: ArrayViewMut2<'_, f32>,
    ) {
        let Some((last, inner)) = self.packed.split_last() else {
            out.assign(&x);
            return;
        };
        let mut input = x;
        for (layer, hidden) in inner.iter().zip(hidden) {
            let mut output = hidden.slice_mut(ndarray::s![..x.nrows(), ..]);
            layer.product_here(input, output.view_mut());
            output.mapv_inplace(|y| y.max(0.0));
            input = hidden.slice(ndarray::s![..x.nrows(), ..]);
        }
        last.product_here(input, out.view_mut());
        if self.skip {
            out += &x;
        }
    }
}
