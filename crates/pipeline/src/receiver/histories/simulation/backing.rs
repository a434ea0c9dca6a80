//! What the tables of a history are: models in memory, or the real library on a store, with faults beneath it.

use std::collections::BTreeMap;
use std::fmt;
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
use tempfile::TempDir;
use url::Url;

use super::gated::injected;
use crate::schema::Table;
use crate::table::{
    Commit, Definition, DeltaLog, DurableLocal, LogError, ModelLog, Put, PutFault, Snapshot, TableLog, Version,
};

/// On what a history runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// Models of logs.
    Model,
    /// The real library on a store in memory, as on the network: what is put is durable.
    Library,
    /// The real library on a directory.
    Directory,
}

type Loaded = std::result::Result<Option<Arc<dyn Snapshot>>, LogError>;

/// A log that fails when told to.
#[async_trait]
pub(super) trait Backing: TableLog {
    fn fail_next_put(&self, fault: PutFault);
    /// Loads without the newest versions.
    async fn load_lagging(&self, versions: u64) -> Loaded;
}

/// All tables of a history; each process gets handles of its own.
pub(super) struct Tables {
    store: Arc<dyn ObjectStore>,
    root: Root,
}

enum Root {
    Model(BTreeMap<Table, Model>),
    Memory,
    Directory(TempDir),
}

impl Tables {
    pub(super) fn new(ground: Ground) -> Self {
        let memory = || Arc::new(InMemory::new());
        match ground {
            Ground::Model => {
                let models = Table::ALL.into_iter().map(|table| (table, Model::default())).collect();
                Self { store: memory(), root: Root::Model(models) }
            }
            Ground::Library => Self { store: memory(), root: Root::Memory },
            Ground::Directory => {
                let directory = tempfile::tempdir().unwrap();
                Self { store: Arc::new(DurableLocal::default()), root: Root::Directory(directory) }
            }
        }
    }

    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Where the files of a table are in the store.
    pub(super) fn place(&self, table: Table) -> Path {
        match &self.root {
            Root::Model(_) | Root::Memory => Path::from(table.name()),
            Root::Directory(directory) => {
                let url = Url::from_directory_path(directory.path().join(table.name())).unwrap();
                Path::from_url_path(url.path()).unwrap()
            }
        }
    }

    /// A new handle, which has seen nothing yet.
    pub(super) fn open(&self, table: Table) -> Arc<dyn Backing> {
        let url = match &self.root {
            Root::Model(models) => return Arc::new(models[&table].clone()),
            Root::Memory => Url::parse(&format!("memory:///{}/", table.name())).unwrap(),
            Root::Directory(directory) => Url::from_directory_path(directory.path().join(table.name())).unwrap(),
        };
        let store = Arc::new(FaultyStore { inner: self.store.clone(), faults: Mutex::default() });
        let log = DeltaLog::new(store.clone(), self.place(table), url);
        Arc::new(Library { log, store })
    }

    /// The machine that the archive is on loses power.
    pub(super) fn crash(&self) {
        if let Root::Model(models) = &self.root {
            models.values().for_each(Model::crash);
        }
    }
}

/// A model, with the snapshots that it has ever shown.
#[derive(Clone, Debug, Default)]
struct Model {
    log: ModelLog,
    shown: Arc<Mutex<Vec<Arc<dyn Snapshot>>>>,
}

impl Model {
    fn crash(&self) {
        self.log.crash();
        self.shown.lock().unwrap().clear();
    }
}

#[async_trait]
impl TableLog for Model {
    async fn load(&self) -> Loaded {
        let loaded = self.log.load().await?;
        if let Some(snapshot) = &loaded {
            let mut shown = self.shown.lock().unwrap();
            if shown.last().is_none_or(|last| last.version() < snapshot.version()) {
                shown.push(snapshot.clone());
            }
        }
        Ok(loaded)
    }

    async fn create(&self, definition: &Definition) -> std::result::Result<Put, LogError> {
        self.log.create(definition).await
    }

    async fn put(&self, version: Version, commit: &Commit) -> std::result::Result<Put, LogError> {
        self.log.put(version, commit).await
    }

    async fn sync(&self) -> std::result::Result<(), LogError> {
        self.log.sync().await
    }

    async fn checkpoint(&self) -> std::result::Result<(), LogError> {
        self.log.checkpoint().await
    }
}

#[async_trait]
impl Backing for Model {
    fn fail_next_put(&self, fault: PutFault) {
        self.log.fail_next_put(fault);
    }

    async fn load_lagging(&self, versions: u64) -> Loaded {
        let newest = self.load().await?;
        let shown = self.shown.lock().unwrap();
        let lagging = shown.iter().rev().nth(usize::try_from(versions).unwrap()).cloned();
        Ok(lagging.or(newest))
    }
}

/// The real library over a store that fails.
#[derive(Debug)]
struct Library {
    log: DeltaLog,
    store: Arc<FaultyStore>,
}

#[async_trait]
impl TableLog for Library {
    async fn load(&self) -> Loaded {
        self.log.load().await
    }

    async fn create(&self, definition: &Definition) -> std::result::Result<Put, LogError> {
        self.log.create(definition).await
    }

    async fn put(&self, version: Version, commit: &Commit) -> std::result::Result<Put, LogError> {
        let put = self.log.put(version, commit).await;
        self.store.faults.lock().unwrap().put = None;
        put
    }

    async fn sync(&self) -> std::result::Result<(), LogError> {
        self.log.sync().await
    }

    async fn checkpoint(&self) -> std::result::Result<(), LogError> {
        self.log.checkpoint().await
    }
}

#[async_trait]
impl Backing for Library {
    fn fail_next_put(&self, fault: PutFault) {
        self.store.faults.lock().unwrap().put = Some(fault);
    }

    async fn load_lagging(&self, versions: u64) -> Loaded {
        self.store.faults.lock().unwrap().lag = versions;
        let loaded = self.log.load().await;
        self.store.faults.lock().unwrap().lag = 0;
        loaded
    }
}

#[derive(Debug, Default)]
struct StoreFaults {
    put: Option<PutFault>,
    /// So many of the newest versions are missing from listings.
    lag: u64,
}

/// The store beneath the library's log.
#[derive(Debug)]
struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Mutex<StoreFaults>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty store")
    }
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
        let fault = self.faults.lock().unwrap().put.take();
        match fault {
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
