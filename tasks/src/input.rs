use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};

use flate2::bufread::MultiGzDecoder;

/// Where the bytes of a file come from: from memory, an open file, or any reader.
///
/// Text is streamed from each of them, and may be compressed by gzip or zstd. Parquet needs to
/// be in memory or an open file.
pub enum Input<'a> {
    /// All bytes.
    Bytes(&'a [u8]),
    /// A file, read from its beginning.
    File(File),
    /// Anything else, such as a pipe.
    Stream(Box<dyn Read + 'a>),
}

impl<'a> Input<'a> {
    /// Whether this is a Parquet file; a stream is never told to be one.
    pub(crate) fn is_parquet(&mut self) -> io::Result<bool> {
        let mut magic = Vec::new();
        match self {
            Self::Bytes(bytes) => return Ok(bytes.starts_with(b"PAR1")),
            Self::Stream(_) => return Ok(false),
            Self::File(file) => {
                file.rewind()?;
                file.take(4).read_to_end(&mut magic)?;
                file.rewind()?;
            }
        }
        Ok(magic == b"PAR1")
    }

    /// The bytes in order, decompressed.
    pub(crate) fn into_reader(self) -> io::Result<Box<dyn BufRead + 'a>> {
        Ok(match self {
            Self::Bytes(bytes) => decompress(bytes)?,
            Self::File(file) => decompress(BufReader::with_capacity(1 << 18, file))?,
            Self::Stream(stream) => decompress(BufReader::new(stream))?,
        })
    }
}

impl<'a> From<&'a [u8]> for Input<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<File> for Input<'_> {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Input::Bytes",
            Self::File(_) => "Input::File",
            Self::Stream(_) => "Input::Stream",
        })
    }
}

/// What a reader says, decompressed if its first bytes are those of gzip or zstd.
pub(crate) fn decompress<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut head = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut head)?;
    let (gzip, zstd) = (is_gzip(&head), is_zstd(&head));
    let whole = Cursor::new(head).chain(reader);
    Ok(match (gzip, zstd) {
        (true, _) => Box::new(BufReader::new(MultiGzDecoder::new(whole))),
        (_, true) => Box::new(BufReader::new(zstd::Decoder::with_buffer(whole)?)),
        _ => Box::new(whole),
    })
}

/// All bytes, decompressed if they are compressed.
pub(crate) fn decompressed(bytes: &[u8]) -> io::Result<Cow<'_, [u8]>> {
    if !is_gzip(bytes) && !is_zstd(bytes) {
        return Ok(bytes.into());
    }
    let mut plain = Vec::new();
    decompress(bytes)?.read_to_end(&mut plain)?;
    Ok(plain.into())
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b")
}

fn is_zstd(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x28\xb5\x2f\xfd")
}

/// A reader's first bytes, up to 64 KiB, without a byte order mark, and the reader of all.
pub(crate) fn peek<'a>(
    mut reader: Box<dyn BufRead + 'a>,
) -> io::Result<(Vec<u8>, Box<dyn BufRead + 'a>)> {
    let mut head = Vec::new();
    reader.by_ref().take(1 << 16).read_to_end(&mut head)?;
    if head.starts_with(b"\xef\xbb\xbf") {
        head.drain(..3);
    }
    let whole = Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(whole)))
}

/// A file's name in lower case, without the ending of a compressed file.
pub(crate) fn plain_name(file: &str) -> String {
    let name = file.to_ascii_lowercase();
    let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
    plain.unwrap_or(&name).to_owned()
}
