//! A real Prometheus scrapes itself, node_exporter, promarchive and targets made for the purpose, and writes to promarchive. Then what its
//! own TSDB holds is in the tables, bit by bit, and nothing else; in whatever tool reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use promarchive_model::{Counts, Histogram, Protocol, ResetHint, STALE_NAN, Sample, Span};
use promarchive_tests::exporter::Exporter;
use promarchive_tests::program::{Receiver, http_client, now_ms, wait_for};
use promarchive_tests::prometheus::{NodeExporter, Prometheus};
use promarchive_tests::readers::Reader;
use promarchive_tests::remote_read;
use promarchive_tests::request::Exemplar;
use promarchive_tests::tables::{ByKey, Labels, Tables, map_differences, set_differences};
use serde_json::Value;

/// How long Prometheus scrapes, every second.
const SCRAPES_FOR: Duration = Duration::from_secs(16);
const STARTED_AT: i64 = 1_700_000_000_500;
/// The schema of histograms with custom buckets.
const CUSTOM_BUCKETS: i32 = -53;
const NEGATIVE_ZERO: u64 = 1 << 63;

/// Values that are easily lost, names that are not ASCII, and series that come and go.
fn special_page(number: u32) -> String {
    let now = now_ms();
    let now = format!("{}.{:03}", now / 1000, now % 1000);
    let sometimes = if (number / 3).is_multiple_of(2) { "" } else { "# TYPE sometimes gauge\nsometimes 1\n" };
    let sign = if number.is_multiple_of(2) { "-" } else { "" };
    let small = number / 4;
    format!(
        "# TYPE special gauge\n# HELP special Values that are easily lost.\n\
         special{{value=\"nan\"}} NaN\n\
         special{{value=\"infinity\"}} +Inf\n\
         special{{value=\"negative infinity\"}} -Inf\n\
         special{{value=\"negative zero\"}} -0\n\
         special{{value=\"zero\"}} 0\n\
         special{{value=\"zero of either sign\"}} {sign}0\n\
         special{{value=\"smallest\"}} 5e-324\n\
         special{{value=\"largest subnormal\"}} 2.225073858507201e-308\n\
         special{{value=\"largest\"}} -1.7976931348623157e+308\n\
         special{{value=\"third\"}} 0.3333333333333333\n\
         special{{value=\"nan at times\"}} {}\n\
         # TYPE big counter\n# HELP big Counts over 2^53, with \"quotes\" and a \\\\.\n\
         big_total{{of=\"even\"}} 9007199254740992 # {{trace_id=\"big-{number}\"}} 1 {now}\n\
         big_created{{of=\"even\"}} 1700000000.5\n\
         big_total{{of=\"odd\"}} {}\n\
         big_created{{of=\"odd\"}} 1700000000.5\n\
         # TYPE latency_seconds histogram\n# UNIT latency_seconds seconds\n# HELP latency_seconds Grows by one.\n\
         latency_seconds_bucket{{le=\"0.1\"}} {small} # {{trace_id=\"fast-{small}\",span_id=\"é\"}} 0.05 {now}\n\
         latency_seconds_bucket{{le=\"1.5\"}} {number}\n\
         latency_seconds_bucket{{le=\"+Inf\"}} {number} # {{trace_id=\"slow-{number}\"}} 0.7 {now}\n\
         latency_seconds_count {number}\nlatency_seconds_sum {}\n\
         # TYPE \"größe.in/m\" gauge\n# HELP \"größe.in/m\" 尺寸\n\
         {{\"größe.in/m\",\"ort.name\"=\"Zürich \\\"West\\\"\"}} 4.5\n{sometimes}# EOF\n",
        if number.is_multiple_of(3) { "NaN".to_owned() } else { number.to_string() },
        9_007_199_254_740_993_u64 + u64::from(number),
        f64::from(number) * 0.1,
    )
}

fn leaving_page(number: u32) -> String {
    format!("# TYPE leaving counter\nleaving_total {number}\n# TYPE fixed gauge\nfixed 1\n# EOF\n")
}

const JOBS: [&str; 6] = ["prometheus", "node", "promarchive", "special", "classic", "leaving"];

struct Targets {
    node: NodeExporter,
    special: Exporter,
    classic: Exporter,
}

