//! What is so of a Prometheus after its patch, for the status. Pure.

use k8s_openapi::jiff::Timestamp;
use promarchive_api::metrics_archive::PrometheusState;

use super::{Said, Wish, name_of};
use crate::archive::chosen::Sender;
use crate::archive::dereference::Found;
use crate::archive::validate::Archive;
use crate::names::EntryName;
use crate::senders::delivery::{self, Receiving};
use crate::senders::entry::{self, Entry, Plan, State};

/// How long Prometheus keeps its log of samples, ms: until its head is compacted, every 2 hours.
const KEPT_BY_PROMETHEUS: i64 = 2 * 3_600_000;

/// What is so after the patch.
pub(super) fn describe(
    archive: &Archive,
    found: &Found<'_>,
    sender: &Sender<'_>,
    wish: &Wish,
    plan: Plan,
    present: Option<EntryName>,
) -> Said {
    let prometheus = &sender.prometheus;
    match (wish, plan.state) {
        // Pasted, or somebody's own: it is only looked at.
        (Wish::Leave(PrometheusState::NotPasted, _), State::Draining(_) | State::ConfiguredByOthers) => {
            arriving(found, sender, present, Vec::new())
        }
        (Wish::Leave(PrometheusState::NotPasted, _), _)
            if entry::is_sent_to(prometheus.remote_write().unwrap_or_default(), &archive.id, &prometheus.namespace) =>
        {
            others(found, sender)
        }
        (Wish::Leave(state, message), _) => (*state, message.clone(), present),
        (Wish::Refused(message), _) => (PrometheusState::PatchDenied, message.clone(), present),
        (Wish::Nothing, _) => (
            PrometheusState::Draining,
            "no longer selected; the entry is removed when the newest samples have arrived".to_owned(),
            present,
        ),
        (Wish::Entry(_), State::ConfiguredByOthers) => others(found, sender),
        (Wish::Entry(entry), State::Replacing(old)) => {
            let message = format!(
                "the settings changed: {} is removed when all samples arrive through the new entry",
                join(&old)
            );
            replacing(found, sender, entry.name().clone(), message)
        }
        (Wish::Entry(entry), _) => arriving(found, sender, Some(entry.name().clone()), notes(entry)),
    }
}

fn join(names: &[EntryName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn notes(entry: &Entry) -> Vec<String> {
    entry.notes().iter().map(ToString::to_string).collect()
}

fn others(found: &Found<'_>, sender: &Sender<'_>) -> Said {
    match arriving(found, sender, None, Vec::new()) {
        (PrometheusState::Receiving, ..) => (
            PrometheusState::ConfiguredByOthers,
            "an entry that was not added by the operator already sends samples to this receiver".to_owned(),
            None,
        ),
        other => other,
    }
}

fn replacing(found: &Found<'_>, sender: &Sender<'_>, entry: EntryName, message: String) -> Said {
    match arriving(found, sender, None, Vec::new()) {
        (PrometheusState::Receiving, ..) => (PrometheusState::Replacing, message, Some(entry)),
        (state, text, _) => (state, text, Some(entry)),
    }
}

/// A NetworkPolicy names pods; what comes from the host's network comes from a node.
const BLOCKED_BY_POLICY: &str = "the pods use the host network (spec.hostNetwork: true), but the NetworkPolicy of the archive allows pods, not \
     nodes: most networks block the samples. Set spec.receiver.networkPolicy: None in the archive, or add your own \
     NetworkPolicy that allows connections from the nodes' addresses to port 9201 of the receiver";

/// It has an entry; do its samples arrive?
fn arriving(found: &Found<'_>, sender: &Sender<'_>, entry: Option<EntryName>, mut notes: Vec<String>) -> Said {
    let prometheus = &sender.prometheus;
    let name = name_of(sender);
    let interval = delivery::scrape_interval(prometheus.scrape_interval());
    let pods = found.pods_of(&name);
    let text = name.sender();
    let judged = found
        .delivered(&name, &text)
        .map(|delivered| delivery::receiving(found.judged_before(prometheus), &delivered, interval));
    let state = match judged {
        Some(Receiving::Receiving) => PrometheusState::Receiving,
        Some(Receiving::Overdue { .. }) => PrometheusState::Overdue,
        _ if prometheus.is_paused() => PrometheusState::Paused,
        _ if prometheus.is_perhaps_unmanaged() => PrometheusState::PerhapsUnmanaged,
        _ => PrometheusState::WaitingForSamples,
    };
    let message = match (state, judged) {
        (_, Some(Receiving::Overdue { since })) => &stopped_at(since),
        (PrometheusState::Receiving, _) => "samples arrive",
        (PrometheusState::Paused, _) => {
            "spec.paused of the Prometheus is true: the Prometheus Operator ignores the entry until it is false"
        }
        (PrometheusState::PerhapsUnmanaged, _) => {
            "the object has no selector for monitors, so the Prometheus Operator may not write its configuration; in \
             this case, add the entry to your own configuration"
        }
        _ if pods.is_empty() => "the entry is added, but there are no pods yet",
        _ => "the entry is added; Prometheus takes up to 4 minutes to load it",
    };
    notes.insert(0, message.to_owned());
    if state != PrometheusState::Receiving && prometheus.is_on_host_network() && found.has_network_policy {
        notes.push(BLOCKED_BY_POLICY.to_owned());
    }
    if prometheus.is_daemon_set() {
        notes.push(
            "agents in DaemonSet mode do not keep unsent samples: samples that are not sent when a pod ends are \
             lost"
                .to_owned(),
        );
    }
    (state, notes.join(". "), entry)
}

/// `since`: ms since 1970.
fn stopped_at(since: i64) -> String {
    let text = |time: i64| Timestamp::from_millisecond(time).map_or("?".to_owned(), |time| format!("{time:.0}"));
    format!(
        "no samples have arrived since {}. Prometheus keeps unsent samples for about 2 hours: samples that are not \
         sent by {} may be lost. Check that its pods run, its metric prometheus_remote_storage_samples_failed_total \
         and its log",
        text(since),
        text(since.saturating_add(KEPT_BY_PROMETHEUS)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_prometheus_keeps_is_named() {
        let text = stopped_at(1_795_305_600_123);
        assert!(text.contains("since 2026-11-22T00:00:00Z.") && text.contains("by 2026-11-22T02:00:00Z may"), "{text}");
    }
}
