use std::path::PathBuf;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis, Ix1};
use numpy::{PyArray1, PyArray2, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rq_vae::{LatentDistances, ResidualQuantizer};
use semantic_id::{Assigner, Code, CodeMatrix, Draft, ItemKeys, OptimalAssigner};

use crate::array::Given;
use crate::error::{OrRaise, SemidError};
use crate::threads::{abandonable, detached};

/// A trained model: embeddings in, codes out. It needs no libtorch.
#[pyclass(frozen, module = "semid", name = "Encoder")]
pub(crate) struct Encoder {
    inner: Arc<rq_vae::Encoder>,
    /// `model.safetensors` and `config.json`, for other processes.
    files: Arc<(Vec<u8>, Vec<u8>)>,
}

/// Distinct codes for each item, and the proof of how good they are.
#[pyclass(frozen, module = "semid", name = "Assignment")]
pub(crate) struct Assignment(semantic_id::Assignment);

/// Rows that are encoded between two looks for Ctrl-C.
const LISTEN: usize = 1 << 15;

/// Codes `[n, L]` uint16 and squared distances `[n]` float32.
type Encoded<'py> = (Bound<'py, PyArray2<u16>>, Bound<'py, PyArray1<f32>>);

#[pymethods]
impl Encoder {
    /// Reads a model folder of `semid train`.
    #[new]
    fn open(folder: PathBuf) -> PyResult<Self> {
        let read = |name: &str| std::fs::read(folder.join(name));
        Self::from_files(read("model.safetensors")?, read("config.json")?)
    }

    /// The same from the bytes of the two files.
    #[staticmethod]
    fn from_files(model: Vec<u8>, config: Vec<u8>) -> PyResult<Self> {
        let encoder = rq_vae::Encoder::from_files(&model, &config).or_raise()?;
        Ok(Self {
            inner: Arc::new(encoder),
            files: Arc::new((model, config)),
        })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let (model, config) = &*slf.get().files;
        let files = (
            PyBytes::new(slf.py(), model),
            PyBytes::new(slf.py(), config),
        );
        let make = slf.get_type().getattr("from_files")?;
        Ok((make, files.into_pyobject(slf.py())?.into_any()))
    }

    #[getter]
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    #[getter]
    fn sizes(&self) -> Vec<usize> {
        let space = self.inner.quantizer().space();
        (0..space.levels()).map(|level| space.size(level)).collect()
    }

    /// The centroids of each level, `[K, d]`.
    fn codebooks<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyArray2<f32>>> {
        let codebooks = self.inner.quantizer().codebooks();
        codebooks
            .iter()
            .map(|codebook| codebook.0.to_pyarray(py))
            .collect()
    }

    /// The nearest path that a beam search finds for each embedding, and its squared distance.
    #[pyo3(signature = (embeddings, *, beams = 8))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        embeddings: Given<'_, f32>,
        beams: usize,
    ) -> PyResult<Encoded<'py>> {
        let embeddings = embeddings.as_array();
        check_beams(beams)?;
        let (mut codes, mut costs) = (Vec::new(), Vec::new());
        for rows in embeddings.axis_chunks_iter(Axis(0), LISTEN) {
            py.check_signals()?;
            let (paths, own) = detached(py, || self.inner.encode(rows, beams)).or_raise()?;
            codes.extend(paths.rows().flatten().map(|code| code.0));
            costs.extend(own);
        }
        let levels = self.inner.quantizer().space().levels();
        let codes = Array2::from_shape_vec((costs.len(), levels), codes).expect("a row an item");
        Ok((codes.to_pyarray(py), costs.to_pyarray(py)))
    }

    /// Where embeddings are between the codebooks, `[n, d]`.
    fn latents<'py>(
        &self,
        py: Python<'py>,
        embeddings: Given<'_, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let embeddings = embeddings.as_array();
        let latents = detached(py, || self.inner.latents(embeddings)).or_raise()?;
        Ok(latents.to_pyarray(py))
    }

    /// What `encode` gives for the embeddings of these latents `[n, d]`.
    #[pyo3(signature = (latents, *, beams = 8))]
    fn quantize<'py>(
        &self,
        py: Python<'py>,
        latents: Given<'_, f32>,
        beams: usize,
    ) -> PyResult<Encoded<'py>> {
        let (latents, quantizer) = (latents.as_array(), self.inner.quantizer());
        check_beams(beams)?;
        check_latents(quantizer, latents)?;
        let (paths, costs) = detached(py, || quantizer.encode(latents, beams));
        Ok((array(&paths).to_pyarray(py), costs.to_pyarray(py)))
    }

    /// The embeddings that codes stand for, `[n, D]`.
    fn reconstruct<'py>(
        &self,
        py: Python<'py>,
        codes: Given<'_, u16>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let paths = matrix(&codes)?;
        paths.check(self.inner.quantizer().space()).or_raise()?;
        Ok(detached(py, || self.inner.reconstruct(&paths)).to_pyarray(py))
    }
}

