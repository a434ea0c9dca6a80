//! Filters, in the words of each reader, over rows among which are NaN, infinities and stale markers: which rows pass.

use std::collections::BTreeSet;
use std::path::Path;

use promarchive_model::STALE_NAN;
use promarchive_tests::readers::Reader;
use promarchive_tests::request::Series;

use crate::cases::T;
use crate::value::{Value, select};

/// A filter, and what it should let pass.
pub struct Query {
    pub question: &'static str,
    /// DuckDB and Spark.
    pub sql: &'static str,
    /// What Spark says otherwise.
    pub spark: Option<&'static str>,
    pub polars: &'static str,
    pub pandas: &'static str,
    /// Of an instance, a number of seconds after [`T`], and the bits of the sample.
    wanted: fn(&str, i64, u64) -> bool,
}

const NAN: u64 = 0x7ff8_0000_0000_0001;
const SECONDS: i64 = 1000;

fn bits(second: i64) -> u64 {
    match second {
        _ if second % 10 == 3 => NAN,
        _ if second % 50 == 7 => STALE_NAN,
        500 => f64::INFINITY.to_bits(),
        501 => f64::NEG_INFINITY.to_bits(),
        502 => 1 << 63,
        504 => 0,
        _ => (second as f64 * 1.5).to_bits(),
    }
}

/// What is asked for; and another metric beside it in the same files.
pub fn series() -> Vec<Series> {
    let one = |metric: &str, instance: &str| {
        let mode = if instance == "a" { "idle" } else { "user" };
        let pod = format!("p-{instance}");
        let series = Series::new(&[("__name__", metric), ("instance", instance), ("k8s.pod", &pod), ("mode", mode)]);
        (0..SECONDS).fold(series, |series, second| series.bits(T + second * 1000, bits(second)))
    };
    vec![one("filters", "a"), one("filters", "b"), one("filters_other", "a")]
}

fn number(bits: u64) -> Option<f64> {
    (bits != STALE_NAN).then(|| f64::from_bits(bits))
}

