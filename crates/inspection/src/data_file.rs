//! One listed file: that it can be read whole, and that it says what the table's documentation and statistics promise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_schema};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use promarchive_archive::file::decode::{DecodeFileError, open_groups};
use promarchive_archive::file::footprint::{FootprintError, batch_rows, check_page_index, chunk_range, read_footer};
use promarchive_archive::log::raw::Added;
use promarchive_archive::log::{DataFile, FileStats};
use promarchive_archive::schema::{Kind, LabelColumns, Table, arrow_schema, columns};
use promarchive_archive::store::StoredFile;
use promarchive_model::chain;

use super::finding::{Check, Finding};
use super::footer::column_named;
use super::panic_text;
use super::rows::{Bounds, RowChecks};

/// What came out of reading one file.
#[derive(Debug, Default)]
pub(super) struct CheckedFile {
    pub(super) rows: u64,
    pub(super) timestamps: Option<(i64, i64)>,
    /// Whether it can be merged with others to look for duplicates.
    pub(super) mergeable: bool,
    pub(super) findings: Vec<Finding>,
}

/// Checks a file that is there and has its size. Blocks; reads all of it.
pub(super) fn check_file(
    table: Table,
    label_columns: &LabelColumns,
    listed: &DataFile,
    added: Option<&Added>,
    file: &StoredFile,
) -> CheckedFile {
    let mut checked = CheckedFile::default();
    checked.findings.extend(checksum_problem(listed, file));
    let footer = match open(file, listed.size) {
        Ok(footer) => footer,
        Err(finding) => {
            checked.findings.push(*finding);
            return checked;
        }
    };
    if let Some(problem) = schema_problem(table, label_columns, &footer) {
        checked.findings.push(Finding::new(Check::FileSchema, problem));
        return checked;
    }
    checked.findings.extend(value_statistics(table, label_columns, &footer, added));
    read_rows(table, label_columns, listed, file, &footer, &mut checked);
    checked
}

/// A flipped bit can decode all the same: what was written is known by its checksum.
fn checksum_problem(listed: &DataFile, file: &StoredFile) -> Option<Finding> {
    let wanted = listed.checksum?;
    let message = match file.checksum() {
        Ok(found) if found == wanted => return None,
        Ok(found) => {
            format!("the content of the file has changed: its XXH3-128 is {found:032x}, but the log says {wanted:032x}")
        }
        Err(error) => format!("the file cannot be read: {error}"),
    };
    Some(Finding::new(Check::FileChecksum, message))
}

/// Runs decoding that may panic on damaged input.
fn guarded<T>(work: impl FnOnce() -> Result<T, DecodeFileError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| chain(&e)),
        Err(panic) => Err(panic_text(panic.as_ref())),
    }
}

fn open(file: &StoredFile, size: u64) -> Result<Arc<ParquetMetaData>, Box<Finding>> {
    let unreadable = |what: &str, cause: String| {
        let finding = Finding::new(Check::FileUnreadable, format!("the {what} cannot be read: {cause}"));
        Box::new(finding.offset(size.saturating_sub(8)))
    };
    let footer = guarded(|| Ok(read_footer(file)?)).map_err(|cause| unreadable("footer", cause))?;
    let chunks = footer.row_groups().iter().flat_map(RowGroupMetaData::columns);
    if chunks
        .into_iter()
        .any(|chunk| chunk_range(chunk).is_none_or(|(start, length)| start.saturating_add(length) > size))
    {
        return Err(unreadable("footer", "a column is outside the file".into()));
    }
    guarded(|| Ok(check_page_index(file, &footer)?)).map_err(|cause| unreadable("page index", cause))?;
    // Rows are read without it: pages then follow each other, and each is looked at before it is decompressed.
    Ok(footer)
}

/// How the file's columns differ from the documented ones.
fn schema_problem(table: Table, label_columns: &LabelColumns, footer: &ParquetMetaData) -> Option<String> {
    let found = guarded(|| Ok(parquet_to_arrow_schema(footer.file_metadata().schema_descr(), None)?));
    let found = match found {
        Ok(found) => found,
        Err(problem) => return Some(format!("the schema cannot be read: {problem}")),
    };
    let expected = plain(&arrow_schema(table, label_columns));
    let differs = expected.fields().iter().zip(found.fields()).find(|(expected, found)| !same_field(expected, found));
    match differs {
        Some((expected, found)) => Some(format!("found column {found}, expected {expected}")),
        None if expected.fields().len() == found.fields().len() => None,
        None => Some(format!("found {} columns, expected {}", found.fields().len(), expected.fields().len())),
    }
}

