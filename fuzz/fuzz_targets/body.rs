//! Any bytes as bodies of writes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nuage_kinto::fuzzing::body(bytes));
