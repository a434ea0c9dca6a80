//! Float samples.

use promarchive_model::{EARLIEST_TIMESTAMP, LATEST_TIMESTAMP};
use promarchive_tests::readers::Reader;
use promarchive_tests::request::Series;

use super::{Case, Section, T};

const STALE: &str = "A stale marker is not a number: `value` is null and `stale` is true, and nothing else is written in this way. So \
                     the bits can be restored from the row.";

/// A series that gets the case's name.
fn series() -> Series {
    Series::default()
}

pub fn values() -> Section {
    let value = |name: &str, bits: u64| Case::new(name, series().bits(T, bits));
    let float = |name: &str, number: f64| value(name, number.to_bits());
    Section {
        title: "Values",
        about: "Float samples, as in counters, gauges, summaries and classic histograms.",
        table: "samples",
        shown: &["value"],
        contest: false,
        cases: vec![
            float("one", 1.0),
            float("a tenth, which no double is", 0.1),
            float("a third", 1.0 / 3.0),
            float("+0", 0.0),
            float("−0", -0.0),
            float("2^53", 9_007_199_254_740_992.0),
            float("the next integer that is a double", 9_007_199_254_740_994.0),
            float("2^64", 18_446_744_073_709_551_616.0),
            float("the largest", f64::MAX),
            float("the most negative", f64::MIN),
            float("the smallest normal number", f64::MIN_POSITIVE),
            value("the largest subnormal", 0x000f_ffff_ffff_ffff),
            value("the smallest subnormal", 1),
            value("the smallest negative subnormal", 1 << 63 | 1),
            float("+Inf", f64::INFINITY),
            float("−Inf", f64::NEG_INFINITY),
            value("NaN as Prometheus writes it", 0x7ff8_0000_0000_0001),
            value("quiet NaN", 0x7ff8_0000_0000_0000),
            value("negative quiet NaN", 0xfff8_0000_0000_0000),
            value("quiet NaN with a payload", 0x7ff8_dead_beef_cafe),
            value("signalling NaN", 0x7ff0_0000_0000_0001),
            value("negative signalling NaN with a payload", 0xfff0_dead_beef_cafe),
            value("NaN of all bits", u64::MAX),
            value("stale marker", 0x7ff0_0000_0000_0002).why(STALE),
            value("stale marker with a sign, which is a NaN", 0xfff0_0000_0000_0002),
        ],
        notes: &[(
            Reader::PandasNumpy,
            "NumPy has no null for doubles: null becomes NaN. Use `stale` to recognise markers.",
        )],
    }
}

pub fn counters() -> Section {
    let counter = |name: &str, values: &[f64]| {
        let samples = (T..).zip(values);
        Case::new(name, samples.fold(series(), |series, (at, value)| series.sample(at, *value)))
    };
    Section {
        title: "Counters",
        about: "Values are stored as sent: nothing is summed up, and no reset is removed.",
        table: "samples",
        shown: &["value"],
        contest: false,
        cases: vec![
            counter("a reset", &[41.0, 42.0, 0.0, 1.0]),
            counter("over 2^53, in the smallest steps", &[9_007_199_254_740_992.0, 9_007_199_254_740_994.0]),
            counter("that goes backwards", &[10.0, 9.999_999_999_999_998]),
        ],
        notes: &[],
    }
}

