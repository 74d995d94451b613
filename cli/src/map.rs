//! Bytes of a file without reading it whole.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, bail};
use memmap2::Mmap;

/// The bytes of an input: mapped if it is a file, read if it is a pipe.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Opens an input; pages come from the disk as they are touched.
pub(crate) fn open(path: &Path) -> anyhow::Result<Bytes> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let kind = file.metadata().with_context(cannot)?.file_type();
    if kind.is_dir() {
        bail!("{} is a folder, not a file", path.display());
    }
    if !kind.is_file() {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(cannot)?;
        return Ok(Bytes::Read(bytes));
    }
    of(&file).with_context(cannot)
}

/// Maps an open file.
pub(crate) fn of(file: &File) -> io::Result<Bytes> {
    // SAFETY: the map is read-only and private. Another process that shortens
    // the file under us would break it; our own writers never change a file in
    // place, they rename a finished one over it.
    #[allow(unsafe_code)]
    let mapped = unsafe { Mmap::map(file) };
    mapped.map(Bytes::Mapped)
}
