//! What the tables of a history are: models in memory, or the real library on a store, with faults beneath it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use object_store::memory::InMemory;
use promarchive_archive::Location;
use promarchive_archive::log::{Commit, Definition, DeltaLog, LogError, Put, Snapshot, TableLog, Version};
use promarchive_archive::schema::Table;
use promarchive_archive::store::Store;
use promarchive_testkit::faults::{FaultyStore, in_memory};
use promarchive_testkit::{ModelLog, PutFault};
use tempfile::TempDir;

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

type Loaded = Result<Option<Arc<dyn Snapshot>>, LogError>;

/// A log that fails when told to.
#[async_trait]
pub(super) trait Backing: TableLog {
    fn fail_next_put(&self, fault: PutFault);
    /// Loads without the newest versions.
    async fn load_lagging(&self, versions: u64) -> Loaded;
}

/// All tables of a history; each process gets handles of its own.
pub(super) struct Tables {
    store: Store,
    models: BTreeMap<Table, Model>,
    _directory: Option<TempDir>,
}

impl Tables {
    pub(super) fn new(ground: Ground) -> Self {
        if ground == Ground::Directory {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(Location::at(directory.path()).unwrap()).unwrap();
            return Self { store, models: BTreeMap::new(), _directory: Some(directory) };
        }
        let modelled = Table::ALL.into_iter().filter(|_| ground == Ground::Model);
        let models = modelled.map(|table| (table, Model::default())).collect();
        Self { store: in_memory(Arc::new(InMemory::new())), models, _directory: None }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// A new handle, which has seen nothing yet.
    pub(super) fn open(&self, table: Table) -> Arc<dyn Backing> {
        if let Some(model) = self.models.get(&table) {
            return Arc::new(model.clone());
        }
        let store = Arc::new(FaultyStore::over(self.store.objects().clone()));
        let log = DeltaLog::new(Store::over(self.store.location().clone(), store.clone()).table(table));
        Arc::new(Library { log, store })
    }

    /// The machine that the archive is on loses power.
    pub(super) fn crash(&self) {
        self.models.values().for_each(Model::crash);
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

    async fn create(&self, definition: &Definition) -> Result<Put, LogError> {
        self.log.create(definition).await
    }

    async fn put(&self, version: Version, commit: &Commit) -> Result<Put, LogError> {
        self.log.put(version, commit).await
    }

    async fn sync(&self) -> Result<(), LogError> {
        self.log.sync().await
    }

    async fn checkpoint(&self) -> Result<(), LogError> {
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

    async fn create(&self, definition: &Definition) -> Result<Put, LogError> {
        self.log.create(definition).await
    }

    async fn put(&self, version: Version, commit: &Commit) -> Result<Put, LogError> {
        let put = self.log.put(version, commit).await;
        self.store.set_fault(None);
        put
    }

    async fn sync(&self) -> Result<(), LogError> {
        self.log.sync().await
    }

    async fn checkpoint(&self) -> Result<(), LogError> {
        self.log.checkpoint().await
    }
}

#[async_trait]
impl Backing for Library {
    fn fail_next_put(&self, fault: PutFault) {
        self.store.set_fault(Some((0, fault)));
    }

    async fn load_lagging(&self, versions: u64) -> Loaded {
        self.store.set_lag(versions);
        let loaded = self.log.load().await;
        self.store.set_lag(0);
        loaded
    }
}
