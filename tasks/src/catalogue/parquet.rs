use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::builder::Builder;
use super::record::{Record, Text};
use crate::{Place, Result};

/// Reads a Parquet file, one row an item.
pub(super) fn read(bytes: &[u8], builder: &mut Builder<'_>) -> Result<()> {
    // The parquet crate checks most of a file, and panics over some of the rest. Nobody uses a
    // builder after an error, so what a panic left undone in it does no harm.
    let done = catch_unwind(AssertUnwindSafe(|| read_rows(bytes, builder)));
    done.unwrap_or_else(|_| {
        Err(builder.unreadable("not readable as Parquet: its parts contradict each other"))
    })
}

fn read_rows(bytes: &[u8], builder: &mut Builder<'_>) -> Result<()> {
    // The reader wants to own its input.
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(bytes))
        .map_err(|error| builder.unreadable(reason(&error)))?;
    let rows = reader
        .get_row_iter(None)
        .map_err(|error| builder.unreadable(reason(&error)))?;
    for (row, number) in rows.zip(1..) {
        let unit = "row";
        let place = Place { unit, number };
        let row = row.map_err(|error| builder.bad(place, reason(&error)))?;
        builder.push(Record {
            place,
            outer_key: None,
            fields: row.into_columns().into_iter().map(text).collect(),
        })?;
    }
    Ok(())
}

fn text((name, value): (String, Field)) -> (String, Text) {
    let mut text = Text::default();
    flatten(&value, &mut text);
    (name, text)
}

fn flatten(value: &Field, text: &mut Text) {
    match value {
        Field::Null => {}
        Field::Str(string) => text.parts.push(string.clone()),
        Field::ListInternal(list) => list
            .elements()
            .iter()
            .for_each(|value| flatten(value, text)),
        Field::Group(_) | Field::MapInternal(_) => text.has_nested = true,
        Field::Bytes(_) => text.has_nested = true,
        primitive => text.parts.push(primitive.to_string()),
    }
}

pub(crate) fn reason(error: &ParquetError) -> String {
    format!("not readable as Parquet: {error}")
}
