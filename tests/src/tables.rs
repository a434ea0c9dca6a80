//! What the tables hold, as plain maps: read from an archive, or worked out from the requests that were sent.
//!
//! The rules by which requests become rows are restated here from the documentation, not taken from the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use promarchive_model::{Counts, Histogram, Protocol, ResetHint, STALE_NAN, Sample, Span};

use crate::readers::Reader;
use crate::request::{Exemplar, Request, Series};

/// A label set, `__name__` included.
pub type Labels = BTreeMap<String, String>;

/// Rows by series and timestamp (milliseconds since the epoch).
pub type ByKey<T> = BTreeMap<(Labels, i64), T>;

/// The rows of an archive; a key has one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Float samples and stale markers.
    pub samples: ByKey<Sample>,
    /// Native histograms.
    pub histograms: ByKey<Histogram>,
    /// With their series.
    pub exemplars: BTreeSet<(Labels, Exemplar)>,
    /// Metric, type, unit and help.
    pub metadata: BTreeSet<[String; 4]>,
}

impl Tables {
    /// Reads all four. A row that stands twice is an error.
    pub fn read(reader: Reader, archive: &Path) -> Self {
        let mut tables = Self { samples: read_samples(reader, archive), ..Self::default() };
        for row in rows(reader, archive, "histograms") {
            let (labels, histogram) = (row.labels(), row.histogram());
            let key = (labels, histogram.timestamp);
            assert!(!tables.histograms.contains_key(&key), "twice: {key:?}");
            tables.histograms.insert(key, histogram);
        }
        for row in rows(reader, archive, "exemplars") {
            let labels = parse_labels(row.text("exemplar_labels")).into_iter().collect();
            let exemplar = Exemplar {
                labels,
                value: row.bits("value_bits").unwrap(),
                timestamp: row.long("timestamp_ms").unwrap(),
            };
            let exemplar = (row.labels(), exemplar);
            assert!(tables.exemplars.insert(exemplar.clone()), "twice: {exemplar:?}");
        }
        for row in rows(reader, archive, "metadata") {
            let row = ["metric", "type", "unit", "help"].map(|column| row.text(column).to_owned());
            assert!(tables.metadata.insert(row.clone()), "twice: {row:?}");
        }
        tables
    }

    /// Adds what a request says, all of which must be valid.
    pub fn add(&mut self, protocol: Protocol, request: &Request) {
        for series in &request.series {
            self.add_series(protocol, series);
        }
        if protocol == Protocol::V1 {
            for (name, metadata) in &request.families {
                let kind = kind_name(metadata.kind).to_owned();
                self.metadata.insert([name.clone(), kind, metadata.unit.clone(), metadata.help.clone()]);
            }
        }
    }

    fn add_series(&mut self, protocol: Protocol, series: &Series) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let labels = series.labels.iter().filter(|(_, value)| !value.is_empty());
        let labels: Labels = labels.map(|(name, value)| (text(name), text(value))).collect();
        let start = |own: i64| match (protocol, own) {
            (Protocol::V1, _) => 0,
            (Protocol::V2, 0) => series.created_timestamp,
            (Protocol::V2, own) => own,
        };
        for &sample in &series.samples {
            let sample = Sample { start_timestamp: start(sample.start_timestamp), ..sample };
            let there = self.samples.entry((labels.clone(), sample.timestamp)).or_insert(sample);
            *there = (*there).max_by(sample);
        }
        for histogram in &series.histograms {
            let histogram = Histogram { start_timestamp: start(histogram.start_timestamp), ..histogram.clone() };
            let there = self.histograms.insert((labels.clone(), histogram.timestamp), histogram.clone());
            assert!(there.is_none_or(|there| there == histogram), "which of two histograms stays is not restated here");
        }
        for exemplar in &series.exemplars {
            let mut exemplar = exemplar.clone();
            exemplar.labels.retain(|(_, value)| !value.is_empty());
            exemplar.labels.sort();
            self.exemplars.insert((labels.clone(), exemplar));
        }
        if let (Protocol::V2, Some(metadata)) = (protocol, &series.metadata) {
            // Nothing set is nothing said.
            if (metadata.kind, metadata.help.as_str(), metadata.unit.as_str()) != (0, "", "") {
                let kind = kind_name(metadata.kind).to_owned();
                self.metadata.insert([labels["__name__"].clone(), kind, metadata.unit.clone(), metadata.help.clone()]);
            }
        }
    }

    /// Fails, naming the first few differences, unless `found` holds the same rows.
    pub fn assert_equals(&self, found: &Self) {
        let differences: Vec<String> = [
            map_differences("samples", &self.samples, &found.samples),
            map_differences("histograms", &self.histograms, &found.histograms),
            set_differences("exemplars", &self.exemplars, &found.exemplars),
            set_differences("metadata", &self.metadata, &found.metadata),
        ]
        .concat();
        let shown = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(differences.is_empty(), "{} differences:\n{shown}", differences.len());
    }
}

