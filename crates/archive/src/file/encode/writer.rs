//! One file: batches into row groups, and the statistics that the commit carries.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use promarchive_model::{Histogram, MetadataRow, Sample, SeriesLabels};

use super::column_orders::{ColumnOrdersError, mark_doubles_for_every_reader};
use super::keys::KeyColumns;
use super::own_columns::{ExemplarColumns, HistogramColumns, MetadataColumns, SampleColumns};
use crate::file::{ORIGIN_TAG, Origin};
use crate::log::FileStats;
use crate::schema::{Kind, LabelColumns, Raw, SCHEMA_VERSION_PROPERTY, Table, arrow_schema, columns};

/// Rows collected before they go to the Parquet writer.
const BATCH_ROWS: usize = 64 * 1024;
/// Bytes of exemplars' labels and of metadata after which they go there, too: an array's offsets have 31 bits.
const BATCH_TEXT_BYTES: usize = 32 * 1024 * 1024;
/// Rows of a data page.
pub(super) const PAGE_ROWS: usize = BATCH_ROWS;
/// Of zstd: what it costs and saves is in `docs/explanation/files.md`.
pub(super) const ZSTD_LEVEL: i32 = 3;
/// Rows after which a row group ends at the next series.
const ROW_GROUP_ROWS: usize = 1024 * 1024;
/// Bytes of label sets after which a row group ends at the next series. They are held several times while it is encoded.
const ROW_GROUP_LABEL_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of finished row groups after which a file is full: a file is held in memory as a whole.
const FILE_BYTES: usize = 32 * 1024 * 1024;
/// Above what a row group can hold: a dictionary is never given up.
const DICTIONARY_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of a data page before compression.
const PAGE_BYTES: usize = 1024 * 1024;

