use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use pyo3::PyResult;
use pyo3::exceptions::PyIsADirectoryError;

/// The bytes of an index, shared by all that is made of it: a mapped file, or memory.
#[derive(Clone)]
pub(crate) struct Bytes(Arc<Storage>);

enum Storage {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl Bytes {
    /// Maps a file; its pages come from the disk as they are touched.
    pub(crate) fn open(path: &Path) -> PyResult<Self> {
        if path.is_dir() {
            let problem = format!("{} is a folder, expected a file", path.display());
            return Err(PyIsADirectoryError::new_err(problem));
        }
        let file = File::open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        // SAFETY: the map is read-only and private. Another process that shortens the file in place
        // would break it; an index is replaced by renaming a finished file over it, and the map
        // then goes on showing the old one.
        #[allow(unsafe_code)]
        let mapped = unsafe { Mmap::map(&file) }?;
        Ok(Self(Arc::new(Storage::Mapped(mapped))))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Storage::Held(bytes)))
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match &*self.0 {
            Storage::Mapped(bytes) => bytes,
            Storage::Held(bytes) => bytes,
        }
    }
}
