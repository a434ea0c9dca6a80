//! Requests resolved against an index that knows much or nothing, and series that are forgotten.

use std::collections::BTreeMap;

use promarchive_model::{
    Counts, EARLIEST_TIMESTAMP, Histogram, Protocol, ResetHint, Sample, SetLabel, Span, TimestampBounds, labels_text,
};
use promarchive_testkit::hand_made::{SentExemplar, SentMetadata, SentSeries, body};
use promarchive_wire::proto;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;

use super::{Batch, Index, IndexAccess, Request, RequestKind, Unusable, resolve};

const NOW: i64 = 1_763_000_000_000;
const BOUNDS: TimestampBounds = TimestampBounds { earliest: EARLIEST_TIMESTAMP, latest: NOW };

fn resolved(index: &mut Index, protocol: Protocol, series: &[SentSeries]) -> Batch {
    labelled(index, protocol, series, None)
}

fn labelled(index: &mut Index, protocol: Protocol, series: &[SentSeries], label: Option<SetLabel<'_>>) -> Batch {
    let body = body(protocol, series);
    let kind = RequestKind::Arriving;
    resolve(index, Request { protocol, body: &body, bounds: BOUNDS, received_at: NOW, label, kind }).unwrap()
}

fn labels() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let name: &[&[u8]] = &[b"__name__", b"__name__", b"__name__", b"a", b"b", b"c", b"x", b"", b"\xff"];
    let value: &[&[u8]] = &[b"x", b"y", b"a", b"x", b"y", b"", b"__name__", b"\xc3\xa9", b"\xff"];
    vec((select(name), select(value)).prop_map(|(name, value)| (name.to_vec(), value.to_vec())), 0..5)
}

fn timestamp() -> impl Strategy<Value = i64> {
    select(&[0, 1, -5, NOW, NOW + 1, i64::MAX, i64::MIN, EARLIEST_TIMESTAMP - 1][..])
}

fn histogram(timestamp: i64, zero: u64) -> Histogram {
    Histogram {
        timestamp,
        start_timestamp: 0,
        schema: 0,
        zero_threshold: 0,
        sum: 0,
        reset_hint: ResetHint::Unknown,
        counts: Counts::Integer { count: 1, zero, positive: vec![], negative: vec![] },
        positive_spans: vec![],
        negative_spans: vec![],
        custom_values: vec![],
    }
}

fn series() -> impl Strategy<Value = SentSeries> {
    let sample = (timestamp(), any::<u64>(), timestamp()).prop_map(|(timestamp, value, start_timestamp)| Sample {
        timestamp,
        value,
        start_timestamp,
    });
    let own = [vec![], vec![("t", "1")], vec![("t", "1"), ("t", "2")], vec![("", "1")]];
    let exemplar = (select(own.to_vec()), timestamp()).prop_map(|(labels, timestamp)| SentExemplar {
        labels,
        timestamp,
        value: 1,
    });
    let metadata = (0_u64..9, select(&["", "h"][..])).prop_map(|(kind, help)| SentMetadata { kind, help, unit: "u" });
    // Not all of the observations are in buckets: invalid, now and then.
    let histogram = (timestamp(), 0_u64..2).prop_map(|(timestamp, zero)| histogram(timestamp, zero));
    (
        labels(),
        prop::bool::weighted(0.1),
        vec(sample, 0..3),
        vec(histogram, 0..2),
        vec(exemplar, 0..2),
        prop::option::weighted(0.3, metadata),
    )
        .prop_map(|(labels, odd_reference, samples, histograms, exemplars, metadata)| SentSeries {
            labels,
            odd_reference,
            samples,
            histograms,
            exemplars,
            metadata,
        })
}

/// A label that the receiver sets, or none: one that series have now and then, or one that they never have.
fn label() -> impl Strategy<Value = Option<SetLabel<'static>>> {
    let names: [(&str, &str); 4] = [("a", "s"), ("b", "x"), ("sender", "s"), ("zone", "")];
    select(names.map(|(name, value)| SetLabel::new(name, value)).to_vec())
}

