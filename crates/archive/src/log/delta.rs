//! The real table log: Delta Lake, read by the Delta kernel, written by ourselves.
//!
//! The kernel replays the log and writes checkpoints. Commits are our own few JSON lines, put if absent: that leaves time, bytes
//! and the meaning of each error with us, and is all that the protocols of these tables ask of a writer. The kernel breaks its API with each minor version,
//! so nothing outside this module, [`super::checkpoint`] and [`super::scan`] knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::snapshot::{SnapshotBuilder, SnapshotRef};
use delta_kernel::table_features::TableFeature;
use delta_kernel::{Engine, KernelError};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use promarchive_model::WriterId;
use promarchive_model::failpoint::{self, Sabotage};
use url::Url;

use crate::log::additions::additions;
use crate::log::checkpoint::write_checkpoint;
use crate::log::checksums::checksum_names;
use crate::log::listing::commit_name;
use crate::log::scan::read_files;
use crate::log::seen::{Advanced, Seen};
use crate::log::{
    Addition, Commit, DataFile, Definition, LogError, OTHER_PROTOCOL, Put, Snapshot, TableLog, TableProtocol, Version,
};
use crate::log::{actions, definition};
use crate::store::Root;

type KernelEngine = DefaultEngine<TokioMultiThreadExecutor>;

/// What to do about a table that another program has changed.
pub(super) const FOREIGN: &str =
    "only promarchive may write to these tables: restore the table from a backup, or create a new archive";

/// A Delta table's log on an object store.
pub struct DeltaLog {
    root: Root,
    url: Url,
    engine: Arc<KernelEngine>,
    known: Arc<Known>,
}

/// What is known of the log.
#[derive(Default)]
struct Known {
    /// What commits need of the newest version: the next load reads only what came after it.
    seen: Mutex<Option<Seen>>,
    /// The newest snapshot that the kernel has made, for its list of files; older than what was seen where nobody has asked since.
    snapshot: Mutex<Option<SnapshotRef>>,
}

impl Known {
    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> MutexGuard<'_, Option<SnapshotRef>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a snapshot, unless there is a newer one. One of the same version may have a checkpoint more.
    fn keep(&self, snapshot: &SnapshotRef) {
        let mut kept = self.snapshot();
        if kept.as_ref().is_none_or(|kept| kept.version() <= snapshot.version()) {
            *kept = Some(snapshot.clone());
        }
    }
}

impl fmt::Debug for DeltaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeltaLog({})", self.url)
    }
}

impl DeltaLog {
    /// The log of the table that stands there. Needs a multi-threaded Tokio runtime, now and at each call.
    pub fn new(root: Root) -> Self {
        let executor = Arc::new(TokioMultiThreadExecutor::new(tokio::runtime::Handle::current()));
        let objects = root.store().objects().clone();
        let engine = Arc::new(DefaultEngineBuilder::new(objects).with_task_executor(executor).build());
        Self { url: root.url(), root, engine, known: Arc::default() }
    }

    async fn put_version(&self, version: Version, content: String) -> Result<Put, LogError> {
        self.root.put_if_absent(&commit_name(version), content.into()).await
    }

    /// The kernel's snapshot of the newest version.
    async fn newest(&self) -> Result<(SnapshotRef, TableProtocol), LogError> {
        let known = self.known.snapshot().clone();
        let snapshot = match read_version(&self.engine, &self.url, known, None).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Err(self.blame_checksums(error).await),
        };
        let protocol = check_protocol(&self.url, &snapshot)?;
        *self.known.snapshot() = Some(snapshot.clone());
        Ok((snapshot, protocol))
    }

    /// Names the files of checksums in the log, which other programs have put there, and which the kernel reads.
    async fn blame_checksums(&self, error: LogError) -> LogError {
        let LogError::Store { place, cause } = error else { return error };
        let names = checksum_names(&self.root).await;
        let blame = match names.is_empty() {
            true => String::new(),
            false => format!(
                "; a possible cause are files that promarchive did not write: {} in {}",
                names.join(", "),
                self.root.name_of("_delta_log")
            ),
        };
        LogError::Store { place, cause: format!("{cause}{blame}") }
    }

    /// What commits need of the newest version; none if there is no table.
    async fn seen(&self) -> Result<Option<Seen>, LogError> {
        let seen = self.known.seen().clone();
        let reading = seen.as_ref().map_or(0, |seen| seen.reading + 1);
        if let Some(seen) = seen {
            let advanced = seen.advance(&self.root).await?;
            if let Advanced::To(seen) = advanced {
                return Ok(Some(seen));
            }
        }
        if !self.root.has_log().await? {
            return Ok(None);
        }
        let (snapshot, protocol) = self.newest().await?;
        let configuration = snapshot.table_configuration().metadata().configuration();
        let properties = configuration.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Some(Seen { version: snapshot.version(), protocol, properties, positions: BTreeMap::new(), reading }))
    }
}

#[async_trait]
impl TableLog for DeltaLog {
    async fn load(&self) -> Result<Option<Arc<dyn Snapshot>>, LogError> {
        let seen = self.seen().await?;
        *self.known.seen() = seen.clone();
        let snapshot = |seen| DeltaSnapshot {
            seen,
            known: self.known.clone(),
            root: self.root.clone(),
            url: self.url.clone(),
            engine: self.engine.clone(),
        };
        Ok(seen.map(|seen| Arc::new(snapshot(seen)) as Arc<dyn Snapshot>))
    }

    async fn create(&self, definition: &Definition) -> Result<Put, LogError> {
        self.put_version(0, definition::create(definition)).await
    }

    async fn put(&self, version: Version, commit: &Commit) -> Result<Put, LogError> {
        self.put_version(version, actions::commit(commit)).await
    }

