use std::borrow::Cow;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::fields::{Fields, Record};
use super::sink::Sink;
use crate::catalogue::parquet_reason as reason;
use crate::input::Input;
use crate::{Place, Result};

/// Reads a Parquet file, one row an event; only the columns that matter.
pub(super) fn read(input: Input<'_>, sink: &mut Sink<'_>) -> Result<()> {
    // The parquet crate checks most of a file, and panics over some of the rest. Nobody reads on
    // after an error, so what a panic left undone does no harm.
    let done = catch_unwind(AssertUnwindSafe(|| match input {
        Input::File(file) => read_rows(OpenFile::new(file), sink),
        Input::Bytes(bytes) => read_rows(Bytes::copy_from_slice(bytes), sink),
        Input::Stream(_) => Err(sink.unreadable("a stream; Parquet is read from a file only")),
    }));
    done.unwrap_or_else(|_| {
        Err(sink.unreadable("not readable as Parquet: its parts contradict each other"))
    })
}

fn read_rows(file: impl ChunkReader + 'static, sink: &mut Sink<'_>) -> Result<()> {
    let unreadable = |error: ParquetError, sink: &Sink<'_>| sink.unreadable(reason(&error));
    let reader = SerializedFileReader::new(file).map_err(|error| unreadable(error, sink))?;
    let schema = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .root_schema_ptr();
    let all = schema.get_fields();
    let names: Vec<&str> = all.iter().map(|field| field.name()).collect();
    let fields = Fields::find(sink.options, &names).map_err(|problem| sink.unreadable(problem))?;
    let wanted = |field: &&Arc<Type>| fields.role(field.name()).is_some();
    let columns = all.iter().filter(wanted).cloned().collect();
    let columns = Type::group_type_builder(schema.name())
        .with_fields(columns)
        .build()
        .map_err(|error| unreadable(error, sink))?;
    let rows = RowIter::from_file_into(Box::new(reader))
        .project(Some(columns))
        .map_err(|error| unreadable(error, sink))?;
    for (row, number) in rows.zip(1..) {
        let unit = "row";
        let place = Place { unit, number };
        let row = row.map_err(|error| sink.bad(place, reason(&error)))?;
        let mut record = Record::default();
        for (name, value) in row.get_column_iter() {
            if let Some(role) = fields.role(name) {
                record[role] = text(value).map_err(|problem| {
                    sink.bad(place, format!("{} is {problem}", fields.name(role)))
                })?;
            }
        }
        sink.push(place, &fields, &record)?;
    }
    Ok(())
}

/// A value as text; a time in seconds since 1970.
fn text(value: &Field) -> std::result::Result<Option<Cow<'_, str>>, &'static str> {
    Ok(Some(match value {
        Field::Null => return Ok(None),
        Field::Str(string) => string.into(),
        Field::Date(days) => (i64::from(*days) * 86_400).to_string().into(),
        Field::TimestampMillis(time) => (*time as f64 / 1e3).to_string().into(),
        Field::TimestampMicros(time) => (*time as f64 / 1e6).to_string().into(),
        Field::Bytes(_) => return Err("bytes, not a text or a number"),
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
            return Err("nested, not a text or a number");
        }
        primitive => primitive.to_string().into(),
    }))
}

/// A file that reserves memory only for what it has: the crate's own believes any length.
struct OpenFile {
    file: File,
    len: u64,
}

impl OpenFile {
    fn new(file: File) -> Self {
        let len = file.len();
        Self { file, len }
    }
}

impl Length for OpenFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for OpenFile {
    type T = <File as ChunkReader>::T;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match start.checked_add(length as u64) {
            Some(end) if end <= self.len => self.file.get_bytes(start, length),
            _ => Err(ParquetError::EOF(format!(
                "{length} bytes at {start} are beyond the end"
            ))),
        }
    }
}
