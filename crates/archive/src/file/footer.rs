//! Footers of Parquet files, looked at before the Parquet library reads them.
//!
//! The library believes some numbers in a footer: it makes room for as many children as a schema element claims to have. And it takes
//! several hundred bytes for a column chunk that has twenty in the file. So a footer is walked first, field by field. What is read here must
//! be what the library reads: it takes each known field for its type in `parquet.thrift`, whatever type is declared. So a footer in which
//! a field has another type, comes twice or out of order is refused. Fields of later versions of the format are passed over.

use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{
    ColumnChunkMetaData, FooterTail, KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader,
    RowGroupMetaData, SortingColumn,
};
use parquet::file::reader::ChunkReader;

use super::compact::{BINARY, BOOLEAN, BYTE, Compact, DOUBLE, FALSE, INTEGER, LIST, LONG, SHORT, STRUCT};
use super::footprint::{FootprintError, MOST_PAGE_BYTES};

/// The most that a footer may take in the file, in bytes.
const MOST_FOOTER_BYTES: usize = 64 << 20;
/// Elements of a schema: readers hold the path of each, and go down by recursion.
pub(super) const MOST_SCHEMA_ELEMENTS: u64 = 1024;

/// Reads a footer, without the page index. One that readers cannot bear is refused.
pub fn read_footer<R: ChunkReader>(file: &R) -> Result<Arc<ParquetMetaData>, FootprintError> {
    let too_short =
        || ParquetError::EOF(format!("the file has only {} bytes, which is too short for a footer", file.len()));
    let tail_start = file.len().checked_sub(FOOTER_SIZE as u64).ok_or_else(too_short)?;
    let tail = FooterTail::try_from(&*file.get_bytes(tail_start, FOOTER_SIZE)?)?;
    if tail.is_encrypted_footer() {
        return Err(ParquetError::NYI("the footer is encrypted, which is not supported".into()).into());
    }
    let length = tail.metadata_length();
    if length > MOST_FOOTER_BYTES {
        return Err(FootprintError::Footer { bytes: length as u64 });
    }
    let start = tail_start.checked_sub(length as u64).ok_or_else(too_short)?;
    let footer = file.get_bytes(start, length)?;
    check(&footer)?;
    Ok(Arc::new(ParquetMetaDataReader::decode_metadata(&footer)?))
}

/// Checks that the page index of a file can be read, if it has one. An index that is larger than it can be is refused.
pub fn check_page_index<R: ChunkReader>(file: &R, footer: &ParquetMetaData) -> Result<(), FootprintError> {
    // Each part of the index belongs to one column, so together they fit into the file.
    let chunks = footer.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let lengths = chunks.flat_map(|chunk| [chunk.column_index_length(), chunk.offset_index_length()]).flatten();
    let bytes = lengths.fold(0_u64, |sum, length| sum.saturating_add(u64::try_from(length).unwrap_or(u64::MAX)));
    if bytes > file.len().min(MOST_PAGE_BYTES) {
        return Err(FootprintError::Footer { bytes });
    }
    let reader = ParquetMetaDataReader::new_with_metadata(footer.clone());
    reader.with_page_index_policy(PageIndexPolicy::Optional).read_page_indexes(file)?;
    Ok(())
}

/// Whether the library can be let read a footer.
fn check(footer: &[u8]) -> Result<(), FootprintError> {
    let mut walk = Walk { thrift: Compact { rest: footer }, schema_elements: 0, held: 0 };
    let walked = walk.structure(&FILE_META_DATA);
    if walk.schema_elements > MOST_SCHEMA_ELEMENTS {
        return Err(FootprintError::Schema);
    }
    if walk.held > MOST_PAGE_BYTES {
        return Err(FootprintError::Footer { bytes: walk.held });
    }
    walked.ok_or(FootprintError::Malformed)
}

