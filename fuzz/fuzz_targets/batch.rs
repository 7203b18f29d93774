//! Any bytes as bodies of batches.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nuage_kinto::fuzzing::batch(bytes));
