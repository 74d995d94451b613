use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::Value;

use super::{Each, format_error, give_value};
use crate::{Input, Place, Result};

pub(super) fn read(file: &str, input: Input<'_>, each: &mut Each<'_>) -> Result<()> {
    match input {
        Input::Bytes(bytes) => read_rows(file, Bytes::copy_from_slice(bytes), each),
        Input::File(opened) => read_rows(file, opened, each),
        Input::Stream(_) => Err(format_error(file, "Parquet is read from a file only")),
    }
}

fn read_rows<R: ChunkReader + 'static>(file: &str, input: R, each: &mut Each<'_>) -> Result<()> {
    let reader = guarded(file, || SerializedFileReader::new(input))?;
    let mut rows = guarded(file, || reader.get_row_iter(None))?;
    for number in 1.. {
        let Some(row) = guarded(file, || rows.next().transpose())? else {
            break;
        };
        let unit = "row";
        give_value(file, Place { unit, number }, &object(row), each)?;
    }
    Ok(())
}

/// The parquet crate checks most of a file, and panics over some of the rest. After an error
/// nobody goes on reading.
fn guarded<T>(
    file: &str,
    read: impl FnOnce() -> std::result::Result<T, ParquetError>,
) -> Result<T> {
    let problem = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its parts contradict each other".to_owned(),
    };
    Err(format_error(
        file,
        format!("not readable as Parquet: {problem}"),
    ))
}

fn object(row: Row) -> Value {
    let columns = row.into_columns().into_iter();
    Value::Object(columns.map(|(name, field)| (name, value(field))).collect())
}

/// Texts and what holds them; numbers outside the provenance, which is a string here, do not
/// matter.
fn value(field: Field) -> Value {
    match field {
        Field::Str(text) => Value::String(text),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        _ => Value::Null,
    }
}
