//! What decoding a row group takes in memory, told by its page headers before anything is decompressed.
//!
//! A file of some kilobytes can decompress to gigabytes. Files that this program has written cannot: a data page has about 1 MiB, and the
//! dictionaries of a row group hold its label sets, which end it at 8 MiB. So what a row group's pages take at once has a limit that no such
//! file comes near, and a file beyond it is refused. Within it, how many rows are decoded at a time follows from how the pages are encoded:
//! texts that are not all in a dictionary, and long lists, are read a few rows at a time. Files that other programs have written into the
//! archive are readable by the same rule, unless their texts are encoded as differences: how long those are, only decoding tells.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::Page;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::footer::MOST_SCHEMA_ELEMENTS;
pub use super::footer::{check_page_index, read_footer};
use super::page_header::{DELTA_BINARY_PACKED, DICTIONARY, PLAIN, PageHeader, PageKind, RLE, parse};

/// Rows decoded at a time where nothing speaks against it.
const BATCH_ROWS: u64 = 32 * 1024;
/// What the dictionaries of a row group and the largest data page of each of its columns may take together, in bytes.
pub const MOST_PAGE_BYTES: u64 = 128 << 20;
/// What the lists of a row group may take before its pages are looked at one by one.
const MOST_LIST_BYTES: u64 = 128 << 20;
/// What a batch may take beyond its dictionaries.
const BATCH_BYTES: u64 = 64 << 20;
/// Bytes in which a header is looked for first: it has statistics of some 64 bytes each.
const HEADER_BYTES: u64 = 1024;
/// The most that a header may take.
const MOST_HEADER_BYTES: u64 = 64 * 1024;

/// Why a row group is not decoded.
#[derive(Debug, thiserror::Error)]
pub enum FootprintError {
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// The headers of its pages contradict the footer, or themselves.
    #[error("column {column}: the header of the page at offset {offset} is invalid")]
    Header {
        /// Of which column.
        column: String,
        /// Where, in bytes.
        offset: u64,
    },
    /// Only decoding would tell how much it takes.
    #[error("column {column} has pages with encoding {encoding}, which promarchive does not write")]
    Encoding {
        /// Of which column.
        column: String,
        /// Parquet's number of it.
        encoding: i64,
    },
    /// The footer, or the page index, is larger than it can be, in the file or in memory.
    #[error("the footer or page index has {bytes} bytes, which is too large for this file")]
    Footer {
        /// How large.
        bytes: u64,
    },
    /// More elements than readers can bear.
    #[error("the schema has more than {MOST_SCHEMA_ELEMENTS} elements, which is too many for a table")]
    Schema,
    /// Another reader could read it otherwise, or would take memory for what is not there.
    #[error("the footer is invalid: a field has the wrong type, or a length exceeds the data")]
    Malformed,
    /// Its codec may make any length of a page.
    #[error(
        "column {column} is compressed with {codec}, but promarchive reads only zstd, snappy and uncompressed data"
    )]
    Codec {
        /// Which column.
        column: String,
        /// Its codec.
        codec: String,
    },
    /// There is no such row group.
    #[error("row group {0} does not exist")]
    RowGroup(usize),
    /// It would take too much memory.
    #[error(
        "row group {row_group} would need {} MiB when it is decoded, but row groups of promarchive need at most {} MiB",
        .bytes >> 20, MOST_PAGE_BYTES >> 20
    )]
    TooLarge {
        /// Which.
        row_group: usize,
        /// How much, in bytes.
        bytes: u64,
    },
    /// A row whose lists are spread over several pages has no bound.
    #[error(
        "column {column} of row group {row_group} has a row that spans two pages, which promarchive does not write"
    )]
    SplitRow {
        /// Which column.
        column: String,
        /// In which row group.
        row_group: usize,
    },
}

/// Offset and length of a column chunk, as the footer says; none if one is negative. `ColumnChunkMetaData::byte_range` panics on damaged footers.
pub fn chunk_range(chunk: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    Some((u64::try_from(start).ok()?, u64::try_from(chunk.compressed_size()).ok()?))
}

