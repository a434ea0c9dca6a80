use promarchive_api::{Deliveries, Oldest};

use super::super::of_marks;
use super::*;

const SECOND: i64 = 1_000;
const OLD: &str = "promarchive/monitoring/lab/00000000";
const NEW: &str = "promarchive/monitoring/lab/11111111";
const INTERVAL: Timespan = Timespan::from_secs(30);
const OVERLAP_OF_TESTS: Timespan = Timespan::from_secs(60);

/// (entry, token, replica, first, newest, last delivered), in seconds.
type Mark<'a> = (&'a str, &'a str, &'a str, i64, i64, i64);

fn deliveries(started: i64, now: i64, marks: &[Mark<'_>]) -> Deliveries {
    let delivery = |(entry, token, replica, first, newest, last): &Mark<'_>| Delivery {
        sender: "s".to_owned(),
        token: (*token).to_owned(),
        entry: (*entry).to_owned(),
        replica: (*replica).to_owned(),
        address: "10.0.0.1".to_owned(),
        first: first * SECOND,
        newest: newest * SECOND,
        // Delivered when it was scraped, if nothing else is said, by a queue that does not lag.
        last_delivered: if *last == 0 { *newest } else { *last } * SECOND,
        oldest: vec![Oldest { seconds: 120, timestamp: newest * SECOND, longest_pause: 30 * SECOND }],
    };
    of_marks(started * SECOND, now * SECOND, marks.iter().map(delivery).collect())
}

fn pod(name: &str, started: i64) -> Pod {
    Pod { name: name.to_owned(), addresses: vec![], started: Some(started * SECOND), terminating: false }
}

fn name(text: &str) -> EntryName {
    text.parse().unwrap()
}

