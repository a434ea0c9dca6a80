//! Judgement from marks: what has arrived from a Prometheus, and what may therefore be taken away.
//!
//! **A mark** ([`Delivery`]) says of one sender, token, entry, replica and address: samples from `first` to `newest` were
//! acknowledged, the last of them at `lastDelivered`. So it proves
//!
//! - that the queue of that entry was running when it delivered, with that token;
//! - that its start lies before `first`: a queue sends nothing from before its start;
//! - that it has read the WAL up to the record with `newest`. What it has read and not sent is flushed when it is stopped.
//!
//! **It does not prove**
//!
//! - *that all up to `newest` has arrived.* A queue sends in shards, side by side. Exporters with timestamps of their own are behind
//!   (cAdvisor by up to a minute) or ahead (Prometheus takes 10 min). So a decision wants deliveries past a moment by an
//!   [`OVERLAP`], not just up to it; and one exporter that is ahead hides that the queue lags, so it also wants to see
//!   that nothing from before the moment has come for some time (`oldest`), or a `newest` that is ahead by more than any exporter can be.
//! - *when the queue started.* The receiver forgets its marks when it restarts: `first` is then later than the start, which makes a
//!   decision later, never wrong. But an entry that was taken out and came back, or was changed by somebody and set right,
//!   has a `first` from an earlier life: too early. So decisions also want deliveries past the moment at which the list was last written.
//! - *that a pod had nothing to send.* No mark is no proof; it is always waited for what is missing, and whoever waits has a
//!   time limit of its own (`drainTimeout`) and a message that says what was missing.
//!
//! **Whose mark it is.** Every pod has queues of its own, so each is judged by itself: shards and HA pairs are pods like
//! others. A mark is a pod's if its address is that of this pod alone. If it is no pod's (NAT), or several pods' (the host's network), the
//! `replica` decides, which is the pod's name by default; federated series can carry another one, so the address goes first. Where
//! neither decides it is nobody's, and what is missing is waited for. A mark that ends before the pod's process began is that of a pod before it, which had its name or address.
//!
//! **Clocks.** Timestamps of samples and the start of a container are read from one clock, that of the pod's node. `lastDelivered`, `started`
//! and `now` are the receiver's. Only like is compared with like, with exceptions that no mark can avoid: [`delivered_past`]
//! (API server against sample) and the time of writing in [`may_retire`] (API server against sample), where the overlap covers seconds of skew;
//! and a mark is of the process that runs now only if it was delivered to after the start of that (receiver against node).
//!
//! A pod that terminates has stopped scraping, flushes, and loads no configuration any more: neither an entry nor a scrape waits for
//! it. A token does: the pod still uses the one it has.

mod interval;
mod judge;
mod pods;
mod receiving;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

pub use interval::{DEFAULT_SCRAPE_INTERVAL, scrape_interval};
pub use judge::{OVERLAP, delivered_past, may_retire, token_retired};
pub use pods::{Pod, Sender, is_controller_of};
use promarchive_api::Deliveries;
#[cfg(doc)]
use promarchive_api::Delivery;
pub use receiving::{Receiving, receiving};

/// For how long nothing has come from the senders that `counts` names while something could come. After a restart of the receiver nothing is known of
/// the time before, and nothing can come until its log is replayed.
pub fn silence(deliveries: &Deliveries, counts: impl Fn(&str) -> bool) -> Duration {
    let marks = deliveries.deliveries.iter().filter(|mark| counts(&mark.sender));
    since(deliveries, marks.map(|mark| mark.last_delivered).max())
}

/// For how long nothing has come from each sender.
pub fn silences(deliveries: &Deliveries) -> impl Fn(&str) -> Duration {
    let mut last: HashMap<&str, i64> = HashMap::new();
    for mark in &deliveries.deliveries {
        last.entry(&mark.sender)
            .and_modify(|last| *last = (*last).max(mark.last_delivered))
            .or_insert(mark.last_delivered);
    }
    move |sender| since(deliveries, last.get(sender).copied())
}

