//! Any bytes as identifiers and paths.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nuage_kinto::fuzzing::id(bytes));
