#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use promarchive_fuzz::mutation;

fuzz_target!(|body: &[u8]| promarchive_fuzz::decode_v2(body));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mutated = mutation::mutate(&data[..size], seed, &mut |bytes| promarchive_fuzz_targets::change(bytes, max_size));
    promarchive_fuzz_targets::store(&mutated, data, size, max_size)
});