/// The type of a field in `parquet.thrift`.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// By the number of its type: it holds nothing else.
    Plain(u8),
    /// The schema: a list of [`SCHEMA_ELEMENT`].
    Schema,
    /// The name of a schema element: the library copies it into the path of each column below.
    Name,
    /// How many children a schema element has.
    Children,
    Struct(&'static Shape),
    List(&'static Of),
}

/// A struct.
#[derive(Debug)]
struct Shape {
    /// Number and type of each field that the library reads, and whose value could lead it astray.
    fields: &'static [(i64, Of)],
    /// What the library takes for one in a list, in bytes.
    held: usize,
}

const fn inline(fields: &'static [(i64, Of)]) -> Shape {
    Shape { fields, held: 32 }
}

const INTEGERS: Of = Of::List(&Of::Plain(INTEGER));
const LONGS: Of = Of::List(&Of::Plain(LONG));

static FILE_META_DATA: Shape = inline(&[
    (1, Of::Plain(INTEGER)),
    (2, Of::Schema),
    (3, Of::Plain(LONG)),
    (4, Of::List(&Of::Struct(&ROW_GROUP))),
    (5, Of::List(&Of::Struct(&KEY_VALUE))),
    (6, Of::Plain(BINARY)),
    (7, Of::List(&Of::Struct(&COLUMN_ORDER))),
]);
static SCHEMA_ELEMENT: Shape = Shape {
    fields: &[
        (1, Of::Plain(INTEGER)),
        (2, Of::Plain(INTEGER)),
        (3, Of::Plain(INTEGER)),
        (4, Of::Name),
        (5, Of::Children),
        (6, Of::Plain(INTEGER)),
        (7, Of::Plain(INTEGER)),
        (8, Of::Plain(INTEGER)),
        (9, Of::Plain(INTEGER)),
        (10, Of::Struct(&LOGICAL_TYPE)),
    ],
    held: 1024,
};
static LOGICAL_TYPE: Shape = inline(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Of::Struct(&inline(&[(1, Of::Plain(INTEGER)), (2, Of::Plain(INTEGER))]))),
    (6, EMPTY),
    (7, Of::Struct(&TIME)),
    (8, Of::Struct(&TIME)),
    (10, Of::Struct(&inline(&[(1, Of::Plain(BYTE)), (2, Of::Plain(BOOLEAN))]))),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Of::Struct(&inline(&[(1, Of::Plain(BYTE))]))),
    (17, Of::Struct(&inline(&[(1, Of::Plain(BINARY))]))),
    (18, Of::Struct(&inline(&[(1, Of::Plain(BINARY)), (2, Of::Plain(INTEGER))]))),
]);
const EMPTY: Of = Of::Struct(&inline(&[]));
static TIME: Shape =
    inline(&[(1, Of::Plain(BOOLEAN)), (2, Of::Struct(&inline(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)])))]);
