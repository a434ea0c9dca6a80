//! What every look at an archive shares.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use promarchive_api::Timespan;
use tokio::sync::Semaphore;

use crate::build::ReceiverDefaults;
use crate::cache::Caches;
use crate::entry::{ArchiveName, PrometheusName};
use crate::events::Events;
use crate::guard::Guard;
use crate::queue::Trigger;
use crate::receiver_client::ReceiverClient;
use crate::room::{Held, Room, Turn, Turns};
use crate::scope::Scope;

/// More than of other things, for each of these costs a request to the API server at every look. Names of archives are in keys that
/// anybody may write into a Secret of theirs, so there has to be an end.
const MOST_SETTLED: usize = 16_384;

/// What every look at an archive shares. What is remembered here only saves requests and bounds waits: after a restart the
/// operator comes to the same end without it.
pub struct Context {
    /// To the API server.
    pub client: Client,
    /// Local copies.
    pub caches: Caches,
    /// Asks for what is to be taken out because consent was taken back.
    pub withdrawals: Trigger,
    /// Where the operator works.
    pub scope: Scope,
    /// About all receivers.
    pub defaults: ReceiverDefaults,
    /// How long two entries run side by side, at least.
    pub overlap: Timespan,
    /// To the receivers.
    pub receivers: ReceiverClient,
    /// Events on archives.
    pub events: Events,
    /// Whether the admission policies are in force.
    pub guard: Guard,
    /// Patches that were denied, by archive and uid of the Prometheus, and why.
    pub denied: Since<(ArchiveName, String), String>,
    /// Prometheus objects that consent, of which the API server does not know it yet, by archive and uid.
    pub unknown_consent: Since<(ArchiveName, String)>,
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
    senders: Room,
    /// Whose turn it is to change a namespace's Secret.
    secrets: Turns,
}

const LONG_LOOKS: usize = 2;
/// So many at a time; a look that needs more has them alone, and the others of its namespace wait until it is done.
const SENDERS_IN_MEMORY: u32 = 64;

impl Context {
    /// Nothing is remembered yet.
    pub fn new(
        client: Client,
        caches: Caches,
        withdrawals: Trigger,
        scope: Scope,
        defaults: ReceiverDefaults,
        overlap: Timespan,
        guard: Guard,
    ) -> Self {
        Self {
            events: Events::new(client.clone()),
            client,
            caches,
            withdrawals,
            scope,
            defaults,
            overlap,
            receivers: ReceiverClient::default(),
            guard,
            denied: Since::default(),
            unknown_consent: Since::default(),
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
    pub async fn senders(&self, namespace: &str, count: u32) -> Option<Held> {
        self.senders.take(namespace, count).await
    }

    /// Waits until nobody else changes the Secret of `namespace`. Many archives have keys in it, and the API server tries each change
    /// again that another one has overtaken.
    pub async fn secret(&self, archive: &ArchiveName, namespace: &str) -> Turn {
        self.secrets.take(namespace, &archive.namespace).await
    }

    /// Forgets an archive that is gone.
    pub fn forget(&self, archive: &ArchiveName) {
        self.draining.forget(|(of, _)| of == archive);
        self.denied.forget(|(of, _)| of == archive);
        self.unknown_consent.forget(|(of, _)| of == archive);
        self.settled.forget(|(of, _)| of == archive);
        self.unlisted.end(archive);
        self.marks.end(archive);
        self.events.forget(archive);
    }
}

/// Since when something has been so, and what was said of it.
#[derive(Debug)]
pub struct Since<K, V = ()> {
    entries: Mutex<HashMap<K, (Instant, V)>>,
    most: usize,
}

impl<K, V> Default for Since<K, V> {
    fn default() -> Self {
        Self::bounded(MOST_ENTRIES)
    }
}

impl<K, V> Since<K, V> {
    /// One that forgets the older half when it has `most` entries.
    fn bounded(most: usize) -> Self {
        Self { entries: Mutex::default(), most }
    }
}

impl<K: Eq + Hash, V: Clone> Since<K, V> {
    fn entries(&self) -> MutexGuard<'_, HashMap<K, (Instant, V)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was said of it.
    pub fn said(&self, key: &K) -> Option<V> {
        self.entries().get(key).map(|(_, said)| said.clone())
    }

    /// What was said of it, if it has been so for less than `time`.
    pub fn said_within(&self, key: &K, time: Duration) -> Option<V> {
        self.entries().get(key).filter(|(since, _)| since.elapsed() < time).map(|(_, said)| said.clone())
    }

    /// It is so since now.
    pub fn renew(&self, key: K, said: V) {
        let mut entries = self.entries();
        make_room(&mut entries, self.most);
        entries.insert(key, (Instant::now(), said));
    }

    /// It is not so.
    pub fn end(&self, key: &K) {
        self.entries().remove(key);
    }

    /// None of these is so.
    pub fn forget(&self, those: impl Fn(&K) -> bool) {
        self.entries().retain(|key, _| !those(key));
    }
}

impl<K: Eq + Hash> Since<K> {
    /// For how long it has been so; it is so from now on, if it was not.
    pub fn begin(&self, key: K) -> Duration {
        let mut entries = self.entries();
        make_room(&mut entries, self.most);
        entries.entry(key).or_insert_with(|| (Instant::now(), ())).0.elapsed()
    }
}

/// So much is remembered of one thing. It only saves requests and bounds waits.
const MOST_ENTRIES: usize = 4096;

/// Forgets the older half of what is too much.
fn make_room<K: Eq + Hash, V>(entries: &mut HashMap<K, (Instant, V)>, most: usize) {
    if entries.len() < most {
        return;
    }
    let mut times: Vec<Instant> = entries.values().map(|(since, _)| *since).collect();
    let (_, middle, _) = times.select_nth_unstable(most / 2);
    let middle = *middle;
    entries.retain(|_, (since, _)| *since > middle);
}