/// Of two samples with one key a value stays before a stale marker; of two values the larger in IEEE 754's `totalOrder`; of two equal ones
/// the later start timestamp.
trait Rank {
    fn max_by(self, other: Self) -> Self;
}

impl Rank for Sample {
    fn max_by(self, other: Self) -> Self {
        let rank = |sample: Self| {
            let stays = sample.value != STALE_NAN;
            // `total_cmp` compares the same way.
            (stays, f64::from_bits(sample.value), sample.start_timestamp)
        };
        let (one, two) = (rank(self), rank(other));
        let order = one.0.cmp(&two.0).then(one.1.total_cmp(&two.1)).then(one.2.cmp(&two.2));
        if order.is_lt() { other } else { self }
    }
}

/// The name of a metric type's number.
pub fn kind_name(kind: i32) -> &'static str {
    let names = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    names[usize::try_from(kind).unwrap()]
}

/// The differences between two maps, a line each.
pub fn map_differences<K: Ord + Debug, V: Eq + Debug>(
    what: &str,
    wanted: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in wanted {
        match found.get(key) {
            None => lines.push(format!("{what}: missing {key:?}: {value:?}")),
            Some(other) if other != value => lines.push(format!("{what}: {key:?}: wanted {value:?}, found {other:?}")),
            Some(_) => {}
        }
    }
    let extra = found.iter().filter(|(key, _)| !wanted.contains_key(key));
    lines.extend(extra.map(|(key, value)| format!("{what}: not wanted {key:?}: {value:?}")));
    lines
}

/// The differences between two sets, a line each.
pub fn set_differences<T: Ord + Debug>(what: &str, wanted: &BTreeSet<T>, found: &BTreeSet<T>) -> Vec<String> {
    let missing = wanted.difference(found).map(|row| format!("{what}: missing {row:?}"));
    missing.chain(found.difference(wanted).map(|row| format!("{what}: not wanted {row:?}"))).collect()
}

/// The table `samples`. A row that stands twice is an error.
pub fn read_samples(reader: Reader, archive: &Path) -> ByKey<Sample> {
    let mut samples = BTreeMap::new();
    // Parsing the same labels for each of a million rows takes most of the time otherwise.
    let mut known: BTreeMap<(String, String), Labels> = BTreeMap::new();
    for row in rows(reader, archive, "samples") {
        let text = (row.text("metric").to_owned(), row.text("labels").to_owned());
        let labels = known.entry(text).or_insert_with(|| row.labels()).clone();
        let stale = row.boolean("stale");
        let value = row.bits("bits");
        assert_eq!(stale, value.is_none(), "a stale marker is a null with stale = true: {labels:?}");
        let sample = Sample {
            timestamp: row.long("timestamp_ms").unwrap(),
            value: value.unwrap_or(STALE_NAN),
            start_timestamp: row.long("start_ms").unwrap_or(0),
        };
        let key = (labels, sample.timestamp);
        assert!(!samples.contains_key(&key), "twice: {key:?}");
        samples.insert(key, sample);
    }
    samples
}

fn rows(reader: Reader, archive: &Path, table: &str) -> impl Iterator<Item = Row> {
    reader.read(archive, table, &[]).into_iter().flat_map(|batch| Row::all(&batch))
}

/// The labels of a canonical text; fails when it is not canonical.
pub fn parse_labels(text: &str) -> Labels {
    let labels: Labels = serde_json::from_str(text).unwrap();
    // serde_json writes a sorted map without white space, and escapes what must be escaped and no more.
    assert_eq!(serde_json::to_string(&labels).unwrap(), text, "not canonical");
    assert!(labels.values().all(|value| !value.is_empty()), "an empty label: {text}");
    labels
}