/// The configuration, with targets or without. Targets that go away leave stale markers; jobs that do leave none.
fn config(receiver: &Receiver, protocol: Protocol, scrapes: Option<(&Prometheus, &Targets, &Exporter)>) -> String {
    let message = match protocol {
        Protocol::V1 => "prometheus.WriteRequest",
        Protocol::V2 => "io.prometheus.write.v2.Request",
    };
    let rules = receiver.directory().join("rules.yml");
    // They make float histograms.
    let text = "groups:\n- name: floats\n  interval: 1s\n  rules:\n\
                \x20 - record: test:rate\n    expr: rate(prometheus_http_request_duration_seconds[5s])\n\
                \x20 - record: test:sum\n    expr: sum(prometheus_http_request_duration_seconds)\n";
    std::fs::write(&rules, text).unwrap();
    let mut config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_native_histograms: true\n  always_scrape_classic_histograms: true\n\
         remote_write:\n- url: http://{}/api/v1/write\n  protobuf_message: {message}\n  send_exemplars: true\n  \
         send_native_histograms: true\n  metadata_config:\n    send_interval: 2s\nscrape_configs:\n",
        receiver.address(),
    );
    let addresses = scrapes.map(|(prometheus, targets, leaving)| {
        let (special, classic) = (targets.special.address(), targets.classic.address());
        [prometheus.address, targets.node.address, receiver.address(), special, classic, leaving.address()]
    });
    for (at, job) in JOBS.into_iter().enumerate() {
        let target = addresses.map_or(String::new(), |addresses| format!("\"{}\"", addresses[at]));
        let more = if job == "classic" { "  convert_classic_histograms_to_nhcb: true\n" } else { "" };
        config += &format!("- job_name: {job}\n{more}  static_configs:\n  - targets: [{target}]\n");
    }
    if scrapes.is_some() {
        config += &format!("rule_files: [{}]\n", rules.display());
    }
    config
}

/// Waits until nothing is appended any more, and everything that was is sent.
fn drained(prometheus: &Prometheus, protocol: Protocol) {
    // Stale markers of targets that are gone follow after two intervals.
    const STILL_FOR: Duration = Duration::from_secs(4);
    let mut last = (Instant::now(), [[0.0; 3]; 3]);
    let done = wait_for(Duration::from_secs(60), || {
        sleep(Duration::from_millis(200));
        let metrics = prometheus.metrics();
        let metric = |name: &str| metrics.get(&format!("prometheus_remote_storage_{name}")).copied().unwrap_or(0.0);
        let kinds = ["samples", "histograms", "exemplars"];
        let into = kinds.map(|kind| metric(&format!("{kind}_in_total")));
        let left = kinds.map(|kind| metric(&format!("{kind}_total")) + metric(&format!("{kind}_dropped_total")));
        let state = [into, left, kinds.map(|kind| metric(&format!("{kind}_pending")))];
        if last.1 != state {
            last = (Instant::now(), state);
        }
        // An exemplar that is scraped again comes in again, and is not sent again.
        let all = into[..2] == left[..2] && state[2] == [0.0; 3];
        (all && last.0.elapsed() > STILL_FOR).then_some(metrics)
    });
    let metrics = done.unwrap_or_else(|| panic!("not drained: {:?}\n{}", last.1, prometheus.log()));
    for kind in ["samples", "histograms", "exemplars", "metadata"] {
        let metric =
            |how| metrics.get(&format!("prometheus_remote_storage_{kind}_{how}_total")).copied().unwrap_or(0.0);
        assert_eq!((metric("failed"), metric("retried")), (0.0, 0.0), "{kind}");
        // 1.0 as Prometheus speaks it has no custom buckets.
        assert!(metric("dropped") == 0.0 || (protocol, kind) == (Protocol::V1, "histograms"), "{kind}");
    }
}

/// A histogram so that two that say the same are equal. The TSDB puts the buckets of neighbouring histograms of a chunk on common spans, which
/// adds empty buckets, and answers with what it knows itself of counter resets; remote write sends what was scraped.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    schema: i32,
    zero_threshold: u64,
    sum: u64,
    gauge: bool,
    floats: bool,
    count: u64,
    zero: u64,
    positive: BTreeMap<i64, u64>,
    negative: BTreeMap<i64, u64>,
    custom_values: Vec<u64>,
}

fn said(histogram: &Histogram) -> Said {
    let unsigned = |counts: &[i64]| counts.iter().map(|count| count.cast_unsigned()).collect::<Vec<_>>();
    let (floats, count, zero, positive, negative) = match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => {
            (false, *count, *zero, unsigned(positive), unsigned(negative))
        }
        Counts::Float { count, zero, positive, negative } => (true, *count, *zero, positive.clone(), negative.clone()),
    };
    Said {
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        sum: histogram.sum,
        gauge: histogram.reset_hint == ResetHint::Gauge,
        floats,
        count,
        zero,
        positive: buckets(&histogram.positive_spans, &positive),
        negative: buckets(&histogram.negative_spans, &negative),
        custom_values: histogram.custom_values.clone(),
    }
}

