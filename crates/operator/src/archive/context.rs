//! What every look at an archive shares.

use std::sync::Arc;

use kube::Client;
use promarchive_api::Timespan;
use tokio::sync::Semaphore;

use crate::archive::build::ReceiverDefaults;
use crate::archive::receiver_client::ReceiverClient;
use crate::kubernetes::cache::Caches;
use crate::kubernetes::events::Events;
use crate::kubernetes::guard::Guard;
use crate::names::{ArchiveName, PrometheusName};
use crate::process::Since;
use crate::process::queue::{Key, Trigger};
use crate::process::room::{Held, Room, Turn, Turns};
use crate::senders::patch::Patcher;

/// More than of other things, for each of these costs a request to the API server at every look. Names of archives are in keys that
/// anybody may write into a Secret of theirs, so there has to be an end.
const MOST_SETTLED: usize = 16_384;

impl Key for ArchiveName {
    fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// What every look at an archive shares. What is remembered here only saves requests and bounds waits: after a restart the
/// operator comes to the same end without it.
pub(crate) struct Context {
    /// To the API server.
    pub client: Client,
    /// Local copies.
    pub caches: Caches,
    /// Asks for what is to be taken out because consent was taken back.
    pub withdrawals: Trigger<ArchiveName>,
    pub defaults: ReceiverDefaults,
    /// How long two entries run side by side, at least.
    pub overlap: Timespan,
    pub receivers: ReceiverClient,
    /// Events on archives.
    pub events: Events,
    /// Whether the admission policies are in force.
    pub guard: Arc<Guard>,
    /// To the Prometheus objects.
    pub patcher: Patcher,
    /// Archives that wait for lists.
    pub unlisted: Since<ArchiveName>,
    /// Objects on which our changes have no effect, by uid and what they should be.
    pub unsettled: Since<(String, String)>,
    /// Secrets in which nothing is to be changed, by archive and namespace, and what was seen and wanted then.
    pub settled: Since<(ArchiveName, String), u64>,
    /// How many marks the pods of an archive's senders can have.
    pub marks: Since<ArchiveName, usize>,
    /// Senders that are to go, and since when.
    pub draining: Since<(ArchiveName, PrometheusName)>,
    /// Archives that are too long to be looked at beside many others.
    pub long_looks: Semaphore,
    /// Prometheus objects that all looks have in memory with their content.
    senders: Room<String>,
    /// Whose turn it is to change a namespace's Secret.
    secrets: Turns<String>,
}

const LONG_LOOKS: usize = 2;
/// So many at a time; a look that needs more has them alone, and the others of its namespace wait until it is done.
const SENDERS_IN_MEMORY: u32 = 64;

impl Context {
    /// Nothing is remembered yet.
    pub(crate) fn new(
        client: Client,
        caches: Caches,
        withdrawals: Trigger<ArchiveName>,
        defaults: ReceiverDefaults,
        overlap: Timespan,
        guard: Arc<Guard>,
    ) -> Self {
        Self {
            events: Events::new(client.clone()),
            client,
            patcher: Patcher::new(caches.clone(), guard.clone()),
            caches,
            withdrawals,
            defaults,
            overlap,
            receivers: ReceiverClient::default(),
            guard,
            unlisted: Since::default(),
            unsettled: Since::default(),
            settled: Since::bounded(MOST_SETTLED),
            marks: Since::default(),
            draining: Since::default(),
            long_looks: Semaphore::new(LONG_LOOKS),
            senders: Room::new(SENDERS_IN_MEMORY, SENDERS_IN_MEMORY),
            secrets: Turns::default(),
        }
    }

    /// Waits until so many Prometheus objects may be in memory with their content, for an archive of `namespace`.
    pub(crate) async fn senders(&self, namespace: &str, count: u32) -> Option<Held> {
        self.senders.take(namespace.to_owned(), count).await
    }

    /// Waits until nobody else changes the Secret of `namespace`. Many archives have keys in it, and the API server tries each change
    /// again that another one has overtaken.
    pub(crate) async fn secret(&self, archive: &ArchiveName, namespace: &str) -> Turn {
        self.secrets.take(namespace.to_owned(), archive.namespace.clone()).await
    }

    /// Forgets an archive that is gone.
    pub(crate) fn forget(&self, archive: &ArchiveName) {
        self.draining.forget(|(of, _)| of == archive);
        self.patcher.forget(archive);
        self.settled.forget(|(of, _)| of == archive);
        self.unlisted.end(archive);
        self.marks.end(archive);
        self.events.forget(archive);
    }
}
