//! Files: what is encoded is decoded, how it lies in the file, and what is written again.

mod footprints;
mod keys;
mod layout;
mod rewriting;
mod round_trip;

use bytes::Bytes;
use promarchive_model::{
    Counts, EARLIEST_TIMESTAMP, Histogram, LATEST_TIMESTAMP, MetadataRow, ResetHint, STALE_NAN, Sample, SeriesLabels,
    Span, labels_text,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::decode::{for_each_exemplar, for_each_histogram, for_each_metadata, for_each_sample, open_file};
use super::{EncodedFile, FileEncoder, Origin};
use crate::schema::{LabelColumns, Raw, Table};

/// A row of any table.
#[derive(Clone, Debug, PartialEq)]
enum Row {
    Sample(Sample),
    Histogram(Histogram),
    /// Timestamp, value and its own labels.
    Exemplar(i64, u64, String),
    Metadata(MetadataRow),
}

/// Rows with metric and labels, in the order of the file.
type Rows = Vec<(String, String, Row)>;

/// One label set: the metric, and the other labels sorted by name.
#[derive(Clone, Debug)]
struct Set {
    metric: String,
    labels: Vec<(String, String)>,
}

impl SeriesLabels for &Set {
    fn metric(&self) -> &str {
        &self.metric
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Label sets in the order of files.
struct Sets(Vec<Set>);

impl Sets {
    fn new(sets: &[(&str, Vec<(&str, &str)>)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let set = |(metric, labels): &(&str, Vec<(&str, &str)>)| Set {
            metric: (*metric).to_owned(),
            labels: labels.iter().map(owned).collect(),
        };
        let mut sets: Vec<Set> = sets.iter().map(set).collect();
        sets.sort_by_cached_key(|set| (set.metric.clone(), labels_text((&set).pairs())));
        Self(sets)
    }

    /// A set by its place in the order.
    fn get(&self, place: usize) -> &Set {
        &self.0[place]
    }

    fn names(&self, place: usize) -> (String, String) {
        let set = self.get(place);
        (set.metric.clone(), labels_text((&set).pairs()))
    }
}

/// Some sets that look alike.
fn sets() -> Sets {
    Sets::new(&[
        ("up", vec![]),
        ("up", vec![("job", "a")]),
        ("up", vec![("job", "a"), ("pod", "p")]),
        ("up", vec![("job", "a!")]),
        ("up", vec![("job", "é\"\n\u{1}")]),
        ("a metric, called \"so\"", vec![("namespace", "n"), ("pod", "p")]),
    ])
}

fn columns() -> LabelColumns {
    LabelColumns::new(vec!["job".into(), "pod".into()]).unwrap()
}

/// A file with the rows of each set.
fn encode(table: Table, sets: &Sets, rows: &[Vec<Row>]) -> EncodedFile {
    let mut file = FileEncoder::new(table, &columns(), &Origin::Import).unwrap();
    for (place, rows) in rows.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
        if table.has_series() {
            file.series(sets.get(place)).unwrap();
        }
        for row in rows {
            match row {
                Row::Sample(sample) => file.sample(*sample),
                Row::Histogram(histogram) => file.histogram(histogram),
                Row::Exemplar(timestamp, value, labels) => file.exemplar(*timestamp, *value, labels),
                Row::Metadata(row) => file.metadata(row),
            }
            .unwrap();
        }
    }
    file.finish().unwrap()
}

fn decode(table: Table, file: impl Into<Bytes>) -> Rows {
    let mut rows = Rows::new();
    for batch in open_file(table, &columns(), file.into(), None).unwrap() {
        let batch = batch.unwrap();
        let mut push = |metric: &str, labels: &str, row: Row| rows.push((metric.to_owned(), labels.to_owned(), row));
        match table.raw().unwrap() {
            Raw::Samples => for_each_sample(&batch, |metric, labels, row| push(metric, labels, Row::Sample(row))),
            Raw::Histograms => {
                for_each_histogram(&batch, |metric, labels, row| push(metric, labels, Row::Histogram(row)))
            }
            Raw::Exemplars => for_each_exemplar(&batch, |metric, labels, timestamp, value, own| {
                push(metric, labels, Row::Exemplar(timestamp, value, own.to_owned()));
            }),
            Raw::Metadata => for_each_metadata(&batch, |metric, kind, unit, help, received_at| {
                let kind = KINDS.into_iter().find(|known| *known == kind).unwrap();
                let [unit, help] = [unit, help].map(str::to_owned);
                push(
                    metric,
                    "",
                    Row::Metadata(MetadataRow { metric: metric.to_owned(), kind, unit, help, received_at }),
                );
            }),
        }
        .unwrap();
    }
    rows
}

const KINDS: [&str; 3] = ["counter", "gauge", "unknown"];

fn bits() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), select(&[0, 1 << 63, STALE_NAN, STALE_NAN + 1, u64::MAX, 1, 0x7ff0_0000_0000_0000][..])]
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![EARLIEST_TIMESTAMP..=LATEST_TIMESTAMP, -2..3_i64, Just(EARLIEST_TIMESTAMP), Just(LATEST_TIMESTAMP)]
}

fn start() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), timestamp()]
}

fn sample() -> impl Strategy<Value = Sample> {
    (timestamp(), bits(), start()).prop_map(|(timestamp, value, start_timestamp)| Sample {
        timestamp,
        value,
        start_timestamp,
    })
}

prop_compose! {
    /// Every field whatever it can hold, sensible or not: a file does not judge.
    fn histogram()(
        (timestamp, start_timestamp, schema) in (timestamp(), start(), any::<i32>()),
        (zero_threshold, sum) in (bits(), bits()),
        reset_hint in select(&[ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge][..]),
        counts in counts(),
        spans in prop::array::uniform2(prop::collection::vec((any::<i32>(), 0..=i32::MAX as u32), 0..3)),
        custom_values in prop::collection::vec(bits(), 0..3),
    ) -> Histogram {
        let [positive_spans, negative_spans] = spans.map(|spans| {
            spans.into_iter().map(|(offset, length)| Span { offset, length }).collect()
        });
        Histogram {
            timestamp, start_timestamp, schema, zero_threshold, sum, reset_hint, counts, positive_spans, negative_spans, custom_values,
        }
    }
}

fn counts() -> impl Strategy<Value = Counts> {
    use prop::collection::vec;
    let count = || 0..=i64::MAX as u64;
    let integer = (count(), count(), vec(0..=i64::MAX, 0..4), vec(0..=i64::MAX, 0..4))
        .prop_map(|(count, zero, positive, negative)| Counts::Integer { count, zero, positive, negative });
    let float = (bits(), bits(), vec(bits(), 0..4), vec(bits(), 0..4))
        .prop_map(|(count, zero, positive, negative)| Counts::Float { count, zero, positive, negative });
    prop_oneof![integer, float]
}
