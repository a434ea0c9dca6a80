//! Who goes on next: every operation on a log or store waits here until the history lets it go, so that nothing depends on threads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use object_store::PutPayload;
use object_store::path::Path;
use promarchive_archive::log::{Commit, Version};
use promarchive_archive::schema::Table;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Somebody who works on the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Actor {
    Receiver(usize),
    Rewriter,
}

/// What an actor wants to do next.
#[derive(Clone)]
pub(super) enum Operation {
    Load(Table),
    Commit(Table, Version, Commit),
    Sync(Table),
    Checkpoint(Table),
    PutFile(Path, PutPayload),
    ReadFile(Path),
    DeleteFile(Path),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(table) => write!(f, "load {}", table.name()),
            Self::Commit(table, version, commit) => {
                let (table, added, removed) = (table.name(), commit.add.len(), commit.remove.len());
                write!(f, "commit {table} version {version}, {:?}, +{added} -{removed}", commit.kind)
            }
            Self::Sync(table) => write!(f, "sync {}", table.name()),
            Self::Checkpoint(table) => write!(f, "checkpoint {}", table.name()),
            Self::PutFile(path, content) => write!(f, "put {path}, {} bytes", content.content_length()),
            Self::ReadFile(path) => write!(f, "read {path}"),
            Self::DeleteFile(path) => write!(f, "delete {path}"),
        }
    }
}

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Well,
    /// With an error, and nothing has happened.
    FailsBefore,
    /// With an error, and it has happened.
    FailsAfter,
    /// Of a load: so many of the newest versions are not seen.
    Lags(u64),
}

struct Parked {
    operation: Operation,
    answer: oneshot::Sender<Verdict>,
}

#[derive(Default)]
struct State {
    active: BTreeSet<Actor>,
    parked: BTreeMap<Actor, Parked>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

/// All actors at work, and what each of them waits for.
#[derive(Clone, Default)]
pub(super) struct Schedule(Arc<Shared>);

impl Schedule {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Sets an actor to work.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        runtime: &Runtime,
        actor: Actor,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        assert!(self.lock().active.insert(actor), "{actor:?} is at work");
        let end = End(self.clone(), actor);
        runtime.spawn(async move {
            let result = work.await;
            drop(end);
            result
        })
    }

    pub(super) fn is_active(&self, actor: Actor) -> bool {
        self.lock().active.contains(&actor)
    }

    /// Returns when everybody who works waits to be let go on.
    pub(super) async fn settled(&self) {
        loop {
            let changed = self.0.changed.notified();
            {
                let state = self.lock();
                if state.active.iter().all(|actor| state.parked.contains_key(actor)) {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Those who wait.
    pub(super) fn waiting(&self) -> Vec<(Actor, Operation)> {
        self.lock().parked.iter().map(|(actor, parked)| (*actor, parked.operation.clone())).collect()
    }

    /// Lets an actor go on.
    pub(super) fn release(&self, actor: Actor, verdict: Verdict) {
        if let Some(parked) = self.lock().parked.remove(&actor) {
            let _ = parked.answer.send(verdict);
        }
    }
}

/// Takes an actor off the schedule, also when its work is cut off.
struct End(Schedule, Actor);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.active.remove(&self.1);
        state.parked.remove(&self.1);
        drop(state);
        self.0.0.changed.notify_one();
    }
}

/// Through which one process of an actor reaches logs and stores.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) schedule: Schedule,
    pub(super) actor: Actor,
    /// Once the process is dead, nothing it still does happens.
    pub(super) alive: Arc<AtomicBool>,
}

impl Gate {
    pub(super) fn new(schedule: &Schedule, actor: Actor) -> Self {
        Self { schedule: schedule.clone(), actor, alive: Arc::new(AtomicBool::new(true)) }
    }

    pub(super) async fn pass(&self, operation: Operation) -> Verdict {
        if !self.alive.load(Ordering::SeqCst) {
            return Verdict::FailsBefore;
        }
        let (answer, verdict) = oneshot::channel();
        self.schedule.lock().parked.insert(self.actor, Parked { operation, answer });
        self.schedule.0.changed.notify_one();
        verdict.await.unwrap_or(Verdict::FailsBefore)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gate of {:?}", self.actor)
    }
}
