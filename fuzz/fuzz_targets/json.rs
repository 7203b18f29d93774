//! Any bytes as JSON objects.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nuage_kinto::fuzzing::json(bytes));