/// A row of a batch.
struct Row {
    batch: RecordBatch,
    at: usize,
}

impl Row {
    fn all(batch: &RecordBatch) -> impl Iterator<Item = Self> + use<> {
        let batch = batch.clone();
        (0..batch.num_rows()).map(move |at| Self { batch: batch.clone(), at })
    }

    fn column(&self, name: &str) -> &ArrayRef {
        let column = self.batch.column_by_name(name);
        column.unwrap_or_else(|| panic!("no column {name} in {:?}", self.batch.schema()))
    }

    fn text(&self, name: &str) -> &str {
        self.column(name).as_string::<i32>().value(self.at)
    }

    fn boolean(&self, name: &str) -> bool {
        self.column(name).as_boolean().value(self.at)
    }

    fn long(&self, name: &str) -> Option<i64> {
        let column = self.column(name);
        column.is_valid(self.at).then(|| column.as_primitive::<Int64Type>().value(self.at))
    }

    fn bits(&self, name: &str) -> Option<u64> {
        self.long(name).map(i64::cast_unsigned)
    }

    fn list(&self, name: &str) -> Option<ArrayRef> {
        let column = self.column(name);
        column.is_valid(self.at).then(|| column.as_list::<i32>().value(self.at))
    }

    fn longs(&self, name: &str) -> Option<Vec<i64>> {
        self.list(name).map(|list| list.as_primitive::<Int64Type>().values().to_vec())
    }

    fn bit_list(&self, name: &str) -> Option<Vec<u64>> {
        self.longs(name).map(|values| values.into_iter().map(i64::cast_unsigned).collect())
    }

    fn spans(&self, name: &str) -> Vec<Span> {
        let list = self.list(name).unwrap();
        let spans = list.as_struct();
        let field = |name| spans.column_by_name(name).unwrap().as_primitive::<Int32Type>().values().to_vec();
        let pairs = field("offset").into_iter().zip(field("length"));
        pairs.map(|(offset, length)| Span { offset, length: u32::try_from(length).unwrap() }).collect()
    }

    fn labels(&self) -> Labels {
        let mut labels = parse_labels(self.text("labels"));
        let doubled = labels.insert("__name__".to_owned(), self.text("metric").to_owned());
        assert_eq!(doubled, None, "the metric name is a column of its own");
        labels
    }

    fn histogram(&self) -> Histogram {
        let counts = match (self.long("count"), self.bits("float_count_bits")) {
            (Some(count), None) => Counts::Integer {
                count: count.cast_unsigned(),
                zero: self.long("zero_count").unwrap().cast_unsigned(),
                positive: self.longs("positive_counts").unwrap(),
                negative: self.longs("negative_counts").unwrap(),
            },
            (None, Some(count)) => Counts::Float {
                count,
                zero: self.bits("float_zero_count_bits").unwrap(),
                positive: self.bit_list("float_positive_counts_bits").unwrap(),
                negative: self.bit_list("float_negative_counts_bits").unwrap(),
            },
            both => panic!("either integers or floats: {both:?}"),
        };
        let sum = self.bits("sum_bits");
        assert_eq!(self.boolean("stale"), sum.is_none(), "a stale histogram has stale = true and no sum");
        Histogram {
            timestamp: self.long("timestamp_ms").unwrap(),
            start_timestamp: self.long("start_timestamp_ms").unwrap_or(0),
            schema: self.column("schema").as_primitive::<Int32Type>().value(self.at),
            zero_threshold: self.bits("zero_threshold_bits").unwrap(),
            sum: sum.unwrap_or(STALE_NAN),
            reset_hint: match self.text("reset_hint") {
                "unknown" => ResetHint::Unknown,
                "yes" => ResetHint::Yes,
                "no" => ResetHint::No,
                "gauge" => ResetHint::Gauge,
                other => panic!("reset hint {other}"),
            },
            counts,
            positive_spans: self.spans("positive_spans"),
            negative_spans: self.spans("negative_spans"),
            custom_values: self.bit_list("custom_values_bits").unwrap_or_default(),
        }
    }
}
