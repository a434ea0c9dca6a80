//! Where everything starts that works until the receiver stops.
//!
//! A task or thread that ends earlier, by a panic or because it returns, ends the receiver: readiness fails, and the process
//! ends with an error that names the task. The next start goes on from the WAL. The lint `disallowed_methods` (`clippy.toml`)
//! keeps other code from starting tasks; what lives only as long as one request or connection says so where it starts.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::health::{Health, Part};

macro_rules! tasks {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// What works until the receiver stops.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Task { $($(#[$doc])* $variant,)* }

        impl Task {
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        /// The names of all tasks; a test ends each of them.
        pub const TASKS: &[&str] = &[$($name,)*];
    };
}

tasks! {
    /// Writes requests to the WAL, in groups.
    Committer => "committer",
    /// Flushes, and keeps the gauges.
    Flusher => "flusher",
    /// Accepts connections.
    Server => "server",
    /// Answers on the control socket.
    Control => "control",
    /// Takes up changes of the tokens file.
    TokensWatch => "tokens-watch",
    /// Takes up changes of certificate and key.
    CertificateWatch => "certificate-watch",
    /// Waits for the signal to stop.
    Stop => "stop",
}

/// Starts tasks, and ends the receiver when one of them ends.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    health: Arc<Health>,
    end: watch::Sender<Option<String>>,
    stopping: AtomicBool,
}

impl Shared {
    /// The first reason stays: what ends next ends because of it.
    fn end(&self, reason: String) {
        self.end.send_if_modified(|end| end.is_none().then(|| *end = Some(reason)).is_some());
    }
}

impl Default for Supervisor {
    /// Of a server without a receiver, as in tests.
    fn default() -> Self {
        Self::new(Arc::default(), watch::Sender::new(None))
    }
}

impl Supervisor {
    /// `end` is told why the receiver cannot go on.
    pub(super) fn new(health: Arc<Health>, end: watch::Sender<Option<String>>) -> Self {
        Self { shared: Arc::new(Shared { health, end, stopping: AtomicBool::new(false) }) }
    }

    /// From now on tasks end in order.
    pub(super) fn stopping(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Ends the receiver, because of `reason`.
    pub(super) fn end(&self, reason: String) {
        self.shared.end(reason);
    }

    /// Wraps `work`, for whoever starts it: the receiver ends when it ends.
    pub(super) fn watched<T, W: Future<Output = T>>(&self, task: Task, work: W) -> impl Future<Output = T> + use<T, W> {
        let watched = self.watch(task);
        async move {
            let work = std::pin::pin!(work);
            // Dropped before the work, whose end others may notice.
            let _watched = watched;
            tokio::select! {
                done = work => done,
                never = doom::come(task) => match never {},
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is where tasks start")]
    pub(super) fn task<T: Send + 'static>(
        &self,
        task: Task,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        tokio::spawn(self.watched(task, work))
    }

    /// Starts a thread, for what blocks.
    #[expect(clippy::disallowed_methods, reason = "this is where threads start")]
    pub(super) fn thread(
        &self,
        task: Task,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        let watched = self.watch(task);
        std::thread::Builder::new().name(task.name().to_owned()).spawn(move || {
            let _watched = watched;
            doom::come_in_thread(task);
            work();
        })
    }

    fn watch(&self, task: Task) -> Watched {
        Watched { task, shared: Arc::clone(&self.shared) }
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
        self.shared.health.fault(Part::Task, reason.clone());
        self.shared.end(reason);
    }
}

/// The end that a test wishes for: `PROMARCHIVE_DOOMED_TASK=<name>` makes that task panic half a second after its start. Compiled
/// in only with the feature `failpoints`.
mod doom {
    use std::convert::Infallible;

    use super::Task;

    #[cfg(feature = "failpoints")]
    const AFTER: std::time::Duration = std::time::Duration::from_millis(500);

    #[cfg(feature = "failpoints")]
    fn is_doomed(task: Task) -> bool {
        std::env::var("PROMARCHIVE_DOOMED_TASK").is_ok_and(|name| name == task.name())
    }

    #[cfg(feature = "failpoints")]
    #[expect(clippy::panic, reason = "the test asked for it")]
    pub(super) async fn come(task: Task) -> Infallible {
        if !is_doomed(task) {
            return std::future::pending().await;
        }
        tokio::time::sleep(AFTER).await;
        panic!("doomed by the test");
    }

    #[cfg(feature = "failpoints")]
    #[expect(clippy::panic, reason = "the test asked for it")]
    pub(super) fn come_in_thread(task: Task) {
        if is_doomed(task) {
            std::thread::sleep(AFTER);
            panic!("doomed by the test");
        }
    }

    #[cfg(not(feature = "failpoints"))]
    pub(super) async fn come(_: Task) -> Infallible {
        std::future::pending().await
    }

    #[cfg(not(feature = "failpoints"))]
    pub(super) fn come_in_thread(_: Task) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor() -> (Supervisor, Arc<Health>, watch::Receiver<Option<String>>) {
        let health = Arc::new(Health::default());
        let (end, ended) = watch::channel(None);
        (Supervisor::new(Arc::clone(&health), end), health, ended)
    }

    #[tokio::test]
    async fn a_task_that_panics_or_returns_ends_the_receiver_and_readiness() {
        for (panics, how) in [(true, "panicked"), (false, "ended")] {
            let (supervisor, health, mut ended) = supervisor();
            let task = supervisor.task(Task::Flusher, async move { assert!(!panics, "on purpose") });
            ended.wait_for(Option::is_some).await.unwrap();
            assert_eq!(task.await.is_err(), panics);
            let reason = health.one_line().unwrap();
            assert!(reason.contains("flusher") && reason.contains(how), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_task_that_ends_while_the_receiver_stops_is_in_order_and_a_panic_is_not() {
        let (supervisor, health, ended) = supervisor();
        supervisor.stopping();
        supervisor.task(Task::Flusher, async {}).await.unwrap();
        supervisor.thread(Task::Committer, || ()).unwrap().join().unwrap();
        assert_eq!((health.one_line(), ended.borrow().clone()), (None, None));
        supervisor.thread(Task::Committer, || panic!("on purpose")).unwrap().join().unwrap_err();
        assert!(health.one_line().unwrap().contains("committer"));
    }
}
