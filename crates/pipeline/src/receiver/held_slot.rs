//! The slots of all connections, between the task that accepts and the tasks that serve; [`Slots`] decides.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use promarchive_api::receiver_settings::HttpSettings;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use super::slots::{Limits, Purpose, SlotId, Slots, Stage};

/// Slots for probes, beside those of the settings.
const PROBES: usize = 32;
/// One of so many slots may be in a TLS handshake.
const HANDSHAKES_PART: usize = 4;
/// One of so many open files may be a connection: the write-ahead log, tables and what is about to be closed need the others.
const OPEN_FILES_PART: u64 = 2;

/// How many slots there are for a process that may have so many files open.
pub(super) fn limits(settings: &HttpSettings, open_files: Option<u64>) -> Limits {
    let files = open_files.map_or(usize::MAX, |files| usize::try_from(files / OPEN_FILES_PART).unwrap_or(usize::MAX));
    let all = settings.max_connections.min(files.saturating_sub(PROBES)).max(1);
    Limits {
        all,
        per_address: settings.max_connections_per_address.min(all),
        handshakes: (all / HANDSHAKES_PART).max(1),
        probes: PROBES,
    }
}

pub(super) struct SlotTable {
    slots: Mutex<Slots<Arc<Notify>>>,
    displaced: Counter,
    /// Slots of all kinds.
    size: usize,
}

impl SlotTable {
    /// Counts connections that are closed to make room in `displaced`.
    pub(super) fn new(limits: Limits, displaced: Counter) -> Arc<Self> {
        let size = limits.all.saturating_add(limits.probes);
        Arc::new(Self { slots: Mutex::new(Slots::new(limits)), displaced, size })
    }

    /// How many connections have a slot at a time.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn slots(&self) -> MutexGuard<'_, Slots<Arc<Notify>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of a new connection. The one that makes room for it is told to close.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, stage: Stage) -> HeldSlot {
        let close = Arc::new(Notify::new());
        let taken = self.slots().take(address, stage, Arc::clone(&close));
        if let Some(other) = taken.closed {
            self.displaced.inc();
            other.notify_one();
        }
        HeldSlot { table: Arc::clone(self), id: taken.id, purpose: taken.purpose, close }
    }
}

/// The slot of one connection, until it is dropped.
pub(super) struct HeldSlot {
    table: Arc<SlotTable>,
    id: SlotId,
    purpose: Purpose,
    close: Arc<Notify>,
}

impl HeldSlot {
    /// What the connection may be used for.
    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The connection does something else from now on.
    pub(super) fn enter(&self, stage: Stage) {
        self.table.slots().enter(self.id, stage);
    }

    /// A request of the connection needed access, and got it.
    pub(super) fn known(&self) {
        self.table.slots().known(self.id);
    }

    /// Resolves when the connection is to close, to make room for another one.
    pub(super) async fn closing(&self) {
        self.close.notified().await;
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        self.table.slots().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_open_files_make_few_connections() {
        let settings = HttpSettings::default();
        let of = |files| limits(&settings, files);
        assert_eq!(of(None), Limits { all: 1024, per_address: 512, handshakes: 256, probes: PROBES });
        assert_eq!(of(Some(1 << 20)), of(None));
        assert_eq!(of(Some(1024)), Limits { all: 480, per_address: 480, handshakes: 120, probes: PROBES });
        assert_eq!(of(Some(10)).all, 1);
    }
}