/// How many rows of a row group may be decoded at a time; an error if not even one.
pub fn batch_rows<R: ChunkReader + Clone + 'static>(
    file: &R,
    footer: &ParquetMetaData,
    row_group: usize,
) -> Result<usize, FootprintError> {
    let group = footer.row_groups().get(row_group).ok_or(FootprintError::RowGroup(row_group))?;
    let chunks: Vec<Chunk> = group.columns().iter().map(|chunk| Chunk::read(file, chunk)).collect::<Result<_, _>>()?;
    let bytes = chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(chunk.held()));
    if bytes > MOST_PAGE_BYTES {
        return Err(FootprintError::TooLarge { row_group, bytes });
    }
    if list_bytes(&chunks) > MOST_LIST_BYTES {
        rows_end_with_pages(file, group, row_group)?;
    }
    Ok(usize::try_from(rows_at_a_time(&chunks)).unwrap_or(1))
}

/// Whether one column chunk can be loaded and read by itself.
pub fn check_chunk<R: ChunkReader>(
    file: &R,
    chunk: &ColumnChunkMetaData,
    row_group: usize,
) -> Result<(), FootprintError> {
    let (_, length) = chunk_range(chunk).ok_or_else(|| wrong(chunk, 0))?;
    let bytes = Chunk::read(file, chunk)?.held().max(length);
    if bytes > MOST_PAGE_BYTES { Err(FootprintError::TooLarge { row_group, bytes }) } else { Ok(()) }
}

/// How the values of a column are held once they are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A few bytes a row.
    Number,
    /// Of any length.
    Text,
    /// Any number of numbers a row.
    List,
}

/// The pages of a column chunk, summed up.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    shape: Shape,
    /// Bytes of the dictionary; none before there is one.
    dictionary: Option<u64>,
    /// Bytes of the largest data page.
    largest: u64,
    /// The most that the values of one data page take.
    largest_values: u64,
    /// What the values of all data pages take.
    values: u64,
    /// Data pages.
    pages: u64,
    /// Whether every data page has nothing but indices into the dictionary.
    all_in_dictionary: bool,
}

impl Chunk {
    fn read<R: ChunkReader>(file: &R, chunk: &ColumnChunkMetaData) -> Result<Self, FootprintError> {
        // Others are decompressed to their end, whatever the header says.
        let known = [Compression::UNCOMPRESSED, Compression::SNAPPY].contains(&chunk.compression());
        if !known && !matches!(chunk.compression(), Compression::ZSTD(_)) {
            let (column, codec) = (chunk.column_path().to_string(), chunk.compression().to_string());
            return Err(FootprintError::Codec { column, codec });
        }
        let mut sum = Self::new(Shape::of(chunk));
        for_each_page(file, chunk, |offset, page| {
            if !sum.shape.may_have(page) {
                let column = chunk.column_path().to_string();
                return Err(FootprintError::Encoding { column, encoding: page.encoding });
            }
            sum.add(page).ok_or_else(|| wrong(chunk, offset))
        })?;
        Ok(sum)
    }

    fn new(shape: Shape) -> Self {
        Self { shape, dictionary: None, largest: 0, largest_values: 0, values: 0, pages: 0, all_in_dictionary: true }
    }

    /// None for a header that cannot be right.
    fn add(&mut self, page: &PageHeader) -> Option<()> {
        // No page grows much by compression.
        (page.compressed <= page.uncompressed + page.uncompressed / 64 + 1024).then_some(())?;
        match page.kind {
            PageKind::Dictionary => {
                // It comes first, and once: with another one, texts of both are copied for each row. Each entry takes four bytes at least.
                (self.dictionary.is_none() && self.pages == 0 && page.values <= page.uncompressed / 4).then_some(())?;
                self.dictionary = Some(page.uncompressed);
            }
            PageKind::Data => {
                // Only plain values take their own bytes in the page.
                let numbers = if page.encoding == PLAIN { 0 } else { page.values.saturating_mul(8) };
                // A list has two levels of two bytes for each value, and for each null a place among the values.
                let levels = if self.shape == Shape::List { page.values.saturating_mul(12) } else { 0 };
                let values = page.uncompressed.max(numbers).saturating_add(levels);
                self.pages += 1;
                self.largest = self.largest.max(page.uncompressed);
                self.largest_values = self.largest_values.max(values);
                self.values = self.values.saturating_add(values);
                self.all_in_dictionary &= DICTIONARY.contains(&page.encoding);
            }
        }
        Some(())
    }

