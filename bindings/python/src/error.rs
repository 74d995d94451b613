use pyo3::exceptions::{PyIndexError, PyKeyError, PyValueError};
use pyo3::{PyErr, create_exception};

create_exception!(
    semid,
    SemidError,
    PyValueError,
    "What was got, what was expected, where, and what to do."
);

/// The Python exception for an error of the Rust crates, with the same words.
pub(crate) trait OrRaise<T> {
    fn or_raise(self) -> Result<T, PyErr>;
}

impl<T> OrRaise<T> for Result<T, semantic_id::Error> {
    fn or_raise(self) -> Result<T, PyErr> {
        self.map_err(|error| SemidError::new_err(words(&error)))
    }
}

impl<T> OrRaise<T> for Result<T, rq_vae::Error> {
    fn or_raise(self) -> Result<T, PyErr> {
        self.map_err(|error| SemidError::new_err(words(&error)))
    }
}

impl<T> OrRaise<T> for Result<T, semid_tasks::Error> {
    fn or_raise(self) -> Result<T, PyErr> {
        self.map_err(|error| SemidError::new_err(words(&error)))
    }
}

impl<T> OrRaise<T> for Result<T, trie_decode::Error> {
    fn or_raise(self) -> Result<T, PyErr> {
        use trie_decode::Error;
        self.map_err(|error| match error {
            // What the caller's own model raised, as it was.
            Error::Scorer(cause) => match cause.downcast::<PyErr>() {
                Ok(raised) => *raised,
                Err(other) => SemidError::new_err(other.to_string()),
            },
            Error::UnknownKey(key) => PyKeyError::new_err(key),
            Error::NoRank { .. } | Error::NoBeam { .. } | Error::NoNode { .. } => {
                PyIndexError::new_err(words(&error))
            }
            _ => SemidError::new_err(words(&error)),
        })
    }
}

/// The error and its causes.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
