//! How a call ends.

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a call ended. On anything but `SEMID_STATUS_OK` it has done nothing.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A pointer is null where it must not be.
    Null = 1,
    /// A handle was closed, or is none of its type.
    Closed = 2,
    /// An argument that cannot be, or does not go with the others.
    Argument = 3,
    /// There is no such key, item, rank, node or beam.
    NotFound = 4,
    /// An array is too short for what it was to hold.
    Capacity = 5,
    /// A file cannot be read.
    File = 6,
    /// The index is damaged; the message says where.
    Damaged = 7,
    /// A token that the mask does not allow.
    Forbidden = 8,
    /// The scorer said that it failed.
    Scorer = 9,
    /// The scorer gave logits that are none: NaN, infinitely large, or all `-inf`.
    Logits = 10,
    /// A fault of this library. Please report it.
    Panic = 11,
}

/// Why a call has done nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }

    pub(crate) fn null(what: &str) -> Self {
        Self::new(Status::Null, format!("{what}: got a null pointer"))
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(Status::Argument, message)
    }

    /// An enum's number of which nothing is known.
    pub(crate) fn unknown(what: &str, got: usize) -> Self {
        Self::argument(format!("{what}: {got} is none that this version knows"))
    }

    /// An error with all its causes.
    fn of(status: Status, error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message += &format!(": {error}");
            cause = error.source();
        }
        Self { status, message }
    }
}

impl From<trie_decode::Error> for Failure {
    fn from(error: trie_decode::Error) -> Self {
        use trie_decode::Error as E;
        let status = match &error {
            E::Index(error) => of_index(error),
            E::UnknownKey(_) | E::NoNode { .. } | E::NoRank { .. } | E::NoBeam { .. } => {
                Status::NotFound
            }
            E::Forbidden { .. } => Status::Forbidden,
            E::Scorer(_) => Status::Scorer,
            E::BadLogit { .. } | E::BadSum { .. } | E::NoMass { .. } | E::NoItem { .. } => {
                Status::Logits
            }
            _ => Status::Argument,
        };
        Self::of(status, &error)
    }
}

impl From<semantic_id::Error> for Failure {
    fn from(error: semantic_id::Error) -> Self {
        Self::of(of_index(&error), &error)
    }
}

fn of_index(error: &semantic_id::Error) -> Status {
    match error {
        semantic_id::Error::NoItem { .. } => Status::NotFound,
        _ => Status::Damaged,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

thread_local! {
    /// What the last failed call of this thread has to say.
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Runs the body of a function, and notes why it failed.
pub(crate) fn guard(body: impl FnOnce() -> Result<()>) -> Status {
    let ended = catch_unwind(AssertUnwindSafe(body));
    let Failure { status, message } = match ended {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::new(
            Status::Panic,
            format!("a fault of semid: {}", said(&*panic)),
        ),
    };
    let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
    // A thread that ends may have lost its message; nobody will ask for it.
    _ = MESSAGE.try_with(|last| last.replace(message));
    status
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
}

/// Why the last failed call of this thread failed: what was got, what was expected, where, and
/// what to do; empty if none has failed. Valid until the next failed call of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn semid_error_message() -> *const c_char {
    let message = MESSAGE.try_with(|last| last.borrow().as_ptr());
    message.unwrap_or(c"".as_ptr())
}

/// The version of the library, such as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn semid_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version has no zero"),
        };
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_and_a_message() {
        let status = guard(|| panic!("no {}", "way"));
        assert_eq!(status, Status::Panic);
        let message = MESSAGE.with_borrow(|message| message.clone());
        assert_eq!(message.to_str(), Ok("a fault of semid: no way"));
    }

    #[test]
    fn a_message_names_all_causes() {
        let error = trie_decode::Error::Scorer("out of memory\0".into());
        assert_eq!(guard(|| Err(error.into())), Status::Scorer);
        let message = MESSAGE.with_borrow(|message| message.clone());
        assert_eq!(message.to_str(), Ok("the scorer failed: out of memory\\0"));
    }
}
