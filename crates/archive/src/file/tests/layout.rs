//! How a file lies on disk: row groups, dictionaries, statistics, encodings, as the Parquet metadata tells.

use std::collections::HashMap;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::page::Page;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;
use crate::file::ORIGIN_TAG;
use crate::schema::{Kind, Raw, SCHEMA_VERSION_PROPERTY};

fn reader(file: Bytes) -> SerializedFileReader<Bytes> {
    SerializedFileReader::new(file).unwrap()
}

fn column<'a>(metadata: &'a ParquetMetaData, group: usize, name: &str) -> &'a ColumnChunkMetaData {
    let mut columns = metadata.row_group(group).columns().iter();
    columns.find(|column| column.column_path().string() == name).unwrap()
}

/// How many dictionary pages hold each label set. Every data page must refer to its dictionary: none gave up.
pub(super) fn dictionary_pages(file: &Bytes) -> HashMap<String, usize> {
    let reader = reader(file.clone());
    let mut pages = HashMap::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).unwrap();
        let labels = group.metadata().columns().iter().position(|c| c.column_path().string() == "labels").unwrap();
        for page in group.get_column_page_reader(labels).unwrap() {
            match page.unwrap() {
                Page::DictionaryPage { buf, num_values, .. } => {
                    texts(&buf, num_values).into_iter().for_each(|text| *pages.entry(text).or_default() += 1);
                }
                page => assert_eq!(page.encoding(), Encoding::RLE_DICTIONARY),
            }
        }
    }
    pages
}

/// The values of a PLAIN page of byte arrays.
fn texts(mut page: &[u8], count: u32) -> Vec<String> {
    let mut next = || {
        let (length, rest) = page.split_first_chunk::<4>().unwrap();
        let (text, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        page = rest;
        String::from_utf8(text.to_vec()).unwrap()
    };
    (0..count).map(|_| next()).collect()
}

/// 2,000,000 samples of these many series each.
pub(super) fn large_file(rows_of_each: &[i64]) -> (Sets, Bytes) {
    let values: Vec<String> = (0..rows_of_each.len()).map(|at| format!("job-{at:03}")).collect();
    let sets: Vec<_> = values.iter().map(|value| ("up", vec![("job", value.as_str()), ("pod", "p")])).collect();
    let sets = Sets::new(&sets);
    let mut file = FileEncoder::new(Table::SAMPLES, &columns(), &Origin::Import).unwrap();
    for (place, &rows) in rows_of_each.iter().enumerate() {
        file.series(sets.get(place)).unwrap();
        for at in 0..rows {
            file.sample(Sample { timestamp: at * 15_000, value: (at % 7) as u64, start_timestamp: 0 }).unwrap();
        }
    }
    let file = file.finish().unwrap();
    assert_eq!(file.stats.rows, rows_of_each.iter().sum::<i64>() as u64);
    (sets, file.bytes.into())
}

#[test]
fn row_groups_end_between_series() {
    let rows = [&[300_000; 6][..], &[1; 100], &[199_900]].concat();
    let (sets, file) = large_file(&rows);
    let reader = reader(file.clone());
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [1_200_000, 800_000]);
    let pages = dictionary_pages(&file);
    assert_eq!(pages.len(), rows.len());
    assert!(pages.values().all(|&pages| pages == 1), "{pages:?}");
    assert!((0..rows.len()).all(|place| pages.contains_key(&sets.names(place).1)));
}

#[test]
fn a_series_longer_than_a_row_group_stays_in_one() {
    let (_, file) = large_file(&[10, 1_500_000, 10]);
    let groups: Vec<i64> = reader(file.clone()).metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [1_500_010, 10]);
    assert!(dictionary_pages(&file).values().all(|&pages| pages == 1));
}

