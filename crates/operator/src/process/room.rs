//! Room for what takes much memory. It is shared between keys, such as namespaces: whoever fills the room of one key waits there, and
//! stands in the way of others once at most.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Keys that are remembered before those that hold nothing are forgotten.
const MANY_KEYS: usize = 256;

/// Some permits for all, and fewer, or as many, for each key.
#[derive(Debug)]
pub(crate) struct Room<K> {
    all: Arc<Semaphore>,
    of_each: u32,
    keys: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// Permits, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _of_key: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl<K: Eq + Hash> Room<K> {
    /// With `permits` for all, of which a key has `of_each` at most.
    pub(crate) fn new(permits: u32, of_each: u32) -> Self {
        Self { all: Arc::new(Semaphore::new(permits as usize)), of_each, keys: Mutex::default() }
    }

    /// Waits for `count` permits, or as many as a key may have: first for the others of `key`, then for one turn of each other key at most.
    pub(crate) async fn take(&self, key: K, count: u32) -> Option<Held> {
        let count = count.min(self.of_each);
        // None of them is ever closed.
        let of_key = self.of(key).acquire_many_owned(count).await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_many_owned(count).await.ok()?;
        Some(Held { _of_key: of_key, _of_all: of_all })
    }

    fn of(&self, key: K) -> Arc<Semaphore> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MANY_KEYS {
            // Whoever holds a permit or waits for one has a copy.
            keys.retain(|_, permits| Arc::strong_count(permits) > 1);
        }
        let new = || Arc::new(Semaphore::new(self.of_each as usize));
        Arc::clone(keys.entry(key).or_insert_with(new))
    }
}

/// Whose turn it is at targets that bear one at a time.
///
/// Those who ask for one key wait for each other first, so those of another one wait for one of them at most.
#[derive(Debug)]
pub(crate) struct Turns<K> {
    targets: Room<K>,
    /// By target, and by who asks.
    askers: Room<(K, K)>,
}

/// A turn, over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _at_the_target: Option<Held>,
    _among_askers: Option<Held>,
}

/// More than there are workers: only those at one target wait for each other.
const TURNS_AT_A_TIME: u32 = 256;

impl<K: Eq + Hash> Default for Turns<K> {
    fn default() -> Self {
        Self { targets: Room::new(TURNS_AT_A_TIME, 1), askers: Room::new(TURNS_AT_A_TIME, 1) }
    }
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// Waits for a turn at `target` that `asker` asks for.
    pub(crate) async fn take(&self, target: K, asker: K) -> Turn {
        let among_askers = self.askers.take((target.clone(), asker), 1).await;
        Turn { _at_the_target: self.targets.take(target, 1).await, _among_askers: among_askers }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long a namespace waits for `count` permits while `crowds` namespaces have 100 looks each, of `count` permits and 5 s.
    async fn waits(room: Room<String>, crowds: usize, count: u32) -> Duration {
        let room = Arc::new(room);
        for crowd in 0..crowds {
            for _ in 0..100 {
                let room = Arc::clone(&room);
                tokio::spawn(async move {
                    let held = room.take(format!("crowd-{crowd}"), count).await;
                    sleep(SECOND * 5).await;
                    drop(held);
                });
            }
        }
        sleep(SECOND).await;
        let began = Instant::now();
        room.take("quiet".to_owned(), count).await.unwrap();
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_in_one_namespace_holds_up_others_for_one_turn_at_most() {
        assert_eq!(waits(Room::new(2, 1), 1, 1).await, Duration::ZERO, "one permit is for others");
        assert_eq!(waits(Room::new(64, 64), 1, 100).await, SECOND * 4, "the turn that was there before");
        assert_eq!(waits(Room::new(64, 64), 3, 100).await, SECOND * 14, "one turn of each namespace");
    }

    #[tokio::test]
    async fn permits_come_back_and_idle_namespaces_are_forgotten() {
        let room = Room::new(4, 4);
        for at in 0..MANY_KEYS * 3 {
            let held = room.take(format!("n{at}"), 9).await.unwrap();
            assert_eq!(room.all.available_permits(), 0);
            drop(held);
        }
        assert_eq!(room.all.available_permits(), 4);
        assert!(room.keys.lock().unwrap().len() <= MANY_KEYS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_is_changed_by_one_at_a_time_and_targets_do_not_wait_for_each_other() {
        let (turns, at_work) = (Arc::new(Turns::default()), Arc::new(Semaphore::new(1)));
        let began = Instant::now();
        let work = |target: &'static str, namespace: String| {
            let (turns, at_work) = (Arc::clone(&turns), Arc::clone(&at_work));
            tokio::spawn(async move {
                let _turn = turns.take(target.to_owned(), namespace).await;
                let alone = (target == "busy").then(|| at_work.try_acquire_owned().expect("nobody else is at work"));
                sleep(SECOND).await;
                drop(alone);
            })
        };
        let busy: Vec<_> = (0..30).map(|at| work("busy", format!("asker-{}", at % 10))).collect();
        work("quiet", "asker-1".to_owned()).await.unwrap();
        assert_eq!(began.elapsed(), SECOND);
        for worker in busy {
            worker.await.unwrap();
        }
        assert_eq!(began.elapsed(), SECOND * 30);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_once_waits_for_one_of_each_crowd() {
        let turns = Arc::new(Turns::default());
        for asker in 0..100 {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                let turn = turns.take("target", if asker % 2 == 0 { "crowd" } else { "other-crowd" }).await;
                sleep(SECOND * 5).await;
                drop(turn);
            });
        }
        sleep(SECOND).await;
        let began = Instant::now();
        drop(turns.take("target", "quiet").await);
        assert!(began.elapsed() < SECOND * 10, "{:?}", began.elapsed());
    }
}
