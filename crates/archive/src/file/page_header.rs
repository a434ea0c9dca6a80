//! Page headers of a Parquet file: how large each page is, before any of it is decompressed.
//!
//! A header is a struct in Thrift's compact protocol (`PageHeader` in Apache Parquet's `parquet.thrift`; [`super::compact`]). The Parquet
//! library reads headers, too, but only together with their pages.
//!
//! What is read here must be what the library reads. So a header that leaves anything open is refused: fields that are unknown, come twice,
//! out of order or with another type, and a page of a kind that no data file has.

use super::compact::{BINARY, BOOLEAN, Compact, FALSE, INTEGER, LONG, STRUCT};

/// What kind of page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Dictionary,
    Data,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) kind: PageKind,
    /// Bytes of the page once it is decompressed.
    pub(super) uncompressed: u64,
    /// Bytes of the page in the file, which follow the header.
    pub(super) compressed: u64,
    /// Values, nulls and empty lists included.
    pub(super) values: u64,
    /// Parquet's number of the encoding of values.
    pub(super) encoding: i64,
}

/// `PLAIN` in Parquet's `Encoding`.
pub(super) const PLAIN: i64 = 0;
/// `RLE`: of booleans, and of levels.
pub(super) const RLE: i64 = 3;
/// `DELTA_BINARY_PACKED`: of integers.
pub(super) const DELTA_BINARY_PACKED: i64 = 5;
/// `PLAIN_DICTIONARY` and `RLE_DICTIONARY`: indices into the dictionary page.
pub(super) const DICTIONARY: [i64; 2] = [2, 8];

/// The header that `bytes` begin with, and its length; none if they hold no whole header, or one that is refused.
pub(super) fn parse(bytes: &[u8]) -> Option<(PageHeader, u64)> {
    let mut thrift = Compact { rest: bytes };
    let (mut kind, mut uncompressed, mut compressed, mut counts) = (None, None, None, None);
    let mut last = 0;
    while let Some((field, of)) = thrift.field(&mut last, MOST_FIELDS)? {
        match (field, of) {
            (1, INTEGER) => kind = Some(thrift.integer()?),
            (2, INTEGER) => uncompressed = Some(thrift.size()?),
            (3, INTEGER) => compressed = Some(thrift.size()?),
            // A checksum.
            (4, INTEGER) => drop(thrift.integer()?),
            (5 | 7 | 8, STRUCT) if counts.is_none() => counts = Some((field, thrift.counts(field)?)),
            _ => return None,
        }
    }
    let (of_kind, (values, encoding)) = counts?;
    let kind = match (kind?, of_kind) {
        (0, 5) | (3, 8) => PageKind::Data,
        (2, 7) => PageKind::Dictionary,
        _ => return None,
    };
    let header = PageHeader { kind, uncompressed: uncompressed?, compressed: compressed?, values, encoding };
    Some((header, (bytes.len() - thrift.rest.len()) as u64))
}

/// Types of the fields of each struct, from field 1 on: readers take them for these, whatever type is declared.
const DATA_PAGE: [u8; 5] = [INTEGER, INTEGER, INTEGER, INTEGER, STRUCT];
const DICTIONARY_PAGE: [u8; 3] = [INTEGER, INTEGER, BOOLEAN];
const DATA_PAGE_V2: [u8; 8] = [INTEGER, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER, BOOLEAN, STRUCT];
const STATISTICS: [u8; 9] = [BINARY, BINARY, LONG, LONG, BINARY, BINARY, BOOLEAN, BOOLEAN, LONG];
/// The number of the last field of any of them.
const MOST_FIELDS: i64 = 9;

/// The type of a field, if it is the declared one. The type of a boolean is its value.
fn expected(types: &[u8], field: i64, declared: u8) -> Option<u8> {
    let declared = if declared == FALSE { BOOLEAN } else { declared };
    let expected = types.get(usize::try_from(field - 1).ok()?)?;
    (*expected == declared).then_some(declared)
}