    /// What is held as long as the chunk is being read.
    fn held(&self) -> u64 {
        let page = if self.shape == Shape::List { self.largest_values } else { self.largest };
        self.dictionary.unwrap_or(0).saturating_add(page)
    }
}

impl Shape {
    /// Whether the page has an encoding by which its header tells what it takes.
    fn may_have(self, page: &PageHeader) -> bool {
        let plain = page.encoding == PLAIN || DICTIONARY.contains(&page.encoding);
        plain || self != Self::Text && [RLE, DELTA_BINARY_PACKED].contains(&page.encoding)
    }

    fn of(chunk: &ColumnChunkMetaData) -> Self {
        if chunk.column_descr().max_rep_level() > 0 {
            return Self::List;
        }
        match chunk.column_type() {
            Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY => Self::Text,
            _ => Self::Number,
        }
    }
}

fn list_bytes(chunks: &[Chunk]) -> u64 {
    let lists = chunks.iter().filter(|chunk| chunk.shape == Shape::List);
    lists.fold(0, |sum, chunk| sum.saturating_add(chunk.values))
}

fn rows_at_a_time(chunks: &[Chunk]) -> u64 {
    let long_lists = list_bytes(chunks) > MOST_LIST_BYTES;
    let longest_row = |chunk: &Chunk| match chunk.shape {
        // An array of numbers, or of indices into a dictionary that is there once.
        Shape::Number => 0,
        Shape::Text if chunk.all_in_dictionary => 0,
        // The dictionary is copied for each row.
        Shape::Text => chunk.dictionary.unwrap_or(0).max(chunk.largest),
        Shape::List if long_lists => chunk.largest_values,
        Shape::List => 0,
    };
    let longest = chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(longest_row(chunk)));
    (BATCH_BYTES / longest.max(1)).clamp(1, BATCH_ROWS)
}

/// Calls `each` with the offset and the header of every page of a column chunk.
fn for_each_page<R: ChunkReader>(
    file: &R,
    chunk: &ColumnChunkMetaData,
    mut each: impl FnMut(u64, &PageHeader) -> Result<(), FootprintError>,
) -> Result<(), FootprintError> {
    let (start, length) = chunk_range(chunk).ok_or_else(|| wrong(chunk, 0))?;
    let end = start.checked_add(length).filter(|&end| end <= file.len());
    let end = end.ok_or_else(|| wrong(chunk, start))?;
    let mut offset = start;
    while offset < end {
        let found = read_header(file, offset, end - offset)?;
        let (header, header_bytes) = found.ok_or_else(|| wrong(chunk, offset))?;
        each(offset, &header)?;
        let next = offset.checked_add(header_bytes).and_then(|at| at.checked_add(header.compressed));
        offset = next.filter(|&next| next <= end).ok_or_else(|| wrong(chunk, offset))?;
    }
    Ok(())
}

fn wrong(chunk: &ColumnChunkMetaData, offset: u64) -> FootprintError {
    FootprintError::Header { column: chunk.column_path().to_string(), offset }
}