static ROW_GROUP: Shape = Shape {
    fields: &[
        (1, Of::List(&Of::Struct(&COLUMN_CHUNK))),
        (2, Of::Plain(LONG)),
        (3, Of::Plain(LONG)),
        (4, Of::List(&Of::Struct(&SORTING_COLUMN))),
        (5, Of::Plain(LONG)),
        (6, Of::Plain(LONG)),
        (7, Of::Plain(SHORT)),
    ],
    held: size_of::<RowGroupMetaData>(),
};
static SORTING_COLUMN: Shape = Shape {
    fields: &[(1, Of::Plain(INTEGER)), (2, Of::Plain(BOOLEAN)), (3, Of::Plain(BOOLEAN))],
    held: size_of::<SortingColumn>(),
};
static COLUMN_CHUNK: Shape = Shape {
    fields: &[
        (1, Of::Plain(BINARY)),
        (2, Of::Plain(LONG)),
        (3, Of::Struct(&COLUMN_META_DATA)),
        (4, Of::Plain(LONG)),
        (5, Of::Plain(INTEGER)),
        (6, Of::Plain(LONG)),
        (7, Of::Plain(INTEGER)),
    ],
    // Its list has room for up to twice as many.
    held: 2 * size_of::<ColumnChunkMetaData>(),
};
static COLUMN_META_DATA: Shape = inline(&[
    (1, Of::Plain(INTEGER)),
    (2, INTEGERS),
    (3, Of::List(&Of::Plain(BINARY))),
    (4, Of::Plain(INTEGER)),
    (5, Of::Plain(LONG)),
    (6, Of::Plain(LONG)),
    (7, Of::Plain(LONG)),
    (8, Of::List(&Of::Struct(&KEY_VALUE))),
    (9, Of::Plain(LONG)),
    (10, Of::Plain(LONG)),
    (11, Of::Plain(LONG)),
    (12, Of::Struct(&STATISTICS)),
    (13, Of::List(&Of::Struct(&PAGE_ENCODING_STATS))),
    (14, Of::Plain(LONG)),
    (15, Of::Plain(INTEGER)),
    (16, Of::Struct(&inline(&[(1, Of::Plain(LONG)), (2, LONGS), (3, LONGS)]))),
    (17, Of::Struct(&inline(&[(1, Of::Struct(&BOUNDING_BOX)), (2, INTEGERS)]))),
]);
static KEY_VALUE: Shape =
    Shape { fields: &[(1, Of::Plain(BINARY)), (2, Of::Plain(BINARY))], held: size_of::<KeyValue>() };
static PAGE_ENCODING_STATS: Shape =
    inline(&[(1, Of::Plain(INTEGER)), (2, Of::Plain(INTEGER)), (3, Of::Plain(INTEGER))]);
static STATISTICS: Shape = inline(&[
    (1, Of::Plain(BINARY)),
    (2, Of::Plain(BINARY)),
    (3, Of::Plain(LONG)),
    (4, Of::Plain(LONG)),
    (5, Of::Plain(BINARY)),
    (6, Of::Plain(BINARY)),
    (7, Of::Plain(BOOLEAN)),
    (8, Of::Plain(BOOLEAN)),
    (9, Of::Plain(LONG)),
]);
static BOUNDING_BOX: Shape = inline(&[
    (1, Of::Plain(DOUBLE)),
    (2, Of::Plain(DOUBLE)),
    (3, Of::Plain(DOUBLE)),
    (4, Of::Plain(DOUBLE)),
    (5, Of::Plain(DOUBLE)),
    (6, Of::Plain(DOUBLE)),
    (7, Of::Plain(DOUBLE)),
    (8, Of::Plain(DOUBLE)),
]);
static COLUMN_ORDER: Shape = inline(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);

/// Numbers of fields have 16 bits.
const MOST_FIELDS: i64 = i16::MAX as i64;
/// How deep the structs and lists of a field may be that is not known.
const MOST_LEVELS: usize = 16;
/// What a text takes besides its bytes.
const TEXT_BYTES: u64 = 64;

/// A walk through a footer. Each step returns none where it cannot go on.
struct Walk<'a> {
    thrift: Compact<'a>,
    schema_elements: u64,
    /// What the library would take for what was passed, in bytes.
    held: u64,
}

