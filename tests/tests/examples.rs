//! The examples do what they say: `examples/query.py`, the macros of `examples/promarchive.sql` beside a real Prometheus, every recipe
//! of the pages about queries, and the alerts of `examples/alerts*.yaml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use promarchive_model::Counts;
use promarchive_model::Protocol::{V1, V2};
use promarchive_tests::program::{Receiver, headers, http_client, needed, now_ms};
use promarchive_tests::prometheus::Prometheus;
use promarchive_tests::request::{Request, Series, integer_histogram};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The environment of readers, with other modules before its own.
fn python(first: Option<&Path>) -> Command {
    let mut command = Command::new(needed("PROMARCHIVE_PYTHON"));
    command.env_remove("PYTHONPATH");
    if let Some(first) = first {
        command.env("PYTHONPATH", first);
    }
    command
}

fn query(archive: &Path, sql: &str, first: Option<&Path>) -> Output {
    let mut command = python(first);
    command.arg(root().join("examples/query.py")).arg(archive).arg(sql).current_dir(archive.parent().unwrap());
    command.output().unwrap()
}

/// What it prints when all is well.
#[track_caller]
fn answer(archive: &Path, sql: &str, first: Option<&Path>) -> String {
    let output = query(archive, sql, first);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{sql}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The folder of readers that are newer than those of the usual environment; its DuckDB has no extension for Delta.
fn newest_readers() -> PathBuf {
    let all = needed("PROMARCHIVE_READERS");
    let line = all.to_str().unwrap().lines().find_map(|line| line.strip_prefix("newest="));
    line.unwrap_or_else(|| panic!("no newest readers in {}", all.display())).into()
}

/// Where what a table of JSON rows would be is read from.
fn rows(archive: &Path, sql: &str) -> Vec<Value> {
    let file = archive.parent().unwrap().join("rows.json");
    answer(archive, &format!("COPY ({sql}) TO '{}' (FORMAT json)", file.display()), None);
    fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn query_py_answers_with_and_without_the_extension() {
    let receiver = Receiver::start(&[]);
    let labels = [("__name__", "up"), ("a\"b", "quoted"), ("k8s.pod", "p"), ("~/\\", "escaped")];
    let series = Series::new(&labels).sample(now_ms(), 1.0);
    assert_eq!(receiver.write(V1, &Request::of([series])).status, 204);
    receiver.flush();
    let archive = receiver.archive();
    let newest = newest_readers();
    for first in [None, Some(newest.as_path())] {
        let said = answer(&archive, "SELECT metric, label(labels, 'k8s.pod') AS pod, value FROM samples", first);
        assert!(["up", " p ", "1.0"].iter().all(|part| said.contains(part)), "{said}");
        let odd = r#"SELECT label(labels, 'a"b') AS a, label(labels, '~/\') AS b, label(labels, '') IS NULL AND label(labels, '*') IS NULL AS c FROM samples"#;
        let said = answer(&archive, odd, first);
        assert!(["quoted", "escaped", "true"].iter().all(|part| said.contains(part)), "{said}");
        let file = receiver.directory().join("copy.parquet");
        answer(&archive, &format!("COPY (SELECT * FROM samples) TO '{}' (FORMAT parquet)", file.display()), first);
        assert!(fs::metadata(&file).unwrap().len() > 0);
        fs::remove_file(&file).unwrap();
    }
    let output = query(&archive, "SELECT nonsense", None);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("nonsense") && !said.contains("Traceback"), "{said}");
    let output = query(&receiver.directory().join("nothing"), "SELECT 1", None);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("nothing: no tables of an archive here"), "{said}");
}

/// Numbers that are not random, and look so.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

const MINUTE: i64 = 60_000;

