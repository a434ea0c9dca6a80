#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| promarchive_fuzz::wal_replay(input));
