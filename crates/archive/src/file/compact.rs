//! Thrift's compact protocol, as far as Parquet's footers and page headers need it.
//!
//! Each field of a struct begins with one byte, the step from the last field's number in the high half and the type in the low half. Its
//! value follows. Integers are zigzag varints.

/// The type of a field that is a boolean and true; it has no value.
pub(super) const BOOLEAN: u8 = 1;
/// The type of a field that is a boolean and false.
pub(super) const FALSE: u8 = 2;
/// One byte.
pub(super) const BYTE: u8 = 3;
/// An integer of 16 bits.
pub(super) const SHORT: u8 = 4;
/// An integer of 32 bits.
pub(super) const INTEGER: u8 = 5;
/// An integer of 64 bits.
pub(super) const LONG: u8 = 6;
/// Eight bytes.
pub(super) const DOUBLE: u8 = 7;
/// A length and so many bytes.
pub(super) const BINARY: u8 = 8;
/// A list of elements of one type.
pub(super) const LIST: u8 = 9;
/// A struct, or a union.
pub(super) const STRUCT: u8 = 12;

/// What is left of the bytes.
pub(super) struct Compact<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Compact<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub(super) fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.bytes(length)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn integer(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// An integer that cannot be negative, of 32 bits.
    pub(super) fn size(&mut self) -> Option<u64> {
        self.integer().and_then(|size| u32::try_from(size).ok()).filter(|&size| size <= i32::MAX as u32).map(u64::from)
    }

    /// Number and type of the next field of a struct, which come in order; `Some(None)` at its end. `most` is the largest number that a
    /// field can have.
    #[expect(clippy::option_option, reason = "the end of the struct is not the end of the bytes")]
    pub(super) fn field(&mut self, last: &mut i64, most: i64) -> Option<Option<(i64, u8)>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        let field = match byte >> 4 {
            0 => self.integer().filter(|field| (*last + 1..=most).contains(field))?,
            step => *last + i64::from(step),
        };
        *last = field;
        (field <= most).then_some(Some((field, byte & 0x0f)))
    }

    /// Number and type of the elements of a list.
    pub(super) fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.varint().filter(|&count| count <= i32::MAX as u64)?,
            short => u64::from(short),
        };
        Some((count, header & 0x0f))
    }
}