/// Counters of many shapes, and a classic histogram of three pods, in the 20 minutes before `end`.
fn counters(end: i64) -> Vec<Series> {
    let mut numbers = Numbers(7);
    let begin = end - 20 * MINUTE;
    let mut all = Vec::new();
    for (shape, jitter, reset_in, first) in
        [("even", 1, 0, 0), ("late", 900, 0, 5), ("resets", 900, 9, 0), ("large", 3_000, 40, 1_000_000)]
    {
        let mut series = Series::new(&[("__name__", "work_total"), ("k8s.pod", "p"), ("shape", shape)]);
        let mut value = first;
        for scrape in 0..80 {
            value = if reset_in > 0 && numbers.next(reset_in) == 0 { numbers.next(4) } else { value + numbers.next(9) };
            let at = begin + scrape * 15_000 + i64::try_from(numbers.next(jitter)).unwrap();
            series = series.sample(at, value as f64 / 3.0);
        }
        all.push(series);
    }
    let work = |shape: &str| Series::new(&[("__name__", "work_total"), ("shape", shape)]);
    // Begins in a window, near zero; ends in one; a gap; one sample; samples at the edges of a window; no increase.
    all.push((0..40).fold(work("begins"), |one, n| one.sample(end - 9 * MINUTE + n * 10_000, n as f64 * 0.5 + 0.1)));
    all.push((0..30).fold(work("ends"), |one, n| one.sample(begin + n * 10_000, n as f64)).stale(begin + 300_000));
    all.push(
        [0, 15, 30, 200, 215, 230].iter().fold(work("gap"), |one, n| one.sample(end - 300_000 + n * 1000, *n as f64)),
    );
    all.push(work("once").sample(end - MINUTE, 5.0));
    all.push((0..=20).fold(work("edges"), |one, n| one.sample(begin + n * MINUTE, n as f64)));
    all.push((0..80).fold(work("constant"), |one, n| one.sample(begin + n * 15_000, 3.0)));
    for pod in ["a", "b", "c"] {
        let mut counts = [0; 4];
        let bounds = ["0.1", "0.5", "2.5", "+Inf"];
        let mut buckets =
            bounds.map(|le| Series::new(&[("__name__", "took_seconds_bucket"), ("le", le), ("pod", pod)]));
        for scrape in 0..80 {
            let new = [numbers.next(5), numbers.next(3), numbers.next(2), u64::from(pod == "c")];
            for (at, new) in new.into_iter().enumerate() {
                counts[at..].iter_mut().for_each(|count| *count += new);
            }
            for (bucket, count) in buckets.iter_mut().zip(counts) {
                *bucket = bucket.clone().sample(begin + scrape * 15_000 + 7, count as f64);
            }
        }
        all.extend(buckets);
    }
    all
}

/// What Prometheus answers at a moment: values by the labels.
fn promql(prometheus: &Prometheus, query: &str, at: i64) -> BTreeMap<String, f64> {
    let time = format!("{}.{:03}", at / 1000, at % 1000);
    let url = reqwest::Url::parse_with_params("http://x/query", [("query", query), ("time", &time)]).unwrap();
    let answer = prometheus.api(&format!("query?{}", url.query().unwrap()));
    let result = answer["result"].as_array().unwrap();
    let value = |one: &Value| one["value"][1].as_str().unwrap().parse().unwrap();
    result.iter().map(|one| (labels_text(&one["metric"]), value(one))).collect()
}

/// As in the column `labels`.
fn labels_text(labels: &Value) -> String {
    let mut labels: BTreeMap<String, Value> = serde_json::from_value(labels.clone()).unwrap();
    labels.remove("__name__");
    serde_json::to_string(&labels).unwrap()
}

#[track_caller]
fn assert_near(ours: &BTreeMap<String, f64>, theirs: &BTreeMap<String, f64>, what: &str) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{what}");
    for (labels, theirs) in theirs {
        let difference = (ours[labels] - theirs).abs();
        assert!(difference <= theirs.abs() * 1e-12, "{what} of {labels}: {} and {theirs}", ours[labels]);
    }
}