/// Distinct codes for all items, with the fewest moves and then the least distance.
#[pyfunction]
#[pyo3(signature = (encoder, embeddings, keys, *, beams = 8))]
pub(crate) fn assign(
    py: Python<'_>,
    encoder: &Encoder,
    embeddings: Given<'_, f32>,
    keys: Vec<String>,
    beams: usize,
) -> PyResult<Assignment> {
    let embeddings = embeddings.as_array();
    check_beams(beams)?;
    let encoder = Arc::clone(&encoder.inner);
    let latents = detached(py, || encoder.latents(embeddings)).or_raise()?;
    abandonable(py, move || {
        let quantizer = encoder.quantizer();
        let (paths, costs) = quantizer.encode(latents.view(), beams);
        let distances = LatentDistances::new(quantizer, latents).or_raise()?;
        let draft = Draft::new(quantizer.space().clone(), paths, costs, &distances).or_raise()?;
        let keys = ItemKeys::new(keys).or_raise()?;
        let assigned = OptimalAssigner::default()
            .assign(&draft, &keys)
            .or_raise()?;
        Ok(Assignment(assigned))
    })?
}

/// Distinct codes for items that were encoded before: their latents `[n, d]`, native codes
/// `[n, L]` and squared distances `[n]`. Items that hold the codes `taken` `[m, L]` keep them.
#[pyfunction]
#[pyo3(signature = (encoder, latents, codes, distances, keys, *, taken = None))]
pub(crate) fn assign_latents(
    py: Python<'_>,
    encoder: &Encoder,
    latents: Given<'_, f32>,
    codes: Given<'_, u16>,
    distances: Given<'_, f32, Ix1>,
    keys: Vec<String>,
    taken: Option<Given<'_, u16>>,
) -> PyResult<Assignment> {
    check_latents(encoder.inner.quantizer(), latents.as_array())?;
    let (latents, paths) = (latents.as_array().to_owned(), matrix(&codes)?);
    let costs = distances.as_array().to_vec();
    let taken = match taken {
        Some(taken) => matrix(&taken)?,
        None => CodeMatrix::new(Vec::new(), paths.levels()).or_raise()?,
    };
    let encoder = Arc::clone(&encoder.inner);
    abandonable(py, move || {
        let quantizer = encoder.quantizer();
        let geometry = LatentDistances::new(quantizer, latents).or_raise()?;
        let draft = Draft::new(quantizer.space().clone(), paths, costs, &geometry).or_raise()?;
        let keys = ItemKeys::new(keys).or_raise()?;
        let assigner = OptimalAssigner::default();
        Ok(Assignment(
            assigner.assign_beside(&taken, &draft, &keys).or_raise()?,
        ))
    })?
}

#[pymethods]
impl Assignment {
    /// `[N, L]` uint16.
    #[getter]
    fn codes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<u16>> {
        array(self.0.paths()).to_pyarray(py)
    }

    /// Items that did not keep their native codes.
    #[getter]
    fn moved(&self) -> usize {
        self.0.moved()
    }

    #[getter]
    fn added_distance(&self) -> f64 {
        self.0.added_distance()
    }

    #[getter]
    fn optimal(&self) -> bool {
        self.0.certificate().is_some_and(|proof| proof.optimal)
    }

    /// The certificate, as JSON.
    #[getter]
    fn certificate(&self) -> Option<String> {
        let proof = self.0.certificate()?;
        Some(serde_json::to_string(proof).expect("plain data serialises"))
    }

    #[getter]
    fn gap(&self) -> Option<f64> {
        self.0.certificate().map(|proof| proof.gap)
    }
}

fn check_latents(quantizer: &ResidualQuantizer, latents: ArrayView2<'_, f32>) -> PyResult<()> {
    let (got, expected) = (latents.ncols(), quantizer.dim());
    if got == expected {
        return Ok(());
    }
    let problem = format!("latents: got {got} dimensions, expected {expected}");
    Err(SemidError::new_err(problem))
}

fn check_beams(beams: usize) -> PyResult<()> {
    match beams {
        0 => Err(SemidError::new_err("beams: got 0, expected at least 1")),
        _ => Ok(()),
    }
}

fn array(paths: &CodeMatrix) -> Array2<u16> {
    let codes = paths.rows().flatten().map(|code| code.0).collect();
    Array2::from_shape_vec((paths.len(), paths.levels()), codes).expect("a row an item")
}

pub(crate) fn matrix(codes: &Given<'_, u16>) -> PyResult<CodeMatrix> {
    let codes = codes.as_array();
    let flat = codes.iter().copied().map(Code).collect();
    CodeMatrix::new(flat, codes.ncols()).or_raise()
}
