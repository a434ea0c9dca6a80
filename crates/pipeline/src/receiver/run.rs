//! A receiver from start to stop.
//!
//! It listens first, and says that it is not ready; takes its locks; opens archive and WAL, again and again while the fault may pass;
//! works; and stops in order: no new requests, those in flight answered, a last flush, as far as the grace period allows.

use std::future::Future;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use promarchive_api::STARTING;
use promarchive_api::receiver_settings::{Settings, SettingsError, check_apart};
use promarchive_archive::store::probe::ProbeError;
use promarchive_archive::store::{ArchiveLock, Store, without_parents};
use promarchive_archive::{Archive, ArchiveError, Location, prove_store};
use promarchive_directory::{DirectoryError, DirectoryLock, PRIVATE_DIRECTORY, Purpose};
use promarchive_model::chain;
use promarchive_wal::{Disk, Options, RealDisk};
use tokio::sync::{Notify, mpsc, watch};

use super::archive_note::{self, ARCHIVE_NOTE};
use super::archive_size;
use super::committer::Committer;
use super::control::Control;
use super::fair::queue;
use super::flusher::Flusher;
use super::foreign_files;
use super::health::{Health, Part};
use super::ingest::{Channels, Ingest, Open};
use super::metrics::{Metrics, gauge};
use super::odd_times;
use super::server::{ServeError, Server};
use super::start_log::{self, Causes};
use super::supervisor::{Supervisor, Task};
use super::tryout::Tryout;
use crate::core::recovery::{self, OpenOptions, RecoveryError};
use crate::core::{Core, Environment};
use crate::flush::Policy;

/// Name of the lock file in the WAL directory.
const WAL_LOCK_FILE: &str = "lock";
const WAL: Purpose = Purpose { what: "WAL directory", mode: PRIVATE_DIRECTORY, hard_links: false };
/// Requests that may wait for the WAL.
const WAITING_REQUESTS: usize = 4096;
/// Time between two tries to open.
const OPEN_BACKOFF: Duration = Duration::from_secs(1);

/// What the last flush gets in any case, when requests in flight have used the grace period up.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Why a receiver could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// HTTP.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The WAL is inside the archive, or the other way round, now that both are there.
    #[error(transparent)]
    Apart(SettingsError),
    /// The tables.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store, which cannot hold an archive, or cannot be asked.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// What an earlier process left.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// This WAL has had an archive, and there is none.
    #[error(
        "there is no archive at {archive}, but the write-ahead log in {wal} belongs to an archive at {was}: mount the \
         volume of that archive, or set its path with --archive (file `archive`); to create a new archive with the \
         records in the write-ahead log, delete the file {note}"
    )]
    ArchiveGone {
        /// Where the archive is to be.
        archive: String,
        /// The WAL directory.
        wal: String,
        /// Where the archive was.
        was: String,
        /// The file that says so.
        note: String,
    },
    /// Only a new process can go on.
    #[error("{0}; restart promarchive: no acknowledged samples are lost, because the write-ahead log is replayed")]
    Restart(String),
    /// The clock was never set.
    #[error("{0}")]
    Clock(String),
    /// No thread for the WAL.
    #[error("cannot start the WAL thread: {0}")]
    Thread(std::io::Error),
}

impl ReceiverError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Directory(e) => e.is_retryable(),
            Self::Archive(e) => e.is_retryable(),
            Self::Probe(e) => e.is_retryable(),
            Self::Recovery(e) => e.is_retryable(),
            Self::Clock(_) => true,
            Self::Serve(_) | Self::Apart(_) | Self::ArchiveGone { .. } | Self::Restart(_) | Self::Thread(_) => false,
        }
    }
}

/// Those of the archive, if it has one, and of the WAL.
type Locks = (Option<ArchiveLock>, DirectoryLock);

/// What a receiver holds while it works.
struct Opened {
    core: Arc<Core>,
    disk: Arc<dyn Disk>,
    store: Store,
    _locks: Arc<Locks>,
}

