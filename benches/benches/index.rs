//! The index file: built, opened and validated, by number of items.
//!
//! Paths and keys are in random order, the worst case for the caches. The hash alone is the
//! baseline that validation cannot beat.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use semantic_id::{
    Code, CodeMatrix, CodeSpace, Digest, IndexInfo, ItemIndex, ItemKeys, Manifest, TokenFormat,
};

const LEVELS: usize = 4;
const CODES: u32 = 256;

/// Distinct pseudo-random paths: an odd multiplier permutes the 2^32 of them.
fn codes(items: u32) -> CodeMatrix {
    let path = |row: u32| row.wrapping_mul(2_654_435_761).to_be_bytes();
    let codes = (0..items).flat_map(path).map(|code| Code(code.into()));
    CodeMatrix::new(codes.collect(), LEVELS).expect("whole rows")
}

/// Ten characters each, as ASINs have, in random order.
fn keys(items: u32) -> ItemKeys {
    let key = |row: u32| format!("B{:09X}", row.wrapping_mul(2_246_822_519));
    ItemKeys::new((0..items).map(key)).expect("distinct keys")
}

fn build(space: &CodeSpace, codes: &CodeMatrix, keys: &ItemKeys) -> ItemIndex<Vec<u8>> {
    let info = IndexInfo::new(
        TokenFormat::lc_rec(LEVELS),
        Manifest::new("bench", ().into()),
    );
    ItemIndex::build(space, codes, keys, 1, info).expect("distinct paths")
}

fn index(criterion: &mut Criterion) {
    let space = CodeSpace::uniform(LEVELS, CODES).expect("a small space");
    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    for items in [10_000, 1_000_000] {
        group.throughput(Throughput::Elements(items.into()));
        group.bench_function(BenchmarkId::new("keys", items), |bencher| {
            bencher.iter(|| keys(items));
        });
        let (codes, keys) = (codes(items), keys(items));
        group.bench_function(BenchmarkId::new("build", items), |bencher| {
            bencher.iter(|| build(&space, &codes, &keys));
        });
        let index = build(&space, &codes, &keys);
        group.bench_function(BenchmarkId::new("open", items), |bencher| {
            bencher.iter(|| ItemIndex::open(black_box(index.bytes())).expect("a sound file"));
        });
        group.throughput(Throughput::Bytes(index.bytes().len() as u64));
        group.bench_function(BenchmarkId::new("hash", items), |bencher| {
            bencher.iter(|| Digest::of(black_box(index.bytes())));
        });
        group.bench_function(BenchmarkId::new("validate", items), |bencher| {
            bencher.iter(|| index.validate().expect("a sound file"));
        });
    }
    group.finish();
}

criterion_group!(benches, index);
criterion_main!(benches);
