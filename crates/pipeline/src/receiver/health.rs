//! What keeps a receiver from working, for probes, senders and people: one line each.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

impl Part {
    /// Whether nothing is taken while it is at fault. While the tables are, the log goes on.
    fn keeps_writes_out(self) -> bool {
        match self {
            Self::Start | Self::Wal | Self::Task | Self::Stop => true,
            Self::Archive | Self::Reserve => false,
        }
    }
}

type Faults = BTreeMap<Part, String>;

/// Faults by part.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    /// When the last fault ended that keeps writes out.
    writable_since: Option<Instant>,
}

/// A fault that is over.
#[derive(Debug, PartialEq, Eq)]
struct Over {
    fault: String,
    /// The faults of other parts, in one line.
    left: Option<String>,
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part is at fault. Logged when it is new.
    pub(super) fn fault(&self, part: Part, reason: impl Into<String>) {
        let reason = reason.into();
        let is_new = {
            let mut state = self.state();
            if part.keeps_writes_out() {
                state.writable_since = None;
            }
            state.faults.insert(part, reason.clone()).is_none()
        };
        if is_new && !matches!(part, Part::Start | Part::Stop) {
            tracing::warn!(reason, "not ready");
        }
    }

    /// A part works. Logged when it did not: the receiver works again when nothing else is at fault.
    pub(super) fn works(&self, part: Part) {
        let Some(Over { fault, left }) = self.end(part) else { return };
        match left {
            _ if part == Part::Start => {}
            None => tracing::info!(after = fault, "works again"),
            Some(reason) => tracing::info!(over = fault, reason, "still not ready"),
        }
    }

    /// Ends the fault of a part; none if it had none.
    fn end(&self, part: Part) -> Option<Over> {
        let mut state = self.state();
        let fault = state.faults.remove(&part)?;
        if part.keeps_writes_out() && !state.faults.keys().any(|part| part.keeps_writes_out()) {
            state.writable_since = Some(Instant::now());
        }
        Some(Over { fault, left: one_line(&state.faults) })
    }

    /// For how long writes could be taken; none while they cannot.
    pub(super) fn writable_for(&self) -> Option<Duration> {
        self.state().writable_since.map(|since| since.elapsed())
    }

    /// The fault of a part.
    pub(super) fn of(&self, part: Part) -> Option<String> {
        self.state().faults.get(&part).cloned()
    }

    /// All faults in one line; none when everything works.
    pub(super) fn one_line(&self) -> Option<String> {
        one_line(&self.state().faults)
    }
}

fn one_line(faults: &Faults) -> Option<String> {
    (!faults.is_empty()).then(|| faults.values().map(String::as_str).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_works_says_what_is_still_at_fault() {
        let health = Health::default();
        health.fault(Part::Wal, "the log is full");
        health.fault(Part::Reserve, "no space is held back");
        health.fault(Part::Wal, "the log is still full");
        let over =
            |fault: &str, left: Option<&str>| Some(Over { fault: fault.to_owned(), left: left.map(str::to_owned) });
        assert_eq!(health.end(Part::Wal), over("the log is still full", Some("no space is held back")));
        assert_eq!(health.end(Part::Wal), None);
        assert_eq!(health.end(Part::Reserve), over("no space is held back", None));
    }

    #[test]
    fn writes_are_taken_while_only_the_tables_are_at_fault() {
        let health = Health::default();
        health.fault(Part::Start, "starting");
        health.fault(Part::Archive, "the disk is gone");
        assert_eq!(health.writable_for(), None);
        health.works(Part::Start);
        let first = health.writable_for().unwrap();
        health.works(Part::Archive);
        assert!(health.writable_for().unwrap() >= first, "it goes on");
        health.fault(Part::Wal, "the log is full");
        assert_eq!(health.writable_for(), None);
    }
}
