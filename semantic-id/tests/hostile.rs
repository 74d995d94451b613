//! Every reader against damaged files: the seeds of the fuzz targets, cut, flipped and spliced.
#![cfg(feature = "parquet")]

use std::fs;

use damage::{folder, survives};

#[expect(unreachable_pub, reason = "public to the fuzz targets")]
#[path = "../../fuzz/bodies/semantic_id.rs"]
mod bodies;
#[expect(unreachable_pub, reason = "shared between crates")]
#[path = "../../fuzz/bodies/damage.rs"]
mod damage;

#[test]
fn index_files() {
    survives("index", bodies::index);
}

#[test]
fn index_json_files() {
    survives("index_json", bodies::index_json);
}

#[test]
fn csv_files() {
    survives("csv", bodies::csv);
}

#[test]
fn parquet_files() {
    survives("parquet", bodies::parquet);
}

#[test]
fn deltas() {
    survives("delta", bodies::delta);
}

#[test]
fn token_formats() {
    survives("token_format", bodies::token_format);
}

/// Run with `cargo nextest run -p semantic-id --features parquet --run-ignored only`.
#[test]
#[ignore = "writes the binary seeds anew"]
fn write_seeds() {
    use semantic_id::interchange::{csv, parquet};
    use semantic_id::{ItemId, Manifest};

    for (name, text) in [
        ("unique", "key,c0,c1\nB01,12,3\nB02,12,7\nB03,0,9\n"),
        (
            "ragged_shared",
            "key,c0,c1,c2\n10,1,2,300\n12,1,2,300\n9,1,,\n-5,4,5,6\n",
        ),
    ] {
        let table = csv::read(text.as_bytes(), None).expect("a sound table");
        let index = table
            .build(Manifest::new("seed", ().into()))
            .expect("a sound table");
        let removed = index.remove(&[ItemId(1)]).expect("a sound index");
        let path = folder("index").join(format!("{name}.safetensors"));
        fs::write(path, index.bytes()).expect("writable");
        let path = folder("index").join(format!("{name}_removed.safetensors"));
        fs::write(path, removed.bytes()).expect("writable");
        let file = parquet::write(&table).expect("a sound table");
        let path = folder("parquet").join(format!("{name}.parquet"));
        fs::write(path, file).expect("writable");
    }
}