#[test]
fn the_macros_answer_as_prometheus_does() {
    let receiver = Receiver::start(&[]);
    let prometheus = Prometheus::start(receiver.directory(), "", "none");
    // In the middle of what Prometheus takes at once.
    let end = now_ms() / MINUTE * MINUTE - MINUTE;
    let request = Request::of(counters(end));
    assert_eq!(receiver.write(V1, &request).status, 204);
    receiver.flush();
    let body = snap::raw::Encoder::new().compress_vec(&request.encode(V1)).unwrap();
    let mut send = http_client().post(format!("{}/api/v1/write", prometheus.url())).body(body);
    for (name, value) in headers(V1) {
        send = send.header(*name, *value);
    }
    assert_eq!(send.send().unwrap().status().as_u16(), 204, "{}", prometheus.log());
    let archive = receiver.archive();
    let moments =
        [(end, 5), (end - 1, 5), (end + 4_321, 5), (end - 12 * MINUTE, 3), (end, 20), (end - 10 * MINUTE, 60)];
    let windows: Vec<(String, i64, i64)> = moments
        .into_iter()
        .map(|(until, minutes)| {
            let moment = |at: i64| format!("make_timestamp({at} * 1000) AT TIME ZONE 'UTC'");
            (format!("{}, {}", moment(until - minutes * MINUTE), moment(until)), until, minutes)
        })
        .collect();
    let each = |select: &dyn Fn(&str) -> String| -> String {
        let parts =
            windows.iter().enumerate().map(|(at, (window, ..))| format!("SELECT {at} AS number, {}", select(window)));
        parts.collect::<Vec<_>>().join(" UNION ALL ")
    };
    let rates = rows(&archive, &each(&|window| format!("labels, increase, rate FROM rate('work_total', {window})")));
    let all = rows(
        &archive,
        &each(&|window| {
            format!(
                "'' AS pod, bucket_quantile(0.95, le, rate) AS p95, bucket_quantile(0.5, le, increase) AS p50 FROM buckets('took_seconds', {window})"
            )
        }),
    );
    let pods = rows(
        &archive,
        &each(&|window| {
            format!(
                "label(labels, 'pod') AS pod, bucket_quantile(0.95, le, rate) AS p95, bucket_quantile(0.5, le, increase) AS p50 FROM buckets('took_seconds', {window}) GROUP BY pod"
            )
        }),
    );
    let mut compared = 0;
    for (at, (_, until, minutes)) in windows.iter().enumerate() {
        let here = |rows: &[Value], key: &dyn Fn(&Value) -> String, column: &str| -> BTreeMap<String, f64> {
            let rows = rows.iter().filter(|row| row["number"] == at);
            rows.filter_map(|row| Some((key(row), row[column].as_f64()?))).collect()
        };
        let of_series = |row: &Value| row["labels"].as_str().unwrap().to_owned();
        for function in ["rate", "increase"] {
            let query = format!("{function}(work_total[{minutes}m])");
            let theirs = promql(&prometheus, &query, *until);
            assert_near(&here(&rates, &of_series, function), &theirs, &format!("{query} at {until}"));
            compared += theirs.len();
        }
        let of_pod = |row: &Value| match row["pod"].as_str().unwrap() {
            "" => "{}".to_owned(),
            pod => format!("{{\"pod\":\"{pod}\"}}"),
        };
        for (rows, by) in [(&all, "le"), (&pods, "le, pod")] {
            for (quantile, function, column) in [("0.95", "rate", "p95"), ("0.5", "increase", "p50")] {
                let query = format!(
                    "histogram_quantile({quantile}, sum by ({by}) ({function}(took_seconds_bucket[{minutes}m])))"
                );
                let theirs = promql(&prometheus, &query, *until);
                assert_near(&here(rows, &of_pod, column), &theirs, &format!("{query} at {until}"));
                compared += theirs.len();
            }
        }
    }
    assert!(compared > 100, "{compared}");
    // What is no quantile has an answer, too.
    let (window, until, minutes) = &windows[0];
    let odd = [("1.5", "1.5"), ("95", "95"), ("-0.5", "-0.5"), ("NaN", "'nan'::DOUBLE"), ("0", "0"), ("1", "1")];
    let columns = odd.map(|(q, sql)| format!("CAST(bucket_quantile({sql}, le, rate) AS VARCHAR) AS \"{q}\""));
    let answers = rows(&archive, &format!("SELECT {} FROM buckets('took_seconds', {window})", columns.join(", ")));
    for (q, _) in odd {
        let query = format!("histogram_quantile({q}, sum by (le) (rate(took_seconds_bucket[{minutes}m])))");
        let theirs = promql(&prometheus, &query, *until)["{}"];
        let ours: f64 = answers[0][q].as_str().unwrap().parse().unwrap();
        assert!(ours == theirs || ours.is_nan() && theirs.is_nan(), "{query}: {ours} and {theirs}");
    }
    // What was really counted: every step of a counter, from zero after a reset.
    let sql = "SELECT label(labels, 'shape') AS shape, sum(increase) AS counted FROM increases('work_total', now() - INTERVAL '1 hour', \
               now()) GROUP BY shape";
    let counted: BTreeMap<String, f64> = rows(&archive, sql)
        .iter()
        .filter_map(|row| Some((row["shape"].as_str()?.to_owned(), row["counted"].as_f64()?)))
        .collect();
    let begins = counted["begins"];
    assert!((begins - 19.5).abs() < 1e-9 && (counted["edges"] - 20.0).abs() < 1e-9, "{counted:?}");
}

