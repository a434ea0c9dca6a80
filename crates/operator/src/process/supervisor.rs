//! Where every task starts that works until the operator stops.
//!
//! A task that ends earlier, by a panic or because it returns, ends the operator: readiness fails, and the process ends with an
//! error that names the task. The next start finds everything out anew. The lint `disallowed_methods` (`clippy.toml`) keeps
//! other code from starting tasks; what lives only as long as one connection or one reconcile says so where it starts.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::process::Health;

macro_rules! tasks {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// What works until the operator stops.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Task { $($(#[$doc])* $variant,)* }

        impl Task {
            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

// A test of the whole operator reads this list, and ends each of them.
tasks! {
    /// Waits for the signal to stop.
    Stop => "stop",
    /// Accepts connections.
    Server => "server",
    /// Keeps the Lease.
    Lease => "lease",
    /// Keeps the local copies of one kind.
    Watch => "watch",
    /// Asks whether the admission policies are in force.
    Policies => "policies",
    /// Takes out what archives that are gone have left.
    Sweep => "sweep",
    /// Takes out what archives have in objects that no longer consent.
    Withdrawals => "withdrawals",
    /// Reconciles archives.
    Queue => "queue",
}

/// Starts tasks, and says when one of them has ended.
#[derive(Clone, Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

/// Why the operator cannot go on, once a task has ended.
#[derive(Debug)]
pub struct Ended(watch::Receiver<Option<String>>);

impl Ended {
    /// Resolves when a task has ended that must not.
    pub async fn reason(&mut self) -> String {
        match self.0.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // Nobody is left who could start a task.
            Err(_) => std::future::pending().await,
        }
    }
}

#[derive(Debug)]
struct Shared {
    health: Arc<Health>,
    end: watch::Sender<Option<String>>,
    stopping: AtomicBool,
}

impl Supervisor {
    /// A supervisor, and what tells of the end. Readiness is that of `health`.
    pub fn new(health: Arc<Health>) -> (Self, Ended) {
        let (end, ended) = watch::channel(None);
        (Self { shared: Arc::new(Shared { health, end, stopping: AtomicBool::new(false) }) }, Ended(ended))
    }

    /// From now on tasks end in order.
    pub fn stopping(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Starts a task.
    #[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is where tasks start"))]
    pub fn task<T: Send + 'static>(&self, task: Task, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let watched = Watched { task, shared: self.shared.clone() };
        tokio::spawn(async move {
            let work = std::pin::pin!(work);
            // Dropped before the work, whose end others may notice.
            let _watched = watched;
            tokio::select! {
                done = work => done,
                never = doom::come(task) => match never {},
            }
        })
    }
}

/// Dropped when its task ends, however that comes.
struct Watched {
    task: Task,
    shared: Arc<Shared>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let how = match std::thread::panicking() {
            true => "panicked",
            false if self.shared.stopping.load(Ordering::Acquire) => return,
            false => "ended",
        };
        let reason = format!("the task {} {how}, which is a bug", self.task.name());
        self.shared.health.set_dead(reason.clone());
        // The first reason stays: what ends next ends because of it.
        self.shared.end.send_if_modified(|end| end.is_none().then(|| *end = Some(reason)).is_some());
    }
}

/// The end that a test wishes for: `PROMARCHIVE_OPERATOR_FAILPOINT=task-<name>` makes that task panic half a second after its start.
/// Compiled in only with the feature `failpoints`.
mod doom {
    use std::convert::Infallible;

    use super::Task;

    #[cfg(feature = "failpoints")]
    #[expect(clippy::panic, reason = "the test asked for it")]
    pub(super) async fn come(task: Task) -> Infallible {
        let doomed = std::env::var("PROMARCHIVE_OPERATOR_FAILPOINT");
        if !doomed.is_ok_and(|doomed| doomed.strip_prefix("task-") == Some(task.name())) {
            return std::future::pending().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        panic!("doomed by the test");
    }

    #[cfg(not(feature = "failpoints"))]
    pub(super) async fn come(_: Task) -> Infallible {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor() -> (Supervisor, Ended, Arc<Health>) {
        let health = Arc::new(Health::default());
        health.set_started();
        let (supervisor, ended) = Supervisor::new(health.clone());
        (supervisor, ended, health)
    }

    #[tokio::test]
    async fn a_task_that_panics_or_returns_ends_the_operator_and_readiness() {
        for (panics, how) in [(true, "panicked"), (false, "ended")] {
            let (supervisor, mut ended, health) = supervisor();
            assert_eq!(health.not_ready(), None);
            let task = supervisor.task(Task::Queue, async move { assert!(!panics, "on purpose") });
            let reason = ended.reason().await;
            assert_eq!(task.await.is_err(), panics);
            assert_eq!(reason, format!("the task queue {how}, which is a bug"));
            assert_eq!(health.not_ready(), Some(reason));
        }
    }

    #[tokio::test]
    async fn a_task_that_ends_while_the_operator_stops_is_in_order_and_a_panic_is_not() {
        let (supervisor, mut ended, health) = supervisor();
        supervisor.stopping();
        supervisor.task(Task::Queue, async {}).await.unwrap();
        assert_eq!(health.not_ready(), None);
        supervisor.task(Task::Sweep, async { panic!("on purpose") }).await.unwrap_err();
        assert!(ended.reason().await.contains("sweep"));
    }
}
