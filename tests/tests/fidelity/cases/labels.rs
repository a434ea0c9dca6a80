//! Names and values of labels.

use promarchive_tests::request::Series;

use super::{Case, Section, T};

const EMPTY: &str = "A label with an empty value is not a label, as in Prometheus.";

pub fn labels() -> Section {
    let of = |labels: &[(&str, &str)]| Series::new(labels).sample(T, 1.0);
    let case = |name: &str, labels: &[(&str, &str)]| Case::new(name, of(labels));
    let long = |letter: &str, bytes: usize| letter.repeat(bytes / letter.len());
    Section {
        title: "Labels",
        about: "`labels` is a JSON text, [the same for the same labels](tables.md#labels), byte for byte. The column “in” shows \
                this text, too. It is compared as text. `metric` contains the name.",
        table: "samples",
        shown: &["metric", "labels"],
        contest: false,
        cases: vec![
            case("plain", &[("job", "node"), ("mode", "idle")]),
            case("none", &[]),
            case("out of order", &[("b", "2"), ("a", "1"), ("B", "3")]),
            case("UTF-8 in names and values", &[("ort.name", "Zürich"), ("größe", "尺寸 😀")]),
            case("UTF-8 in the metric", &[("__name__", "größe.in/m")]),
            case("a space at the end", &[("a", "x "), ("b", " ")]),
            case("quotes and backslashes", &[("path", r#"C:\"new"\n"#), ("say \"so\"", "'")]),
            case("line feed, tab, NUL, delete", &[("a", "\n\t\r\u{0}\u{1b}\u{7f}")]),
            case("composed and decomposed é", &[("a", "\u{e9}"), ("b", "e\u{301}")]),
            case("right to left, zero width, byte order mark", &[("a", "\u{202e}x\u{200b}\u{feff}")]),
            case("what JSON and SQL have words for", &[("a", "null"), ("b", "true"), ("c", "1e3"), ("d", "NaN")]),
            case("a value that is JSON", &[("a", r#"{"b":["c"]}"#)]),
            case("empty", &[("a", ""), ("b", "x")]).why(EMPTY),
            case("16 KiB", &[("a", &long("x", 16_384))]),
            case("16 KiB of UTF-8", &[("a", &long("ü", 16_384))]),
            case("a name of 1 KiB", &[(&long("n", 1024), "x")]),
            case("reserved by Prometheus", &[("__address__", "x"), ("__a", "y"), ("le", "+Inf"), ("quantile", "0.5")]),
            case(
                "names of columns",
                &[("metric", "m"), ("labels", "l"), ("value", "v"), ("timestamp", "t"), ("date", "d")],
            ),
            case("with a column of their own", &[("namespace", "n"), ("pod", "p"), ("instance", "i"), ("node", "k")]),
            case("names that differ in case", &[("Job", "A"), ("job", "a"), ("JOB", "aa")]),
            case("a name twice", &[("a", "1"), ("a", "2")]),
            Case::new("not UTF-8", Series::new(&[("a", b"\xff\xfe".as_slice())]).sample(T, 1.0)),
        ],
        notes: &[],
    }
}