fn either() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::V1, Protocol::V2][..])
}

/// Series that a careless look takes this one for: without its second labels of a name, or its first; without the partnerless reference.
fn repaired(sent: &SentSeries) -> [SentSeries; 2] {
    let keep = |labels: &mut dyn Iterator<Item = &(Vec<u8>, Vec<u8>)>| {
        let mut set = BTreeMap::new();
        for (name, value) in labels {
            set.entry(name.clone()).or_insert(value.clone());
        }
        SentSeries { labels: set.into_iter().collect(), ..SentSeries::default() }
    };
    [keep(&mut sent.labels.iter()), keep(&mut sent.labels.iter().rev())]
}

type Named<T> = Vec<(String, String, T)>;

/// A batch's rows by the labels of their series, and its refusals.
#[derive(Debug, PartialEq)]
struct Read {
    samples: Named<Sample>,
    histograms: Named<Histogram>,
    exemplars: Named<(i64, u64, String)>,
    metadata: Vec<promarchive_model::MetadataRow>,
    refusals: String,
    series: u64,
}

fn read(index: &Index, batch: &Batch) -> Read {
    let name = |series: u32| {
        let view = index.series.view(std::iter::once(series));
        let (_, labels) = view.get(0).unwrap();
        (labels.metric().to_owned(), labels_text(labels.pairs()))
    };
    fn named<T: Clone>(name: impl Fn(u32) -> (String, String), rows: &[(u32, T)]) -> Named<T> {
        let row = |(series, row): &(u32, T)| {
            let (metric, labels) = name(*series);
            (metric, labels, row.clone())
        };
        rows.iter().map(row).collect()
    }
    let exemplars: Vec<_> =
        batch.exemplars.iter().map(|row| (row.series, (row.timestamp, row.value, row.labels.clone()))).collect();
    let counts: Vec<String> = batch.refusals.counts().map(|(reason, count)| format!("{reason} {count}")).collect();
    Read {
        samples: named(name, &batch.samples),
        histograms: named(name, &batch.histograms),
        exemplars: named(name, &exemplars),
        metadata: batch.metadata.clone(),
        refusals: format!("{counts:?} {}", batch.refusals.one_line(batch.series, "series")),
        series: batch.series,
    }
}

