//! Whether samples arrive from a Prometheus, without flapping.
//!
//! What is judged is when the receiver last acknowledged something, by the receiver's clock, against a window of several scrape
//! intervals. Within one window of a start, of the pod or of the receiver (which forgets its marks), nothing is concluded, and what was said before
//! stays.

use promarchive_api::Timespan;

use super::interval::milliseconds;
use super::{Pod, Sender};

/// The window is never shorter than this: retries, restarts and resharding take their time.
const LEAST_WINDOW: i64 = 120_000;
const INTERVALS: i64 = 4;

/// Whether samples arrive from a Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// From every pod.
    Receiving,
    /// None has arrived yet.
    WaitingForSamples,
    /// From at least one pod they stopped.
    Overdue {
        /// The receiver's clock when something last came from that pod, or when it could have first, ms since 1970. It does
        /// not move while nothing comes.
        since: i64,
    },
}

/// What one pod's marks say.
enum Arrival {
    /// Something came within the window.
    Fresh,
    /// Too early to tell.
    Young,
    /// Nothing came within the window.
    Late { since: i64 },
}

/// Whether samples arrive from every pod of the sender, through whichever entry. `before` is what was said last time.
pub fn receiving(before: Receiving, sender: &Sender<'_>, scrape_interval: Timespan) -> Receiving {
    let window = milliseconds(scrape_interval).saturating_mul(INTERVALS).max(LEAST_WINDOW);
    let ever = !sender.marks.is_empty() || before != Receiving::WaitingForSamples;
    let pods = sender.pods.iter().filter(|pod| !pod.terminating && pod.started.is_some());
    let arrivals: Vec<_> = pods.map(|pod| arrival(pod, sender, window)).collect();

    let late = arrivals.iter().filter_map(|arrival| match arrival {
        Arrival::Late { since } => Some(*since),
        _ => None,
    });
    match (late.min(), before) {
        (Some(_), _) if !ever => Receiving::WaitingForSamples,
        // A receiver that restarted knows only its own time: the earlier one stays.
        (Some(since), Receiving::Overdue { since: before }) => Receiving::Overdue { since: since.min(before) },
        (Some(since), _) => Receiving::Overdue { since },
        (None, _) if arrivals.iter().any(|arrival| matches!(arrival, Arrival::Fresh)) => Receiving::Receiving,
        (None, before) => before,
    }
}

fn arrival(pod: &Pod, sender: &Sender<'_>, window: i64) -> Arrival {
    let now = sender.now;
    let last = sender.marks_of(pod).map(|mark| mark.last_delivered).max();
    let since = last.unwrap_or_else(|| sender.started.max(pod.started.unwrap_or(now)));
    match (now.saturating_sub(since) <= window, last) {
        (true, Some(_)) => Arrival::Fresh,
        (true, None) => Arrival::Young,
        (false, _) => Arrival::Late { since },
    }
}

#[cfg(test)]
mod tests {
    use promarchive_api::Delivery;

    use super::super::of_marks;
    use super::Receiving::{Overdue, Receiving as Arriving, WaitingForSamples};
    use super::*;

    const MINUTE: i64 = 60_000;

    fn pod(name: &str, started: i64) -> Pod {
        Pod { name: name.to_owned(), addresses: vec![], started: Some(started), terminating: false }
    }

    /// Each pod with when it last delivered, if it did; the receiver started at `receiver`.
    fn judge(before: Receiving, receiver: i64, now: i64, pods: &[(Pod, Option<i64>)]) -> Receiving {
        let marks = pods.iter().filter_map(|(pod, last)| {
            last.map(|last| Delivery {
                sender: "s".to_owned(),
                token: String::new(),
                entry: "e".to_owned(),
                replica: pod.name.clone(),
                address: String::new(),
                first: last,
                newest: last,
                last_delivered: last,
                oldest: vec![],
            })
        });
        let deliveries = of_marks(receiver, now, marks.collect());
        let pods: Vec<_> = pods.iter().map(|(pod, _)| pod.clone()).collect();
        receiving(before, &Sender::new(&deliveries, "s", &pods), Timespan::from_secs(30))
    }

    #[test]
    fn a_pause_within_the_window_changes_nothing_and_a_longer_one_has_a_fixed_beginning() {
        let last = 10 * MINUTE;
        for (before, after) in [(0, Arriving), (2 * MINUTE, Arriving), (2 * MINUTE + 1, Overdue { since: last })] {
            assert_eq!(judge(Arriving, 0, last + before, &[(pod("a", 0), Some(last))]), after);
        }
        let overdue = Overdue { since: last };
        assert_eq!(judge(overdue, 0, 60 * MINUTE, &[(pod("a", 0), Some(last))]), overdue);
        assert_eq!(judge(overdue, 0, 61 * MINUTE, &[(pod("a", 0), Some(61 * MINUTE))]), Arriving);
    }

    #[test]
    fn a_restarted_receiver_concludes_nothing_for_a_window() {
        let pods = [(pod("a", 0), None)];
        for before in [Arriving, WaitingForSamples, Overdue { since: 5 }] {
            assert_eq!(judge(before, 10 * MINUTE, 11 * MINUTE, &pods), before);
        }
        assert_eq!(judge(Arriving, 10 * MINUTE, 13 * MINUTE, &pods), Overdue { since: 10 * MINUTE });
        assert_eq!(judge(Overdue { since: 5 }, 10 * MINUTE, 13 * MINUTE, &pods), Overdue { since: 5 });
        assert_eq!(judge(WaitingForSamples, 10 * MINUTE, 13 * MINUTE, &pods), WaitingForSamples);
    }

    #[test]
    fn every_pod_counts_but_those_that_come_and_go() {
        let now = 60 * MINUTE;
        let fresh = (pod("a", 0), Some(now));
        let silent = (pod("b", 30 * MINUTE), None);
        assert_eq!(judge(Arriving, 0, now, &[fresh.clone(), silent.clone()]), Overdue { since: 30 * MINUTE });
        assert_eq!(judge(WaitingForSamples, 0, now, std::slice::from_ref(&silent)), WaitingForSamples);

        let young = (pod("b", now - MINUTE), None);
        let terminating = (Pod { terminating: true, ..silent.0.clone() }, None);
        let starting = (Pod { started: None, ..silent.0 }, None);
        assert_eq!(judge(WaitingForSamples, 0, now, &[fresh, young.clone(), terminating.clone(), starting]), Arriving);
        assert_eq!(judge(Arriving, 0, now, &[young]), Arriving);
        assert_eq!(judge(Arriving, 0, now, &[terminating]), Arriving);
    }
}