/// Runs a receiver until `shutdown` resolves and everything is put away.
pub async fn run(
    mut settings: Settings,
    environment: Environment,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ReceiverError> {
    // What cannot be is refused, and what readers stumble over is told, before anything is made.
    let location = Location::resolve(&settings.archive)?;
    if settings.wal.components().any(|component| component == Component::ParentDir) {
        settings.wal = without_parents(&settings.wal).map_err(|source| failed(&settings.wal, source))?;
    }
    start_log::warn_of_path(&location);
    let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::new()));
    health.fault(Part::Start, STARTING);
    metrics.wal_limit_bytes.set(gauge(settings.wal_max_bytes));
    metrics.memory_limit_bytes.set(gauge(settings.held_bytes()));
    let ingest = Ingest::new(&settings, health.clone(), metrics.clone());
    let server =
        Server::bind(settings.http.clone(), ingest.clone(), metrics.clone(), environment.clock.clone()).await?;
    let (stop, stopped) = watch::channel(None::<Instant>);
    let (end, mut ended) = watch::channel(None::<String>);
    let supervisor = Supervisor::new(health.clone(), end.clone());
    let stopping = supervisor.clone();
    supervisor.task(Task::Stop, async move {
        tokio::select! { () = shutdown => {}, _ = ended.wait_for(Option::is_some) => {} }
        stopping.stopping();
        stop.send_replace(Some(Instant::now()));
    });
    let until_stopped = {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(Option::is_some).await) }
    };
    let serving = supervisor.task(Task::Server, server.supervised_by(supervisor.clone()).run(until_stopped));
    let opened = match open_until(&location, &settings, &environment, &health, &metrics, stopped.clone()).await {
        Ok(opened) => opened,
        Err(error) => {
            supervisor.stopping();
            supervisor.end(error.to_string());
            let _ = serving.await;
            return Err(error);
        }
    };
    let Some(opened) = opened else {
        let _ = serving.await;
        return ended_by(&end);
    };
    start_log::warn_of_checksums(&opened.store).await;
    foreign_files::warn(opened.core.archive()).await;
    start_log::tell_of_upgrade(opened.core.archive(), &location).await;
    archive_size::count(opened.core.archive(), &metrics).await;
    let working = start(&settings, &environment, &opened, &ingest, &supervisor, &health, &metrics)?;
    control(&settings.wal, &ingest, &supervisor, stopped.clone());
    health.works(Part::Start);
    // Whatever else is at fault has been said.
    if health.one_line().is_none() {
        tracing::info!(archive = %location, wal = %settings.wal.display(), "ready");
    }
    let result = serving.await;
    if let Err(error) = result {
        tracing::error!(%error, "the HTTP server stopped");
    }
    let since = stopped.borrow().map_or(Duration::ZERO, |signal| signal.elapsed());
    working.stop(&ingest, settings.shutdown_grace.saturating_sub(since).max(LAST_GRACE)).await;
    ended_by(&end)
}

/// Answers on the control socket until it is told to stop. The receiver works without one, too: not every file system has sockets.
fn control(wal: &Path, ingest: &Ingest, supervisor: &Supervisor, mut stopped: watch::Receiver<Option<Instant>>) {
    match Control::bind(wal) {
        Ok(control) => {
            let until_stopped = async move { drop(stopped.wait_for(Option::is_some).await) };
            supervisor.task(Task::Control, control.run(ingest.clone(), until_stopped));
        }
        Err(error) => tracing::warn!(
            %error,
            "cannot create the socket `control` in the WAL directory, so promarchive flush does not work; use POST \
             /-/flush"
        ),
    }
}

/// The error of a receiver that cannot go on; none if it was told to stop.
fn ended_by(end: &watch::Sender<Option<String>>) -> Result<(), ReceiverError> {
    let reason = end.borrow().clone();
    reason.map_or(Ok(()), |reason| Err(ReceiverError::Restart(reason)))
}

/// Opens, again and again while the fault may pass; none when told to stop meanwhile.
async fn open_until(
    location: &Location,
    settings: &Settings,
    environment: &Environment,
    health: &Health,
    metrics: &Arc<Metrics>,
    mut stopped: watch::Receiver<Option<Instant>>,
) -> Result<Option<Opened>, ReceiverError> {
    let mut causes = Causes::default();
    loop {
        // Nothing has been acknowledged yet: what is under way may be left where it is.
        let opened = tokio::select! {
            opened = open(location, settings, environment, metrics) => opened,
            _ = stopped.wait_for(Option::is_some) => return Ok(None),
        };
        match opened {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if !error.is_retryable() => return Err(error),
            Err(error) => {
                let reason = chain(&error);
                // The text of the clock's fault changes each second.
                let cause = if matches!(error, ReceiverError::Clock(_)) { "the clock" } else { reason.as_str() };
                if causes.is_new(cause) {
                    tracing::warn!(reason, "cannot start yet");
                }
                health.fault(Part::Start, format!("cannot start yet: {reason}"));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(OPEN_BACKOFF) => {}
            _ = stopped.wait_for(Option::is_some) => return Ok(None),
        }
    }
}

async fn open(
    location: &Location,
    settings: &Settings,
    environment: &Environment,
    metrics: &Arc<Metrics>,
) -> Result<Opened, ReceiverError> {
    if let Some(fault) = odd_times::clock_fault(environment.clock.now_ms()) {
        return Err(ReceiverError::Clock(fault));
    }
    let store = Store::open_watched(location.clone(), metrics.clone())?;
    let has_tables = store.has_tables().await.map_err(ArchiveError::from)?;
    // What a new archive cannot have is refused before anything is made.
    if let Some(label_columns) = settings.label_columns.as_ref().filter(|_| !has_tables) {
        label_columns.check_for_new_archive().map_err(ArchiveError::from)?;
    }
    WAL.make(&settings.wal)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(&settings.wal).map_err(|source| failed(&settings.wal, source))?);
    if !has_tables {
        expect_no_archive(disk.as_ref(), location, &settings.wal)?;
    }
    store.make()?;
    // Once more: a link may lead to what was not there when the settings were read.
    if let Some(directory) = location.directory() {
        check_apart(directory, &settings.wal).map_err(ReceiverError::Apart)?;
    }
    start_log::warn_of_readers(&settings.wal);
    let locks = Arc::new((store.lock()?, WAL.lock(&settings.wal, WAL_LOCK_FILE)?));
    let (clock, entropy) = (environment.clock.as_ref(), environment.entropy.as_ref());
    let asked = clock.monotonic_ms();
    if let Some(proof) = prove_store(&store, clock, entropy).await? {
        start_log::tell_of_proof(&store, proof, clock.monotonic_ms().saturating_sub(asked));
    }
    let archive = Archive::open_or_create(store.clone(), settings.label_columns.clone(), clock, entropy).await?;
    start_log::warn_of_label_columns(archive.label_columns());
    if let Err(error) = archive_note::write(disk.as_ref(), location) {
        tracing::warn!(%error, "cannot record in the WAL directory that it has an archive; the next start tries again");
    }
    let options = OpenOptions {
        keep: settings.dedup_horizon,
        flush_bytes: settings.flush_bytes,
        memory_bytes: settings.held_bytes(),
        wal: Options::default(),
    };
    let opening = recovery::open(archive, disk.clone(), environment.clone(), options, locks.clone());
    let (core, recovery) = opening.await?;
    start_log::report(&recovery);
    Ok(Opened { core, disk, store, _locks: locks })
}

