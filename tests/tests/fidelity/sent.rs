//! What a request says, in the terms of the tables and without any of their rules: what goes in.

use promarchive_model::{Counts, Histogram, Protocol, ResetHint, Sample, Span};
use promarchive_tests::request::{Exemplar, Metadata, Series};
use promarchive_tests::tables::kind_name;

use crate::value::{Row, Value};

/// The rows that a series would be in a table, if it were written down as it was sent.
pub fn rows(table: &str, protocol: Protocol, series: &Series) -> Vec<Row> {
    let (metric, labels) = split(&series.labels);
    let mut of_series = vec![("metric", Value::Text(metric.clone())), ("labels", labels)];
    of_series.extend(LABEL_COLUMNS.map(|column| (column, label(series, column))));
    let start = |own: i64| match protocol {
        Protocol::V1 => 0,
        Protocol::V2 => [own, series.created_timestamp].into_iter().find(|start| *start != 0).unwrap_or(0),
    };
    let cells: Vec<Vec<(&str, Value)>> = match table {
        "samples" => series.samples.iter().map(|one| sample(one, start(one.start_timestamp))).collect(),
        "histograms" => series.histograms.iter().map(|one| histogram(one, start(one.start_timestamp))).collect(),
        "exemplars" => series.exemplars.iter().map(exemplar).collect(),
        "metadata" => {
            let row = |metadata: &Metadata| {
                let mut row = described(metadata);
                row.insert("metric".to_owned(), Value::Text(metric.clone()));
                row
            };
            return series.metadata.iter().map(row).collect();
        }
        other => panic!("table {other}"),
    };
    let named = |(name, value): &(&str, Value)| ((*name).to_owned(), value.clone());
    let row = |cells: Vec<(&str, Value)>| of_series.iter().chain(&cells).map(named).collect();
    let mut all: Vec<Row> = cells.into_iter().map(row).collect();
    all.iter_mut().for_each(insert_date);
    all.sort_by_key(|row| row["timestamp"].clone());
    all
}

/// Those that have a column of their own when nobody says otherwise.
const LABEL_COLUMNS: [&str; 6] = ["namespace", "pod", "container", "node", "job", "instance"];

fn label(series: &Series, column: &str) -> Value {
    let found = series.labels.iter().find(|(name, _)| name == column.as_bytes());
    found.map_or(Value::Null, |(_, value)| Value::Text(String::from_utf8_lossy(value).into_owned()))
}

/// The partition: days since 1970, UTC.
fn insert_date(row: &mut Row) {
    let Value::Integer(timestamp) = row["timestamp"] else { panic!("{row:?}") };
    row.insert("date".to_owned(), Value::Integer(timestamp.div_euclid(86_400_000)));
}

/// The metric, and all other labels: a JSON text of all that were sent, sorted.
fn split(labels: &[(Vec<u8>, Vec<u8>)]) -> (String, Value) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let labels = labels.iter().map(|(name, value)| (text(name), text(value)));
    let (metric, others): (Vec<_>, Vec<_>) = labels.partition(|(name, _)| name == "__name__");
    (metric.into_iter().map(|(_, value)| value).collect(), json(others))
}

fn json(mut labels: Vec<(String, String)>) -> Value {
    labels.sort();
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    let members: Vec<_> = labels.into_iter().map(|(name, value)| quoted(name) + ":" + &quoted(value)).collect();
    Value::Text(format!("{{{}}}", members.join(",")))
}

fn time(timestamp: i64) -> Value {
    Value::Integer(timestamp.into())
}

fn start_time(timestamp: i64) -> Value {
    if timestamp == 0 { Value::Null } else { time(timestamp) }
}

fn sample(sample: &Sample, start: i64) -> Vec<(&'static str, Value)> {
    vec![
        ("timestamp", time(sample.timestamp)),
        ("start_timestamp", start_time(start)),
        ("value", Value::Double(sample.value)),
        ("stale", Value::Bool(false)),
    ]
}

fn exemplar(exemplar: &Exemplar) -> Vec<(&'static str, Value)> {
    vec![
        ("timestamp", time(exemplar.timestamp)),
        ("value", Value::Double(exemplar.value)),
        ("exemplar_labels", json(exemplar.labels.clone())),
    ]
}

fn described(metadata: &Metadata) -> Row {
    let cells = [("type", kind_name(metadata.kind)), ("unit", &metadata.unit), ("help", &metadata.help)];
    cells.map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned()))).into()
}

fn histogram(histogram: &Histogram, start: i64) -> Vec<(&'static str, Value)> {
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => "unknown",
        ResetHint::Yes => "yes",
        ResetHint::No => "no",
        ResetHint::Gauge => "gauge",
    };
    let custom = if histogram.custom_values.is_empty() { Value::Null } else { doubles(&histogram.custom_values) };
    let mut cells = vec![
        ("timestamp", time(histogram.timestamp)),
        ("start_timestamp", start_time(start)),
        ("stale", Value::Bool(false)),
        ("reset_hint", Value::Text(hint.to_owned())),
        ("schema", Value::Integer(histogram.schema.into())),
        ("zero_threshold", Value::Double(histogram.zero_threshold)),
        ("sum", Value::Double(histogram.sum)),
        ("positive_spans", spans(&histogram.positive_spans)),
        ("negative_spans", spans(&histogram.negative_spans)),
        ("custom_values", custom),
    ];
    cells.extend(counts(&histogram.counts));
    cells
}

const INTEGERS: [&str; 4] = ["count", "zero_count", "positive_counts", "negative_counts"];
const FLOATS: [&str; 4] = ["float_count", "float_zero_count", "float_positive_counts", "float_negative_counts"];

fn counts(counts: &Counts) -> Vec<(&'static str, Value)> {
    let nulls = [Value::Null, Value::Null, Value::Null, Value::Null];
    let (integers, floats) = match counts {
        Counts::Integer { count, zero, positive, negative } => {
            let list = |counts: &[i64]| Value::List(counts.iter().map(|count| time(*count)).collect());
            let one = |count: u64| Value::Integer(count.into());
            ([one(*count), one(*zero), list(positive), list(negative)], nulls)
        }
        Counts::Float { count, zero, positive, negative } => {
            (nulls, [Value::Double(*count), Value::Double(*zero), doubles(positive), doubles(negative)])
        }
    };
    INTEGERS.into_iter().zip(integers).chain(FLOATS.into_iter().zip(floats)).collect()
}

fn doubles(bits: &[u64]) -> Value {
    Value::List(bits.iter().map(|bits| Value::Double(*bits)).collect())
}

fn spans(spans: &[Span]) -> Value {
    let span = |span: &Span| {
        let fields = [("offset", i128::from(span.offset)), ("length", i128::from(span.length))];
        Value::Struct(fields.map(|(name, value)| (name.to_owned(), Value::Integer(value))).into())
    };
    Value::List(spans.iter().map(span).collect())
}
