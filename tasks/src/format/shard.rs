use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write};

use semantic_id::Digest;
use serde::{Deserialize, Serialize};

use super::{Container, RowFormat};
use crate::{Error, Part, Result};

/// The name of a shard, `train/part-00003-of-00010.jsonl`: a folder a part, so that tools which
/// take a folder take a part. While the number of shards is unknown, `of` is `None`.
pub fn shard_name(part: Part, shard: usize, of: Option<usize>, container: Container) -> String {
    let mut name = format!("{part}/part-{shard:05}");
    if let Some(of) = of {
        write!(name, "-of-{of:05}").expect("memory takes text");
    }
    format!("{name}.{container}")
}

/// A finished shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its name, with its folder.
    pub file: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Hash of the bytes.
    pub blake3: Digest,
    /// What was counted while it was made, as rows of each task.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
}

/// Makes a file of the blocks that a [`RowWriter`](super::RowWriter) wrote, and hashes it on the
/// way. Equal rows give equal bytes, however they are cut into blocks. Memory is bounded: by a
/// row group for Parquet, else by a few buffers.
pub struct ShardWriter<W: Write + Send> {
    body: Body<Hashed<W>>,
    rows: u64,
}

enum Body<W: Write + Send> {
    Plain(W),
    // One frame a file: some readers stop after the first.
    Zst(zstd::Encoder<'static, W>),
    #[cfg(feature = "parquet")]
    Parquet(Box<super::parquet::Table<W>>),
}

impl<W: Write + Send> ShardWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// [`Error::Container`] if rows of this format do not go into it, [`Error::Write`] if `file`
    /// cannot be written.
    pub fn new(format: RowFormat, container: Container, file: W) -> Result<Self> {
        let refused = Error::Container { format, container };
        if !format.containers().contains(&container) {
            return Err(refused);
        }
        let mut file = Hashed::new(file);
        let body = match container {
            Container::Jsonl => Body::Plain(file),
            Container::Csv => {
                let columns = format.columns(container).ok_or(refused)?;
                let names: Vec<&str> = columns.iter().map(|column| column.0).collect();
                writeln!(file, "{}", names.join(",")).map_err(Error::Write)?;
                Body::Plain(file)
            }
            Container::JsonlZst => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                Body::Zst(zstd::Encoder::new(file, level).map_err(Error::Write)?)
            }
            #[cfg(feature = "parquet")]
            Container::Parquet => {
                let columns = format.columns(container).ok_or(refused)?;
                Body::Parquet(Box::new(super::parquet::Table::new(&columns, file)?))
            }
            #[cfg(not(feature = "parquet"))]
            Container::Parquet => return Err(refused),
        };
        Ok(Self { body, rows: 0 })
    }

    /// Adds a block of `rows` rows.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if the file cannot be written.
    pub fn write(&mut self, block: &[u8], rows: u64) -> Result<()> {
        self.rows += rows;
        match &mut self.body {
            Body::Plain(file) => file.write_all(block).map_err(Error::Write),
            Body::Zst(file) => file.write_all(block).map_err(Error::Write),
            #[cfg(feature = "parquet")]
            Body::Parquet(table) => table.write(block),
        }
    }

    /// Ends the file and gives it back, with what is known of it.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if the file cannot be written.
    pub fn finish(self, file: impl Into<String>) -> Result<(W, Shard)> {
        let mut body = match self.body {
            Body::Plain(file) => file,
            Body::Zst(file) => file.finish().map_err(Error::Write)?,
            #[cfg(feature = "parquet")]
            Body::Parquet(table) => table.finish()?,
        };
        body.flush().map_err(Error::Write)?;
        let shard = Shard {
            file: file.into(),
            rows: self.rows,
            bytes: body.hasher.count(),
            blake3: body.hasher.finalize().into(),
            counts: BTreeMap::new(),
        };
        Ok((body.file, shard))
    }
}

impl<W: Write + Send> fmt::Debug for ShardWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardWriter")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// A file whose bytes are hashed on their way.
pub(super) struct Hashed<W> {
    file: W,
    hasher: blake3::Hasher,
}

impl<W> Hashed<W> {
    pub(super) fn new(file: W) -> Self {
        let hasher = blake3::Hasher::new();
        Self { file, hasher }
    }

    /// The file, and the hash of all its bytes.
    pub(super) fn finish(self) -> (W, Digest) {
        (self.file, self.hasher.finalize().into())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