/// The schema as it stands in files: dictionaries are only this program's view of text.
fn plain(schema: &Schema) -> Schema {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(_, values) => field.as_ref().clone().with_data_type(values.as_ref().clone()),
        _ => field.as_ref().clone(),
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

fn same_field(expected: &Field, found: &Field) -> bool {
    expected.name() == found.name()
        && expected.is_nullable() == found.is_nullable()
        && expected.data_type().equals_datatype(found.data_type())
}

/// Statistics on columns of doubles, in the file or in the log.
fn value_statistics(
    table: Table,
    label_columns: &LabelColumns,
    footer: &ParquetMetaData,
    added: Option<&Added>,
) -> Option<Finding> {
    let doubles =
        columns(table, label_columns).into_iter().filter(|column| matches!(column.kind, Kind::Double | Kind::Doubles));
    for column in doubles {
        if added.is_some_and(|added| added.has_bounds_of(&column.name)) {
            return Some(Finding::new(
                Check::ValueStatistics,
                format!("the log has statistics for column {}", column.name),
            ));
        }
        for (row_group, group) in footer.row_groups().iter().enumerate() {
            let mut its_chunks =
                group.columns().iter().filter(|chunk| chunk.column_path().parts().first() == Some(&column.name));
            let has = its_chunks.any(|chunk| {
                let bounds =
                    chunk.statistics().is_some_and(|s| s.min_bytes_opt().is_some() || s.max_bytes_opt().is_some());
                bounds || chunk.column_index_offset().is_some()
            });
            if has {
                let message = format!("the file has statistics for column {}", column.name);
                return Some(Finding::new(Check::ValueStatistics, message).row_group(row_group));
            }
        }
    }
    None
}

fn read_rows(
    table: Table,
    label_columns: &LabelColumns,
    listed: &DataFile,
    file: &StoredFile,
    footer: &Arc<ParquetMetaData>,
    checked: &mut CheckedFile,
) {
    let mut rows = RowChecks::new(table, label_columns, listed.date);
    let mut bounds = Bounds::default();
    let mut readable = true;
    for (row_group, group) in footer.row_groups().iter().enumerate() {
        let before = rows.rows();
        let read = guarded(|| read_group(table, label_columns, file, footer, row_group, &mut rows));
        let group_bounds = rows.end_group();
        if let Err(cause) = read {
            checked.findings.push(locate(table, label_columns, file, footer, row_group, cause));
            readable = false;
            break;
        }
        let found = rows.rows() - before;
        if i64::try_from(found) != Ok(group.num_rows()) {
            let message = format!("the footer says {} rows, but the row group has {found}", group.num_rows());
            checked.findings.push(Finding::new(Check::Statistics, message).row_group(row_group));
        }
        checked.findings.extend(
            group_problem(group, &group_bounds)
                .map(|problem| Finding::new(Check::Statistics, problem).row_group(row_group)),
        );
        bounds.add(&group_bounds);
    }
    (checked.rows, checked.timestamps) = (rows.rows(), bounds.timestamp);
    checked.mergeable = readable && rows.sorted();
    checked.findings.extend(rows.findings());
    if readable {
        checked.findings.extend(listed_problem(listed.stats.as_ref(), checked.rows, &bounds));
    }
}

fn read_group(
    table: Table,
    label_columns: &LabelColumns,
    file: &StoredFile,
    footer: &Arc<ParquetMetaData>,
    row_group: usize,
    rows: &mut RowChecks<'_>,
) -> Result<(), DecodeFileError> {
    for batch in open_groups(table, label_columns, file.clone(), footer.clone(), Some(row_group))? {
        rows.batch(&batch?)?;
    }
    Ok(())
}

/// Which column of a row group it is that cannot be read.
fn locate(
    table: Table,
    label_columns: &LabelColumns,
    file: &StoredFile,
    footer: &Arc<ParquetMetaData>,
    row_group: usize,
    cause: String,
) -> Finding {
    let unlocated =
        Finding::new(Check::FileUnreadable, format!("the rows cannot be read: {cause}")).row_group(row_group);
    let rows = match batch_rows(file, footer, row_group) {
        Ok(rows) => rows,
        Err(FootprintError::Header { offset, .. }) => return unlocated.offset(offset),
        Err(_) => return unlocated,
    };
    let chunks = footer.row_groups().get(row_group).map(RowGroupMetaData::columns).unwrap_or_default();
    for (column, chunk) in chunks.iter().enumerate() {
        let read = guarded(|| {
            let options = ArrowReaderOptions::new().with_schema(arrow_schema(table, label_columns));
            let metadata = ArrowReaderMetadata::try_new(footer.clone(), options)?;
            let mask = ProjectionMask::leaves(metadata.parquet_schema(), [column]);
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata);
            let reader =
                builder.with_projection(mask).with_row_groups(vec![row_group]).with_batch_size(rows).build()?;
            for batch in reader {
                batch?;
            }
            Ok(())
        });
        if let (Err(cause), Some((start, length))) = (read, chunk_range(chunk)) {
            let message =
                format!("column {} cannot be read ({length} bytes from offset {start}): {cause}", chunk.column_path());
            return Finding::new(Check::FileUnreadable, message).row_group(row_group).offset(start);
        }
    }
    unlocated
}