/// A dictionary is never given up for plain text: the row group ends before.
#[test]
fn large_label_sets_end_row_groups() {
    let values: Vec<String> = (0..40).map(|at| format!("{at:02}").repeat(1 << 20)).collect();
    let sets: Vec<_> = values.iter().map(|value| ("up", vec![("path", value.as_str())])).collect();
    let sets = Sets::new(&sets);
    let rows =
        vec![vec![Row::Sample(Sample::default()), Row::Sample(Sample { timestamp: 1, ..Sample::default() })]; 40];
    let file: Bytes = encode(Table::SAMPLES, &sets, &rows).bytes.into();
    assert!(reader(file.clone()).num_row_groups() >= 3);
    let pages = dictionary_pages(&file);
    assert!(pages.len() == 40 && pages.values().all(|&pages| pages == 1));
}

fn one_of_each(table: Table) -> Bytes {
    let histogram = |counts| {
        Row::Histogram(Histogram {
            timestamp: 1,
            start_timestamp: 1,
            schema: 3,
            zero_threshold: 0,
            sum: 1,
            reset_hint: ResetHint::No,
            counts,
            positive_spans: vec![Span { offset: 1, length: 1 }],
            negative_spans: vec![],
            custom_values: vec![],
        })
    };
    let metadata =
        MetadataRow { metric: "up".into(), kind: "gauge", unit: String::new(), help: "Help".into(), received_at: 1 };
    let rows = match table.raw().unwrap() {
        Raw::Samples => vec![Row::Sample(Sample { timestamp: 1, value: f64::NAN.to_bits(), start_timestamp: 1 })],
        Raw::Histograms => vec![
            histogram(Counts::Integer { count: 1, zero: 0, positive: vec![1], negative: vec![] }),
            histogram(Counts::Float { count: 1, zero: 0, positive: vec![1], negative: vec![] }),
        ],
        Raw::Exemplars => vec![Row::Exemplar(1, 1, "{}".into())],
        Raw::Metadata => vec![Row::Metadata(metadata)],
    };
    encode(table, &sets(), &[rows]).bytes.into()
}

/// Readers prune by statistics, and with NaN they prune what they must not: only metric and timestamp have any.
#[test]
fn statistics_and_page_index_are_on_metric_and_timestamp_alone() {
    for table in Table::ALL {
        let reader = reader(one_of_each(table));
        for column in reader.metadata().row_group(0).columns() {
            let name = column.column_path().string();
            let wanted = ["metric", "timestamp"].contains(&name.as_str());
            assert_eq!(column.statistics().is_some(), wanted, "statistics of {name}");
            assert_eq!(column.column_index_offset().is_some(), wanted, "page index of {name}");
        }
    }
}

#[test]
fn encodings_are_the_documented_ones() {
    for table in Table::ALL {
        let reader = reader(one_of_each(table));
        let metadata = reader.metadata();
        for described in crate::schema::columns(table, &columns()) {
            let leaves =
                metadata.row_group(0).columns().iter().filter(|leaf| leaf.column_path().parts()[0] == described.name);
            for leaf in leaves {
                let data = |encoding: Encoding| leaf.encodings().any(|has| has == encoding);
                assert!(matches!(leaf.compression(), Compression::ZSTD(_)), "{}", described.name);
                let dictionary = matches!(described.kind, Kind::Text | Kind::RepeatedLong);
                assert_eq!(leaf.dictionary_page_offset().is_some(), dictionary, "{}", described.name);
                assert_eq!(data(Encoding::RLE_DICTIONARY), dictionary, "{}", described.name);
                assert_eq!(
                    data(Encoding::DELTA_BINARY_PACKED),
                    described.kind == Kind::Timestamp,
                    "{}",
                    described.name
                );
            }
        }
        if table.has_series() {
            let key_values = metadata.file_metadata().key_value_metadata().unwrap();
            assert_eq!(
                key_values.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(),
                [SCHEMA_VERSION_PROPERTY, ORIGIN_TAG]
            );
            let sorting = metadata.row_group(0).sorting_columns().unwrap();
            let names: Vec<String> = sorting
                .iter()
                .map(|by| metadata.row_group(0).column(by.column_idx as usize).column_path().string())
                .collect();
            assert_eq!(names, ["metric", "labels", "timestamp"]);
        }
    }
    let samples: Arc<ParquetMetaData> = Arc::new(reader(one_of_each(Table::SAMPLES)).metadata().clone());
    assert!(column(&samples, 0, "value").encodings().any(|encoding| encoding == Encoding::PLAIN));
}
