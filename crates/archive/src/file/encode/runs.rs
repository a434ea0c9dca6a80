//! Runs of numbers → Parquet's RLE and bit-packing hybrid.
//!
//! ```text
//! run       varint: count << 1          then the value, in as many whole bytes as its width takes
//! packed    varint: groups << 1 | 1     then 8 values a group, `width` bits each, low bits first
//! ```
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>. Sorted rows have a run a series: a few bytes for all of its rows.

use prost::encoding::encode_varint;

/// Values of a packed group.
const GROUP: usize = 8;

/// The hybrid encoding of runs (value, count), of values below 2^`width`.
pub(super) fn encode_runs(width: u32, runs: impl Iterator<Item = (u32, usize)>) -> Vec<u8> {
    let mut encoder = Encoder { width, out: Vec::new(), packed: Vec::new() };
    for (value, count) in runs {
        encoder.append(value, count);
    }
    encoder.finish()
}

/// Bits that values up to `max` take.
pub(super) fn width_of(max: u32) -> u32 {
    u32::BITS - max.leading_zeros()
}

struct Encoder {
    width: u32,
    out: Vec<u8>,
    /// Values of runs too short to stand by themselves.
    packed: Vec<u32>,
}

impl Encoder {
    fn append(&mut self, value: u32, mut count: usize) {
        // A group that has begun is to be full before a run: only the last one is padded.
        let missing = (GROUP - self.packed.len() % GROUP) % GROUP;
        let taken = missing.min(count);
        self.packed.extend(std::iter::repeat_n(value, taken));
        count -= taken;
        if count < GROUP {
            self.packed.extend(std::iter::repeat_n(value, count));
            return;
        }
        self.flush_packed();
        encode_varint((count as u64) << 1, &mut self.out);
        let bytes = self.width.div_ceil(8) as usize;
        self.out.extend(value.to_le_bytes().iter().take(bytes));
    }

    fn flush_packed(&mut self) {
        if self.packed.is_empty() {
            return;
        }
        encode_varint((self.packed.len().div_ceil(GROUP) as u64) << 1 | 1, &mut self.out);
        let (mut bits, mut held) = (0_u64, 0);
        self.packed.resize(self.packed.len().next_multiple_of(GROUP), 0);
        for value in self.packed.drain(..) {
            bits |= u64::from(value) << held;
            held += self.width;
            while held >= 8 {
                self.out.push(bits as u8);
                bits >>= 8;
                held -= 8;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.flush_packed();
        self.out
    }
}
