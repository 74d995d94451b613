//! OpenOneRec's Parquet: a column `pid` of integers or strings and a column `codes` of lists.

use std::panic::catch_unwind;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::file::metadata::ParquetMetaData;
use arrow_array::builder::{Int32Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use bytes::Bytes;

use super::{Rows, Table, import};
use crate::{Code, Result, TokenFormat};

/// Reads the columns `pid` and `codes`; others are passed over. The tokens get OpenOneRec's
/// spelling. `codes` is the size of every codebook; if `None`, 256 or the
/// next power of two above the level's largest code.
///
/// # Errors
///
/// [`Error::Import`](crate::Error::Import) names column and row;
/// [`Error::DuplicateKey`](crate::Error::DuplicateKey) and
/// [`Error::CodeOutOfRange`](crate::Error::CodeOutOfRange) name the rows.
pub fn read(bytes: impl Into<Bytes>, codes: Option<u32>) -> Result<Table> {
    let bytes = bytes.into();
    // The parquet crate checks most of a file, and panics over some of the rest.
    let rows = catch_unwind(|| read_rows(bytes)).unwrap_or_else(|_| {
        Err(import(
            "parquet",
            "the parts of the file contradict each other",
        ))
    })?;
    let levels = rows.lengths.iter().copied().max().unwrap_or(0);
    rows.finish(codes, Some(TokenFormat::open_one_rec(levels)))
}

fn read_rows(bytes: Bytes) -> Result<Rows> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .map_err(|error| import("parquet", error))?;
    check_places(reader.metadata())?;
    let reader = reader.build().map_err(|error| import("parquet", error))?;
    let mut rows = Rows::default();
    for batch in reader {
        read_batch(&batch.map_err(|error| import("parquet", error))?, &mut rows)?;
    }
    Ok(rows)
}

/// The `parquet` crate panics on columns in negative places (arrow-rs issue 6255).
fn check_places(metadata: &ParquetMetaData) -> Result<()> {
    let mut columns = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    let sound = columns.all(|column| {
        let start = column.dictionary_page_offset();
        start.unwrap_or(column.data_page_offset()) >= 0 && column.compressed_size() >= 0
    });
    if sound {
        return Ok(());
    }
    Err(import("parquet", "a column lies in a negative place"))
}

fn read_batch(batch: &RecordBatch, rows: &mut Rows) -> Result<()> {
    let (keys, codes) = (column(batch, "pid")?, column(batch, "codes")?);
    let first = rows.keys.len();
    for at in 0..batch.num_rows() {
        let place = |column| format!("parquet column {column}, row {}", first + at);
        let key = key(keys, at).map_err(|problem| import(place("pid"), problem))?;
        list(codes, at)
            .and_then(|path| read_path(&path, rows))
            .and_then(|length| rows.end(key, length))
            .map_err(|problem| import(place("codes"), problem))?;
    }
    Ok(())
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b dyn Array> {
    let column = batch.column_by_name(name).map(AsRef::as_ref);
    column.ok_or_else(|| {
        let schema = batch.schema();
        let got: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| &**field.name())
            .collect();
        import(
            "parquet",
            format!("got columns {got:?}, expected pid and codes"),
        )
    })
}

type Found<T> = std::result::Result<T, String>;

fn key(keys: &dyn Array, at: usize) -> Found<String> {
    if keys.is_null(at) {
        return Err("got null, expected a key".to_owned());
    }
    match keys.data_type() {
        DataType::Utf8 => Ok(keys.as_string::<i32>().value(at).to_owned()),
        DataType::LargeUtf8 => Ok(keys.as_string::<i64>().value(at).to_owned()),
        DataType::Utf8View => Ok(keys.as_string_view().value(at).to_owned()),
        _ => integer(keys, at).map(|key| key.to_string()),
    }
}

fn list(lists: &dyn Array, at: usize) -> Found<ArrayRef> {
    if lists.is_null(at) {
        return Err("got null, expected a list of codes".to_owned());
    }
    match lists.data_type() {
        DataType::List(_) => Ok(lists.as_list::<i32>().value(at)),
        DataType::LargeList(_) => Ok(lists.as_list::<i64>().value(at)),
        DataType::FixedSizeList(..) => Ok(lists.as_fixed_size_list().value(at)),
        other => Err(format!("got {other}, expected a list of codes")),
    }
}

/// Adds the codes of one item to the rows; gives their number.
fn read_path(path: &dyn Array, rows: &mut Rows) -> Found<usize> {
    for level in 0..path.len() {
        let code = integer(path, level)?;
        let code = u16::try_from(code)
            .map_err(|_| format!("got code {code} at level {level}, expected 0 to 65535"))?;
        rows.codes.push(Code(code));
    }
    Ok(path.len())
}

fn integer(array: &dyn Array, at: usize) -> Found<i128> {
    fn value<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &dyn Array, at: usize) -> i128 {
        array.as_primitive::<T>().value(at).into()
    }
    if array.is_null(at) {
        return Err("got null, expected an integer".to_owned());
    }
    Ok(match array.data_type() {
        DataType::Int8 => value::<Int8Type>(array, at),
        DataType::Int16 => value::<Int16Type>(array, at),
        DataType::Int32 => value::<Int32Type>(array, at),
        DataType::Int64 => value::<Int64Type>(array, at),
        DataType::UInt8 => value::<UInt8Type>(array, at),
        DataType::UInt16 => value::<UInt16Type>(array, at),
        DataType::UInt32 => value::<UInt32Type>(array, at),
        DataType::UInt64 => value::<UInt64Type>(array, at),
        other => return Err(format!("got {other}, expected an integer")),
    })
}

/// Writes `pid` (integers if all keys are plain ones, else strings) and `codes`, unpadded lists.
///
/// # Errors
///
/// [`Error::Import`](crate::Error::Import) if the Parquet writer refuses.
pub fn write(table: &Table) -> Result<Vec<u8>> {
    let columns = [("pid", key_column(table)), ("codes", code_column(table))];
    let batch = RecordBatch::try_from_iter(columns).map_err(|error| import("parquet", error))?;
    let mut file = Vec::new();
    ArrowWriter::try_new(&mut file, batch.schema(), None)
        .and_then(|mut writer| {
            writer.write(&batch)?;
            writer.close()
        })
        .map_err(|error| import("parquet", error))?;
    Ok(file)
}

fn key_column(table: &Table) -> ArrayRef {
    let integer = |key: &str| key.parse().ok().filter(|pid: &i64| pid.to_string() == key);
    match table.keys.iter().map(integer).collect::<Option<Vec<i64>>>() {
        Some(pids) => Arc::new(Int64Array::from(pids)),
        None => Arc::new(StringArray::from_iter_values(table.keys.iter())),
    }
}

fn code_column(table: &Table) -> ArrayRef {
    let mut lists = ListBuilder::new(Int32Builder::new());
    for (_, path) in table.rows() {
        lists.append_value(path.iter().map(|code| Some(code.0.into())));
    }
    Arc::new(lists.finish())
}