/// Metric and canonical text of labels as sent and with the label that is set; none if they cannot be kept. Stated anew, without the decoder.
fn canonical(sent: &SentSeries, protocol: Protocol, label: Option<SetLabel<'_>>) -> Option<(String, String)> {
    let mut set: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in &sent.labels {
        let (name, value) = (str::from_utf8(name).ok()?, str::from_utf8(value).ok()?);
        if name.is_empty() || (!value.is_empty() && set.insert(name, value).is_some()) {
            return None;
        }
    }
    if sent.odd_reference && protocol == Protocol::V2 {
        return None;
    }
    let metric = set.remove("__name__")?.to_owned();
    let set = set.into_iter().chain(label.map(|label| (label.name(), label.value())));
    Some((metric, labels_text(set.collect::<BTreeMap<_, _>>().into_iter())))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    /// Replay depends on it: what is known already changes neither rows nor refusals.
    #[test]
    fn known_or_not_a_request_means_the_same(
        protocol in either(),
        request in vec(series(), 0..5),
        label in label(),
        others in vec((either(), vec(series(), 0..5), self::label()), 0..4),
    ) {
        let mut fresh = Index::new(1);
        let batch = labelled(&mut fresh, protocol, &request, label);
        let first = read(&fresh, &batch);
        let again = labelled(&mut fresh, protocol, &request, label);
        prop_assert_eq!(&read(&fresh, &again), &first);
        let mut warm = Index::new(2);
        resolved(&mut warm, Protocol::V1, &request.iter().flat_map(repaired).collect::<Vec<_>>());
        for (protocol, other, label) in &others {
            labelled(&mut warm, *protocol, other, *label);
            labelled(&mut warm, *protocol, &request, *label);
            warm.series.forget_unused(|series| series % 2 == 0);
        }
        for _ in 0..2 {
            let batch = labelled(&mut warm, protocol, &request, label);
            prop_assert_eq!(&read(&warm, &batch), &first);
        }
    }

    #[test]
    fn rows_belong_to_the_labels_that_were_sent(
        protocol in either(),
        request in vec(series(), 0..5),
        label in label(),
        other in self::label(),
    ) {
        let mut index = Index::new(3);
        labelled(&mut index, Protocol::V1, &request, label);
        labelled(&mut index, protocol, &request, other);
        let batch = labelled(&mut index, protocol, &request, label);
        let mut want = Vec::new();
        for sent in &request {
            let Some((metric, labels)) = canonical(sent, protocol, label) else { continue };
            let kept = sent.samples.iter().map(|&sample| match protocol {
                Protocol::V1 => Sample { start_timestamp: 0, ..sample },
                Protocol::V2 => sample,
            });
            let kept = kept.filter(|s| BOUNDS.check(s.timestamp).is_ok() && BOUNDS.check_start(s.start_timestamp).is_ok());
            want.extend(kept.map(|sample| (metric.clone(), labels.clone(), sample)));
        }
        prop_assert_eq!(read(&index, &batch).samples, want);
    }

    /// Either protocol, any order of labels: one series.
    #[test]
    fn one_label_set_is_one_series(request in vec(series(), 1..5)) {
        let mut index = Index::new(4);
        for protocol in [Protocol::V1, Protocol::V2] {
            let mut reversed = request.clone();
            reversed.iter_mut().for_each(|series| series.labels.reverse());
            resolved(&mut index, protocol, &request);
            resolved(&mut index, protocol, &reversed);
        }
        let sets: std::collections::BTreeSet<_> = request.iter().filter_map(|sent| canonical(sent, Protocol::V1, None)).collect();
        prop_assert_eq!(index.series.len(), sets.len());
    }
}

fn many(round: usize, count: usize) -> Vec<SentSeries> {
    let series = |at| SentSeries {
        labels: vec![
            (b"__name__".to_vec(), b"up".to_vec()),
            (b"instance".to_vec(), format!("instance-{round}-{at}").into_bytes()),
        ],
        samples: vec![Sample { timestamp: 1, value: 1, start_timestamp: 0 }],
        ..SentSeries::default()
    };
    (0..count).map(series).collect()
}

/// Others use the index between two looks at it: what a request knows of it may not hold any more.
#[test]
fn series_that_are_forgotten_in_the_middle_of_a_request_are_looked_up_anew() {
    struct Forgetful<'i>(&'i mut Index, usize);
    impl super::IndexAccess for Forgetful<'_> {
        fn with<T>(&mut self, work: impl FnOnce(&mut Index) -> T) -> T {
            let result = work(self.0);
            // Another request takes the symbols of all labels that are free.
            self.0.series.forget_unused(|_| false);
            self.1 += 1;
            resolved(self.0, Protocol::V1, &many(self.1, 3));
            result
        }
    }
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut index = Index::new(1);
        let request = [many(0, 7), many(0, 7)].concat();
        drop(resolved(&mut index, protocol, &request));
        let body = body(protocol, &request);
        let (bounds, received_at, label, kind) = (BOUNDS, NOW, None, RequestKind::Arriving);
        let request_again = Request { protocol, body: &body, bounds, received_at, label, kind };
        let batch = resolve(Forgetful(&mut index, 7), request_again).unwrap();
        let want: Vec<String> = (0..7).chain(0..7).map(|at| format!(r#"{{"instance":"instance-0-{at}"}}"#)).collect();
        let found: Vec<String> = read(&index, &batch).samples.into_iter().map(|(_, labels, _)| labels).collect();
        assert_eq!(found, want, "{protocol:?}");
    }
}

