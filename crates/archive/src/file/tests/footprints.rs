use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::super::footprint;
use super::*;
use crate::file::decode::DecodeFileError;
use crate::file::footprint::FootprintError;
use crate::schema::arrow_schema;

const MIB: usize = 1 << 20;

fn batch_rows(file: &[u8]) -> Result<usize, FootprintError> {
    let file = Bytes::copy_from_slice(file);
    let footer = ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
    footprint::batch_rows(&file, &footer, 0)
}

fn refusal(file: Vec<u8>) -> DecodeFileError {
    let mut batches = open_file(Table::SAMPLES, &columns(), Bytes::from(file), None).unwrap();
    let refused = batches.next().unwrap().unwrap_err();
    assert!(batches.next().is_none());
    refused
}

/// Rows of each batch of a file of samples.
fn counts(file: Vec<u8>) -> Vec<usize> {
    let batches = open_file(Table::SAMPLES, &columns(), Bytes::from(file), None).unwrap();
    batches.map(|batch| batch.unwrap().num_rows()).collect()
}

/// A file of samples with these texts as labels, which another program has written.
fn foreign(labels: &[&str], properties: fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder) -> Vec<u8> {
    let compression = Compression::ZSTD(ZstdLevel::default());
    foreign_with(labels, properties(WriterProperties::builder().set_compression(compression)))
}

fn foreign_with(labels: &[&str], properties: WriterPropertiesBuilder) -> Vec<u8> {
    let schema = arrow_schema(Table::SAMPLES, &columns());
    let texts = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "metric" => arrow::compute::cast(&texts(vec!["up"; labels.len()]), field.data_type()).unwrap(),
        "labels" => arrow::compute::cast(&texts(labels.to_vec()), field.data_type()).unwrap(),
        _ if field.is_nullable() => new_null_array(field.data_type(), labels.len()),
        _ => {
            let zeros = texts(vec!["0"; labels.len()]);
            let numbers = arrow::compute::cast(&zeros, &arrow::datatypes::DataType::Int64).unwrap();
            arrow::compute::cast(&numbers, field.data_type()).unwrap()
        }
    });
    let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn histogram(timestamp: i64, buckets: usize) -> Row {
    Row::Histogram(Histogram {
        timestamp,
        start_timestamp: 0,
        schema: 0,
        zero_threshold: 0,
        sum: 0,
        reset_hint: ResetHint::Unknown,
        counts: Counts::Integer { count: 0, zero: 0, positive: vec![1; buckets], negative: vec![] },
        positive_spans: vec![Span { offset: 0, length: buckets as u32 }],
        negative_spans: vec![],
        custom_values: vec![],
    })
}

#[test]
fn the_largest_label_sets_are_far_from_the_limit() {
    let long = "x".repeat(MIB - 100);
    let sets: Vec<String> = (0..9).map(|set| format!("{set}{long}")).collect();
    let sets: Vec<(&str, Vec<(&str, &str)>)> = sets.iter().map(|pod| ("up", vec![("pod", pod.as_str())])).collect();
    let rows = vec![vec![Row::Sample(Sample { timestamp: 1, start_timestamp: 0, value: 0 })]; 9];
    let file = encode(Table::SAMPLES, &Sets::new(&sets), &rows);
    assert_eq!(batch_rows(&file.bytes).unwrap(), 32 * 1024);
}

#[test]
fn long_lists_come_back_whatever_they_take() {
    let sets = Sets::new(&[("latency", vec![])]);
    let rows: Vec<Row> = (0..1800).map(|at| histogram(at, 10_000)).collect();
    let file = encode(Table::HISTOGRAMS, &sets, std::slice::from_ref(&rows));
    let at_a_time = batch_rows(&file.bytes).unwrap();
    assert!(at_a_time < 128, "{at_a_time}");
    let decoded = decode(Table::HISTOGRAMS, file.bytes);
    assert!(decoded.into_iter().map(|(.., row)| row).eq(rows));
}

#[test]
fn a_small_file_that_takes_much_memory_is_refused() {
    let long = "x".repeat(130 * MIB);
    let file = foreign(&[&long], |properties| properties.set_dictionary_page_size_limit(usize::MAX));
    assert!(file.len() < MIB / 4, "{} bytes", file.len());
    let refused = refusal(file);
    assert!(matches!(refused, DecodeFileError::Footprint(FootprintError::TooLarge { row_group: 0, .. })), "{refused}");
}

#[test]
fn long_texts_outside_of_dictionaries_are_read_a_few_rows_at_a_time() {
    let long = "x".repeat(MIB);
    let plain =
        foreign(&[long.as_str(); 200], |properties| properties.set_dictionary_enabled(false).set_write_batch_size(1));
    // The first rows are in the dictionary, until that is full.
    let others: Vec<String> = (0..3).map(|other| format!("{other}{long}")).collect();
    let mixed = [vec![long.as_str(); 150], others.iter().map(String::as_str).collect()].concat();
    let mixed = foreign(&mixed, |properties| properties.set_dictionary_page_size_limit(MIB).set_write_batch_size(1));
    for (file, rows) in [(plain, 200), (mixed, 153)] {
        let counts = counts(file);
        assert!(counts.iter().all(|&count| count <= 64) && counts.iter().sum::<usize>() == rows, "{counts:?}");
    }
}

/// Across two dictionaries each row would have a copy of its text.
#[test]
fn no_batch_crosses_a_row_group() {
    let file = foreign(&["a"; 300], |properties| properties.set_max_row_group_row_count(Some(100)));
    assert_eq!(counts(file), [100; 3]);
}

#[test]
fn texts_whose_length_only_decoding_tells_are_refused() {
    for encoding in [Encoding::DELTA_BYTE_ARRAY, Encoding::DELTA_LENGTH_BYTE_ARRAY] {
        let properties = WriterProperties::builder()
            .set_column_encoding(ColumnPath::from("labels"), encoding)
            .set_column_dictionary_enabled(ColumnPath::from("labels"), false);
        let refused = refusal(foreign_with(&["a"; 3], properties)).to_string();
        assert!(refused.contains("column \"labels\" has pages with encoding"), "{refused}");
    }
}

/// Some codecs decompress to the end of what is there, however long the header says that is.
#[test]
fn codecs_that_pass_over_the_size_of_a_page_are_refused() {
    for (codec, wants) in [
        (Compression::UNCOMPRESSED, true),
        (Compression::SNAPPY, true),
        (Compression::ZSTD(ZstdLevel::default()), true),
        (Compression::GZIP(GzipLevel::default()), false),
        (Compression::LZ4_RAW, false),
    ] {
        let file = foreign_with(&["a"; 3], WriterProperties::builder().set_compression(codec));
        match wants {
            true => assert_eq!(counts(file), [3], "{codec}"),
            false => assert!(refusal(file).to_string().contains("is compressed with"), "{codec}"),
        }
    }
}
