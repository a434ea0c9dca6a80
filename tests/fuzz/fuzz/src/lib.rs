//! What the fuzz targets share: libFuzzer's own mutation for bytes that have no structure.

/// Room that a change may use beyond what there is, in bytes.
const GROWTH: usize = 256;

/// The bytes as libFuzzer changes them, with its dictionary and what it saw in comparisons.
pub fn change(mut bytes: Vec<u8>, max_size: usize) -> Vec<u8> {
    let size = bytes.len();
    let room = size.saturating_add(GROWTH).min(max_size.max(size));
    bytes.resize(room.max(1), 0);
    let changed = libfuzzer_sys::fuzzer_mutate(&mut bytes, size, room.max(1));
    bytes.truncate(changed);
    bytes
}

/// Puts a mutated input where libFuzzer wants it; one that is too long leaves what was there. Returns the new length.
pub fn store(mutated: &[u8], data: &mut [u8], size: usize, max_size: usize) -> usize {
    match data.get_mut(..mutated.len()).filter(|_| mutated.len() <= max_size) {
        Some(place) => {
            place.copy_from_slice(mutated);
            mutated.len()
        }
        None => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    }
}