/// Whether they are refused must not depend on how long a request is that was accepted once.
#[test]
fn a_request_of_nothing_but_entries_is_refused_when_it_comes_and_not_when_it_is_replayed() {
    let empty = |count: usize| [0x0a, 0x00].repeat(count);
    let resolve = |body: &[u8], kind| {
        let mut index = Index::new(1);
        let request = Request { protocol: Protocol::V1, body, bounds: BOUNDS, received_at: NOW, label: None, kind };
        resolve(&mut index, request).map(|batch| (batch.series, batch.refusals.total()))
    };
    let most = 1 << 17;
    assert_eq!(resolve(&empty(most), RequestKind::Arriving).unwrap(), (1 << 17, 1 << 17));
    let error = resolve(&empty(most + 1), RequestKind::Arriving).unwrap_err().to_string();
    assert!(error.contains("more than 131072 series, samples and other entries in 262146 bytes"), "{error}");
    assert_eq!(resolve(&empty(most + 1), RequestKind::Replayed).unwrap().0, (1 << 17) + 1);

    // Metadata and samples count likewise; with enough bytes for each there may be more.
    let metadata = [0x1a, 0x00].repeat(most + 1);
    assert!(resolve(&metadata, RequestKind::Arriving).is_err());
    let samples = [&[0x0a, 0x80, 0x80, 0x08][..], &[0x12, 0x00].repeat(1 << 16)].concat().repeat(3);
    assert!(resolve(&samples, RequestKind::Arriving).is_err());
    let long = [&[0x0a, 0x06, 0x7a, 0x04][..], b"pad!"].concat().repeat(most + 1);
    assert_eq!(resolve(&long, RequestKind::Arriving).unwrap().0, (1 << 17) + 1);
}

/// New series that name one long text, written out for each.
#[test]
fn a_request_of_series_that_repeat_a_long_text_is_refused() {
    const LENGTH: usize = 1_000_000;
    let mut symbols = ["", "__name__", "up", "a", &"x".repeat(LENGTH), "b"].map(str::to_owned).to_vec();
    let numbers = 6..600;
    symbols.extend(numbers.clone().map(|at: u32| at.to_string()));
    let series = |at| proto::v2::TimeSeries { labels_refs: vec![1, 2, 3, 4, 5, at], ..Default::default() };
    let body = proto::v2::Request { symbols, timeseries: numbers.map(series).collect() }.encode_to_vec();
    assert!(body.len() < LENGTH + (64 << 10), "{}", body.len());
    let (protocol, bounds, received_at, label) = (Protocol::V2, BOUNDS, NOW, None);
    let request = Request { protocol, body: &body, bounds, received_at, label, kind: RequestKind::Arriving };
    let mut index = Index::new(1);
    let unusable = resolve(&mut index, request).unwrap_err();
    assert!(unusable.to_string().contains("label text of the new series"), "{unusable}");
    assert!(!index.series.is_empty(), "some are known until they are forgotten");
}

/// One text that many exemplars refer to would be written out for each.
#[test]
fn text_that_is_referred_to_many_times_is_bounded() {
    const VALUE: usize = 1 << 19;
    let value: &'static str = "x".repeat(VALUE).leak();
    let exemplar = |timestamp| SentExemplar { labels: vec![("trace_id", value)], timestamp, value: 1 };
    let mut series = many(0, 1);
    series[0].exemplars = (0..100).map(exemplar).collect();
    for _ in 0..2 {
        let batch = resolved(&mut Index::new(1), Protocol::V2, &series);
        assert_eq!(batch.exemplars.len(), (32 << 20) / (VALUE + "trace_id".len()));
        let refused: Vec<_> = batch.refusals.counts().map(|(reason, count)| (reason.to_string(), count)).collect();
        assert_eq!(refused, [("request_limit".to_owned(), 100 - batch.exemplars.len() as u64)]);
        assert_eq!(batch.samples.len(), 1, "nothing else is refused");
    }
}

