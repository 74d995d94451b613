use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int32Type, Int64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use bytes::Bytes;
use ndarray::Array2;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{Error, Result};

/// Names of a column of item keys.
const KEY_NAMES: [&str; 5] = ["key", "id", "item_id", "pid", "parent_asin"];

fn format_error(error: impl std::fmt::Display) -> Error {
    Error::Format(format!("bad Parquet file: {error}"))
}

/// Reads `[N, D]` from the first column of lists of floats, and the keys from a column that
/// is named as one. Holds the file and its values in memory.
pub(super) fn read(bytes: &[u8]) -> Result<(Array2<f32>, Option<Vec<String>>)> {
    let mut values = Vec::new();
    let mut shape = [0, 0];
    let keys = read_rows(Bytes::copy_from_slice(bytes), |row, _| {
        values.extend_from_slice(row);
        shape = [shape[0] + 1, row.len()];
        Ok(())
    })?;
    let values = Array2::from_shape_vec(shape, values).expect("rows of one length were counted");
    Ok((values, keys))
}

/// Writes the embeddings of a Parquet file as a `.npy` file of f32, a batch at a time, and returns
/// their keys, if it has any: embeddings that are larger than memory can be read from there.
///
/// # Errors
///
/// [`Error::Format`] as for [`Embeddings::open`](crate::Embeddings::open), [`Error::Write`] if
/// `out` fails.
pub fn parquet_to_npy<D: AsRef<[u8]> + Send + 'static>(
    file: D,
    out: &mut dyn Write,
) -> Result<Option<Vec<String>>> {
    let mut first = true;
    read_rows(Bytes::from_owner(file), |row, rows| {
        if std::mem::take(&mut first) {
            let header = super::npy::header(rows, row.len());
            out.write_all(&header).map_err(Error::Write)?;
        }
        let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        out.write_all(&bytes).map_err(Error::Write)
    })
}

/// Hands over row by row, with the number of rows to come in all. There is at least one, and all
/// are of one length.
fn read_rows(
    file: Bytes,
    row: impl FnMut(&[f32], usize) -> Result<()>,
) -> Result<Option<Vec<String>>> {
    // The parquet crate checks most of a file, and panics over some of the rest.
    catch_unwind(AssertUnwindSafe(|| read_batches(file, row)))
        .unwrap_or_else(|_| Err(format_error("its parts contradict each other")))
}

fn read_batches(
    file: Bytes,
    mut row: impl FnMut(&[f32], usize) -> Result<()>,
) -> Result<Option<Vec<String>>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(format_error)?;
    let told = builder.metadata().file_metadata().num_rows();
    let told = usize::try_from(told).map_err(format_error)?;
    let mut dim = None;
    let mut rows = 0;
    let mut keys: Option<Vec<String>> = None;
    for batch in builder.build().map_err(format_error)? {
        let batch = batch.map_err(format_error)?;
        let lists = vectors(&batch)?;
        for at in 0..lists.len() {
            let vector = vector(lists, at)
                .ok_or_else(|| Error::Format(format!("row {rows} holds no vector")))?;
            let expected = *dim.get_or_insert(vector.len());
            if vector.len() != expected || expected == 0 {
                return Err(Error::Format(format!(
                    "row {rows} has {} values, expected {} as in row 0",
                    vector.len(),
                    expected.max(1)
                )));
            }
            row(&vector, told)?;
            rows += 1;
        }
        if let Some(column) = KEY_NAMES.iter().find_map(|name| batch.column_by_name(name)) {
            keys.get_or_insert_default().extend(strings(column)?);
        }
    }
    match rows {
        0 => Err(Error::Empty),
        _ if rows != told => Err(format_error(format_args!(
            "got {rows} rows, expected {told} as its footer says"
        ))),
        _ => Ok(keys),
    }
}

/// The first column whose first row is a vector.
fn vectors(batch: &RecordBatch) -> Result<&ArrayRef> {
    (batch.columns().iter())
        .find(|column| vector(column, 0).is_some())
        .ok_or_else(|| {
            let names: Vec<_> = batch
                .schema()
                .fields()
                .iter()
                .map(|f| f.to_string())
                .collect();
            Error::Format(format!(
                "no column of lists of floats among {}",
                names.join(", ")
            ))
        })
}

/// One row of a column of lists of floats.
fn vector(column: &ArrayRef, row: usize) -> Option<Vec<f32>> {
    if row >= column.len() || column.is_null(row) {
        return None;
    }
    let values = if let Some(lists) = column.as_list_opt::<i32>() {
        lists.value(row)
    } else if let Some(lists) = column.as_list_opt::<i64>() {
        lists.value(row)
    } else {
        column.as_fixed_size_list_opt()?.value(row)
    };
    floats::<Float32Type>(&values, |x| x)
        .or_else(|| floats::<Float64Type>(&values, |x| x as f32))
        .or_else(|| floats::<Float16Type>(&values, |x| x.to_f32()))
}

/// The values of a column of one number type; a missing value is a NaN, refused later.
fn floats<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    to_f32: impl Fn(T::Native) -> f32,
) -> Option<Vec<f32>> {
    let values = values.as_primitive_opt::<T>()?;
    Some(
        values
            .iter()
            .map(|value| value.map_or(f32::NAN, &to_f32))
            .collect(),
    )
}

fn strings(column: &ArrayRef) -> Result<Vec<String>> {
    fn all<T: ToString>(values: impl Iterator<Item = Option<T>>) -> Option<Vec<String>> {
        values
            .map(|value| value.map(|value| value.to_string()))
            .collect()
    }
    let keys = if let Some(keys) = column.as_string_opt::<i32>() {
        all(keys.iter())
    } else if let Some(keys) = column.as_string_opt::<i64>() {
        all(keys.iter())
    } else if let Some(keys) = column.as_primitive_opt::<Int64Type>() {
        all(keys.iter())
    } else if let Some(keys) = column.as_primitive_opt::<Int32Type>() {
        all(keys.iter())
    } else {
        None
    };
    keys.ok_or_else(|| {
        Error::Format("the key column holds neither strings nor integers, or misses some".into())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{FixedSizeListArray, Float32Array, StringArray};
    use arrow_schema::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;

    use crate::Embeddings;

    #[test]
    fn vectors_and_keys_are_found() {
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let values = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0]));
        let lists = FixedSizeListArray::try_new(item.clone(), 2, values, None).expect("two rows");
        let schema = Arc::new(Schema::new(vec![
            Field::new("pid", DataType::Utf8, false),
            Field::new("embedding", DataType::FixedSizeList(item, 2), false),
        ]));
        let keys = Arc::new(StringArray::from(vec!["x", "y"]));
        let batch = super::RecordBatch::try_new(schema.clone(), vec![keys, Arc::new(lists)]);
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, schema, None).expect("writes");
        writer
            .write(&batch.expect("columns agree"))
            .expect("writes");
        writer.close().expect("writes");

        let mut spooled = Vec::new();
        let keys = super::parquet_to_npy(file.clone(), &mut spooled).expect("it is written");
        assert_eq!(keys.as_deref(), Some(&["x".to_owned(), "y".to_owned()][..]));
        let embeddings = Embeddings::open(file).expect("opens");
        let spooled = Embeddings::open(spooled).expect("a .npy file");
        assert_eq!(
            spooled.all().expect("finite"),
            embeddings.all().expect("finite")
        );
        assert_eq!(
            embeddings.all().expect("finite"),
            ndarray::array![[1.0, 2.0], [3.0, 4.0]]
        );
        assert_eq!(embeddings.keys().expect("a key column"), ["x", "y"]);
    }
}
