//! Every reader against damaged files: the seeds of the fuzz targets, cut, flipped and spliced.
#![cfg(feature = "parquet")]

use damage::survives;

#[expect(unreachable_pub, reason = "public to the fuzz targets")]
#[path = "../../fuzz/bodies/tasks.rs"]
mod bodies;
#[expect(unreachable_pub, reason = "shared between crates")]
#[path = "../../fuzz/bodies/damage.rs"]
mod damage;

#[test]
fn items_jsonl() {
    survives("items_jsonl", bodies::items_jsonl);
}

#[test]
fn items_csv() {
    survives("items_csv", bodies::items_csv);
}

#[test]
fn items_lc_rec() {
    survives("items_lc_rec", bodies::items_lc_rec);
}

#[test]
fn items_recbole() {
    survives("items_recbole", bodies::items_recbole);
}

#[test]
fn items_parquet() {
    survives("items_parquet", bodies::items_parquet);
}