/// On the wire a bucket is a byte, and in memory eight.
#[test]
fn the_memory_of_a_requests_histograms_is_bounded() {
    let with_buckets = |buckets: u32, timestamp: i64| Histogram {
        counts: Counts::Integer { count: 0, zero: 0, positive: vec![0; buckets as usize], negative: vec![] },
        positive_spans: vec![Span { offset: 0, length: buckets }],
        ..histogram(timestamp, 0)
    };
    let refused = |histograms: Vec<Histogram>| {
        let mut series = many(0, 1);
        series[0].histograms = histograms;
        let batch = resolved(&mut Index::new(1), Protocol::V2, &series);
        let refused: Vec<_> = batch.refusals.counts().map(|(reason, count)| (reason.as_str(), count)).collect();
        assert_eq!(batch.samples.len(), 1, "nothing else is refused");
        assert!(batch.heap_bytes() < 33 << 20, "{} bytes", batch.heap_bytes());
        (batch.histograms.len(), refused)
    };
    assert_eq!(refused(vec![with_buckets(5 << 20, 1)]), (0, vec![("request_limit", 1)]));
    let (kept, told) = refused((0..40).map(|at| with_buckets(1 << 17, at)).collect());
    assert!((28..32).contains(&kept), "{kept}");
    assert_eq!(told, [("request_limit", 40 - kept as u64)]);
    let (kept, told) = refused((0..400_000).map(|at| with_buckets(0, at)).collect());
    assert!(
        (100_000..300_000).contains(&kept) && told == [("request_limit", 400_000 - kept as u64)],
        "{kept} {told:?}"
    );
    assert_eq!(refused((0..2_000).map(|at| with_buckets(500, at)).collect()), (2_000, vec![]), "what senders send");
}

/// A series that was just named stays for one round.
fn forget(index: &mut Index) {
    index.series.forget_unused(|_| false);
    index.series.forget_unused(|_| false);
}

#[test]
fn forgotten_series_give_their_memory_back() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut index = Index::new(1);
        drop(resolved(&mut index, protocol, &many(0, 1000)));
        let full = index.heap_bytes();
        assert_eq!(index.series.len(), 1000);
        forget(&mut index);
        assert_eq!(index.series.len(), 0);
        assert_eq!(index.series.find_symbol(b"instance-0-7"), None);
        assert_eq!(index.series.find_symbol(b"up"), None);
        assert!(index.heap_bytes() < full - 1000 * 20, "{} of {full} bytes", index.heap_bytes());
        for round in 1..20 {
            drop(resolved(&mut index, protocol, &many(round, 1000)));
            assert_eq!(index.series.bound(), 1000, "indices are used again");
            // Later names have a digit more.
            assert!(index.heap_bytes() <= full + 2_000, "{} bytes after churn, {full} before", index.heap_bytes());
            forget(&mut index);
        }
        assert!(index.heap_bytes() < full / 20, "{} of {full} bytes are left of nothing", index.heap_bytes());
    }
}

/// Series that stay, named while there were many others, do not keep the memory of these.
#[test]
fn a_flood_of_series_leaves_nothing_behind() {
    let mut index = Index::new(1);
    let used: Vec<_> = resolved(&mut index, Protocol::V2, &many(0, 3)).samples.iter().map(|row| row.0).collect();
    let forget = |index: &mut Index| index.series.forget_unused(|series| used.contains(&series));
    let few = index.heap_bytes();
    drop(resolved(&mut index, Protocol::V1, &many(1, 20_000)));
    forget(&mut index);
    let late = resolved(&mut index, Protocol::V2, &many(2, 3));
    let full = index.heap_bytes();
    forget(&mut index);
    assert_eq!(index.series.len(), 6, "the request in flight keeps its own");
    drop(late);
    forget(&mut index);
    forget(&mut index);
    assert_eq!((index.series.len(), index.series.bound()), (3, 3));
    assert!(index.heap_bytes() < 2 * few, "{} bytes, {few} before, {full} with all", index.heap_bytes());
    // Indices from the beginning are used first, so that the end becomes free again.
    drop(resolved(&mut index, Protocol::V1, &many(3, 5)));
    let kept = resolved(&mut index, Protocol::V1, &many(4, 1)).samples[0].0;
    for _ in 0..2 {
        index.series.forget_unused(|series| used.contains(&series) || series == kept);
    }
    let next = resolved(&mut index, Protocol::V2, &many(5, 1)).samples[0].0;
    assert!(next < kept, "{next} and {kept}");
}

