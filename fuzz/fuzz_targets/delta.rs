#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| semid_fuzz::semantic_id::delta(bytes));