/// How the statistics of a row group fail to bound its rows.
fn group_problem(group: &RowGroupMetaData, actual: &Bounds) -> Option<String> {
    let side = |name: &str, max: bool| {
        let statistics = column_named(group.columns(), name)?.statistics()?;
        if max { statistics.max_bytes_opt() } else { statistics.min_bytes_opt() }
    };
    let (min, max) = actual.metric.as_ref()?;
    if side("metric", false).is_some_and(|bound| bound > min.as_bytes()) {
        return Some(format!("the smallest metric in the footer is larger than {min:?} in the rows"));
    }
    if side("metric", true).is_some_and(|bound| bound < max.as_bytes()) {
        return Some(format!("the largest metric in the footer is smaller than {max:?} in the rows"));
    }
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
    let (min, max) = actual.timestamp?;
    let bounds = (side("timestamp", false).and_then(number), side("timestamp", true).and_then(number));
    if bounds.0.is_some_and(|bound| bound > min) || bounds.1.is_some_and(|bound| bound < max) {
        return Some(format!(
            "the timestamps {bounds:?} in the footer do not include the timestamps {min} to {max} of the rows"
        ));
    }
    None
}

/// How the statistics in the log differ from the rows.
fn listed_problem(stats: Option<&FileStats>, rows: u64, actual: &Bounds) -> Option<Finding> {
    let Some(stats) = stats else {
        return Some(Finding::new(Check::StatisticsMissing, "the log has no readable statistics for this file"));
    };
    let wrong = |message: String| Some(Finding::new(Check::Statistics, message));
    if stats.rows != rows {
        return wrong(format!("the log says {} rows, but the file has {rows}", stats.rows));
    }
    if let (Some((min, max)), Some((lower, upper))) = (&actual.metric, &stats.metric)
        && (lower > min || upper < max)
    {
        return wrong(format!(
            "the metrics {lower:?} to {upper:?} in the log do not include the metrics {min:?} to {max:?} of the rows"
        ));
    }
    match (actual.timestamp, stats.timestamp) {
        (Some(actual), Some(listed)) if actual != listed => wrong(format!(
            "the log says timestamps {} to {}, but the rows have timestamps {} to {}",
            listed.0, listed.1, actual.0, actual.1
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn footers_must_bound_their_rows() {
        let metrics: ArrayRef = Arc::new(StringArray::from(vec!["b", "d"]));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![5, 3]));
        let batch = RecordBatch::try_from_iter([("metric", metrics), ("timestamp", times)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let footer = read_footer(&Bytes::from(writer.into_inner().unwrap())).unwrap();
        let problem = |metric: (&str, &str), timestamp| {
            let metric = Some((metric.0.to_owned(), metric.1.to_owned()));
            group_problem(footer.row_group(0), &Bounds { metric, timestamp: Some(timestamp) })
        };
        assert_eq!(problem(("b", "d"), (3, 5)), None);
        assert!(problem(("a", "d"), (3, 5)).unwrap().contains("smallest metric"));
        assert!(problem(("b", "e"), (3, 5)).unwrap().contains("largest metric"));
        assert!(problem(("b", "d"), (2, 5)).unwrap().contains("timestamps"));
        assert!(problem(("b", "d"), (3, 6)).unwrap().contains("timestamps"));
    }
}
