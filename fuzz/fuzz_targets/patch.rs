//! Any bytes as merge patches and JSON patches.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nuage_kinto::fuzzing::patch(bytes));
