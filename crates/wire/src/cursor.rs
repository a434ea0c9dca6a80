//! Protobuf wire format: a message is a sequence of fields, each a key and a value.
//!
//! ```text
//! key     varint: field number << 3 | wire type
//! value   0 varint: 7 bits a byte, low first, the top bit says that more follow, at most 10 bytes
//!         1 fixed64: 8 bytes, little endian
//!         2 bytes: varint length, then as many bytes (string, message, packed numbers)
//!         5 fixed32: 4 bytes        (3 and 4, groups: in no version of these messages, refused)
//! ```
//! <https://protobuf.dev/programming-guides/encoding/>

use super::{Fault, Malformed};

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Fields of one message that are read without a look at their size.
const FREE_FIELDS: usize = 1 << 17;
/// Bytes that fields must take on average when there are more. Different symbols do, and samples of different
/// timestamps: of less than three bytes, there are no 2¹⁷ different ones.
const FIELD_BYTES: usize = 4;

/// The key of a field, to match on.
pub(super) const fn key(field: u32, wire_type: u32) -> u32 {
    field << 3 | wire_type
}

/// The field number of a key.
pub(super) const fn field(key: u32) -> u32 {
    key >> 3
}

/// Undoes the zigzag encoding of `sint32` and `sint64`.
pub(super) const fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A forward reader of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// Offset of the end of `rest`.
    end: usize,
    /// The message being read, for error texts.
    what: &'static str,
}