/// Who is told how the index grows can end a request in the middle.
#[test]
fn a_request_ends_where_there_is_no_room_for_more_series() {
    struct Bounded<'i>(&'i mut Index, usize);
    impl IndexAccess for Bounded<'_> {
        fn with<T>(&mut self, work: impl FnOnce(&mut Index) -> T) -> T {
            work(self.0)
        }

        fn grown(&mut self, bytes: usize) -> Result<(), Unusable> {
            self.1 = self.1.checked_sub(bytes).ok_or(Unusable::NoRoom)?;
            Ok(())
        }
    }
    let mut index = Index::new(1);
    let body = body(Protocol::V1, &many(0, 1000));
    let (protocol, bounds, received_at, label, kind) = (Protocol::V1, BOUNDS, NOW, None, RequestKind::Arriving);
    let request = Request { protocol, body: &body, bounds, received_at, label, kind };
    let unusable = resolve(Bounded(&mut index, 20_000), request).unwrap_err();
    assert!(matches!(unusable, Unusable::NoRoom), "{unusable}");
    assert!((20..200).contains(&index.series.len()), "{} series", index.series.len());
    // Those that are known already take no room.
    resolve(Bounded(&mut index, 1_000_000), request).unwrap();
    resolve(Bounded(&mut index, 0), request).unwrap();
}

#[test]
fn a_request_in_flight_keeps_its_series() {
    let mut index = Index::new(1);
    let early = resolved(&mut index, Protocol::V2, &many(0, 3));
    forget(&mut index);
    let late = resolved(&mut index, Protocol::V1, &many(1, 2));
    forget(&mut index);
    forget(&mut index);
    assert_eq!(index.series.len(), 5);
    let before = read(&index, &early);
    assert_eq!(before.samples[2].1, r#"{"instance":"instance-0-2"}"#);
    drop(early);
    forget(&mut index);
    assert_eq!(index.series.len(), 2, "only those that the later one named");
    assert_eq!(read(&index, &late).samples[0].1, r#"{"instance":"instance-1-0"}"#);
    drop(late);
    forget(&mut index);
    assert!(index.series.is_empty());
}

#[test]
fn a_used_series_stays() {
    let mut index = Index::new(1);
    let used = resolved(&mut index, Protocol::V1, &many(0, 3)).samples[1].0;
    for _ in 0..3 {
        index.series.forget_unused(|series| series == used);
    }
    assert_eq!(index.series.len(), 1);
    assert_eq!(resolved(&mut index, Protocol::V2, &many(0, 3)).samples[1].0, used);
}

#[test]
fn a_forgotten_series_is_not_expected_after_the_one_before_it() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut index = Index::new(1);
        let first = (0..3).map(|_| resolved(&mut index, protocol, &many(0, 2)).samples[0].0).last().unwrap();
        for _ in 0..2 {
            index.series.forget_unused(|series| series == first);
        }
        assert_eq!(index.series.len(), 1);
        for request in [many(0, 2), [many(0, 1), many(1, 1)].concat(), many(0, 2)] {
            let batch = resolved(&mut index, protocol, &request);
            let labels = |at: usize| labels_text(request[at].labels[1..].iter().map(|(n, v)| (text(n), text(v))));
            let found: Vec<String> = read(&index, &batch).samples.into_iter().map(|(_, labels, _)| labels).collect();
            assert_eq!(found, [labels(0), labels(1)]);
        }
        assert_eq!(index.series.len(), 3);
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}