/// The parts of a page between fences of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let fence = format!("\n```{language}\n");
    let parts = text.split(fence.as_str()).skip(1);
    let blocks: Vec<_> = parts.map(|part| part.split("\n```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "{page} has no {language}");
    blocks
}

/// What a Prometheus with node_exporter sends, as far as the recipes ask for it.
fn demo() -> Request {
    let now = now_ms();
    let times = || (0..100).map(move |n| (now - n * 15_000, (100 - n) as f64));
    let counter = |labels: &[(&str, &str)]| times().fold(Series::new(labels), |one, (at, value)| one.sample(at, value));
    let mut all = vec![counter(&[("__name__", "up"), ("instance", "x"), ("job", "node")])];
    all.push(counter(&[("__name__", "scrape_duration_seconds"), ("instance", "x"), ("job", "node")]));
    for mode in ["idle", "user"] {
        all.push(counter(&[("__name__", "node_cpu_seconds_total"), ("job", "node"), ("mode", mode)]));
    }
    for le in ["0.1", "1", "+Inf"] {
        all.push(counter(&[("__name__", "promarchive_http_request_duration_seconds_bucket"), ("le", le)]));
    }
    for (at, more) in [(now - MINUTE, 0_i64), (now, 1)] {
        let labels = [("__name__", "prometheus_http_request_duration_seconds"), ("handler", "/metrics")];
        let mut histogram = integer_histogram(at);
        if let Counts::Integer { count, positive, .. } = &mut histogram.counts {
            positive.iter_mut().for_each(|count| *count += 10 * more);
            *count += 40 * more.unsigned_abs();
        }
        all.push(Series::new(&labels).histogram(histogram));
    }
    all[0] = all[0].clone().described(2, "Whether it is up.", "");
    Request::of(all)
}

/// As they stand, in a directory that has the archive where the pages say that it is.
#[test]
fn every_recipe_runs() {
    const PAGE: &str = "docs/how-to/query-with-duckdb-pandas-polars.md";
    let receiver = Receiver::start(&[]);
    assert_eq!(receiver.write(V2, &demo()).status, 204);
    receiver.flush();
    let directory = receiver.directory();
    fs::create_dir(directory.join("demo")).unwrap();
    std::os::unix::fs::symlink(receiver.archive(), directory.join("demo/archive")).unwrap();
    let sql = blocks(PAGE, "sql").into_iter().chain(blocks("README.md", "sql"));
    for recipe in sql {
        let said = answer(&receiver.archive(), &recipe, None);
        let silent = recipe.contains("COPY") || recipe.contains("CREATE");
        assert!(silent || said.contains('│'), "{recipe}\n{said}");
    }
    // Those of a page build on one another.
    let buckets = blocks("docs/reference/tables.md", "python").into_iter().find(|block| block.contains("def buckets"));
    let recipes = [vec![buckets.unwrap()], blocks(PAGE, "python")].concat().join("\n\n");
    for script in [recipes, blocks("README.md", "python").join("\n\n")] {
        // With threads of several libraries, the interpreter may abort at its very end.
        let script = format!("{script}\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n");
        let output = python(None).args(["-c", &script]).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Files of `examples` with alerts. Each has a file of cases in `tests/alerts`.
const ALERTS: [&str; 2] = ["alerts", "alerts-operator"];

fn alerts(file: &str) -> String {
    fs::read_to_string(root().join(format!("examples/{file}.yaml"))).unwrap()
}

/// With real `promtool`: the files of `tests/alerts` say when each alert must fire and when not.
#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    for file in ALERTS {
        let cases = format!("tests/alerts/{file}.test.yaml");
        let output = Command::new(needed("PROMARCHIVE_GO_TOOLS").join("promtool"))
            .args(["test", "rules", &cases])
            .current_dir(root())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        check_that_no_alert_is_left_out(&alerts(file), &fs::read_to_string(root().join(cases)).unwrap());
    }
}

/// Each fires in a case, and every metric that it stands on is given for something good, too.
fn check_that_no_alert_is_left_out(alerts: &str, cases: &str) {
    let rules: Vec<_> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 5, "{alerts}");
    for rule in rules {
        let name = rule.lines().next().unwrap();
        assert!(cases.contains(&format!("alertname=\"{name}\"")), "{name} never fires in a case");
        let expression = rule.split("expr:").nth(1).unwrap().split("\n        for:").next().unwrap();
        let expression = expression.split("\n        labels:").next().unwrap();
        let words = expression.split(|c: char| c != '_' && !c.is_ascii_lowercase());
        for metric in words.filter(|word| word.starts_with("promarchive_") || word.starts_with("process_")) {
            let is_good = |line: &str| line.contains(&format!("'{metric}{{")) && line.contains("instance=\"good\"");
            assert!(cases.lines().any(is_good), "{name} has no case with {metric} in which it does not fire");
        }
    }
}

/// A Prometheus that scrapes receivers and no operator, which is the default, has no alert that waits for the operator.
#[test]
fn alerts_for_receivers_need_no_operator() {
    assert!(!alerts("alerts").contains("promarchive_operator_"));
}

/// What alerts stand on is documented.
#[test]
fn the_metrics_of_alerts_are_metrics_of_the_documentation() {
    let alerts = ALERTS.map(alerts).concat();
    let pages = ["docs/reference/metrics.md", "docs/reference/operator.md"];
    let documented = pages.map(|page| fs::read_to_string(root().join(page)).unwrap()).concat();
    let words = alerts.split(|c: char| c != '_' && !c.is_ascii_lowercase());
    for metric in words.filter(|word| word.starts_with("promarchive_")) {
        assert!(documented.contains(&format!("`{metric}")), "{metric} is in no table of {pages:?}");
    }
}
