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

#[test]
fn events_jsonl() {
    survives("events_jsonl", bodies::events_jsonl);
}

#[test]
fn events_csv() {
    survives("events_csv", bodies::events_csv);
}

#[test]
fn events_lc_rec() {
    survives("events_lc_rec", bodies::events_lc_rec);
}

#[test]
fn events_recbole() {
    survives("events_recbole", bodies::events_recbole);
}

#[test]
fn events_movie_lens() {
    survives("events_movie_lens", bodies::events_movie_lens);
}

#[test]
fn events_parquet() {
    survives("events_parquet", bodies::events_parquet);
}

#[test]
fn corpus_rows() {
    survives("corpus_rows", bodies::corpus_rows);
}

#[test]
fn corpus_split() {
    survives("corpus_split", bodies::corpus_split);
}