/// Counts by index, but for 0.
fn buckets(spans: &[Span], counts: &[u64]) -> BTreeMap<i64, u64> {
    let mut index = 0;
    let mut indices = Vec::new();
    for span in spans {
        index += i64::from(span.offset);
        indices.extend((0..i64::from(span.length)).map(|n| index + n));
        index += i64::from(span.length);
    }
    assert_eq!(indices.len(), counts.len());
    indices.into_iter().zip(counts.iter().copied()).filter(|(_, count)| *count != 0).collect()
}

fn said_all(histograms: &ByKey<Histogram>) -> ByKey<Said> {
    histograms.iter().map(|(place, histogram)| (place.clone(), said(histogram))).collect()
}

fn exemplars(prometheus: &Prometheus) -> BTreeSet<(Labels, Exemplar)> {
    let query = "query_exemplars?query=%7B__name__%3D~%22.%2B%22%7D&start=0&end=4000000000";
    let mut all = BTreeSet::new();
    let strings = |labels: &Value| -> Labels { serde_json::from_value(labels.clone()).unwrap() };
    for series in prometheus.api(query).as_array().unwrap() {
        for exemplar in series["exemplars"].as_array().unwrap() {
            let value: f64 = exemplar["value"].as_str().unwrap().parse().unwrap();
            let timestamp = (exemplar["timestamp"].as_f64().unwrap() * 1000.0).round() as i64;
            let labels = strings(&exemplar["labels"]).into_iter().collect();
            all.insert((strings(&series["seriesLabels"]), Exemplar { labels, value: value.to_bits(), timestamp }));
        }
    }
    all
}

/// Metric family, type, unit and help, as the targets gave them.
fn metadata(prometheus: &Prometheus) -> BTreeSet<[String; 4]> {
    let mut all = BTreeSet::new();
    for (family, entries) in prometheus.api("metadata").as_object().unwrap() {
        for entry in entries.as_array().unwrap() {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            all.insert([family.clone(), text("type"), text("unit"), text("help")]);
        }
    }
    all
}

fn assert_none(differences: &[String]) {
    let shown = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differences:\n{shown}", differences.len());
}

struct Run {
    protocol: Protocol,
    /// Float samples as the TSDB's chunks have them.
    chunks: ByKey<Sample>,
    histograms: ByKey<Histogram>,
    exemplars: BTreeSet<(Labels, Exemplar)>,
    metadata: BTreeSet<[String; 4]>,
    tables: Tables,
}

/// Lets Prometheus write for a while and reads both sides.
fn run(protocol: Protocol) -> Run {
    // Several flushes, so that what is read comes out of many files.
    let receiver = Receiver::start(&["--flush-interval", "4s"]);
    let features = match protocol {
        Protocol::V1 => "exemplar-storage,metadata-wal-records",
        Protocol::V2 => "exemplar-storage,metadata-wal-records,st-storage",
    };
    let directory = receiver.directory();
    let targets = Targets {
        node: NodeExporter::start(directory),
        special: Exporter::start(special_page),
        classic: Exporter::start(special_page),
    };
    let leaving = Exporter::start(leaving_page);
    let prometheus = Prometheus::start(directory, &config(&receiver, protocol, None), features);
    // A pool that is there at a reload adds a family to Prometheus' own page: from the first scrape on, or
    // else perhaps with the last one, after its metadata was asked for.
    let pools = || prometheus.api("scrape_pools")["scrapePools"].as_array().map_or(0, Vec::len);
    let all = wait_for(Duration::from_secs(30), || (pools() == JOBS.len()).then_some(()));
    assert!(all.is_some(), "{} pools", pools());
    prometheus.reload(&config(&receiver, protocol, Some((&prometheus, &targets, &leaving))));
    sleep(SCRAPES_FOR / 2);
    drop(leaving);
    sleep(SCRAPES_FOR / 2);
    let metadata = metadata(&prometheus);
    prometheus.reload(&config(&receiver, protocol, None));
    drained(&prometheus, protocol);
    receiver.flush();

    let url = prometheus.url();
    let (samples, histograms) = remote_read::samples(&http_client(), &url);
    let chunks = remote_read::chunks(&http_client(), &url);
    assert_same_answers(&samples, &chunks);
    let tables = Tables::read(Reader::DuckDb, &receiver.archive());
    for other in [Reader::Polars, Reader::Pandas] {
        tables.assert_equals(&Tables::read(other, &receiver.archive()));
    }
    Run { protocol, chunks, histograms, exemplars: exemplars(&prometheus), metadata, tables }
}