/// 2023-11-14T22:13:20Z is second 0.
pub const QUERIES: [Query; 12] = [
    Query {
        question: "One metric",
        sql: "metric = 'filters'",
        spark: None,
        polars: r#"pl.col("metric") == "filters""#,
        pandas: r#"pc.field("metric") == "filters""#,
        wanted: |_, _, _| true,
    },
    Query {
        question: "One series, by a label column",
        sql: "metric = 'filters' AND instance = 'b'",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & (pl.col("instance") == "b")"#,
        pandas: r#"(pc.field("metric") == "filters") & (pc.field("instance") == "b")"#,
        wanted: |instance, _, _| instance == "b",
    },
    Query {
        question: "By a label that has no column",
        sql: "metric = 'filters' AND (labels->>'$.mode') = 'idle'",
        spark: Some("metric = 'filters' AND get_json_object(labels, '$.mode') = 'idle'"),
        polars: r#"(pl.col("metric") == "filters") & (pl.col("labels").str.json_path_match("$.mode") == "idle")"#,
        pandas: r#"(pc.field("metric") == "filters") & pc.match_substring(pc.field("labels"), '"mode":"idle"')"#,
        wanted: |instance, _, _| instance == "a",
    },
    Query {
        question: "By a label with a dot in its name",
        sql: r#"metric = 'filters' AND (labels->>'$."k8s.pod"') = 'p-b'"#,
        spark: Some(r#"metric = 'filters' AND get_json_object(labels, "$['k8s.pod']") = 'p-b'"#),
        polars: r#"(pl.col("metric") == "filters") & (pl.col("labels").str.json_path_match("$['k8s.pod']") == "p-b")"#,
        pandas: r#"(pc.field("metric") == "filters") & pc.match_substring(pc.field("labels"), '"k8s.pod":"p-b"')"#,
        wanted: |instance, _, _| instance == "b",
    },
    Query {
        question: "A range of time, ends included",
        sql: "metric = 'filters' AND timestamp BETWEEN '2023-11-14 22:15:00+00:00' AND '2023-11-14 22:20:00+00:00'",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & pl.col("timestamp").is_between(datetime(2023, 11, 14, 22, 15, tzinfo=UTC), datetime(2023, 11, 14, 22, 20, tzinfo=UTC))"#,
        pandas: r#"(pc.field("metric") == "filters") & (pc.field("timestamp") >= datetime(2023, 11, 14, 22, 15, tzinfo=UTC)) & (pc.field("timestamp") <= datetime(2023, 11, 14, 22, 20, tzinfo=UTC))"#,
        wanted: |_, second, _| (100..=400).contains(&second),
    },
    Query {
        question: "From a millisecond on, and of one day",
        sql: "metric = 'filters' AND date = DATE '2023-11-14' AND timestamp >= '2023-11-14 22:15:00.001+00:00'",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & (pl.col("date") == datetime(2023, 11, 14).date()) & (pl.col("timestamp") >= datetime(2023, 11, 14, 22, 15, 0, 1000, tzinfo=UTC))"#,
        pandas: r#"(pc.field("metric") == "filters") & (pc.field("date") == datetime(2023, 11, 14).date()) & (pc.field("timestamp") >= datetime(2023, 11, 14, 22, 15, 0, 1000, tzinfo=UTC))"#,
        wanted: |_, second, _| (101..).contains(&second),
    },
    Query {
        question: "Values over 600",
        sql: "metric = 'filters' AND value > 600",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & (pl.col("value") > 600)"#,
        pandas: r#"(pc.field("metric") == "filters") & (pc.field("value") > 600)"#,
        wanted: |_, _, bits| number(bits).is_some_and(|value| value > 600.0),
    },
    Query {
        question: "Values over 600 that are numbers",
        sql: "metric = 'filters' AND value > 600 AND NOT isnan(value)",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & (pl.col("value") > 600) & pl.col("value").is_not_nan()"#,
        pandas: r#"(pc.field("metric") == "filters") & (pc.field("value") > 600) & ~pc.is_nan(pc.field("value"))"#,
        wanted: |_, _, bits| number(bits).is_some_and(|value| value > 600.0),
    },
    Query {
        question: "Values under 10",
        sql: "metric = 'filters' AND value < 10",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & (pl.col("value") < 10)"#,
        pandas: r#"(pc.field("metric") == "filters") & (pc.field("value") < 10)"#,
        wanted: |_, _, bits| number(bits).is_some_and(|value| value < 10.0),
    },
    Query {
        question: "Zero of either sign",
        sql: "metric = 'filters' AND value = 0",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & (pl.col("value") == 0)"#,
        pandas: r#"(pc.field("metric") == "filters") & (pc.field("value") == 0)"#,
        wanted: |_, _, bits| number(bits).is_some_and(|value| value == 0.0),
    },
    Query {
        question: "NaN, and no stale marker",
        sql: "metric = 'filters' AND isnan(value)",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & pl.col("value").is_nan()"#,
        pandas: r#"(pc.field("metric") == "filters") & pc.is_nan(pc.field("value"))"#,
        wanted: |_, _, bits| number(bits).is_some_and(f64::is_nan),
    },
    Query {
        question: "Stale markers",
        sql: "metric = 'filters' AND stale",
        spark: None,
        polars: r#"(pl.col("metric") == "filters") & pl.col("stale")"#,
        pandas: r#"(pc.field("metric") == "filters") & pc.field("stale")"#,
        wanted: |_, _, bits| bits == STALE_NAN,
    },
];

impl Query {
    /// In the words of a reader's users.
    fn filter(&self, reader: Reader) -> &'static str {
        match reader {
            Reader::DuckDb => self.sql,
            Reader::Spark => self.spark.unwrap_or(self.sql),
            Reader::Polars => self.polars,
            Reader::Pandas | Reader::PandasNumpy => self.pandas,
        }
    }

    /// Instance and timestamp of the samples that should pass.
    pub fn wanted(&self) -> BTreeSet<(String, i128)> {
        let all = ["a", "b"].into_iter().flat_map(|instance| (0..SECONDS).map(move |second| (instance, second)));
        let pass = all.filter(|(instance, second)| (self.wanted)(instance, *second, bits(*second)));
        pass.map(|(instance, second)| (instance.to_owned(), (T + second * 1000).into())).collect()
    }

    /// What passes in a reader: `=`, or how it differs.
    pub fn cell(&self, reader: Reader, archive: &Path) -> String {
        let rows = select(reader, archive, "samples", self.filter(reader)).into_iter();
        let rows: Vec<_> =
            rows.flat_map(|(metric, rows)| rows.into_iter().map(move |row| (metric.clone(), row))).collect();
        let found: BTreeSet<_> = rows.iter().map(|(metric, row)| key(metric, row)).collect();
        assert_eq!(found.len(), rows.len(), "rows that stand twice");
        let wanted = self.wanted();
        let more: Vec<_> = found.difference(&wanted).collect();
        let nan = more.iter().all(|(instance, at)| ["a", "b"].contains(&instance.as_str()) && is_nan(*at));
        match (more.len(), wanted.difference(&found).count()) {
            (0, 0) => "=".to_owned(),
            (more, 0) if nan => format!("{more} more, all NaN"),
            (more, less) => format!("{more} more, {less} less"),
        }
    }
}

fn is_nan(timestamp: i128) -> bool {
    number(bits(i64::try_from(timestamp).unwrap_or_default().wrapping_sub(T) / 1000)).is_some_and(f64::is_nan)
}

/// Of other metrics than the one asked for, the metric stands for the instance.
fn key(metric: &str, row: &crate::value::Row) -> (String, i128) {
    let (Value::Text(labels), Value::Integer(timestamp)) = (&row["labels"], &row["timestamp"]) else {
        panic!("{row:?}");
    };
    let labels: serde_json::Value = serde_json::from_str(labels).unwrap();
    let name = if metric == "filters" { labels["instance"].as_str().unwrap() } else { metric };
    (name.to_owned(), *timestamp)
}
