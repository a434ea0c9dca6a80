//! Label sets: what senders send, and what stands in the tables.

use arrow::array::AsArray;
use promarchive_model::Protocol::V2;
use promarchive_tests::program::Receiver;
use promarchive_tests::protobuf::Message;
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;

use crate::{PROTOCOLS, T, accept, assert_kept, committed};

#[test]
fn unsorted_labels_are_sorted() {
    for protocol in PROTOCOLS {
        let one =
            Series::new(&[("zone", "z"), ("__name__", "up"), ("job", "j"), ("B", "upper"), ("a", "1")]).sample(T, 1.0);
        let other = Series::new(&[("B", "upper"), ("a", "1"), ("job", "j"), ("zone", "z"), ("__name__", "up")])
            .sample(T + 1, 2.0);
        // The same series, and in the same request as well: the tables' reader fails if the text of the labels is not sorted.
        assert_kept(protocol, &[Request::of([one.clone()]), Request::of([other.clone()]), Request::of([other, one])]);
    }
}

#[test]
fn an_empty_value_is_an_absent_label() {
    for protocol in PROTOCOLS {
        let with = Series::new(&[("__name__", "up"), ("empty", ""), ("job", "j")]).sample(T, 1.0);
        let without = Series::new(&[("__name__", "up"), ("job", "j")]).sample(T + 1, 2.0);
        let none = Series::new(&[("__name__", "only"), ("a", ""), ("b", "")]).sample(T, 3.0);
        assert_kept(protocol, &[Request::of([with.clone(), without.clone(), none]), Request::of([with, without])]);
    }
}

#[test]
fn any_utf_8_is_a_name_and_a_value() {
    const TEXTS: [&str; 14] = [
        "http.server.duration",
        "größe",
        "温度",
        "with space",
        "quote\"back\\slash/",
        "line\nfeed\r\ttab",
        "\u{0}\u{1}\u{1f}\u{7f}\u{8}\u{c}",
        "\u{2028}\u{202e}\u{feff}",
        "😀",
        "{a=\"b\"}",
        "'; DROP TABLE samples; --",
        "e\u{301}",
        "\u{e9}",
        "date",
    ];
    for protocol in PROTOCOLS {
        let series = TEXTS.iter().flat_map(|text| {
            [
                Series::new(&[("__name__", *text), ("job", "j")]).sample(T, 1.0),
                Series::new(&[("__name__", "name"), (text, "value")]).sample(T, 2.0),
                Series::new(&[("__name__", "value"), ("name", text)]).sample(T, 3.0).exemplar(T, 4.0, &[(text, text)]),
            ]
        });
        assert_kept(protocol, &[Request::of(series)]);
    }
}

#[test]
fn names_that_the_tables_use_themselves() {
    for protocol in PROTOCOLS {
        let names =
            ["metric", "labels", "series_id", "timestamp", "value", "stale", "date", "start_timestamp", "le", "JOB"];
        let labels: Vec<_> = [("__name__", "samples")].into_iter().chain(names.map(|name| (name, name))).collect();
        assert_kept(protocol, &[Request::of([Series::new(&labels).sample(T, 1.0)])]);
    }
}

#[test]
fn many_labels_and_long_ones() {
    let long = "x".repeat(200_000);
    for protocol in PROTOCOLS {
        let names: Vec<String> = (0..1000).map(|n| format!("label_{n:04}")).collect();
        let mut labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        labels.push(("__name__", "many"));
        let many = Series::new(&labels).sample(T, 1.0);
        let value = Series::new(&[("__name__", "long_value"), ("l", &long)]).sample(T, 2.0);
        let name = Series::new(&[("__name__", "long_name"), (long.as_str(), "l")]).sample(T, 3.0);
        assert_kept(protocol, &[Request::of([many, value, name, Series::metric(&long).sample(T, 4.0)])]);
    }
}

