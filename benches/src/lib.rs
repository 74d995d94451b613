//! The benches of the workspace, one file each in `benches/`, named after what they measure.
//!
//! This library is the place for what several of them share. `make bench` runs all, `cargo bench
//! -p semid-benches --bench assign` one. Sizes stand in the names of the measurements.

/// Runs the examples of the README: this crate depends on all that they show.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