/// The two kinds of answer of remote read hold the same, but for what protobuf leaves out.
fn assert_same_answers(samples: &ByKey<Sample>, chunks: &ByKey<Sample>) {
    let plain = |(place, sample): (&(Labels, i64), &Sample)| {
        let value = if sample.value == NEGATIVE_ZERO { 0 } else { sample.value };
        (place.clone(), value)
    };
    let (samples, chunks): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (samples.iter().map(plain).collect(), chunks.iter().map(plain).collect());
    assert_none(&map_differences("remote read", &samples, &chunks));
}

impl Run {
    fn series<'a>(&'a self, metric: &'a str, label: (&'a str, &'a str)) -> impl Iterator<Item = &'a Sample> {
        let is_it = move |labels: &Labels| {
            labels["__name__"] == metric && labels.get(label.0).is_some_and(|value| value == label.1)
        };
        self.tables.samples.iter().filter(move |((labels, _), _)| is_it(labels)).map(|(_, sample)| sample)
    }

    /// Every float sample with its bits, and no other.
    ///
    /// But for −0: the protobuf code that Prometheus encodes both versions with leaves out a value that equals 0, and −0 does. What
    /// comes over the wire is a sample without a value, which is +0. The TSDB's own chunks have the sign.
    fn assert_samples(&self) {
        let mut negative_zeros = 0;
        let mut wanted = self.chunks.clone();
        for sample in wanted.values_mut() {
            if sample.value == NEGATIVE_ZERO {
                sample.value = 0;
                negative_zeros += 1;
            }
            // 1.0 has no start timestamps.
            if self.protocol == Protocol::V1 {
                sample.start_timestamp = 0;
            }
        }
        for (labels, timestamp) in self.markers_of_another_kind() {
            let marker = Sample { timestamp, value: STALE_NAN, start_timestamp: 0 };
            wanted.insert((labels, timestamp), marker);
        }
        assert_none(&map_differences("samples", &wanted, &self.tables.samples));
        assert!(negative_zeros > 10, "the TSDB has the sign: {negative_zeros}");
    }

    /// Stale markers that end a series of histograms, and come over the wire as floats. Whoever ends a series appends a float marker; the TSDB
    /// writes it to its WAL, which remote write reads, and makes it a histogram only afterwards (`commitFloats` in `tsdb/head_append.go`).
    fn markers_of_another_kind(&self) -> Vec<(Labels, i64)> {
        let stale = self.histograms.iter().filter(|(_, histogram)| histogram.is_stale()).map(|(place, _)| place);
        let as_float = |place: &&(Labels, i64)| self.tables.samples.get(*place).is_some_and(|s| s.value == STALE_NAN);
        stale.filter(as_float).cloned().collect()
    }

    fn assert_histograms(&self) {
        let mut wanted = self.histograms.clone();
        for place in self.markers_of_another_kind() {
            wanted.remove(&place);
        }
        if self.protocol == Protocol::V1 {
            // "Dropped native histogram with custom buckets (NHCB) as remote write v1 does not support it", logs Prometheus.
            let all = wanted.len();
            wanted.retain(|_, histogram| histogram.schema != CUSTOM_BUCKETS);
            assert!(wanted.len() < all, "there were some");
        }
        assert_none(&map_differences("histograms", &said_all(&wanted), &said_all(&self.tables.histograms)));
    }