/// Old and new, in seconds; one pod `p-0` that started at `pod_started`, and the list was written at 100.
fn retire(pod_started: i64, marks: &[Mark<'_>]) -> Verdict {
    let (deliveries, pods) = (deliveries(0, 1_000, marks), [pod("p-0", pod_started)]);
    let sender = Sender::new(&deliveries, "s", &pods);
    may_retire(&name(OLD), &name(NEW), 100 * SECOND, &sender, OVERLAP_OF_TESTS, INTERVAL)
}

#[test]
fn an_entry_retires_when_both_have_delivered_past_the_start_of_the_new_one() {
    for (pod_started, marks, missing) in [
        (0, vec![(OLD, "t", "p-0", 0, 170, 0), (NEW, "t", "p-0", 110, 170, 0)], ""),
        (
            0,
            vec![(OLD, "t", "p-0", 0, 169, 0), (NEW, "t", "p-0", 110, 170, 0)],
            "1000 ms behind with the entry promarchive/monitoring/lab/0",
        ),
        (
            0,
            vec![(OLD, "t", "p-0", 0, 170, 0), (NEW, "t", "p-0", 110, 169, 0)],
            "1000 ms behind with the entry promarchive/monitoring/lab/1",
        ),
        (
            0,
            vec![(OLD, "t", "p-0", 0, 900, 0)],
            "no samples have arrived from pod p-0 through the entry promarchive/monitoring/lab/1",
        ),
        (
            0,
            vec![(NEW, "t", "p-0", 110, 900, 0)],
            "no samples have arrived from pod p-0 through the entry promarchive/monitoring/lab/0",
        ),
        // Marks of another pod prove nothing.
        (0, vec![(OLD, "t", "p-0", 0, 900, 0), (NEW, "t", "p-1", 110, 900, 0)], "no samples have arrived"),
        // The new one was there before, went and came back with this writing of the list: its first is from an earlier life.
        (0, vec![(OLD, "t", "p-0", 0, 150, 0), (NEW, "t", "p-0", 10, 170, 0)], "10000 ms behind"),
        (0, vec![(OLD, "t", "p-0", 0, 160, 0), (NEW, "t", "p-0", 10, 50, 0)], "110000 ms behind"),
        // The receiver restarted: a later first, a later moment.
        (0, vec![(OLD, "t", "p-0", 400, 450, 0), (NEW, "t", "p-0", 400, 500, 0)], "10000 ms behind"),
        // The process that runs now has not delivered: nothing is known of it.
        (500, vec![(OLD, "t", "p-0", 0, 400, 0), (NEW, "t", "p-0", 110, 400, 0)], "no samples have arrived"),
        // It began with both: the old one has nothing of its own, and need not deliver at all.
        (500, vec![(NEW, "t", "p-0", 110, 502, 0)], ""),
        (500, vec![(OLD, "t", "p-0", 0, 300, 0), (NEW, "t", "p-0", 110, 502, 0)], ""),
        // It began, perhaps, before the new one was in its configuration.
        (120, vec![(NEW, "t", "p-0", 110, 502, 0)], "no samples have arrived"),
        // Two tokens of one entry are one queue.
        (0, vec![(OLD, "a", "p-0", 0, 79, 0), (OLD, "b", "p-0", 80, 170, 0), (NEW, "b", "p-0", 110, 170, 0)], ""),
    ] {
        let verdict = retire(pod_started, &marks);
        assert_eq!(verdict.is_yes(), missing.is_empty(), "{marks:?}: {verdict}");
        assert!(missing.is_empty() || verdict.to_string().contains(missing), "{marks:?}: {verdict}");
    }
}

#[test]
fn every_pod_is_waited_for_but_those_that_terminate() {
    let marks = [(OLD, "t", "p-0", 0, 900, 0), (NEW, "t", "p-0", 110, 900, 0)];
    let deliveries = deliveries(0, 1_000, &marks);
    let verdict = |other: Option<Pod>| {
        let pods: Vec<_> = std::iter::once(pod("p-0", 0)).chain(other).collect();
        let sender = Sender::new(&deliveries, "s", &pods);
        may_retire(&name(OLD), &name(NEW), 100 * SECOND, &sender, OVERLAP_OF_TESTS, INTERVAL)
    };
    assert_eq!(verdict(None), Verdict::Yes);
    assert!(verdict(Some(pod("p-1", 0))).to_string().contains("from pod p-1"));
    assert_eq!(verdict(Some(Pod { terminating: true, ..pod("p-1", 0) })), Verdict::Yes);
    assert_eq!(
        verdict(Some(Pod { started: None, ..pod("p-1", 0) })),
        Verdict::NotYet(vec![Missing::NotStarted { pod: "p-1".to_owned() }])
    );
}

#[test]
fn an_entry_may_go_when_what_was_scraped_before_is_here() {
    let deliveries = deliveries(0, 1_000, &[(OLD, "t", "p-0", 0, 700, 0)]);
    let pods = [pod("p-0", 0)];
    let sender = Sender::new(&deliveries, "s", &pods);
    assert!(delivered_past(&name(OLD), 700 * SECOND, &sender, INTERVAL).is_yes());
    assert!(!delivered_past(&name(OLD), 700 * SECOND + 1, &sender, INTERVAL).is_yes());
    let others = [pod("p-0", 0), Pod { terminating: true, ..pod("p-1", 0) }, Pod { started: None, ..pod("p-2", 0) }];
    assert!(delivered_past(&name(OLD), 700 * SECOND, &Sender::new(&deliveries, "s", &others), INTERVAL).is_yes());
    let silent = [pod("p-0", 0), pod("p-1", 0)];
    assert!(!delivered_past(&name(OLD), 700 * SECOND, &Sender::new(&deliveries, "s", &silent), INTERVAL).is_yes());
}

#[test]
fn no_pods_prove_nothing_while_something_comes() {
    for (last, verdict) in [(950, Verdict::NotYet(vec![Missing::NoPods])), (900, Verdict::Yes)] {
        let deliveries = deliveries(0, 1_000, &[(OLD, "t", "p-0", 0, 700, last)]);
        let sender = Sender::new(&deliveries, "s", &[]);
        assert_eq!(delivered_past(&name(OLD), 700 * SECOND, &sender, INTERVAL), verdict);
        assert_eq!(may_retire(&name(OLD), &name(NEW), 0, &sender, OVERLAP_OF_TESTS, INTERVAL), verdict);
    }
}

#[test]
fn a_token_is_forgotten_when_every_pod_has_left_it_behind() {
    for (marks, retired) in [
        (vec![(OLD, "old", "p-0", 0, 900, 900), (OLD, "new", "p-0", 0, 960, 960)], true),
        (vec![(OLD, "old", "p-0", 0, 900, 901), (OLD, "new", "p-0", 0, 960, 960)], false),
        (
            vec![(OLD, "old", "p-0", 0, 900, 900), (NEW, "old", "p-0", 0, 950, 950), (OLD, "new", "p-0", 0, 960, 960)],
            false,
        ),
        (vec![(OLD, "old", "p-0", 0, 900, 900)], false),
        (vec![(OLD, "new", "p-0", 0, 900, 900)], true),
        (vec![], false),
        (vec![(OLD, "new", "p-1", 0, 900, 900)], false),
    ] {
        for terminating in [false, true] {
            let deliveries = deliveries(0, 1_000, &marks);
            let pods = [Pod { terminating, ..pod("p-0", 0) }];
            let sender = Sender::new(&deliveries, "s", &pods);
            assert_eq!(token_retired("old", "new", &sender).is_yes(), retired, "{marks:?}");
        }
    }
}

/// A target whose clock is 540 s ahead, beside others. The queue lags.
#[test]
fn an_exporter_that_is_ahead_does_not_hide_that_the_queue_lags() {
    let oldest =
        |seconds, timestamp: i64| Oldest { seconds, timestamp: timestamp * SECOND, longest_pause: 35 * SECOND };
    let judge = |all: &[(i64, i64, Vec<Oldest>)]| {
        // All of one queue, by several tokens.
        let marks: Vec<Mark<'_>> = all.iter().map(|(newest, last, _)| (OLD, "t", "p-0", 10, *newest, *last)).collect();
        let mut deliveries = deliveries(0, 2_000, &marks);
        for (mark, (_, _, oldest)) in deliveries.deliveries.iter_mut().zip(all) {
            mark.oldest.clone_from(oldest);
        }
        let pods = [pod("p-0", 0)];
        delivered_past(&name(OLD), 700 * SECOND, &Sender::new(&deliveries, "s", &pods), INTERVAL)
    };
    let older = Verdict::NotYet(vec![Missing::Older { pod: "p-0".to_owned(), entry: OLD.to_owned() }]);
    // It has read up to 300 s, of which the exporter's samples say 840 s.
    assert_eq!(judge(&[(840, 1_000, vec![oldest(120, 250)])]), older);
    assert_eq!(judge(&[(840, 1_000, vec![])]), older, "an earlier version of the receiver, or too early to tell");
    assert_eq!(judge(&[(840, 1_000, vec![oldest(60, 800)])]), older, "not for three scrape intervals");
    assert_eq!(judge(&[(1_250, 1_000, vec![oldest(120, 700), oldest(240, 600)])]), Verdict::Yes, "nothing older comes");
    let paused = Oldest { longest_pause: 41 * SECOND, ..oldest(120, 800) };
    assert_eq!(judge(&[(1_250, 1_000, vec![paused])]), older, "little came, perhaps of one exporter alone");
    // Prometheus takes no sample that is further ahead.
    assert_eq!(judge(&[(1_299, 1_000, vec![])]), older);
    assert_eq!(judge(&[(1_300, 1_000, vec![])]), Verdict::Yes);
    // What came with another token a moment ago counts as well, and what came long ago does not.
    let good = (1_250, 1_000, vec![oldest(120, 700)]);
    assert_eq!(judge(&[good.clone(), (600, 950, vec![oldest(120, 500)])]), older);
    assert_eq!(judge(&[good, (600, 900, vec![oldest(120, 500)])]), Verdict::Yes);
}