/// The header at an offset with `left` bytes, and its length; none if there is none.
fn read_header<R: ChunkReader>(file: &R, offset: u64, left: u64) -> Result<Option<(PageHeader, u64)>, ParquetError> {
    for bytes in [HEADER_BYTES, MOST_HEADER_BYTES] {
        let found = parse(&file.get_bytes(offset, bytes.min(left) as usize)?);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Checks that each page of a list begins with a row of its own, as this program writes them.
fn rows_end_with_pages<R: ChunkReader + Clone + 'static>(
    file: &R,
    group: &RowGroupMetaData,
    row_group: usize,
) -> Result<(), FootprintError> {
    let rows = usize::try_from(group.num_rows()).unwrap_or(0);
    for chunk in group.columns().iter().filter(|chunk| Shape::of(chunk) == Shape::List) {
        for page in SerializedPageReader::new(Arc::new(file.clone()), chunk, rows, None)? {
            if !begins_a_row(&page?) {
                return Err(FootprintError::SplitRow { column: chunk.column_path().to_string(), row_group });
            }
        }
    }
    Ok(())
}

/// Whether the first repetition level of a page of a list is 0. Levels are runs and bit-packed groups of one bit each (`Encodings.md`,
/// "Run Length Encoding / Bit-Packing Hybrid").
fn begins_a_row(page: &Page) -> bool {
    let levels = match page {
        Page::DictionaryPage { .. } => return true,
        Page::DataPage { buf, rep_level_encoding: Encoding::RLE, .. } => buf.get(4..),
        Page::DataPage { .. } => None,
        Page::DataPageV2 { buf, .. } => buf.get(..),
    };
    let Some(levels) = levels else { return false };
    let header = levels.iter().position(|byte| byte & 0x80 == 0).and_then(|end| levels.split_at_checked(end + 1));
    header.is_some_and(|(_, values)| values.first().is_some_and(|first| first & 1 == 0))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn data(uncompressed: u64, values: u64, encoding: i64) -> PageHeader {
        PageHeader { kind: PageKind::Data, uncompressed, compressed: 1, values, encoding }
    }

    fn dictionary(uncompressed: u64, values: u64) -> PageHeader {
        PageHeader { kind: PageKind::Dictionary, ..data(uncompressed, values, PLAIN) }
    }

    fn chunk(shape: Shape, pages: &[PageHeader]) -> Chunk {
        let mut chunk = Chunk::new(shape);
        pages.iter().for_each(|page| chunk.add(page).unwrap());
        chunk
    }

    #[test]
    fn texts_that_are_copied_are_read_a_few_rows_at_a_time() {
        let indices = data(1 << 20, 1 << 16, 8);
        let own = chunk(Shape::Text, &[dictionary(8 << 20, 1000), indices, indices]);
        assert_eq!(rows_at_a_time(&[own]), BATCH_ROWS);
        let mixed = chunk(Shape::Text, &[dictionary(8 << 20, 1000), indices, data(1 << 10, 1, PLAIN)]);
        assert_eq!(rows_at_a_time(&[own, mixed]), 8);
        assert!(!Shape::Text.may_have(&data(1 << 20, 2, 7)), "prefixes are shared");
    }

    #[test]
    fn long_lists_are_read_a_few_rows_at_a_time() {
        let page = data(1 << 20, 1 << 16, PLAIN);
        assert_eq!(rows_at_a_time(&[chunk(Shape::List, &[page; 70])]), BATCH_ROWS);
        assert_eq!(rows_at_a_time(&[chunk(Shape::List, &[page; 200])]), 36);
        let indices = chunk(Shape::List, &[dictionary(8, 1), data(10, 1 << 30, 8)]);
        assert_eq!(rows_at_a_time(&[indices]), 1, "an index may take no bit");
        let nulls = chunk(Shape::List, &[data(20, 1 << 30, PLAIN)]);
        assert!(nulls.held() > MOST_PAGE_BYTES, "nor a null");
    }

    #[test]
    fn a_dictionary_has_no_more_entries_than_bytes_for_them() {
        assert!(Chunk::new(Shape::Text).add(&dictionary(400, 100)).is_some());
        assert!(Chunk::new(Shape::Text).add(&dictionary(400, 101)).is_none());
    }

    #[test]
    fn there_is_one_dictionary_before_all_data() {
        let (texts, indices) = (dictionary(400, 100), data(10, 10, 8));
        assert!(chunk(Shape::Text, &[texts, indices]).add(&texts).is_none());
        assert!(chunk(Shape::Text, &[indices]).add(&texts).is_none());
        let longer = PageHeader { compressed: 1 << 20, ..data(1 << 10, 1, PLAIN) };
        assert!(Chunk::new(Shape::Number).add(&longer).is_none(), "compression makes nothing so long");
    }

    #[test]
    fn a_page_that_goes_on_with_a_row_is_seen() {
        let page = |levels: &[u8]| Page::DataPage {
            buf: Bytes::from([&[9, 0, 0, 0], levels].concat()),
            num_values: 1,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        for (levels, wants) in [
            (&[0x02, 0x00][..], true),
            (&[0x02, 0x01], false),
            (&[0x03, 0xfe], true),
            (&[0x03, 0x01], false),
            (&[0x82, 0x01, 0x00], true),
            (&[0x82, 0x01, 0x01], false),
            (&[0x82], false),
            (&[], false),
        ] {
            assert_eq!(begins_a_row(&page(levels)), wants, "{levels:?}");
        }
    }
}
