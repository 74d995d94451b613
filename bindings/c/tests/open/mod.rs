//! Index files for tests, opened through C.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::{fs, ptr};

use semantic_id::{CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys, Manifest, TokenFormat};
use semid::index::{Index, semid_index_open};
use semid::status::{Status, semid_error_message};

/// Writes an index of these items into a file that is gone when the test is, and opens it.
pub(crate) fn open(
    space: &CodeSpace,
    codes: &CodeMatrix,
    keys: &[String],
    per_path: usize,
) -> *const Index {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("index.safetensors");
    let info = IndexInfo::new(
        TokenFormat::lc_rec(space.levels()),
        Manifest::new("test", ().into()),
    );
    let keys = ItemKeys::new(keys).expect("distinct keys");
    let index = ItemIndex::build(space, codes, &keys, per_path, info).expect("an index");
    fs::write(&path, index.bytes()).expect("written");
    let path = CString::new(path.to_str().expect("UTF-8")).expect("no zero");
    // SAFETY: a text, no options and a place for the handle.
    got(|index| unsafe { semid_index_open(path.as_ptr(), ptr::null(), index) }).expect("it opens")
}

/// What a call gives, or its message.
pub(crate) fn got<T>(
    call: impl FnOnce(Option<&mut MaybeUninit<T>>) -> Status,
) -> Result<T, String> {
    let mut value = MaybeUninit::uninit();
    match call(Some(&mut value)) {
        // SAFETY: a call that has done its work has set what it gives.
        Status::Ok => Ok(unsafe { value.assume_init() }),
        status => Err(message(status)),
    }
}

/// Why the last call failed.
pub(crate) fn message(status: Status) -> String {
    // SAFETY: a text, for as long as no other call of this thread fails.
    let message = unsafe { CStr::from_ptr(semid_error_message()) };
    format!("{status:?}: {}", message.to_str().expect("UTF-8"))
}
