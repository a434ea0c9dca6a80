//! Since when something has been so. What is remembered here only saves requests and bounds waits, so there is an end to it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    pub fn bounded(most: usize) -> Self {
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
