use std::panic::catch_unwind;

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
    // The parquet crate checks most of a file, and panics over some of the rest.
    catch_unwind(|| read_batches(bytes))
        .unwrap_or_else(|_| Err(format_error("its parts contradict each other")))
}

fn read_batches(bytes: &[u8]) -> Result<(Array2<f32>, Option<Vec<String>>)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes))
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(format_error)?;
    let mut values = Values::default();
    let mut keys: Option<Vec<String>> = None;
    for batch in reader {
        let batch = batch.map_err(format_error)?;
        values.push(vectors(&batch)?)?;
        if let Some(column) = KEY_NAMES.iter().find_map(|name| batch.column_by_name(name)) {
            keys.get_or_insert_default().extend(strings(column)?);
        }
    }
    Ok((values.finish()?, keys))
}

/// Vectors of one length, row after row.
#[derive(Default)]
struct Values {
    all: Vec<f32>,
    rows: usize,
    dim: usize,
}

impl Values {
    fn push(&mut self, lists: &ArrayRef) -> Result<()> {
        for row in 0..lists.len() {
            let vector = vector(lists, row)
                .ok_or_else(|| Error::Format(format!("row {} holds no vector", self.rows)))?;
            if self.rows == 0 {
                self.dim = vector.len();
            }
            if vector.len() != self.dim {
                return Err(Error::Format(format!(
                    "row {} has {} values, expected {} as in row 0",
                    self.rows,
                    vector.len(),
                    self.dim
                )));
            }
            self.all.extend(vector);
            self.rows += 1;
        }
        Ok(())
    }

    fn finish(self) -> Result<Array2<f32>> {
        if self.rows == 0 {
            return Err(Error::Empty);
        }
        if self.dim == 0 {
            return Err(Error::Format(
                "got vectors of dimension 0, expected at least 1".into(),
            ));
        }
        Ok(Array2::from_shape_vec((self.rows, self.dim), self.all).expect("rows were counted"))
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

        let embeddings = Embeddings::open(file).expect("opens");
        assert_eq!(
            embeddings.all().expect("finite"),
            ndarray::array![[1.0, 2.0], [3.0, 4.0]]
        );
        assert_eq!(embeddings.keys().expect("a key column"), ["x", "y"]);
    }
}