impl Compact<'_> {
    /// Number of values and encoding, from the struct for one kind of page.
    fn counts(&mut self, of_kind: i64) -> Option<(u64, i64)> {
        let (types, encoding_field) = match of_kind {
            5 => (&DATA_PAGE[..], 2),
            7 => (&DICTIONARY_PAGE[..], 2),
            _ => (&DATA_PAGE_V2[..], 4),
        };
        let (mut values, mut encoding) = (None, None);
        let mut last = 0;
        while let Some((field, of)) = self.field(&mut last, MOST_FIELDS)? {
            match (expected(types, field, of)?, field) {
                (INTEGER, 1) => values = Some(self.size()?),
                (INTEGER, field) if field == encoding_field => encoding = Some(self.integer()?),
                (INTEGER, _) => drop(self.integer()?),
                (STRUCT, _) => self.statistics()?,
                // A boolean is in its type.
                _ => {}
            }
        }
        Some((values?, encoding?))
    }

    fn statistics(&mut self) -> Option<()> {
        let mut last = 0;
        while let Some((field, of)) = self.field(&mut last, MOST_FIELDS)? {
            match expected(&STATISTICS, field, of)? {
                LONG => drop(self.varint()?),
                BINARY => drop(self.binary()?),
                _ => {}
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page of 3 values, plain, 24 bytes before compression and 20 after, with statistics and a checksum.
    const HEADER: [u8; 31] = [
        0x15, 0x00, 0x15, 0x30, 0x15, 0x28, 0x15, 0x0e, 0x1c, 0x15, 0x06, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x1c,
        0x18, 0x04, b'a', b'b', b'c', b'd', 0x26, 0x02, 0x41, 0x00, 0x00, 0x00, 0xff,
    ];

    #[test]
    fn a_header_tells_sizes_values_and_encoding() {
        let expected =
            PageHeader { kind: PageKind::Data, uncompressed: 24, compressed: 20, values: 3, encoding: PLAIN };
        assert_eq!(parse(&HEADER), Some((expected, 30)), "what follows is the page");
        for end in 0..30 {
            assert_eq!(parse(&HEADER[..end]), None, "{end}");
        }
    }

    #[test]
    fn negative_sizes_and_deep_structs_are_no_header() {
        let mut negative = HEADER;
        negative[3] = 0x31;
        assert_eq!(parse(&negative), None);
        assert_eq!(parse(&vec![0x5c; 1 << 16]), None);
        let mut deep = vec![0x15, 0x00];
        deep.resize(1 << 20, 0xfc);
        assert_eq!(parse(&deep), None);
    }

    /// The library takes the last of several, whatever its type, and cuts numbers of fields to 16 bits.
    #[test]
    fn what_another_reader_may_read_otherwise_is_refused() {
        let with = |field: &[u8]| [&HEADER[..29], field, &[0]].concat();
        assert!(parse(&with(&[])).is_some());
        for (what, field) in [
            ("the size again, with its number", &[0x05, 0x04, 0x7e][..]),
            ("the size again, as 64 bits", &[0x06, 0x04, 0x7e]),
            ("field 65538, which is 2 in 16 bits", &[0x05, 0x84, 0x80, 0x08, 0x7e]),
            ("counts again, of a page of version 2", &[0x3c, 0x15, 0x02, 0x35, 0x00, 0x00]),
            ("a field that is unknown", &[0x45, 0x02]),
            ("a field that is too far", &[0x05, 0x14, 0x02]),
        ] {
            assert_eq!(parse(&with(field)), None, "{what}");
        }
        // Within the counts: an integer that is declared as text, and statistics that are one.
        for (at, byte) in [
            (9, 0x18),
            (11, 0x18),
            (13, 0x18),
            (15, 0x18),
            (17, 0x15),
            (18, 0x15),
            (24, 0x18),
            (26, 0x15),
            (1, 0x02),
            (1, 0x04),
            (1, 0x06),
            (8, 0x2c),
            (8, 0x3c),
            (2, 0x16),
        ] {
            let mut header = HEADER;
            header[at] = byte;
            assert_eq!(parse(&header), None, "{byte} at {at}");
        }
    }
}
