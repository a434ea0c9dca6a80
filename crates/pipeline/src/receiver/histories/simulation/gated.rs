//! Logs and stores as an actor reaches them: through a gate, where the history decides how each operation ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use promarchive_archive::log::{Commit, Definition, LogError, Put, Snapshot, TableLog, Version};
use promarchive_archive::schema::Table;
use promarchive_testkit::PutFault;
use promarchive_testkit::faults::{ForgetfulSnapshot, injected};

use super::Lie;
use super::backing::Backing;
use super::schedule::{Gate, Operation, Verdict};

#[derive(Debug)]
pub(super) struct GatedLog {
    gate: Gate,
    table: Table,
    log: Arc<dyn Backing>,
    lie: Lie,
    /// Under some lies: whether the next snapshot knows no transactions.
    forgets: Arc<AtomicBool>,
}

impl GatedLog {
    pub(super) fn new(gate: &Gate, table: Table, log: Arc<dyn Backing>, lie: Lie, opening: bool) -> Self {
        let forgets = lie == Lie::Transactions || lie == Lie::Positions && opening;
        Self { gate: gate.clone(), table, log, lie, forgets: Arc::new(AtomicBool::new(forgets)) }
    }

    fn shown(&self, snapshot: Arc<dyn Snapshot>) -> Arc<dyn Snapshot> {
        let forgets = match self.lie {
            // What is read to open is read first; what follows is told the truth.
            Lie::Races | Lie::Positions => self.forgets.swap(false, Ordering::SeqCst),
            _ => self.forgets.load(Ordering::SeqCst),
        };
        let forgetful = |inner| ForgetfulSnapshot { inner, forgets: Arc::new(AtomicBool::new(true)) };
        if forgets { Arc::new(forgetful(snapshot)) } else { snapshot }
    }
}

fn failed() -> LogError {
    LogError::Store { place: "simulation".into(), cause: "injected fault".into() }
}

#[async_trait]
impl TableLog for GatedLog {
    async fn load(&self) -> std::result::Result<Option<Arc<dyn Snapshot>>, LogError> {
        let loaded = match self.gate.pass(Operation::Load(self.table)).await {
            Verdict::Well => self.log.load().await,
            Verdict::Lags(versions) => self.log.load_lagging(versions).await,
            Verdict::FailsBefore | Verdict::FailsAfter => Err(failed()),
        };
        Ok(loaded?.map(|snapshot| self.shown(snapshot)))
    }

    async fn create(&self, definition: &Definition) -> std::result::Result<Put, LogError> {
        self.log.create(definition).await
    }

    async fn put(&self, version: Version, commit: &Commit) -> std::result::Result<Put, LogError> {
        match self.gate.pass(Operation::Commit(self.table, version, commit.clone())).await {
            Verdict::FailsBefore => return Err(failed()),
            Verdict::FailsAfter => self.log.fail_next_put(PutFault::After),
            Verdict::Well | Verdict::Lags(_) => {}
        }
        let put = self.log.put(version, commit).await;
        if self.lie == Lie::Races && matches!(put, Ok(Put::Taken)) {
            self.forgets.store(true, Ordering::SeqCst);
        }
        put
    }

    async fn sync(&self) -> std::result::Result<(), LogError> {
        match self.gate.pass(Operation::Sync(self.table)).await {
            Verdict::Well => self.log.sync().await,
            _ => Err(failed()),
        }
    }

    async fn checkpoint(&self) -> std::result::Result<(), LogError> {
        match self.gate.pass(Operation::Checkpoint(self.table)).await {
            Verdict::Well => self.log.checkpoint().await,
            _ => Err(failed()),
        }
    }
}

/// The store of the data files.
#[derive(Debug)]
pub(super) struct GatedStore {
    pub(super) gate: Gate,
    pub(super) inner: Arc<dyn ObjectStore>,
}

impl fmt::Display for GatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gated store")
    }
}

#[async_trait]
impl ObjectStore for GatedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.gate.pass(Operation::PutFile(location.clone(), payload.clone())).await {
            Verdict::FailsBefore => Err(injected()),
            Verdict::FailsAfter => self.inner.put_opts(location, payload, opts).await.and(Err(injected())),
            Verdict::Well | Verdict::Lags(_) => self.inner.put_opts(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.gate.pass(Operation::ReadFile(location.clone())).await {
            Verdict::Well => self.inner.get_opts(location, options).await,
            _ => Err(injected()),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (gate, inner) = (self.gate.clone(), self.inner.clone());
        let delete = move |location: Path| {
            let (gate, inner) = (gate.clone(), inner.clone());
            async move {
                match gate.pass(Operation::DeleteFile(location.clone())).await {
                    Verdict::Well => inner.delete(&location).await.map(|()| location),
                    _ => Err(injected()),
                }
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
