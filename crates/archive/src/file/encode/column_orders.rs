//! What a file says of the order of its columns: the last list of the footer, one entry for each column.
//!
//! The Parquet library marks columns of doubles with `IEEE_754_TOTAL_ORDER`, and has no setting for it. That mark is younger than many
//! readers in use, and they refuse the whole file because of it. It says how minima and maxima of the column compare, and our columns of
//! doubles have none. So those columns get the mark that every reader knows, `TYPE_ORDER`, in place: no byte moves.
//!
//! Nothing is searched for. The end of the footer is computed from what the library itself reads there, must be there byte for byte, and
//! what is written is read again: it must differ in the marks and in nothing else.

use parquet::basic::{ColumnOrder, SortOrder};
use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{FileMetaData, FooterTail, ParquetMetaData, ParquetMetaDataReader};

/// Why a file was not marked: its end is not as this program expects the library to write it.
#[derive(Debug, thiserror::Error)]
pub enum ColumnOrdersError {
    /// It cannot be read.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// It can be read, and is another than expected.
    #[error("the footer {0}")]
    Unexpected(&'static str),
}

use ColumnOrdersError::Unexpected;

/// Marks every column of doubles of a whole file with `TYPE_ORDER`. After an error the file is not fit for use.
pub(crate) fn mark_doubles_for_every_reader(file: &mut [u8]) -> Result<(), ColumnOrdersError> {
    let footer = footer_of(file)?;
    let library = ParquetMetaDataReader::decode_metadata(footer)?;
    let found = library.file_metadata().column_orders().ok_or(Unexpected("has no column orders"))?.clone();
    let wanted: Vec<ColumnOrder> = found.iter().map(|order| for_every_reader(*order)).collect();
    if wanted == found {
        return Ok(());
    }
    if has_statistics_of(&library, &found) {
        return Err(Unexpected(
            "has statistics for a column of doubles, which would be wrong with another column order",
        ));
    }
    let (old_end, new_end) = (end_of_footer(&found)?, end_of_footer(&wanted)?);
    let start = footer.len().checked_sub(old_end.len()).ok_or(Unexpected("is too short"))?;
    let end = footer.get_mut(start..).filter(|end| **end == *old_end);
    end.ok_or(Unexpected("does not end with its column orders"))?.copy_from_slice(&new_end);
    let marked = ParquetMetaDataReader::decode_metadata(footer)?;
    if marked.file_metadata() != &with_orders(library.file_metadata(), wanted)
        || marked.row_groups() != library.row_groups()
    {
        return Err(Unexpected("is read differently after the change"));
    }
    Ok(())
}

fn for_every_reader(order: ColumnOrder) -> ColumnOrder {
    match order {
        ColumnOrder::IEEE_754_TOTAL_ORDER => ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::SIGNED),
        other => other,
    }
}

/// The metadata of the file: what stands before its length and the magic bytes.
fn footer_of(file: &mut [u8]) -> Result<&mut [u8], ColumnOrdersError> {
    let (before, tail) = file.split_last_chunk_mut::<FOOTER_SIZE>().ok_or(Unexpected("is missing"))?;
    let length = FooterTail::try_new(tail)?.metadata_length();
    let start = before.len().checked_sub(length).ok_or(Unexpected("is longer than the file"))?;
    before.get_mut(start..).ok_or(Unexpected("is missing"))
}

/// Whether any column that is about to get another mark has minima and maxima.
fn has_statistics_of(metadata: &ParquetMetaData, orders: &[ColumnOrder]) -> bool {
    let mut chunks = metadata.row_groups().iter().flat_map(|group| group.columns().iter().zip(orders));
    chunks.any(|(chunk, order)| {
        for_every_reader(*order) != *order && (chunk.statistics().is_some() || chunk.column_index_offset().is_some())
    })
}

/// The end of `FileMetaData` in Thrift's compact protocol: field 7, a list of unions of empty structs, and the end of the struct.
fn end_of_footer(orders: &[ColumnOrder]) -> Result<Vec<u8>, ColumnOrdersError> {
    const STOP: u8 = 0;
    const LIST: u8 = 9;
    const STRUCT: u8 = 12;
    // The field before, the writer's name, is number 6: its successor is written as "one more".
    let mut bytes = vec![1 << 4 | LIST];
    match u8::try_from(orders.len()) {
        Ok(few @ 0..15) => bytes.push(few << 4 | STRUCT),
        _ => {
            bytes.push(15 << 4 | STRUCT);
            push_varint(&mut bytes, orders.len());
        }
    }
    for order in orders {
        let variant: u8 = match order {
            ColumnOrder::TYPE_DEFINED_ORDER(_) => 1,
            ColumnOrder::IEEE_754_TOTAL_ORDER => 2,
            ColumnOrder::INT96_TIMESTAMP_ORDER => 3,
            ColumnOrder::UNDEFINED | ColumnOrder::UNKNOWN => return Err(Unexpected("has an unknown column order")),
        };
        bytes.extend([variant << 4 | STRUCT, STOP, STOP]);
    }
    bytes.push(STOP);
    Ok(bytes)
}

fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The same metadata, but for the marks.
fn with_orders(metadata: &FileMetaData, orders: Vec<ColumnOrder>) -> FileMetaData {
    FileMetaData::new(
        metadata.version(),
        metadata.num_rows(),
        metadata.created_by().map(str::to_owned),
        metadata.key_value_metadata().cloned(),
        metadata.schema_descr_ptr(),
        Some(orders),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::{EnabledStatistics, WriterProperties};
    use proptest::prelude::*;

    use super::*;

    const BY_TYPE: ColumnOrder = ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::SIGNED);

    /// A file as the library writes it: a column of doubles wherever `doubles` says so, else one of integers.
    fn file(doubles: &[bool], rows: usize, statistics: EnabledStatistics, created_by: &str) -> Vec<u8> {
        let columns = doubles.iter().enumerate().map(|(at, double)| -> (String, ArrayRef) {
            let floats = || Arc::new(Float64Array::from(vec![-0.0; rows])) as ArrayRef;
            let integers = || Arc::new(Int64Array::from(vec![7; rows])) as ArrayRef;
            (format!("c{at}"), if *double { floats() } else { integers() })
        });
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties =
            WriterProperties::builder().set_statistics_enabled(statistics).set_created_by(created_by.to_owned());
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
        for _ in 0..2 {
            writer.write(&batch).unwrap();
            writer.flush().unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn orders(file: &[u8]) -> Vec<ColumnOrder> {
        let read = ParquetMetaDataReader::new().parse_and_finish(&Bytes::copy_from_slice(file)).unwrap();
        read.file_metadata().column_orders().unwrap().clone()
    }

    /// Should it ever do without, this file can go.
    #[test]
    fn the_library_marks_doubles_so_that_older_readers_refuse_the_file() {
        let written = file(&[false, true], 1, EnabledStatistics::None, "x");
        assert_eq!(orders(&written), [BY_TYPE, ColumnOrder::IEEE_754_TOTAL_ORDER]);
    }

    proptest! {
        #[test]
        fn one_byte_a_column_of_doubles_changes(
            doubles in proptest::collection::vec(any::<bool>(), 1..200),
            rows in 1..3_usize,
            created_by in "\\PC{0,20}",
        ) {
            let before = file(&doubles, rows, EnabledStatistics::None, &created_by);
            let mut after = before.clone();
            mark_doubles_for_every_reader(&mut after).unwrap();
            prop_assert!(orders(&after).iter().all(|order| *order == BY_TYPE));
            let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
            let changed: Vec<_> = changed.collect();
            prop_assert!(changed.iter().all(|bytes| *bytes == (&0x2c, &0x1c)), "{changed:?}");
            prop_assert_eq!(changed.len(), doubles.iter().filter(|double| **double).count());
            let again = after.clone();
            mark_doubles_for_every_reader(&mut after).unwrap();
            prop_assert_eq!(after, again);
        }
    }

    #[test]
    fn a_file_with_minima_of_doubles_is_refused() {
        for statistics in [EnabledStatistics::Chunk, EnabledStatistics::Page] {
            let error = mark_doubles_for_every_reader(&mut file(&[true], 1, statistics, "x")).unwrap_err();
            assert!(error.to_string().contains("statistics"), "{error}");
            mark_doubles_for_every_reader(&mut file(&[false], 1, statistics, "x")).unwrap();
        }
    }

    #[test]
    fn what_is_no_whole_file_is_refused() {
        let whole = file(&[true], 1, EnabledStatistics::None, "x");
        for end in 0..whole.len() {
            assert!(mark_doubles_for_every_reader(&mut whole[..end].to_vec()).is_err(), "{end}");
        }
        // Something behind the list that the library reads over: a field of a later version of the format.
        let tail = whole.len() - FOOTER_SIZE;
        let mut longer = whole[..tail - 1].to_vec();
        longer.extend([2 << 4 | 8, 1, b'k', 0]);
        let length = u32::from_le_bytes(whole[tail..tail + 4].try_into().unwrap()) + 3;
        longer.extend(length.to_le_bytes());
        longer.extend(b"PAR1");
        let error = mark_doubles_for_every_reader(&mut longer).unwrap_err();
        assert!(error.to_string().contains("does not end with its column orders"), "{error}");
    }
}