/// A file could not be encoded: a fault of this program, or of memory.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// From Arrow.
    #[error("cannot encode a batch: {0}")]
    Arrow(#[from] ArrowError),
    /// From Parquet.
    #[error("cannot encode a file: {0}")]
    Parquet(#[from] ParquetError),
    /// The Parquet library wrote an end that this program does not know.
    #[error("cannot encode a file: {0}")]
    ColumnOrders(#[from] ColumnOrdersError),
    /// Its rows are made of those of other tables.
    #[error("receivers do not write to table {0}")]
    NotRaw(&'static str),
}

/// A whole Parquet file.
#[derive(Debug)]
pub struct EncodedFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its statistics.
    pub stats: FileStats,
}

#[derive(Debug)]
enum OwnColumns {
    Samples(SampleColumns),
    Histograms(Box<HistogramColumns>),
    Exemplars(ExemplarColumns),
    Metadata(MetadataColumns),
}

impl OwnColumns {
    /// The columns so far; starts anew.
    fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        match self {
            Self::Samples(columns) => Ok(columns.finish()),
            Self::Histograms(columns) => columns.finish(),
            Self::Exemplars(columns) => columns.finish(),
            Self::Metadata(columns) => columns.finish(),
        }
    }
}

/// Writes one file of one table. Rows come sorted: [`Self::series`], then its rows, then the next.
pub struct FileEncoder {
    schema: SchemaRef,
    file: SerializedFileWriter<Vec<u8>>,
    columns: ArrowRowGroupWriterFactory,
    /// None in a table that is not by series.
    keys: Option<KeyColumns>,
    own: OwnColumns,
    /// Writers of the own columns of the row group; none before its first batch.
    group: Vec<ArrowColumnWriter>,
    /// Rows of the batch.
    batch_rows: usize,
    batch_text_bytes: usize,
    /// Rows of the current series in the batch whose keys are not appended yet.
    pending_rows: usize,
    group_rows: usize,
    group_label_bytes: usize,
    stats: FileStats,
}

impl FileEncoder {
    /// An empty file for rows of this origin, which its footer says.
    pub fn new(table: Table, label_columns: &LabelColumns, origin: &Origin) -> Result<Self, EncodeError> {
        let schema = arrow_schema(table, label_columns);
        // Without Arrow's own schema beside it: readers get plain text columns, not this program's dictionaries.
        let parquet_schema = ArrowSchemaConverter::new().convert(&schema)?;
        let properties = Arc::new(writer_properties(table, label_columns, origin)?);
        let file = SerializedFileWriter::new(Vec::new(), parquet_schema.root_schema_ptr(), properties)?;
        let columns = ArrowRowGroupWriterFactory::new(&file, schema.clone());
        let own = match table.raw() {
            Some(Raw::Samples) => OwnColumns::Samples(SampleColumns::default()),
            Some(Raw::Histograms) => OwnColumns::Histograms(Box::default()),
            Some(Raw::Exemplars) => OwnColumns::Exemplars(ExemplarColumns::default()),
            Some(Raw::Metadata) => OwnColumns::Metadata(MetadataColumns::default()),
            None => return Err(EncodeError::NotRaw(table.name())),
        };
        let stats = FileStats { rows: 0, metric: None, timestamp: None };
        let keys = table.has_series().then(|| KeyColumns::new(&parquet_schema, label_columns));
        Ok(Self {
            schema,
            file,
            columns,
            keys,
            own,
            group: Vec::new(),
            batch_rows: 0,
            batch_text_bytes: 0,
            pending_rows: 0,
            group_rows: 0,
            group_label_bytes: 0,
            stats,
        })
    }

    /// The rows that follow belong to this series.
    pub fn series(&mut self, labels: impl SeriesLabels) -> Result<(), EncodeError> {
        self.append_keys();
        if self.group_rows >= ROW_GROUP_ROWS || self.group_label_bytes >= ROW_GROUP_LABEL_BYTES {
            self.end_group()?;
        }
        self.group_label_bytes += self.keys.as_mut().map_or(0, |keys| keys.start(labels));
        Ok(())
    }

    /// Whether the next series had better go into another file.
    pub fn is_full(&self) -> bool {
        self.file.bytes_written() >= FILE_BYTES
    }

    /// Appends a sample of the current series.
    pub fn sample(&mut self, sample: Sample) -> Result<(), EncodeError> {
        if let OwnColumns::Samples(columns) = &mut self.own {
            columns.append(sample);
        }
        self.row(sample.timestamp)
    }

    /// Appends a histogram of the current series.
    pub fn histogram(&mut self, histogram: &Histogram) -> Result<(), EncodeError> {
        if let OwnColumns::Histograms(columns) = &mut self.own {
            columns.append(histogram);
        }
        self.row(histogram.timestamp)
    }

    /// Appends an exemplar of the current series: its timestamp (ms), the bits of its value, and the text of its own labels.
    pub fn exemplar(&mut self, timestamp: i64, value: u64, labels: &str) -> Result<(), EncodeError> {
        if let OwnColumns::Exemplars(columns) = &mut self.own {
            columns.append(timestamp, value, labels);
        }
        self.count_text(labels.len());
        self.row(timestamp)
    }

    /// Appends a row of metadata.
    pub fn metadata(&mut self, row: &MetadataRow) -> Result<(), EncodeError> {
        if self.group_label_bytes >= ROW_GROUP_LABEL_BYTES {
            self.end_group()?;
        }
        if let OwnColumns::Metadata(columns) = &mut self.own {
            columns.append(row);
        }
        self.count_text(row.metric.len() + row.unit.len() + row.help.len());
        widen(&mut self.stats.metric, &row.metric);
        self.row(row.received_at)
    }

    fn count_text(&mut self, bytes: usize) {
        self.group_label_bytes += bytes;
        self.batch_text_bytes += bytes;
    }

    fn row(&mut self, timestamp: i64) -> Result<(), EncodeError> {
        let (min, max) = self.stats.timestamp.unwrap_or((timestamp, timestamp));
        self.stats.timestamp = Some((min.min(timestamp), max.max(timestamp)));
        self.stats.rows += 1;
        self.group_rows += 1;
        self.pending_rows += 1;
        self.batch_rows += 1;
        if self.batch_rows >= BATCH_ROWS || self.batch_text_bytes >= BATCH_TEXT_BYTES {
            self.append_keys();
            self.end_batch()?;
        }
        Ok(())
    }

    fn append_keys(&mut self) {
        if let Some(keys) = &mut self.keys
            && self.pending_rows > 0
        {
            keys.append(self.pending_rows);
            widen(&mut self.stats.metric, keys.metric());
        }
        self.pending_rows = 0;
    }

    fn end_batch(&mut self) -> Result<(), EncodeError> {
        if self.batch_rows == 0 {
            return Ok(());
        }
        (self.batch_rows, self.batch_text_bytes) = (0, 0);
        if self.group.is_empty() {
            let group = self.columns.create_column_writers(self.file.flushed_row_groups().len())?;
            self.group = group.into_iter().skip(self.key_columns()).collect();
        }
        let fields = self.schema.fields().iter().skip(self.key_columns());
        let mut writers = self.group.iter_mut();
        for (field, column) in fields.zip(self.own.finish()?) {
            for (leaf, writer) in compute_leaves(field, &column)?.iter().zip(&mut writers) {
                writer.write(leaf)?;
            }
        }
        Ok(())
    }

    fn key_columns(&self) -> usize {
        self.keys.as_ref().map_or(0, KeyColumns::len)
    }

    fn end_group(&mut self) -> Result<(), EncodeError> {
        self.append_keys();
        self.end_batch()?;
        if self.group_rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        if let Some(keys) = &mut self.keys {
            for chunk in keys.finish()? {
                group.append_column(&chunk.bytes, chunk.close)?;
            }
        }
        for column in self.group.drain(..) {
            column.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        (self.group_rows, self.group_label_bytes) = (0, 0);
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<EncodedFile, EncodeError> {
        self.end_group()?;
        let mut bytes = self.file.into_inner()?;
        mark_doubles_for_every_reader(&mut bytes)?;
        Ok(EncodedFile { bytes, stats: self.stats })
    }
}

fn widen(bounds: &mut Option<(String, String)>, value: &str) {
    match bounds {
        None => *bounds = Some((value.to_owned(), value.to_owned())),
        Some((min, _)) if value < min.as_str() => *min = value.to_owned(),
        Some((_, max)) if value > max.as_str() => *max = value.to_owned(),
        Some(_) => {}
    }
}

/// How each column is encoded.
pub(crate) fn writer_properties(
    table: Table,
    label_columns: &LabelColumns,
    origin: &Origin,
) -> Result<WriterProperties, EncodeError> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("promarchive ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(None)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_key_value_metadata(Some(vec![
            KeyValue::new(SCHEMA_VERSION_PROPERTY.to_owned(), table.version().to_string()),
            KeyValue::new(ORIGIN_TAG.to_owned(), origin.to_string()),
        ]));
    let table_columns = columns(table, label_columns);
    for column in &table_columns {
        let path = ColumnPath::new(vec![column.name.clone()]);
        properties = match column.kind {
            Kind::Text | Kind::RepeatedLong => properties.set_column_dictionary_enabled(path, true),
            Kind::Timestamp => properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Kind::Long | Kind::Int | Kind::Double | Kind::Boolean | Kind::Longs | Kind::Doubles | Kind::Spans => {
                properties
            }
        };
    }
    for name in table.statistics() {
        let path = ColumnPath::new(vec![name.to_owned()]);
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Page);
    }
    let place = |name: &str| table_columns.iter().position(|column| column.name == name);
    let sorting = table.sort_key().filter_map(place).filter_map(|at| i32::try_from(at).ok());
    let sorting = sorting.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
    Ok(properties.set_sorting_columns(Some(sorting.collect())).build())
}
