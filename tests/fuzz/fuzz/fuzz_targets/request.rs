#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use promarchive_fuzz::request;

fuzz_target!(|input: &[u8]| request(input));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let change = &mut |bytes| promarchive_fuzz_targets::change(bytes, max_size);
    let mutated = promarchive_fuzz::request::mutate(&data[..size], seed, change);
    promarchive_fuzz_targets::store(&mutated, data, size, max_size)
});