    /// That there was something of everything.
    fn assert_covers(&self) {
        let scrapes = self.series("special", ("value", "zero")).count();
        assert!(scrapes > 10, "{scrapes} scrapes");
        let bits = |value: &str| self.series("special", ("value", value)).map(|s| s.value).collect::<BTreeSet<u64>>();
        for (value, wanted) in [
            ("nan", 0x7ff8_0000_0000_0001),
            ("infinity", f64::INFINITY.to_bits()),
            ("negative infinity", f64::NEG_INFINITY.to_bits()),
            ("negative zero", 0),
            ("smallest", 1),
            ("largest subnormal", 0x000f_ffff_ffff_ffff),
            ("largest", f64::MIN.to_bits()),
        ] {
            // And in the end stale.
            assert_eq!(bits(value), BTreeSet::from([wanted, STALE_NAN]), "{value}");
        }
        let stale = |metric, label| self.series(metric, label).filter(|sample| sample.value == STALE_NAN).count();
        assert!(stale("sometimes", ("job", "special")) >= 2, "went and came back");
        assert_eq!(stale("leaving_total", ("job", "leaving")), 1);
        assert!(self.series("größe.in/m", ("ort.name", "Zürich \"West\"")).count() > 10);
        for job in JOBS {
            assert!(self.series("up", ("job", job)).any(|sample| sample.value == 1.0_f64.to_bits()), "{job} is down");
        }
        let started: BTreeSet<i64> = self.series("big_total", ("of", "odd")).map(|s| s.start_timestamp).collect();
        let wanted = if self.protocol == Protocol::V1 { 0 } else { STARTED_AT };
        // A stale marker has none.
        assert!(started.contains(&wanted) && started.is_subset(&BTreeSet::from([0, wanted])), "{started:?}");

        let histograms: Vec<(&str, &Histogram)> = self
            .tables
            .histograms
            .iter()
            .map(|((labels, _), histogram)| (labels["__name__"].as_str(), histogram))
            .collect();
        let any = |what: &str, is: &dyn Fn(&str, &Histogram) -> bool| {
            assert!(histograms.iter().any(|(metric, histogram)| is(metric, histogram)), "no {what}");
        };
        any("integers", &|_, h| matches!(h.counts, Counts::Integer { count: 1.., .. }) && h.schema >= 0);
        any("floats", &|_, h| matches!(h.counts, Counts::Float { count: 1.., .. }));
        any("gauge", &|_, h| h.reset_hint == ResetHint::Gauge);
        if self.protocol == Protocol::V2 {
            any("custom buckets", &|metric, h| metric == "latency_seconds" && h.custom_values.len() == 2);
        }
        let ended = self.histograms.values().filter(|histogram| histogram.is_stale()).count();
        assert!(ended > 5, "{ended} series of histograms ended");
    }

    fn assert_exemplars(&self) {
        assert_none(&set_differences("exemplars", &self.exemplars, &self.tables.exemplars));
        assert!(self.exemplars.len() > 30, "{}", self.exemplars.len());
    }

    /// 1.0 sends metadata by family, as targets give it; 2.0 with each series, by the metric's own name.
    fn assert_metadata(&self) {
        let rows = &self.tables.metadata;
        match self.protocol {
            Protocol::V1 => assert_none(&set_differences("metadata", &self.metadata, rows)),
            Protocol::V2 => {
                let known: BTreeMap<&str, BTreeSet<[&str; 3]>> = by_name(&self.metadata);
                let mut families = BTreeSet::new();
                // Of what Prometheus adds to each scrape itself, no target says anything.
                let own = |metric: &str| metric == "up" || metric.starts_with("scrape_");
                for (metric, said) in by_name(rows).into_iter().filter(|(metric, _)| !own(metric)) {
                    // Two targets may have one metric in two families: OpenMetrics names a counter's family without `_total`.
                    let of: Vec<_> = ["", "_bucket", "_count", "_sum", "_total", "_info", "_created"]
                        .iter()
                        .filter_map(|suffix| known.get_key_value(metric.strip_suffix(suffix)?))
                        .collect();
                    let wanted: BTreeSet<_> = of.iter().flat_map(|(_, said)| said.iter().copied()).collect();
                    assert!(!of.is_empty(), "{metric}: {said:?} of no family");
                    assert!(said.is_subset(&wanted), "{metric}: wanted {wanted:?}, found {said:?}");
                    families.extend(of.into_iter().map(|(family, _)| *family));
                }
                let missing: Vec<_> = known.keys().filter(|family| !families.contains(*family)).collect();
                assert!(missing.is_empty(), "without metadata: {missing:?}");
            }
        }
        let help = "Counts over 2^53, with \"quotes\" and a \\.";
        assert!(rows.iter().any(|[_, kind, _, text]| kind == "counter" && text == help), "no help of the counter");
        assert!(rows.iter().any(|[name, _, unit, _]| name.starts_with("latency_seconds") && unit == "seconds"));
        assert!(rows.iter().any(|[name, kind, _, help]| name == "größe.in/m" && kind == "gauge" && help == "尺寸"));
    }

    fn assert_all(&self) {
        self.assert_samples();
        self.assert_histograms();
        self.assert_exemplars();
        self.assert_metadata();
        self.assert_covers();
    }
}

fn by_name(rows: &BTreeSet<[String; 4]>) -> BTreeMap<&str, BTreeSet<[&str; 3]>> {
    let mut by_name = BTreeMap::<&str, BTreeSet<[&str; 3]>>::new();
    for [name, kind, unit, help] in rows {
        by_name.entry(name).or_default().insert([kind, unit, help]);
    }
    by_name
}

#[test]
fn what_prometheus_writes_in_1_0() {
    run(Protocol::V1).assert_all();
}

#[test]
fn what_prometheus_writes_in_2_0() {
    run(Protocol::V2).assert_all();
}
