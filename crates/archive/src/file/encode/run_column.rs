//! A key column of a row group, given as runs: Parquet pages made without a look at each row.
//!
//! ```text
//! dictionary page   PLAIN: each value once, in the order of first use
//! data page*        [definition levels, for columns that may be null] width of an index, indices as runs
//! ```
//! Pages are of version 1 and compressed with zstd, as the library writes the other columns; it also writes the page headers and splices the
//! chunk into the file ([`SerializedRowGroupWriter::append_column`]). The library's own writer hashes every row of a dictionary column, which
//! took most of the time of a flush.
//!
//! [`SerializedRowGroupWriter::append_column`]: parquet::file::writer::SerializedRowGroupWriter::append_column

use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use parquet::basic::{BoundaryOrder, Compression, Encoding, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use rapidhash::fast::RandomState;

use super::runs::{encode_runs, width_of};
use super::writer::{PAGE_ROWS, ZSTD_LEVEL};

/// A value of a key column.
pub(super) trait KeyValue: Clone + Eq + Hash {
    /// Whether PLAIN encoding puts the length before it.
    const HAS_LENGTH: bool;

    /// Its bytes in PLAIN encoding.
    fn bytes(&self) -> impl AsRef<[u8]>;
}

impl KeyValue for Arc<str> {
    const HAS_LENGTH: bool = true;

    fn bytes(&self) -> impl AsRef<[u8]> {
        self.as_bytes()
    }
}

impl KeyValue for i64 {
    const HAS_LENGTH: bool = false;

    fn bytes(&self) -> impl AsRef<[u8]> {
        self.to_le_bytes()
    }
}

/// Rows with the same value, or without any.
#[derive(Clone, Copy, Debug)]
struct Run {
    index: Option<u32>,
    rows: usize,
}

/// A column of a row group that is being written.
#[derive(Debug)]
pub(super) struct RunColumn<V> {
    descriptor: ColumnDescPtr,
    values: Vec<V>,
    indices: HashMap<V, u32, RandomState>,
    runs: Vec<Run>,
}

/// A column's chunk of a row group, ready to be spliced in.
pub(super) struct Chunk {
    /// Its pages.
    pub(super) bytes: Bytes,
    /// What the footer says of it.
    pub(super) close: ColumnCloseResult,
}

impl<V: KeyValue> RunColumn<V> {
    pub(super) fn new(descriptor: ColumnDescPtr) -> Self {
        Self { descriptor, values: Vec::new(), indices: HashMap::default(), runs: Vec::new() }
    }

    /// Appends the same value, or null, `rows` times.
    pub(super) fn append(&mut self, value: Option<&V>, rows: usize) {
        let index = value.map(|value| self.index(value));
        match self.runs.last_mut() {
            Some(last) if last.index == index => last.rows += rows,
            _ => self.runs.push(Run { index, rows }),
        }
    }

    fn index(&mut self, value: &V) -> u32 {
        // Sorted rows: often that of the series before.
        if let Some(index) = self.runs.last().and_then(|run| run.index)
            && self.values.get(index as usize) == Some(value)
        {
            return index;
        }
        if let Some(&index) = self.indices.get(value) {
            return index;
        }
        // A row group has fewer than 2³² rows, so it has fewer values.
        let index = self.values.len() as u32;
        self.values.push(value.clone());
        self.indices.insert(value.clone(), index);
        index
    }

    /// The chunk so far; starts anew. A column that is `sorted` gets statistics: of the chunk, and of each page.
    pub(super) fn finish(&mut self, sorted: bool) -> Result<Chunk, ParquetError> {
        let mut chunk = ChunkWriter::new(self.descriptor.clone())?;
        chunk.dictionary(&self.values)?;
        for page in pages(&self.runs) {
            let bound = |run: Option<&Run>| Some(self.values.get(run?.index? as usize)?.bytes().as_ref().to_vec());
            let bounds = bound(page.first()).zip(bound(page.last())).filter(|_| sorted);
            chunk.data(&page, bounds)?;
        }
        self.values.clear();
        self.indices.clear();
        self.runs.clear();
        chunk.finish()
    }
}

/// Runs cut into pages of [`PAGE_ROWS`] rows.
fn pages(runs: &[Run]) -> Vec<Vec<Run>> {
    let (mut pages, mut page, mut room) = (Vec::new(), Vec::new(), PAGE_ROWS);
    for &Run { index, mut rows } in runs {
        while rows > 0 {
            let taken = rows.min(room);
            page.push(Run { index, rows: taken });
            (rows, room) = (rows - taken, room - taken);
            if room == 0 {
                pages.push(std::mem::take(&mut page));
                room = PAGE_ROWS;
            }
        }
    }
    if !page.is_empty() {
        pages.push(page);
    }
    pages
}

/// Least and greatest value, as bytes.
type Bounds = (Vec<u8>, Vec<u8>);

/// Writes pages into a buffer, and keeps what the footer and the page index say of them.
struct ChunkWriter {
    descriptor: ColumnDescPtr,
    sink: TrackedWrite<Vec<u8>>,
    zstd: zstd::bulk::Compressor<'static>,
    /// Bits of an index into the dictionary.
    width: u32,
    rows: usize,
    nulls: usize,
    data_pages: i32,
    data_page_offset: Option<u64>,
    uncompressed: usize,
    bounds: Option<Bounds>,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
}

impl ChunkWriter {
    fn new(descriptor: ColumnDescPtr) -> Result<Self, ParquetError> {
        let column_index = ColumnIndexBuilder::new(descriptor.physical_type());
        Ok(Self {
            descriptor,
            sink: TrackedWrite::new(Vec::new()),
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            width: 0,
            rows: 0,
            nulls: 0,
            data_pages: 0,
            data_page_offset: None,
            uncompressed: 0,
            bounds: None,
            column_index,
            offset_index: OffsetIndexBuilder::new(),
        })
    }

    fn write(&mut self, page: &[u8], of: impl FnOnce(Bytes) -> Page) -> Result<PageWriteSpec, ParquetError> {
        let compressed = self.zstd.compress(page)?;
        let page = CompressedPage::new(of(compressed.into()), page.len());
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        Ok(written)
    }

    fn dictionary<V: KeyValue>(&mut self, values: &[V]) -> Result<(), ParquetError> {
        let num_values = u32::try_from(values.len())
            .map_err(|_| ParquetError::General("the dictionary has too many values".to_owned()))?;
        self.width = width_of(num_values.saturating_sub(1));
        let mut plain = Vec::new();
        for value in values {
            let bytes = value.bytes();
            let bytes = bytes.as_ref();
            if V::HAS_LENGTH {
                let length = u32::try_from(bytes.len())
                    .map_err(|_| ParquetError::General("a value has 4 GiB or more".to_owned()))?;
                plain.extend(length.to_le_bytes());
            }
            plain.extend_from_slice(bytes);
        }
        let page = |buf| Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
        self.write(&plain, page).map(drop)
    }

    fn data(&mut self, runs: &[Run], bounds: Option<Bounds>) -> Result<(), ParquetError> {
        let rows: usize = runs.iter().map(|run| run.rows).sum();
        let nulls: usize = runs.iter().filter(|run| run.index.is_none()).map(|run| run.rows).sum();
        let mut body = Vec::new();
        if self.descriptor.max_def_level() > 0 {
            let levels = encode_runs(1, runs.iter().map(|run| (u32::from(run.index.is_some()), run.rows)));
            // At most a bit for each row of a page.
            body.extend((levels.len() as u32).to_le_bytes());
            body.extend(levels);
        }
        body.push(self.width as u8);
        body.extend(encode_runs(self.width, runs.iter().filter_map(|run| Some((run.index?, run.rows)))));
        let page = |buf| Page::DataPage {
            buf,
            num_values: rows as u32,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = self.write(&body, page)?;
        self.rows += rows;
        self.nulls += nulls;
        self.data_pages += 1;
        self.data_page_offset.get_or_insert(written.offset);
        self.offset_index.append_row_count(rows as i64);
        self.offset_index.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
        match bounds {
            Some((min, max)) => self.bound(min, max, nulls),
            None => self.column_index.to_invalid(),
        }
        Ok(())
    }

    fn bound(&mut self, min: Vec<u8>, max: Vec<u8>, nulls: usize) {
        self.column_index.append(false, min.clone(), max.clone(), nulls as i64, None);
        let first = self.bounds.take().map_or(min, |(first, _)| first);
        self.bounds = Some((first, max));
    }

    fn finish(mut self) -> Result<Chunk, ParquetError> {
        let encodings = vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
        let count = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let pages = vec![
            count(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
            count(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.data_pages),
        ];
        let mut metadata = ColumnChunkMetaData::builder(self.descriptor)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
            .set_encodings(encodings)
            .set_page_encoding_stats(pages)
            .set_num_values(self.rows as i64)
            .set_total_compressed_size(self.sink.bytes_written() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(self.data_page_offset.unwrap_or_default() as i64);
        if let Some((min, max)) = self.bounds {
            let [min, max] = [min, max].map(|bytes| Some(ByteArray::from(bytes)));
            let statistics = ValueStatistics::new(min, max, None, Some(self.nulls as u64), false);
            metadata = metadata.set_statistics(Statistics::ByteArray(statistics));
        }
        self.column_index.set_boundary_order(BoundaryOrder::ASCENDING);
        let column_index = self.column_index.valid().then(|| self.column_index.build()).transpose()?;
        let close = ColumnCloseResult {
            bytes_written: self.sink.bytes_written() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offset_index.build()),
        };
        Ok(Chunk { bytes: self.sink.into_inner()?.into(), close })
    }
}
