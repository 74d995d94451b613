//! Rows of JSON as columns of Parquet.

use std::io::Write;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow_json::reader::{Decoder, ReaderBuilder};
use arrow_schema::{DataType, Field, Fields, Schema};

use super::columns::{Column, Kind};
use crate::{Error, Result};

/// Rows of a row group, and the bytes after which it ends earlier.
const GROUP_ROWS: usize = 16 << 10;
const GROUP_BYTES: usize = 64 << 20;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 1 << 10;

/// A Parquet file in the making.
pub(super) struct Table<W: Write + Send> {
    decoder: Decoder,
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> Table<W> {
    pub(super) fn new(columns: &[Column], file: W) -> Result<Self> {
        let schema = Arc::new(Schema::new(fields(columns)));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .build();
        Ok(Self {
            decoder: ReaderBuilder::new(schema.clone())
                .with_batch_size(BATCH_ROWS)
                .build_decoder()
                .map_err(write)?,
            writer: ArrowWriter::try_new(file, schema, Some(properties)).map_err(write)?,
        })
    }

    /// Adds whole lines of JSON.
    pub(super) fn write(&mut self, mut lines: &[u8]) -> Result<()> {
        loop {
            let read = self.decoder.decode(lines).map_err(write)?;
            lines = &lines[read..];
            if lines.is_empty() {
                return Ok(());
            }
            self.flush()?;
        }
    }

    /// Takes the rows out of the decoder, which holds no more than a batch.
    fn flush(&mut self) -> Result<()> {
        match self.decoder.flush().map_err(write)? {
            Some(batch) => self.writer.write(&batch).map_err(write),
            None => Ok(()),
        }
    }

    pub(super) fn finish(mut self) -> Result<W> {
        self.flush()?;
        self.writer.into_inner().map_err(write)
    }
}

fn fields(columns: &[Column]) -> Fields {
    let field = |&Column(name, kind): &Column| Field::new(name, data_type(kind), true);
    columns.iter().map(field).collect()
}

fn data_type(kind: Kind) -> DataType {
    let list = |of| DataType::List(Arc::new(Field::new_list_field(of, true)));
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Integer => DataType::Int64,
        Kind::Texts => list(DataType::Utf8),
        Kind::Integers => list(DataType::Int64),
        Kind::Object(columns) => DataType::Struct(fields(columns)),
        Kind::Objects(columns) => list(DataType::Struct(fields(columns))),
    }
}

fn write(error: impl Into<ParquetError>) -> Error {
    Error::Write(std::io::Error::other(error.into()))
}