impl<'a> Cursor<'a> {
    /// A reader of `bytes`; offsets count from its start.
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, end: bytes.len(), what }
    }

    /// What is not read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What was read since [`Self::rest`] was `start`.
    #[inline]
    pub(super) fn since(&self, start: &'a [u8]) -> &'a [u8] {
        start.get(..start.len().saturating_sub(self.rest.len())).unwrap_or_default()
    }

    /// How many fields of this message are read, as each takes memory. A message of two-byte fields would else grow
    /// twelvefold.
    #[inline]
    pub(super) fn max_fields(&self) -> usize {
        FREE_FIELDS.max(self.rest.len() / FIELD_BYTES)
    }

    /// Takes one field from those left of [`Self::max_fields`].
    #[inline]
    pub(super) fn count_field(&self, left: &mut usize) -> Result<(), Malformed> {
        *left = left.checked_sub(1).ok_or_else(|| self.malformed(Fault::TooManyFields))?;
        Ok(())
    }

    /// The key of the next field; none at the end of the message.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Option<u32>, Malformed> {
        match self.rest.split_first() {
            None => Ok(None),
            // Field numbers 1 to 15; the wire type is checked by whoever matches on the key.
            Some((&byte, rest)) if (8..0x80).contains(&byte) => {
                self.rest = rest;
                Ok(Some(u32::from(byte)))
            }
            Some(_) => self.long_key().map(Some),
        }
    }

    #[cold]
    fn long_key(&mut self) -> Result<u32, Malformed> {
        let start = *self;
        match u32::try_from(self.varint()?) {
            Ok(key) if field(key) > 0 => Ok(key),
            _ => Err(start.malformed(Fault::FieldNumber)),
        }
    }

    /// A varint.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    /// A varint, its bytes as sent.
    pub(super) fn varint_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.rest;
        self.varint()?;
        Ok(self.since(start))
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        const MAX_BYTES: usize = 10;
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(MAX_BYTES).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                // The tenth byte has room for the 64th bit only.
                if index + 1 == MAX_BYTES && byte > 1 {
                    break;
                }
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(self.malformed(if self.rest.len() < MAX_BYTES { Fault::Truncated } else { Fault::IntegerTooLong }))
    }

    /// A varint of at most 32 bits.
    pub(super) fn varint32(&mut self) -> Result<u32, Malformed> {
        let start = *self;
        u32::try_from(self.varint()?).map_err(|_| start.malformed(Fault::IntegerTooLong))
    }

    /// A zigzag varint of at most 32 bits (`sint32`).
    pub(super) fn zigzag32(&mut self) -> Result<i32, Malformed> {
        // A zigzag value of 32 bits decodes to 32 bits.
        Ok(zigzag(u64::from(self.varint32()?)) as i32)
    }

    /// Eight bytes: a double's bits.
    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<u64, Malformed> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else { return Err(self.malformed(Fault::Truncated)) };
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// A length and as many bytes.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let start = *self;
        let length = self.varint()?;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((bytes, rest)) = split else { return Err(start.malformed(Fault::Truncated)) };
        self.rest = rest;
        Ok(bytes)
    }

    /// An embedded message, with offsets that go on counting.
    #[inline]
    pub(super) fn message(&mut self, what: &'static str) -> Result<Self, Malformed> {
        let rest = self.bytes()?;
        Ok(Self { rest, end: self.offset(), what })
    }

    /// Skips fields as long as they have this key (one byte, wire type bytes), without a look inside.
    #[inline]
    pub(super) fn skip_run(&mut self, key: u32) -> Result<(), Malformed> {
        while let Some((&byte, rest)) = self.rest.split_first() {
            if u32::from(byte) != key {
                break;
            }
            self.rest = rest;
            self.bytes()?;
        }
        Ok(())
    }

    /// The numbers of a packed `sint64` field.
    pub(super) fn packed_zigzag64(&mut self, values: &mut Vec<i64>) -> Result<(), Malformed> {
        let mut packed = self.message(self.what)?;
        // Each varint ends in the only byte of it that has no top bit.
        values.reserve_exact(packed.rest.iter().filter(|byte| **byte < 0x80).count());
        while !packed.rest.is_empty() {
            values.push(zigzag(packed.varint()?));
        }
        Ok(())
    }

    /// The doubles' bits of a packed field.
    pub(super) fn packed_fixed64(&mut self, bits: &mut Vec<u64>) -> Result<(), Malformed> {
        let mut packed = self.message(self.what)?;
        bits.reserve_exact(packed.rest.len() / 8);
        while !packed.rest.is_empty() {
            bits.push(packed.fixed64()?);
        }
        Ok(())
    }

    /// Skips the value of a field that the reader did not match. One of the `known` fields is there with a wire type
    /// that it does not have: to skip it would lose it.
    #[cold]
    pub(super) fn skip(&mut self, key: u32, known: &[u32]) -> Result<(), Malformed> {
        if known.contains(&field(key)) {
            return Err(self.malformed(Fault::WireType));
        }
        match key & 7 {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            BYTES => self.bytes().map(drop),
            FIXED32 => {
                let rest = self.rest.get(4..).ok_or_else(|| self.malformed(Fault::Truncated))?;
                self.rest = rest;
                Ok(())
            }
            _ => Err(self.malformed(Fault::WireType)),
        }
    }

    fn offset(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    #[cold]
    fn malformed(&self, fault: Fault) -> Malformed {
        Malformed { fault, offset: self.offset(), what: self.what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(bytes: &[u8]) -> Cursor<'_> {
        Cursor::new(bytes, "test")
    }

    fn fault<T>(result: Result<T, Malformed>) -> (Fault, usize) {
        let Err(malformed) = result else { panic!("accepted") };
        (malformed.fault, malformed.offset)
    }

    #[test]
    fn varints() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(value, &mut bytes);
            let mut cursor = cursor(&bytes);
            assert_eq!(cursor.varint(), Ok(value));
            assert!(cursor.rest().is_empty());
            for end in 0..bytes.len() {
                assert_eq!(fault(super::tests::cursor(&bytes[..end]).varint()), (Fault::Truncated, 0));
            }
        }
        assert_eq!(cursor(&[0x81, 0x00]).varint(), Ok(1), "longer than needed is legal");
        let mut eleven = [0x80; 11];
        eleven[10] = 0;
        assert_eq!(fault(cursor(&eleven).varint()), (Fault::IntegerTooLong, 0));
        let sixty_five_bits = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(fault(cursor(&sixty_five_bits).varint()), (Fault::IntegerTooLong, 0));
    }

    #[test]
    fn zigzags() {
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(zigzag(((value << 1) ^ (value >> 63)) as u64), value);
        }
        assert_eq!(cursor(&[0xff, 0xff, 0xff, 0xff, 0x0f]).zigzag32(), Ok(i32::MIN));
        assert_eq!(cursor(&[0xfe, 0xff, 0xff, 0xff, 0x0f]).zigzag32(), Ok(i32::MAX));
        assert_eq!(fault(cursor(&[0x80, 0x80, 0x80, 0x80, 0x10]).zigzag32()), (Fault::IntegerTooLong, 0));
    }

    #[test]
    fn keys() {
        assert_eq!(cursor(&[]).key(), Ok(None));
        assert_eq!(cursor(&[0x0a]).key(), Ok(Some(key(1, BYTES))));
        assert_eq!(cursor(&[0x8a, 0x00]).key(), Ok(Some(key(1, BYTES))));
        assert_eq!(cursor(&[0x82, 0x01]).key(), Ok(Some(key(16, BYTES))));
        for byte in 0..8 {
            assert_eq!(fault(cursor(&[byte]).key()), (Fault::FieldNumber, 0));
        }
        assert_eq!(fault(cursor(&[0x80, 0x80, 0x80, 0x80, 0x10]).key()), (Fault::FieldNumber, 0));
    }

    #[test]
    fn skips_what_is_unknown_and_nothing_else() {
        for (wire_type, value) in [(0, &[0x80, 0x01][..]), (1, &[0; 8]), (2, &[2, 0, 0]), (5, &[0; 4])] {
            let mut whole = cursor(value);
            assert_eq!(whole.skip(key(9, wire_type), &[1]), Ok(()));
            assert!(whole.rest().is_empty());
            assert_eq!(fault(cursor(&value[..value.len() - 1]).skip(key(9, wire_type), &[1])).0, Fault::Truncated);
            assert_eq!(fault(cursor(value).skip(key(1, wire_type), &[1])).0, Fault::WireType);
        }
        for wire_type in [3, 4, 6, 7] {
            assert_eq!(fault(cursor(&[0]).skip(key(9, wire_type), &[])).0, Fault::WireType);
        }
    }

    #[test]
    fn offsets_are_those_of_the_whole() {
        let mut outer = cursor(&[0x08, 0x01, 0x12, 0x02, 0x09, 0x00]);
        assert_eq!(outer.key(), Ok(Some(key(1, VARINT))));
        assert_eq!(outer.varint(), Ok(1));
        assert_eq!(outer.key(), Ok(Some(key(2, BYTES))));
        let mut inner = outer.message("inner").unwrap();
        inner.key().unwrap();
        let malformed = inner.fixed64().unwrap_err();
        assert_eq!(malformed.to_string(), "malformed protobuf: truncated at byte 5 (inner)");
    }

    #[test]
    fn a_length_over_the_end_allocates_nothing() {
        let mut huge = vec![0xff; 9];
        huge.push(1);
        assert_eq!(fault(cursor(&huge).bytes()), (Fault::Truncated, 0));
    }
}
