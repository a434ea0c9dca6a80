//! Exemplars and metadata.

use promarchive_tests::request::Series;
use promarchive_tests::tables::kind_name;

use super::{Case, Section, T};

pub fn exemplars() -> Section {
    let case = |name: &str, value: f64, labels: &[(&str, &str)]| {
        Case::new(name, Series::default().sample(T, 1.0).exemplar(T - 250, value, labels))
    };
    let bits = |name: &str, bits| case(name, f64::from_bits(bits), &[("trace_id", "abc")]);
    let several = Series::default().sample(T, 1.0).exemplar(T, 1.0, &[("trace_id", "a")]);
    Section {
        title: "Exemplars",
        about: "Exemplars have their own timestamps, and their own labels in addition to those of the series.",
        table: "exemplars",
        shown: &["timestamp", "value", "exemplar_labels"],
        contest: false,
        cases: vec![
            case(
                "with a trace",
                0.25,
                &[("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"), ("span_id", "00f067aa0ba902b7")],
            ),
            case("without labels", 0.25, &[]),
            case("UTF-8, quotes, line feed", 0.25, &[("größe", "\"x\"\n"), ("a b", "😀")]),
            bits("−0", 1 << 63),
            bits("NaN with a payload", 0x7ff8_dead_beef_cafe),
            bits("the bits of a stale marker", 0x7ff0_0000_0000_0002),
            bits("the smallest subnormal", 1),
            Case::new("without a sample", Series::default().exemplar(T, 0.25, &[("trace_id", "abc")])),
            Case::new("two for one sample", several.exemplar(T + 1, 1.0, &[("trace_id", "b")])),
            case("an empty label", 0.25, &[("trace_id", ""), ("a", "b")])
                .why("A label with an empty value is not a label, as in Prometheus."),
        ],
        notes: &[],
    }
}

pub fn metadata() -> Section {
    let case = |name: &str, kind: i32, help: &str, unit: &str| {
        Case::new(name, Series::default().sample(T, 1.0).described(kind, help, unit))
    };
    let mut cases: Vec<Case> = (0..8).map(|kind| case(kind_name(kind), kind, "How many.", "seconds")).collect();
    cases.extend([
        case("type alone", 1, "", ""),
        case("UTF-8, quotes, line feed", 2, "尺寸 \"größer\"\nals \\ 1", "°C"),
        case("help of 16 KiB", 2, &"x".repeat(16_384), ""),
        case("nothing at all", 0, "", "")
            .why("In 2.0, every series has a field for metadata. If it is empty, nothing is written."),
    ]);
    Section {
        title: "Metadata",
        about: "Metadata is stored once a day for each different content. In 1.0, it is sent separately from the series, under \
                the name of the family.",
        table: "metadata",
        shown: &["type", "unit", "help"],
        contest: false,
        cases,
        notes: &[],
    }
}
