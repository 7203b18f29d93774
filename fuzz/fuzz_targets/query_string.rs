//! Any bytes as query strings of lists and objects.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nuage_kinto::fuzzing::query_string(bytes));