/// Refuses to make an archive where the WAL knows of one.
fn expect_no_archive(disk: &dyn Disk, location: &Location, wal: &Path) -> Result<(), ReceiverError> {
    let note = wal.join(ARCHIVE_NOTE);
    let Some(was) = archive_note::read(disk).map_err(|source| failed(&note, source))? else { return Ok(()) };
    let [note, wal] = [&note, wal].map(|path| path.display().to_string());
    Err(ReceiverError::ArchiveGone { archive: location.to_string(), wal, was, note })
}

fn failed(path: &Path, source: std::io::Error) -> ReceiverError {
    DirectoryError::Io { path: path.to_path_buf(), source }.into()
}

/// The threads and tasks of a receiver at work.
struct Working {
    committer: std::thread::JoinHandle<()>,
    flusher: tokio::task::JoinHandle<()>,
    core: Arc<Core>,
}

fn start(
    settings: &Settings,
    environment: &Environment,
    opened: &Opened,
    ingest: &Ingest,
    supervisor: &Supervisor,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
) -> Result<Working, ReceiverError> {
    let (waiting, to_commit) = queue(WAITING_REQUESTS);
    let (flushes, to_flush) = mpsc::channel(16);
    let reserve = Arc::new(opened.store.reserve(settings.flush_bytes / 2));
    if let Err(error) = reserve.take() {
        health.fault(Part::Reserve, format!("cannot reserve space on the archive's disk for a flush: {error}"));
    }
    let tryout = Arc::new(Tryout::new(opened.disk.clone()));
    let committer = Committer {
        core: opened.core.clone(),
        reserve: reserve.clone(),
        health: health.clone(),
        tryout: tryout.clone(),
        metrics: metrics.clone(),
    };
    let committer =
        supervisor.thread(Task::Committer, move || committer.run(&to_commit)).map_err(ReceiverError::Thread)?;
    let flushed = Arc::new(Notify::new());
    let flusher = Flusher {
        core: opened.core.clone(),
        policy: Policy {
            interval: settings.flush_interval,
            memtable_bytes: settings.flush_bytes,
            wal_bytes: settings.wal_max_bytes / 2,
        },
        memory_limit: settings.held_bytes(),
        health: health.clone(),
        metrics: metrics.clone(),
        reserve: reserve.clone(),
        flushed: flushed.clone(),
        taken: ingest.taken(),
        clock: environment.clock.clone(),
        tryout,
        supervisor: supervisor.clone(),
    };
    let flusher = supervisor.task(Task::Flusher, flusher.run(to_flush));
    let channels = Mutex::new(Some(Arc::new(Channels { waiting, flushes })));
    ingest.open(Open { core: opened.core.clone(), reserve, flushed, channels });
    Ok(Working { committer, flusher, core: opened.core.clone() })
}

impl Working {
    /// Lets the requests that wait become durable, then flushes. What does not fit into the grace period is in the WAL.
    async fn stop(self, ingest: &Ingest, grace: Duration) {
        ingest.close();
        let Self { committer, flusher, core } = self;
        let put_away = async move {
            let _ = tokio::task::spawn_blocking(move || committer.join()).await;
            let _ = flusher.await;
            core.flush().await
        };
        match tokio::time::timeout(grace, put_away).await {
            Ok(Ok(_)) => tracing::info!("stopped; all samples are in the tables"),
            Ok(Err(error)) => tracing::warn!(%error, "stopped; samples that are not in the tables are in the WAL"),
            Err(_) => tracing::warn!(
                "stopped at the end of the grace period; samples that are not in the tables are in the WAL"
            ),
        }
    }
}
