//! What may go: an entry, a Prometheus that is held, a token.

use promarchive_api::{Delivery, Oldest, Timespan};

use super::interval::milliseconds;
use super::{Missing, Pod, Sender, Verdict};
use crate::names::EntryName;

/// How long two entries run side by side, at least: longer than a kubelet takes to bring a configuration to its pod (82 s
/// seen), than exporters' timestamps are behind, and than shards of one queue are apart.
pub const OVERLAP: Timespan = Timespan::from_secs(180);

/// A request that was on its way with the old token while another had the new one has ended by then (30 s is the default
/// time limit of a request).
const TOKEN_OVERLAP: i64 = 60_000;
const UNLISTED_WINDOW: i64 = 90_000;

/// So far ahead of its own clock may the timestamp of a sample be: Prometheus takes no other.
const AHEAD: i64 = 600_000;
/// For at least so many scrape intervals nothing older may have come: whoever else is scraped has had its turn in them.
const INTERVALS: i64 = 3;
/// The same for what is scraped often, ms.
const SHORTEST_WINDOW: i64 = 30_000;
/// A queue that does not lag pauses for no longer than a scrape interval and this, ms: it sends what it has after 5 s.
const STEADY: i64 = 10_000;

/// Whether `old` may go out, because `new` has everything from its own start on, and `old` everything before.
///
/// `written` is when the operator last changed the list (the time of its entry in `metadata.managedFields`), ms since 1970.
/// Each pod must have delivered past (the first sample of `new`, or `written` if that is later) + `overlap`, with both
/// entries, and nothing older for as long as `overlap`, or three scrape intervals if that is longer. A pod whose process began when
/// `new` had long been there started both queues at the same moment: `old` has nothing of its own, and nothing is waited for.
pub fn may_retire(
    old: &EntryName,
    new: &EntryName,
    written: i64,
    sender: &Sender<'_>,
    overlap: Timespan,
    interval: Timespan,
) -> Verdict {
    if let Some(missing) = unlisted(sender) {
        return Verdict::NotYet(vec![missing]);
    }
    let (old, new) = (old.header(), new.header());
    let (overlap, interval) = (milliseconds(overlap), milliseconds(interval));
    let judge = |pod: &Pod| {
        let Some(began) = pod.began() else { return Some(Missing::NotStarted { pod: pod.name.clone() }) };
        let newest_of_new = match newest(sender.marks_of(pod), &new) {
            Some(newest) => newest,
            None => return Some(Missing::NothingThrough { pod: pod.name.clone(), entry: new.clone() }),
        };
        let start_of_new = first(sender.marks_of_all_lives(pod), &new).unwrap_or(newest_of_new).max(written);
        let both_past = start_of_new.saturating_add(overlap);
        if both_past < began {
            return None;
        }
        let past = Past::new(start_of_new, overlap, interval);
        past.missing(pod, &new, sender).or_else(|| past.missing(pod, &old, sender))
    };
    Verdict::of(staying(sender.pods).filter_map(judge))
}

/// Whether everything that was scraped before `moment` (ms since 1970) has come through `entry`, so that it may go: each pod has
/// delivered a sample of that time or later, and nothing older for three scrape intervals, or 30 s if that is longer. A pod without a
/// process has nothing to send.
pub fn delivered_past(entry: &EntryName, moment: i64, sender: &Sender<'_>, interval: Timespan) -> Verdict {
    if let Some(missing) = unlisted(sender) {
        return Verdict::NotYet(vec![missing]);
    }
    let entry = entry.header();
    let running = staying(sender.pods).filter(|pod| pod.started.is_some());
    let past = Past::new(moment, 0, milliseconds(interval));
    Verdict::of(running.filter_map(|pod| past.missing(pod, &entry, sender)))
}

/// What a pod must have delivered past. In milliseconds.
struct Past {
    moment: i64,
    /// Further than the moment.
    overlap: i64,
    /// For how long nothing from before the moment may have come.
    window: i64,
    /// The longest pause of a queue that does not lag.
    longest_pause: i64,
}