impl Walk<'_> {
    fn structure(&mut self, shape: &Shape) -> Option<()> {
        let mut last = 0;
        while let Some((field, declared)) = self.thrift.field(&mut last, MOST_FIELDS)? {
            match shape.fields.iter().find(|(known, _)| *known == field) {
                Some((_, of)) => self.known(of, declared)?,
                None => self.unknown(declared, MOST_LEVELS)?,
            }
        }
        Some(())
    }

    fn known(&mut self, of: &Of, declared: u8) -> Option<()> {
        let expected = match of {
            Of::Plain(expected) => *expected,
            Of::Name => BINARY,
            Of::Children => INTEGER,
            Of::Struct(_) => STRUCT,
            Of::Schema | Of::List(_) => LIST,
        };
        let declared = if declared == FALSE { BOOLEAN } else { declared };
        (declared == expected).then_some(())?;
        match of {
            Of::Plain(_) => self.plain(declared),
            Of::Schema => {
                let (count, declared) = self.thrift.list()?;
                self.schema_elements = count;
                (count <= MOST_SCHEMA_ELEMENTS).then_some(())?;
                self.elements(count, declared, &Of::Struct(&SCHEMA_ELEMENT))
            }
            Of::Name => {
                let bytes = self.thrift.binary()?.len() as u64;
                self.hold(bytes.saturating_add(TEXT_BYTES).saturating_mul(self.schema_elements))
            }
            Of::Children => self.thrift.size().filter(|&children| children <= self.schema_elements).map(drop),
            Of::Struct(shape) => self.structure(shape),
            Of::List(element) => {
                let (count, declared) = self.thrift.list()?;
                self.elements(count, declared, element)
            }
        }
    }

    fn elements(&mut self, count: u64, declared: u8, element: &Of) -> Option<()> {
        let held = match element {
            Of::Struct(shape) => shape.held,
            _ => size_of::<u64>(),
        };
        // The library makes room for all of them.
        self.hold(count.saturating_mul(held as u64))?;
        (0..count).try_for_each(|_| self.known(element, declared))
    }

    fn plain(&mut self, of: u8) -> Option<()> {
        match of {
            BOOLEAN => Some(()),
            BYTE => self.thrift.byte().map(drop),
            SHORT => self.thrift.integer().filter(|&number| i16::try_from(number).is_ok()).map(drop),
            INTEGER => self.thrift.integer().filter(|&number| i32::try_from(number).is_ok()).map(drop),
            LONG => self.thrift.varint().map(drop),
            DOUBLE => self.thrift.bytes(8).map(drop),
            BINARY => {
                let bytes = self.thrift.binary()?.len() as u64;
                self.hold(bytes.saturating_add(TEXT_BYTES))
            }
            _ => None,
        }
    }

    /// Passes over a field as the library does. Lists of booleans it passes over otherwise than the protocol says.
    fn unknown(&mut self, declared: u8, levels: usize) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        match declared {
            BOOLEAN | FALSE => Some(()),
            STRUCT => {
                let mut last = 0;
                while let Some((_, declared)) = self.thrift.field(&mut last, MOST_FIELDS)? {
                    self.unknown(declared, levels)?;
                }
                Some(())
            }
            LIST => {
                let (count, declared) = self.thrift.list()?;
                (![BOOLEAN, FALSE].contains(&declared)).then_some(())?;
                (0..count).try_for_each(|_| self.unknown(declared, levels))
            }
            plain => self.plain(plain),
        }
    }

    fn hold(&mut self, bytes: u64) -> Option<()> {
        self.held = self.held.saturating_add(bytes);
        (self.held <= MOST_PAGE_BYTES).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A field, by the step from the one before.
    fn field(step: u8, of: u8, value: &[u8]) -> Vec<u8> {
        [&[step << 4 | of], value].concat()
    }

    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn text(text: &str) -> Vec<u8> {
        [varint(text.len() as u64), text.into()].concat()
    }

    fn list(of: u8, elements: &[Vec<u8>]) -> Vec<u8> {
        [vec![0xf0 | of], varint(elements.len() as u64), elements.concat()].concat()
    }

    fn structure(fields: &[Vec<u8>]) -> Vec<u8> {
        [fields.concat(), vec![0]].concat()
    }

    fn root(children: u64) -> Vec<u8> {
        structure(&[field(4, BINARY, &text("root")), field(1, INTEGER, &varint(children << 1))])
    }

    fn column(name: &str) -> Vec<u8> {
        structure(&[field(1, INTEGER, &[2]), field(2, INTEGER, &[0]), field(1, BINARY, &text(name))])
    }

    fn footer(schema: &[Vec<u8>], others: &[Vec<u8>]) -> Vec<u8> {
        let begin = [field(1, INTEGER, &[2]), field(1, LIST, &list(STRUCT, schema)), field(1, LONG, &[0])];
        structure(&[&begin, others].concat())
    }

    fn read(footer: &[u8]) -> Result<Arc<ParquetMetaData>, FootprintError> {
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        read_footer(&Bytes::from([b"PAR1", footer, &length, b"PAR1"].concat()))
    }

    fn no_groups() -> Vec<u8> {
        field(1, LIST, &[STRUCT])
    }

    #[test]
    fn a_plain_footer_is_read() {
        let unknown = structure(&[field(9, LIST, &list(BINARY, &[text("a")])), field(3, BOOLEAN, &[])]);
        let later = [no_groups(), field(15, STRUCT, &unknown)];
        assert_eq!(read(&footer(&[root(1), column("a")], &later)).unwrap().file_metadata().num_rows(), 0);
    }

    /// Each would make the library take much memory, or could be read in two ways.
    #[test]
    fn what_claims_more_than_there_is_or_leaves_something_open_is_refused() {
        let plain = [root(1), column("a")];
        let twice = field(0, INTEGER, &[10, 4]);
        let cut = |length: usize| footer(&plain, &[no_groups()])[..length].to_vec();
        let with = |other: Vec<u8>| footer(&plain, &[no_groups(), other]);
        for (what, footer) in [
            ("children", footer(&[root(i32::MAX as u64), column("a")], &[no_groups()])),
            ("children of 33 bits", footer(&[root(1 << 32 | 1), column("a")], &[no_groups()])),
            ("children declared as text", {
                let children = field(1, BINARY, &text("\u{2}"));
                footer(&[structure(&[field(4, BINARY, &text("root")), children]), column("a")], &[no_groups()])
            }),
            ("a field twice", structure(&[field(1, INTEGER, &[2]), twice])),
            ("row groups", footer(&plain, &[field(1, LIST, &[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07])])),
            ("a list of booleans", with(field(15, LIST, &list(BOOLEAN, &[vec![1]])))),
            ("deep", with(field(15, STRUCT, &[vec![0x1c; 100], vec![0; 101]].concat()))),
            ("a set", with(field(15, 10, &list(BYTE, &[vec![1]])))),
            ("an end", cut(10)),
        ] {
            let refused = read(&footer);
            assert!(
                matches!(refused, Err(FootprintError::Malformed | FootprintError::Footer { .. })),
                "{what}: {refused:?}"
            );
        }
        let many = [vec![root(1025)], vec![column("a"); 1025]].concat();
        assert!(matches!(read(&footer(&many, &[no_groups()])), Err(FootprintError::Schema)));
    }

    #[test]
    fn what_takes_more_in_memory_than_in_the_file_is_refused() {
        let long = "x".repeat(1 << 20);
        let named = [vec![root(1), root(1000)], vec![column("a"); 1000]].concat();
        let mut named_long = named.clone();
        named_long[1] =
            structure(&[field(3, INTEGER, &[0]), field(1, BINARY, &text(&long)), field(1, INTEGER, &varint(2000))]);
        let pairs = list(STRUCT, &vec![structure(&[field(1, BINARY, &[0])]); 2_000_000]);
        let groups = list(STRUCT, &vec![structure(&[]); 2_000_000]);
        let plain = [root(1), column("a")];
        for (what, footer) in [
            ("a name in the path of each column", footer(&named_long, &[no_groups()])),
            ("pairs", footer(&plain, &[no_groups(), field(1, LIST, &pairs)])),
            ("row groups", footer(&plain, &[field(1, LIST, &groups)])),
        ] {
            let refused = read(&footer);
            assert!(matches!(refused, Err(FootprintError::Footer { .. })), "{what}: {refused:?}");
        }
    }
}
