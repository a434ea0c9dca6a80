//! What keeps a receiver from working, for probes, senders and people: one line each.

use std::sync::{Mutex, PoisonError};

/// A part of the receiver that can be at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Not started yet.
    Start,
    /// The write-ahead log.
    Wal,
    /// The tables.
    Archive,
    /// The space held back for flushes.
    Reserve,
    /// A task that must work until the end.
    Task,
    /// Told to stop.
    Stop,
}

/// Faults by part.
#[derive(Debug, Default)]
pub(super) struct Health {
    faults: Mutex<std::collections::BTreeMap<Part, String>>,
}

impl Health {
    fn faults(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<Part, String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part is at fault. Logged when it is new.
    pub(super) fn fault(&self, part: Part, reason: impl Into<String>) {
        let reason = reason.into();
        if self.faults().insert(part, reason.clone()).is_none() && !matches!(part, Part::Start | Part::Stop) {
            tracing::warn!(reason, "not ready");
        }
    }

    /// A part works. Logged when it did not.
    pub(super) fn works(&self, part: Part) {
        if let Some(reason) = self.faults().remove(&part)
            && part != Part::Start
        {
            tracing::info!(after = reason, "works again");
        }
    }

    /// The fault of a part.
    pub(super) fn of(&self, part: Part) -> Option<String> {
        self.faults().get(&part).cloned()
    }

    /// All faults in one line; none when everything works.
    pub(super) fn one_line(&self) -> Option<String> {
        let faults = self.faults();
        (!faults.is_empty()).then(|| faults.values().map(String::as_str).collect::<Vec<_>>().join("; "))
    }
}
