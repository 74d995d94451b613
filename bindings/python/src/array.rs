use std::ops::{Deref, DerefMut};

use ndarray::{Dimension, Ix2};
use numpy::{
    Element, PyArray, PyArrayMethods, PyReadonlyArray, PyReadwriteArray, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// An array to be read, where it lies: of numpy, or of whoever speaks DLPack, as torch does.
pub(crate) struct Given<'py, T: Element, D: Dimension = Ix2>(PyReadonlyArray<'py, T, D>);

/// An array to be written to, where it lies.
pub(crate) struct GivenMut<'py, T: Element, D: Dimension = Ix2>(PyReadwriteArray<'py, T, D>);

impl<'py, T: Element, D: Dimension> FromPyObject<'_, 'py> for Given<'py, T, D> {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(array::<T, D>(given)?.try_readonly()?))
    }
}

impl<'py, T: Element, D: Dimension> FromPyObject<'_, 'py> for GivenMut<'py, T, D> {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(array::<T, D>(given)?.try_readwrite()?))
    }
}

impl<'py, T: Element, D: Dimension> Deref for Given<'py, T, D> {
    type Target = PyReadonlyArray<'py, T, D>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'py, T: Element, D: Dimension> Deref for GivenMut<'py, T, D> {
    type Target = PyReadwriteArray<'py, T, D>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: Element, D: Dimension> DerefMut for GivenMut<'_, T, D> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

fn array<'py, T: Element, D: Dimension>(
    given: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Bound<'py, PyArray<T, D>>> {
    let py = given.py();
    let array = match given.cast::<PyUntypedArray>() {
        Ok(array) => array.to_owned().into_any(),
        // Memory of another device is refused here, by name.
        Err(_) if given.hasattr("__dlpack__")? => {
            py.import("numpy")?.call_method1("from_dlpack", (given,))?
        }
        Err(_) => given.to_owned(),
    };
    array.cast_into().map_err(|error| {
        let other = error.into_inner();
        let got = match other.cast::<PyUntypedArray>() {
            Ok(array) => format!("{} of {} dimensions", array.dtype(), array.ndim()),
            Err(_) => format!("{}", other.get_type()),
        };
        let (expected, dimensions) = (T::get_dtype(py), D::NDIM.unwrap_or_default());
        PyTypeError::new_err(format!(
            "got {got}, expected an array of {expected} of {dimensions} dimensions"
        ))
    })
}
