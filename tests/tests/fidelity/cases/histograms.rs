//! Native histograms.

use promarchive_model::{Counts, Histogram, ResetHint, Span};
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{
    NO_FLOATS, NO_INTEGERS, Series, custom_histogram, float_histogram, integer_histogram, stale_histogram,
};

use super::{Case, Section, T};

const STALE: &str = "As in `samples`: `sum` is null and `stale` is true.";
const NUMPY: &str = "NumPy has no null for integers, so pandas converts a column that contains one to doubles: integers over 2^53 \
                     lose bits. Likewise, null in a column of doubles becomes NaN. Use Arrow's types.";

/// All observations in one bucket.
fn bucket(count: i64) -> Histogram {
    Histogram {
        counts: Counts::Integer { count: count.cast_unsigned(), zero: 0, positive: vec![count], negative: Vec::new() },
        positive_spans: vec![Span { offset: 0, length: 1 }],
        negative_spans: Vec::new(),
        ..integer_histogram(T)
    }
}

fn float_bits(bits: u64) -> Histogram {
    let spans = vec![Span { offset: 0, length: 1 }];
    let counts = Counts::Float { count: bits, zero: bits, positive: vec![bits], negative: vec![bits] };
    Histogram { counts, positive_spans: spans.clone(), negative_spans: spans, ..float_histogram(T) }
}

pub fn histograms() -> Section {
    let case = |name: &str, histogram: Histogram| Case::new(name, Series::default().histogram(histogram));
    let hint = |name: &str, reset_hint| case(name, Histogram { reset_hint, ..integer_histogram(T) });
    let schema = |schema| Histogram { schema, ..integer_histogram(T) };
    let in_zero = |zero: u64| Histogram {
        counts: Counts::Integer { count: zero, zero, positive: Vec::new(), negative: Vec::new() },
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        ..integer_histogram(T)
    };
    let float_custom = Histogram {
        counts: Counts::Float { count: 1.5_f64.to_bits(), zero: 0, positive: vec![0, 0, 1], negative: Vec::new() },
        ..custom_histogram(T)
    };
    let empty_spans = Histogram {
        positive_spans: vec![
            Span { offset: -7, length: 0 },
            Span { offset: 2, length: 3 },
            Span { offset: 0, length: 1 },
        ],
        ..integer_histogram(T)
    };
    let beside = Series::default().sample(T, 1.0).histogram(integer_histogram(T));
    let mut created = Series::default().histogram(integer_histogram(T));
    created.created_timestamp = T - 60_001;
    Section {
        title: "Native histograms",
        about: "Every column is compared: counts, spans, bounds, schema, thresholds, hints. The first of them are shown.",
        table: "histograms",
        shown: &["schema", "sum", "count", "float_count"],
        contest: false,
        cases: vec![
            case("integers", integer_histogram(T)),
            case("floats, among them −0 and a subnormal", float_histogram(T)),
            case("custom buckets", custom_histogram(T)),
            case("custom buckets, floats", float_custom),
            hint("gauge", ResetHint::Gauge),
            hint("after a reset", ResetHint::Yes),
            hint("no reset", ResetHint::No),
            case("no observations", in_zero(0)),
            case("spans that could be fewer", empty_spans),
            case("the coarsest schema", schema(-4)),
            case("the finest that Prometheus keeps", schema(8)),
            case("one that Prometheus would reduce", schema(52)),
            case("2^53 + 1 observations", bucket((1 << 53) + 1)),
            case("2^63 − 1 observations", bucket(i64::MAX)),
            case("2^63 observations", in_zero(1 << 63)),
            case("float counts of NaN with a payload", float_bits(0x7ff8_dead_beef_cafe)),
            case("float counts of signalling NaN", float_bits(0x7ff0_0000_0000_0001)),
            case("sum −0", Histogram { sum: 1 << 63, ..integer_histogram(T) }),
            case("sum NaN with a payload", Histogram { sum: 0x7ff8_dead_beef_cafe, ..integer_histogram(T) }),
            case("zero threshold of the smallest subnormal", Histogram { zero_threshold: 1, ..integer_histogram(T) }),
            Case::new("beside a float sample of the same moment", beside),
            case("stale, integers", stale_histogram(T, NO_INTEGERS)).why(STALE),
            case("stale, floats", stale_histogram(T, NO_FLOATS)).why(STALE),
            case("with a start timestamp", Histogram { start_timestamp: T - 60_001, ..integer_histogram(T) }).only_v2(),
            Case::new("with a created timestamp of the series", created).only_v2(),
        ],
        notes: &[(Reader::PandasNumpy, NUMPY)],
    }
}