impl Past {
    fn new(moment: i64, overlap: i64, interval: i64) -> Self {
        let window = interval.saturating_mul(INTERVALS).max(overlap).max(SHORTEST_WINDOW);
        Self { moment, overlap, window, longest_pause: interval.saturating_add(STEADY) }
    }

    /// What is missing of what `pod` had before the moment. The newest sample alone proves nothing: it can be that of an exporter whose
    /// clock is ahead, while the queue lags. Either no sample from before the moment has come for a while, or the newest one is further
    /// ahead than any exporter can be.
    fn missing(&self, pod: &Pod, entry: &str, sender: &Sender<'_>) -> Option<Missing> {
        let marks: Vec<&Delivery> = sender.marks_of(pod).filter(|mark| mark.entry == entry).collect();
        let Some(newest) = marks.iter().map(|mark| mark.newest).max() else {
            return Some(Missing::NothingThrough { pod: pod.name.clone(), entry: entry.to_owned() });
        };
        let wanted = self.moment.saturating_add(self.overlap);
        let (pod, entry) = (pod.name.clone(), entry.to_owned());
        if newest < wanted {
            return Some(Missing::Behind { pod, entry, behind: wanted.saturating_sub(newest) });
        }
        let is_past = newest >= wanted.saturating_add(AHEAD) || self.nothing_older_comes(&marks);
        (!is_past).then_some(Missing::Older { pod, entry })
    }

    /// Whether all of these, which are of one queue, have brought nothing from before the moment for some time, and without long pauses: what
    /// comes between pauses can be that of one exporter alone.
    fn nothing_older_comes(&self, marks: &[&Delivery]) -> bool {
        let Some(last) = marks.iter().map(|mark| mark.last_delivered).max() else { return false };
        let recent = marks.iter().filter(|mark| last.saturating_sub(mark.last_delivered) <= self.window);
        recent.into_iter().all(|mark| {
            within(mark, self.window)
                .is_some_and(|one| one.timestamp >= self.moment && one.longest_pause <= self.longest_pause)
        })
    }
}

/// What came in the last `window` ms or a little more; none if that is not told.
fn within(mark: &Delivery, window: i64) -> Option<&Oldest> {
    let long = mark.oldest.iter().filter(|oldest| oldest.seconds.saturating_mul(1_000) >= window);
    long.min_by_key(|oldest| oldest.seconds)
}

/// Whether the old token of a sender may be forgotten: every pod that exists has delivered with the new one, a minute after the
/// old one. Tokens are given by the first 8 hexadecimal digits of their SHA-256. A pod that terminates counts: it flushes with what it has.
pub fn token_retired(old: &str, new: &str, sender: &Sender<'_>) -> Verdict {
    let last = |pod, token: &str| {
        sender.marks_of(pod).filter(|mark| mark.token == token).map(|mark| mark.last_delivered).max()
    };
    Verdict::of(sender.pods.iter().filter_map(|pod| {
        let changed = match (last(pod, old), last(pod, new)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new.saturating_sub(old) >= TOKEN_OVERLAP,
        };
        let missing = match pod.started {
            None => Missing::NotStarted { pod: pod.name.clone() },
            Some(_) => Missing::OldToken { pod: pod.name.clone() },
        };
        (!changed).then_some(missing)
    }))
}

/// Somebody delivers, but no pod is known: the list is behind, or the pods have other labels. Then no pods prove nothing.
fn unlisted(sender: &Sender<'_>) -> Option<Missing> {
    let now = sender.now;
    let delivers = sender.marks.iter().any(|mark| now.saturating_sub(mark.last_delivered) < UNLISTED_WINDOW);
    (sender.pods.is_empty() && delivers).then_some(Missing::NoPods)
}

fn staying(pods: &[Pod]) -> impl Iterator<Item = &Pod> {
    pods.iter().filter(|pod| !pod.terminating)
}

fn newest<'a>(marks: impl Iterator<Item = &'a Delivery>, entry: &str) -> Option<i64> {
    marks.filter(|mark| mark.entry == entry).map(|mark| mark.newest).max()
}

fn first<'a>(marks: impl Iterator<Item = &'a Delivery>, entry: &str) -> Option<i64> {
    marks.filter(|mark| mark.entry == entry).map(|mark| mark.first).min()
}

#[cfg(test)]
mod tests;