#[test]
fn the_same_labels_in_several_time_series() {
    for protocol in PROTOCOLS {
        // As Prometheus sends: one thing in each.
        let up = || Series::new(&[("__name__", "up"), ("job", "j")]);
        let request = Request::of([
            up().sample(T, 1.0),
            up().exemplar(T, 1.0, &[("trace_id", "a")]),
            Series::metric("other").sample(T, 1.0),
            up().sample(T + 1, 2.0),
            up().exemplar(T + 1, 1.0, &[("trace_id", "b"), ("span_id", "c")]),
            up().sample(T + 2, 3.0),
        ]);
        assert_kept(protocol, &[request]);
    }
}

#[test]
fn exemplars_of_all_kinds() {
    for protocol in PROTOCOLS {
        let series = Series::metric("latency_bucket")
            .exemplar(T, -0.0, &[])
            .exemplar(T, 0.0, &[])
            .exemplar(T, f64::NAN, &[("trace_id", "z"), ("a", "unsorted"), ("empty", "")])
            .exemplar(T - 5, f64::INFINITY, &[("trace_id", "older")])
            .exemplar(0, 5e-324, &[("trace_id", "at the epoch")]);
        // Alone, which the specification forbids and Prometheus sends.
        assert_kept(protocol, &[Request::of([series])]);
    }
}

#[test]
fn promoted_labels_stand_in_columns_too() {
    let receiver = Receiver::start(&["--label-columns", "job,pod"]);
    let series = [
        Series::new(&[("__name__", "up"), ("job", "j"), ("pod", "p")]).sample(T, 1.0),
        Series::new(&[("__name__", "up"), ("job", "j"), ("pod", "")]).sample(T, 1.0),
        Series::new(&[("__name__", "up"), ("JOB", "another label")]).sample(T, 1.0),
    ];
    let request = Request::of(series);
    accept(&receiver, V2, &request);
    let mut wanted = Tables::default();
    wanted.add(V2, &request);
    // `labels` has them as well.
    wanted.assert_equals(&committed(&receiver));
    let batches = Reader::DuckDb.read(&receiver.archive(), "samples", &["job", "pod"]);
    let mut rows: Vec<(Option<String>, Option<String>)> = Vec::new();
    for batch in batches {
        let text = |column: usize| {
            let column = batch.column(column).as_string::<i32>();
            column.iter().map(|value| value.map(str::to_owned)).collect::<Vec<_>>()
        };
        rows.extend(text(0).into_iter().zip(text(1)));
    }
    rows.sort();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rows, [(None, None), (text("j"), None), (text("j"), text("p"))]);
}

#[test]
fn symbols_in_every_legal_shape() {
    let receiver = Receiver::start(&[]);
    let sample = |timestamp: i64| Message::new().double(1, 1.0_f64.to_bits()).signed(2, timestamp);
    let symbols =
        |message: Message| ["", "__name__", "up", "job", "j"].iter().fold(message, |m, symbol| m.bytes(4, symbol));
    let packed = Message::new().packed_unsigned(1, &[1, 2, 3, 4]).message(2, sample(T));
    let single =
        [1, 2, 3, 4].iter().fold(Message::new(), |message, &at| message.unsigned(1, at)).message(2, sample(T + 1));
    let pieces = Message::new().packed_unsigned(1, &[1]).message(2, sample(T + 2)).packed_unsigned(1, &[2, 3, 4]);
    // Unknown fields are skipped.
    let unknown =
        Message::new().unsigned(99, 1).packed_unsigned(1, &[3, 4, 1, 2]).bytes(7, "?").message(2, sample(T + 3));
    let before = symbols(Message::new()).message(5, packed).message(5, single);
    let after = symbols(Message::new().message(5, pieces).bytes(17, "?").message(5, unknown));
    for message in [before, after] {
        let answer = receiver.write_message(V2, &message.into_bytes());
        assert_eq!((answer.status, answer.written()), (204, Some([2, 0, 0])), "{answer:?}");
    }
    let series = (0..4).map(|n| Series::new(&[("__name__", "up"), ("job", "j")]).sample(T + n, 1.0));
    let mut wanted = Tables::default();
    wanted.add(V2, &Request::of(series));
    wanted.assert_equals(&committed(&receiver));
}
