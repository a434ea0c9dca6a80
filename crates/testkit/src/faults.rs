//! An object store and table logs that fail when told to, and logs that lie.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use promarchive_archive::Location;
use promarchive_archive::log::{
    Addition, Commit, DataFile, Definition, LogError, ModelLog, Put, PutFault, Snapshot, TableLog, TableProtocol,
    Version,
};
use promarchive_archive::store::Store;
use promarchive_model::WriterId;

/// A store of which the n-th put from now fails, before or after it has happened, and listings may lag.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Mutex<StoreFaults>,
}

#[derive(Debug, Default)]
struct StoreFaults {
    put: Option<(u64, PutFault)>,
    /// So many of the newest versions of a log are missing from listings.
    lag: u64,
}

/// An archive's store over objects in memory.
pub fn in_memory(objects: Arc<dyn ObjectStore>) -> Store {
    Store::over(Location::in_memory().unwrap(), objects)
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }
}

impl FaultyStore {
    /// Over another store.
    pub fn over(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, faults: Mutex::default() }
    }

    /// The put that comes after so many others fails so; none for no fault.
    pub fn set_fault(&self, fault: Option<(u64, PutFault)>) {
        self.faults.lock().unwrap().put = fault;
    }

    /// So many of the newest versions of a log are missing from listings.
    pub fn set_lag(&self, versions: u64) {
        self.faults.lock().unwrap().lag = versions;
    }

    fn strikes(&self) -> Option<PutFault> {
        let fault = &mut self.faults.lock().unwrap().put;
        let (left, kind) = fault.take()?;
        if left == 0 {
            return Some(kind);
        }
        *fault = Some((left - 1, kind));
        None
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty store")
    }
}

/// The error of a fault that a test has asked for.
pub fn injected() -> object_store::Error {
    object_store::Error::Generic { store: "faulty store", source: "injected fault".into() }
}

/// The version that an object of a log belongs to; none for `_last_checkpoint`.
fn version_of(object: &ObjectMeta) -> Option<Version> {
    object.location.filename()?.get(..20)?.parse().ok()
}

/// What a listing shows that lags behind.
fn lagging(mut objects: Vec<ObjectMeta>, versions: u64) -> Vec<ObjectMeta> {
    let newest = objects.iter().filter_map(version_of).max().unwrap_or(0);
    let shown = newest.saturating_sub(versions);
    objects.retain(|object| version_of(object).is_none_or(|version| version <= shown));
    objects
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.strikes() {
            None => self.inner.put_opts(location, payload, opts).await,
            Some(PutFault::Before) => Err(injected()),
            Some(PutFault::After) => self.inner.put_opts(location, payload, opts).await.and(Err(injected())),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let lag = self.faults.lock().unwrap().lag;
        let listed = self.inner.list(prefix);
        if lag == 0 {
            return listed;
        }
        let shown = async move {
            let objects: Vec<ObjectMeta> = listed.try_collect().await?;
            let shown = lagging(objects, lag).into_iter().map(Ok);
            Ok::<_, object_store::Error>(futures::stream::iter(shown))
        };
        futures::stream::once(shown).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A log that says, while `forgets` is set, that nobody ever committed, and that can lie about its sync.
#[derive(Clone, Debug)]
pub struct ForgetfulLog {
    /// What it is a handle of.
    pub inner: ModelLog,
    /// Whether it forgets.
    pub forgets: Arc<AtomicBool>,
    /// Whether a sync does nothing.
    pub lies_about_sync: bool,
}

/// A snapshot that says so.
#[derive(Debug)]
pub struct ForgetfulSnapshot {
    /// The version itself.
    pub inner: Arc<dyn Snapshot>,
    /// Whether it forgets.
    pub forgets: Arc<AtomicBool>,
}

#[async_trait]
impl TableLog for ForgetfulLog {
    async fn load(&self) -> std::result::Result<Option<Arc<dyn Snapshot>>, LogError> {
        let forgetful =
            |inner| Arc::new(ForgetfulSnapshot { inner, forgets: self.forgets.clone() }) as Arc<dyn Snapshot>;
        Ok(self.inner.load().await?.map(forgetful))
    }

    async fn create(&self, definition: &Definition) -> std::result::Result<Put, LogError> {
        self.inner.create(definition).await
    }

    async fn put(&self, version: Version, commit: &Commit) -> std::result::Result<Put, LogError> {
        self.inner.put(version, commit).await
    }

    async fn sync(&self) -> std::result::Result<(), LogError> {
        if self.lies_about_sync { Ok(()) } else { self.inner.sync().await }
    }

    async fn checkpoint(&self) -> std::result::Result<(), LogError> {
        self.inner.checkpoint().await
    }
}

#[async_trait]
impl Snapshot for ForgetfulSnapshot {
    fn version(&self) -> Version {
        self.inner.version()
    }

    fn protocol(&self) -> TableProtocol {
        self.inner.protocol()
    }

    fn properties(&self) -> &std::collections::BTreeMap<String, String> {
        self.inner.properties()
    }

    async fn transaction(&self, writer: WriterId) -> std::result::Result<Option<u64>, LogError> {
        if self.forgets.load(Ordering::SeqCst) { Ok(None) } else { self.inner.transaction(writer).await }
    }

    async fn files(&self) -> std::result::Result<Vec<DataFile>, LogError> {
        self.inner.files().await
    }

    async fn additions(&self, files: &BTreeSet<String>) -> std::result::Result<Vec<Addition>, LogError> {
        self.inner.additions(files).await
    }
}
