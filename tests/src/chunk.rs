//! Chunks of float samples as Prometheus's TSDB encodes them, decoded: each bit as it is stored, which no answer in protobuf can promise.
//!
//! `tsdb/chunkenc/xor.go` describes XOR, `xor2.go` XOR2, which has start timestamps too.

use promarchive_model::{STALE_NAN, Sample};

/// A reader of bits, the highest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Bits read.
    at: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, _| {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            value << 1 | u64::from(bit)
        })
    }

    fn one(&mut self) -> bool {
        self.read(1) == 1
    }

    /// Ones before a zero, at most `most`.
    fn ones(&mut self, most: u32) -> u32 {
        (0..most).take_while(|_| self.one()).count().try_into().unwrap()
    }

    fn uvarint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.read(8);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn varint(&mut self) -> i64 {
        let value = self.uvarint();
        (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
    }

    /// A number of so many bits whose range reaches up to 2^(n−1), and not down to its negative.
    fn signed(&mut self, bits: u32) -> i64 {
        match self.read(bits) {
            large if bits < 64 && large > 1 << (bits - 1) => large.cast_signed() - (1 << bits),
            small => small.cast_signed(),
        }
    }

    /// Two's complement.
    fn twos_complement(&mut self, bits: u32) -> i64 {
        (self.read(bits) << (64 - bits)).cast_signed() >> (64 - bits)
    }

    /// `putVarbitInt` of the TSDB.
    fn varbit(&mut self) -> i64 {
        match self.ones(8) {
            0 => 0,
            ones => self.signed([3, 6, 9, 12, 18, 25, 56, 64][ones as usize - 1]),
        }
    }
}

/// Values as differences of bits to the one before, in a window between leading and trailing zeros.
#[derive(Default)]
struct Values {
    last: u64,
    leading: u32,
    trailing: u32,
}

impl Values {
    fn same_window(&mut self, bits: &mut Bits<'_>) -> u64 {
        self.last ^= bits.read(64 - self.leading - self.trailing) << self.trailing;
        self.last
    }

    fn new_window(&mut self, bits: &mut Bits<'_>) -> u64 {
        self.leading = u32::try_from(bits.read(5)).unwrap();
        let significant = match bits.read(6) {
            0 => 64,
            some => u32::try_from(some).unwrap(),
        };
        self.trailing = 64 - self.leading - significant;
        self.same_window(bits)
    }
}

/// The samples of a chunk with encoding XOR.
pub fn decode_xor(chunk: &[u8]) -> Vec<Sample> {
    let (count, mut bits) = open(chunk, 2);
    let mut values = Values::default();
    let (mut timestamp, mut delta) = (0, 0);
    let mut samples = Vec::new();
    for index in 0..count {
        if index == 0 {
            timestamp = bits.varint();
            values.last = bits.read(64);
        } else {
            delta = match index {
                1 => bits.uvarint().cast_signed(),
                _ => match bits.ones(4) {
                    0 => delta,
                    ones => delta + bits.signed([14, 17, 20, 64][ones as usize - 1]),
                },
            };
            timestamp += delta;
            match bits.ones(2) {
                0 => values.last,
                1 => values.same_window(&mut bits),
                _ => values.new_window(&mut bits),
            };
        }
        samples.push(Sample { timestamp, value: values.last, start_timestamp: 0 });
    }
    samples
}

/// The samples of a chunk with encoding XOR2.
pub fn decode_xor2(chunk: &[u8]) -> Vec<Sample> {
    let (count, mut bits) = open(chunk, 3);
    let header = chunk[2];
    let (first_start_known, first_start_change) = (header & 0x80 != 0, u16::from(header & 0x7f));
    let mut values = Values::default();
    let (mut timestamp, mut delta) = (0, 0);
    let (mut start, mut start_difference) = (0, 0);
    let mut samples = Vec::new();
    for index in 0..count {
        let before = timestamp;
        let value = if index == 0 {
            timestamp = bits.varint();
            let value = bits.read(64);
            if value != STALE_NAN {
                values.last = value;
            }
            if first_start_known {
                start = timestamp - bits.varint();
            }
            value
        } else {
            // A stale marker takes a code of its own and does not count as the value before.
            let control = if index == 1 { 2 } else { bits.ones(5) };
            match (index, control) {
                (1, _) => delta = bits.uvarint().cast_signed(),
                (_, 2) => delta += bits.twos_complement(13),
                (_, 3) => delta += bits.twos_complement(20),
                (_, 4) => delta += bits.twos_complement(64),
                _ => {}
            }
            timestamp += delta;
            match control {
                0 => values.last,
                1 if bits.one() => values.new_window(&mut bits),
                1 => values.same_window(&mut bits),
                5 => STALE_NAN,
                _ => match bits.ones(3) {
                    0 => values.last,
                    1 => values.same_window(&mut bits),
                    2 => values.new_window(&mut bits),
                    _ => STALE_NAN,
                },
            }
        };
        if index > 0 && first_start_change > 0 && index >= first_start_change {
            let change = bits.varbit();
            start_difference = if index == first_start_change { change } else { start_difference + change };
            start = before - start_difference;
        }
        samples.push(Sample { timestamp, value, start_timestamp: start });
    }
    samples
}

fn open(chunk: &[u8], header: usize) -> (u16, Bits<'_>) {
    (u16::from_be_bytes([chunk[0], chunk[1]]), Bits { bytes: &chunk[header..], at: 0 })
}
