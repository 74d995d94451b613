use std::error::Error;

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

impl<T, E: Error + 'static> OrRaise<T> for Result<T, E> {
    fn or_raise(self) -> Result<T, PyErr> {
        self.map_err(
            |error| match (Box::new(error) as Box<dyn Error>).downcast() {
                Ok(error) => of_decoding(*error),
                Err(error) => SemidError::new_err(words(&*error)),
            },
        )
    }
}

/// An error of a command, with what led to it.
pub(crate) fn outermost(error: anyhow::Error) -> PyErr {
    SemidError::new_err(format!("{error:#}"))
}

fn of_decoding(error: trie_decode::Error) -> PyErr {
    use trie_decode::Error as E;
    match error {
        // What the caller's own model raised, as it was.
        E::Scorer(cause) => match cause.downcast::<PyErr>() {
            Ok(raised) => *raised,
            Err(other) => SemidError::new_err(other.to_string()),
        },
        E::UnknownKey(key) => PyKeyError::new_err(key),
        E::NoRank { .. } | E::NoBeam { .. } | E::NoNode { .. } => {
            PyIndexError::new_err(words(&error))
        }
        _ => SemidError::new_err(words(&error)),
    }
}

/// The error and its causes.
fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
