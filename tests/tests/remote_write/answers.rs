//! What is answered when something could be written.

use promarchive_model::Protocol::{V1, V2};
use promarchive_tests::program::Receiver;
use promarchive_tests::request::{Metadata, Request, Series};
use promarchive_tests::tables::Tables;

use crate::{PROTOCOLS, T, accept, committed};

#[test]
fn success_is_204_with_nothing_in_it() {
    let receiver = Receiver::start(&[]);
    for protocol in PROTOCOLS {
        let answer = receiver.write(protocol, &Request::of([Series::metric("up").sample(T, 1.0)]));
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
        assert_eq!(answer.header("content-type"), None, "{answer:?}");
    }
}

#[test]
fn an_empty_request_is_written_to_the_full() {
    let receiver = Receiver::start(&[]);
    for protocol in PROTOCOLS {
        accept(&receiver, protocol, &Request::default());
        accept(&receiver, protocol, &Request::of([Series::metric("no_samples")]));
    }
    assert_eq!(committed(&receiver), Tables::default());
}

#[test]
fn a_partial_write_keeps_the_rest_and_says_how_much() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(&[]);
        let before = Series::metric("before").sample(T, 1.0).exemplar(T, 1.0, &[("trace_id", "a")]);
        let after = Series::metric("after").sample(T, 2.0).sample(T + 1, 3.0);
        let bad = Series::new(&[("job", "no name")]).sample(T, 4.0).sample(T + 1, 5.0);
        let twice = Series::new(&[("__name__", "twice"), ("a", "1"), ("a", "2")]).sample(T, 6.0);
        let mut request = Request::of([before.clone(), bad, twice, after.clone()]);
        let answer = receiver.write(protocol, &request);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.is_one_line(), "{answer:?}");
        // Counted, named, and the series named.
        for part in
            ["3 of 7 entries refused", "missing_metric_name", "{job=\"no name\"}", "duplicate_label", "twice{a="]
        {
            assert!(answer.body.contains(part), "{part}: {answer:?}");
        }
        assert_eq!(answer.written(), (protocol == V2).then_some([3, 0, 1]), "{answer:?}");
        request.series = vec![before, after];
        let mut wanted = Tables::default();
        wanted.add(protocol, &request);
        wanted.assert_equals(&committed(&receiver));
    }
}

#[test]
fn a_request_sent_again_is_written_once_and_answered_alike() {
    let receiver = Receiver::start(&[]);
    let mut wanted = Tables::default();
    let request = Request::of([Series::metric("up").sample(T, 1.0).exemplar(T, 1.0, &[]).described(2, "Up.", "")]);
    for protocol in PROTOCOLS {
        for _ in 0..2 {
            accept(&receiver, protocol, &request);
            accept(&receiver, protocol, &request);
            receiver.flush();
        }
        wanted.add(protocol, &request);
    }
    wanted.assert_equals(&committed(&receiver));
}

#[test]
fn metadata_alone_is_a_request_of_1_0() {
    let receiver = Receiver::start(&[]);
    let family = |name: &str, kind, help: &str, unit: &str| {
        (name.to_owned(), Metadata { kind, help: help.to_owned(), unit: unit.to_owned() })
    };
    let mut families: Vec<_> = (0..8).map(|kind| family(&format!("kind_{kind}"), kind, "Help.", "seconds")).collect();
    families.push(family("no_help", 1, "", ""));
    families.push(family("größe.in/m", 2, "Line one\nline two \"quoted\" \\ 尺寸", "米"));
    let request = Request { families, ..Request::default() };
    accept(&receiver, V1, &request);
    let mut wanted = Tables::default();
    wanted.add(V1, &request);
    wanted.assert_equals(&committed(&receiver));
}

#[test]
fn metadata_comes_with_the_series_in_2_0() {
    let receiver = Receiver::start(&[]);
    let series = |kind: i32| {
        let kind_name = format!("kind_{kind}");
        Series::metric(&kind_name).sample(T, 1.0).described(kind, "Help 尺寸.", "seconds")
    };
    let mut request = Request::of((0..8).map(series));
    request.series.push(Series::metric("nothing_set").sample(T, 1.0).described(0, "", ""));
    request.series.push(Series::metric("no_metadata").sample(T, 1.0));
    request.series.push(Series::metric("metadata_alone").described(1, "No samples.", ""));
    accept(&receiver, V2, &request);
    let mut wanted = Tables::default();
    wanted.add(V2, &request);
    assert_eq!(wanted.metadata.len(), 9);
    wanted.assert_equals(&committed(&receiver));
}

#[test]
fn a_flush_says_in_json_what_it_committed() {
    let receiver = Receiver::start(&[]);
    let request = Request::of([
        Series::metric("a").sample(T, 1.0).sample(T + 1, 2.0).exemplar(T, 1.0, &[("trace_id", "x")]),
        Series::metric("b").sample(T, 1.0).sample(T, 1.0).sample(T + 1, 1.0).sample(T + 1, 2.0),
    ]);
    accept(&receiver, V2, &request);
    let report = receiver.flush();
    assert_eq!(report["tables"]["samples"]["rows"], 4, "{report}");
    assert_eq!(report["tables"]["exemplars"]["rows"], 1, "{report}");
    assert_eq!((&report["duplicates"], &report["conflicts"]), (&1.into(), &1.into()), "{report}");
    assert!(report["position"].as_u64().unwrap() > 0, "{report}");
    let again = receiver.flush();
    assert_eq!(again["tables"], serde_json::json!({}), "{again}");
}