fn since(deliveries: &Deliveries, last: Option<i64>) -> Duration {
    let writable_since = deliveries.writable_since.unwrap_or(deliveries.started);
    let last = last.unwrap_or(writable_since).max(writable_since);
    Duration::from_millis(u64::try_from(deliveries.now.saturating_sub(last)).unwrap_or(0))
}

/// Whether it may be done now, or what is still missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Yes,
    /// Not yet; the first thing of each pod that is missing.
    NotYet(Vec<Missing>),
}

impl Verdict {
    /// Whether it is [`Verdict::Yes`].
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }

    fn of(missing: impl Iterator<Item = Missing>) -> Self {
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() { Self::Yes } else { Self::NotYet(missing) }
    }
}

/// What is missing, as text for a status.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("nothing is missing"),
            Self::NotYet(missing) => {
                let texts: Vec<_> = missing.iter().map(Missing::to_string).collect();
                f.write_str(&texts.join("; "))
            }
        }
    }
}

/// One thing that a decision waits for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Prometheus does not run in the pod yet.
    #[error("Prometheus has not started in pod {pod}")]
    NotStarted {
        /// The pod.
        pod: String,
    },
    /// Something delivers, and no pod is known.
    #[error("no pod is known, but samples arrived in the last 90 s")]
    NoPods,
    /// The new entry has delivered nothing from the process that runs now.
    #[error("no samples have arrived from pod {pod} through the entry {entry}")]
    NothingThrough {
        /// The pod.
        pod: String,
        /// Header of the entry.
        entry: String,
    },
    /// An entry has not delivered that far yet.
    #[error("pod {pod} is {behind} ms behind with the entry {entry}")]
    Behind {
        /// The pod.
        pod: String,
        /// Header of the entry.
        entry: String,
        /// How far its newest sample is from where it has to be, ms.
        behind: i64,
    },
    /// Samples from before the moment may still come through an entry.
    #[error(
        "pod {pod} may still send older samples through the entry {entry}: some arrived recently, or there were long \
         pauses between requests"
    )]
    Older {
        /// The pod.
        pod: String,
        /// Header of the entry.
        entry: String,
    },
    /// The pod has not used the new token, or the old one since.
    #[error("pod {pod} does not use the new token yet")]
    OldToken {
        /// The pod.
        pod: String,
    },
}

/// What a receiver says that is ready: when it started and its clock, in milliseconds, and its marks.
#[cfg(test)]
pub(crate) fn of_marks(started: i64, now: i64, deliveries: Vec<promarchive_api::Delivery>) -> Deliveries {
    Deliveries { started, now, ready: true, writable_since: None, reason: None, senders: vec![], deliveries }
}

#[cfg(test)]
mod tests {
    use promarchive_api::Delivery;

    use super::*;

    #[test]
    fn silence_is_counted_while_a_receiver_takes_writes() {
        let mark = Delivery {
            sender: "monitoring/main".to_owned(),
            token: String::new(),
            entry: String::new(),
            replica: String::new(),
            address: String::new(),
            first: 0,
            newest: 0,
            last_delivered: 70_000,
            oldest: vec![],
        };
        for (writable_since, marks, seconds) in [
            (Some(60_000), vec![], 40),
            (Some(60_000), vec![mark.clone()], 30),
            (Some(90_000), vec![mark.clone()], 10),
            // As receivers of earlier versions say it.
            (None, vec![], 90),
        ] {
            let deliveries = Deliveries { writable_since, ..of_marks(10_000, 100_000, marks) };
            let wanted = Duration::from_secs(seconds);
            assert_eq!(silence(&deliveries, |_| true), wanted, "{deliveries:?}");
            assert_eq!(silences(&deliveries)("monitoring/main"), wanted, "{deliveries:?}");
        }
    }
}
