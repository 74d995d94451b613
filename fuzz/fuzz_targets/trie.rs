#![no_main]

// Run over the seeds of `index`.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| semid_fuzz::trie_decode::trie(bytes));