    async fn sync(&self) -> Result<(), LogError> {
        // Versions are synced before they are linked into the directory: only directories may be behind, those of log, table and archive.
        self.root.sync_directory_of(&commit_name(0)).await
    }

    async fn checkpoint(&self) -> Result<(), LogError> {
        let (snapshot, _) = self.newest().await?;
        let engine = self.engine.clone();
        let snapshot = blocking(&self.url, move || write_checkpoint(&snapshot, engine.as_ref())).await?;
        self.known.keep(&snapshot);
        Ok(())
    }
}

/// Makes the kernel read a version, the newest if none is given. It reads only what came after the `known` snapshot, if there is one.
async fn read_version(
    engine: &Arc<KernelEngine>,
    url: &Url,
    known: Option<SnapshotRef>,
    version: Option<Version>,
) -> Result<SnapshotRef, LogError> {
    fn at<Mode>(builder: SnapshotBuilder<Mode>, version: Option<Version>) -> SnapshotBuilder<Mode> {
        match version {
            Some(version) => builder.at_version(version),
            None => builder,
        }
    }
    let (engine, table) = (engine.clone(), url.clone());
    blocking(url, move || {
        let engine: &dyn Engine = engine.as_ref();
        let newer = known.map(|known| at(delta_kernel::Snapshot::builder_from(known), version).build(engine));
        match newer {
            Some(Ok(snapshot)) => Ok(snapshot),
            // What the known snapshot rests on may be gone: the log was restored, or cleaned up.
            Some(Err(_)) | None => at(delta_kernel::Snapshot::builder_for(&table), version).build(engine),
        }
    })
    .await
}

struct DeltaSnapshot {
    seen: Seen,
    known: Arc<Known>,
    root: Root,
    url: Url,
    engine: Arc<KernelEngine>,
}

impl DeltaSnapshot {
    /// The kernel's snapshot of this version.
    async fn of_the_kernel(&self) -> Result<SnapshotRef, LogError> {
        let version = self.seen.version;
        let known = self.known.snapshot().clone().filter(|known| known.version() <= version);
        let snapshot = read_version(&self.engine, &self.url, known, Some(version)).await?;
        check_protocol(&self.url, &snapshot)?;
        self.known.keep(&snapshot);
        Ok(snapshot)
    }

    /// Remembers a position for the versions that follow; commits that set another one have told it already.
    fn remember(&self, writer: String, position: Option<u64>) {
        if let Some(seen) = self.known.seen().as_mut().filter(|seen| seen.reading == self.seen.reading) {
            seen.positions.entry(writer).or_insert(position);
        }
    }
}

impl fmt::Debug for DeltaSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at version {}", self.url, self.seen.version)
    }
}

#[async_trait]
impl Snapshot for DeltaSnapshot {
    fn version(&self) -> Version {
        self.seen.version
    }

    fn protocol(&self) -> TableProtocol {
        self.seen.protocol
    }

    fn properties(&self) -> &BTreeMap<String, String> {
        &self.seen.properties
    }

    async fn transaction(&self, writer: WriterId) -> Result<Option<u64>, LogError> {
        if failpoint::sabotaged(Sabotage::ForgetTransaction) {
            return Ok(None);
        }
        let writer = writer.to_string();
        if let Some(position) = self.seen.positions.get(&writer) {
            return Ok(*position);
        }
        let (snapshot, engine, asked) = (self.of_the_kernel().await?, self.engine.clone(), writer.clone());
        let position = blocking(&self.url, move || snapshot.get_app_id_version(&asked, engine.as_ref())).await?;
        let position = position.and_then(|position| u64::try_from(position).ok());
        self.remember(writer, position);
        Ok(position)
    }

    async fn files(&self) -> Result<Vec<DataFile>, LogError> {
        let (snapshot, engine) = (self.of_the_kernel().await?, self.engine.clone());
        let batches = blocking(&self.url, move || {
            let scan = snapshot.scan_builder().without_row_transforms().build()?;
            let mut batches = Vec::new();
            for metadata in scan.scan_metadata(engine.as_ref())? {
                let (data, selected) = metadata?.scan_files.into_parts();
                batches.push((ArrowEngineData::try_from_engine_data(data)?.record_batch().clone(), selected));
            }
            Ok(batches)
        });
        let mut files = Vec::new();
        for (batch, selected) in batches.await? {
            read_files(&self.url, &batch, &selected, &mut files)?;
        }
        Ok(files)
    }

    async fn additions(&self, files: &BTreeSet<String>) -> Result<Vec<Addition>, LogError> {
        additions(&self.root, self.seen.version, files).await
    }
}

/// Another protocol means features that this program does not know, such as deletion vectors: refused, never guessed at.
fn check_protocol(url: &Url, snapshot: &SnapshotRef) -> Result<TableProtocol, LogError> {
    fn names(features: Option<&[TableFeature]>) -> Vec<String> {
        features.unwrap_or_default().iter().map(ToString::to_string).collect()
    }
    let protocol = snapshot.table_configuration().protocol();
    let versions = (protocol.min_reader_version().into(), protocol.min_writer_version().into());
    let known = TableProtocol::of(versions, &names(protocol.reader_features()), &names(protocol.writer_features()));
    known.map_err(|problem| LogError::Refused { place: url.to_string(), problem, advice: OTHER_PROTOCOL })
}

async fn blocking<T, F>(url: &Url, work: F) -> Result<T, LogError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, KernelError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        // A backtrace, which it has with RUST_BACKTRACE, would go into answers and log lines.
        Ok(Err(error)) => {
            Err(LogError::Store { place: url.to_string(), cause: promarchive_model::chain(error.without_backtrace()) })
        }
        Err(panic) => Err(LogError::Store { place: url.to_string(), cause: panic.to_string() }),
    }
}
