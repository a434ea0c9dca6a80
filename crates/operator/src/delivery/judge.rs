//! What may go: an entry, a Prometheus that is held, a token.

use promarchive_api::{Delivery, Timespan};

use super::interval::milliseconds;
use super::{Missing, Pod, Sender, Verdict};
use crate::entry::EntryName;

/// How long two entries run side by side, at least: longer than a kubelet takes to bring a configuration to its pod (82 s
/// seen), than exporters' timestamps are behind, and than shards of one queue are apart.
pub const OVERLAP: Timespan = Timespan::from_secs(180);

/// A request that was on its way with the old token while another had the new one has ended by then (30 s is the default
/// time limit of a request).
const TOKEN_OVERLAP: i64 = 60_000;
const UNLISTED_WINDOW: i64 = 90_000;

/// Whether `old` may go out, because `new` has everything from its own start on, and `old` everything before.
///
/// `written` is when the operator last changed the list (the time of its entry in `metadata.managedFields`), ms since 1970.
/// Each pod must have delivered past (the first sample of `new`, or `written` if that is later) + `overlap`, with both
/// entries. A pod whose process began when `new` had long been there started both queues at the same moment: `old` has nothing of
/// its own, and only `new` is waited for.
pub fn may_retire(old: &EntryName, new: &EntryName, written: i64, sender: &Sender<'_>, overlap: Timespan) -> Verdict {
    if let Some(missing) = unlisted(sender) {
        return Verdict::NotYet(vec![missing]);
    }
    let (old, new) = (old.header(), new.header());
    let overlap = milliseconds(overlap);
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
        behind(pod, &new, newest_of_new, both_past).or_else(|| match newest(sender.marks_of(pod), &old) {
            Some(newest_of_old) => behind(pod, &old, newest_of_old, both_past),
            None => Some(Missing::NothingThrough { pod: pod.name.clone(), entry: old.clone() }),
        })
    };
    Verdict::of(staying(sender.pods).filter_map(judge))
}

/// Whether everything that was scraped before `moment` (ms since 1970) has come through `entry`, so that it may go: each pod has
/// delivered a sample of that time or later. A pod without a process has nothing to send.
pub fn delivered_past(entry: &EntryName, moment: i64, sender: &Sender<'_>) -> Verdict {
    if let Some(missing) = unlisted(sender) {
        return Verdict::NotYet(vec![missing]);
    }
    let entry = entry.header();
    let running = staying(sender.pods).filter(|pod| pod.started.is_some());
    Verdict::of(running.filter_map(|pod| match newest(sender.marks_of(pod), &entry) {
        Some(newest) => behind(pod, &entry, newest, moment),
        None => Some(Missing::NothingThrough { pod: pod.name.clone(), entry: entry.clone() }),
    }))
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

fn behind(pod: &Pod, entry: &str, newest: i64, wanted: i64) -> Option<Missing> {
    let behind = wanted.saturating_sub(newest);
    (behind > 0).then(|| Missing::Behind { pod: pod.name.clone(), entry: entry.to_owned(), behind })
}

#[cfg(test)]
mod tests;