pub fn starts() -> Section {
    let started = |name: &str, start: i64| Case::new(name, series().started(T, 1.0, start)).only_v2();
    let mut older = series().sample(T, 1.0);
    older.created_timestamp = T - 60_001;
    let mut both = series().started(T, 1.0, T - 5);
    both.created_timestamp = T - 60_001;
    Section {
        title: "Start timestamps",
        about: "The time when a counter started, in milliseconds. Remote write 1.0 has none, so `start_timestamp` is null there. In \
                2.0, each sample has its own. In drafts up to the third, the series had it (“created”). 0 means that there is none.",
        table: "samples",
        shown: &["start_timestamp"],
        contest: false,
        cases: vec![
            started("a minute and a millisecond before", T - 60_001),
            Case::new("created timestamp of the series", older).only_v2(),
            Case::new("both: the sample's own is taken", both).only_v2(),
            Case::new("none", series().sample(T, 1.0)),
            started("the same moment", T),
            started("after the sample", T + 1),
            started("before 1970", -1),
            started("the first", EARLIEST_TIMESTAMP),
            started("before the first", EARLIEST_TIMESTAMP - 1),
            started("the last of 9999", LATEST_TIMESTAMP),
        ],
        notes: &[],
    }
}

pub fn timestamps() -> Section {
    let at = |name: &str, timestamp: i64| Case::new(name, series().sample(timestamp, 1.0));
    let far = |name: &str, timestamp: i64| Case { far: true, ..at(name, timestamp) };
    const Y2100: i64 = 4_102_444_800_000;
    Section {
        title: "Timestamps",
        about: "Milliseconds since 1970, UTC. Old samples and samples out of order are accepted. Samples further ahead than \
                `--max-future` (a day by default) are refused with an error that names them.",
        table: "samples",
        shown: &["timestamp"],
        contest: false,
        cases: vec![
            at("with milliseconds, 2023", T + 1),
            at("the first millisecond of 1970", 0),
            at("one later", 1),
            at("one earlier", -1),
            at("a millisecond before midnight", 1_700_006_399_999),
            at("midnight", 1_700_006_400_000),
            at("the first of 1900", EARLIEST_TIMESTAMP),
            at("one before", EARLIEST_TIMESTAMP - 1),
            at("the smallest integer", i64::MIN),
            at("2100", Y2100),
            far("2100, under `--max-future 36500d`", Y2100),
            far("the last of 9999, likewise", LATEST_TIMESTAMP),
            far("one later, likewise", LATEST_TIMESTAMP + 1),
            Case::new("out of order", series().sample(T + 2, 3.0).sample(T, 1.0).sample(T + 1, 2.0)),
        ],
        notes: &[],
    }
}

pub fn contests() -> Section {
    let nan = f64::NAN.to_bits();
    let (one, two) = (1.0_f64.to_bits(), 2.0_f64.to_bits());
    let stale = 0x7ff0_0000_0000_0002;
    let mut cases = vec![
        Case::new("the same twice", series().bits(T, one).bits(T, one)),
        Case::parts("the same twice, a flush between", vec![series().bits(T, one), series().bits(T, one)]),
    ];
    for (name, first, second) in [
        ("1 and 2", one, two),
        ("1 and a stale marker", one, stale),
        ("NaN and a stale marker", nan, stale),
        ("−0 and +0", 1 << 63, 0),
        ("+Inf and NaN", f64::INFINITY.to_bits(), nan),
        ("−Inf and negative NaN", f64::NEG_INFINITY.to_bits(), 1 << 63 | nan),
        ("two NaNs", nan, nan | 0xcafe),
    ] {
        cases.push(Case::new(name, series().bits(T, first).bits(T, second)));
        cases.push(Case::new(&format!("{name}, the other way round"), series().bits(T, second).bits(T, first)));
        let parts = vec![series().bits(T, second), series().bits(T, first)];
        cases.push(Case::parts(&format!("{name}, so and a flush between"), parts));
    }
    cases.push(
        Case::new("start timestamps of one value", series().started(T, 1.0, T - 1).started(T, 1.0, T - 2)).only_v2(),
    );
    Section {
        title: "Several samples for one series and timestamp",
        about: "One wins, by [a total order](tables.md#one-row-for-each-key). The order of arrival does not matter. \
            The cells show which one.",
        table: "samples",
        shown: &["value", "start_timestamp", "stale"],
        contest: true,
        cases,
        notes: &[],
    }
}
