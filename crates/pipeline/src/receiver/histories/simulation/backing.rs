//! What the tables of a history are: models in memory, or the real library on a store, with faults beneath it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use promarchive_archive::log::{
    Commit, Definition, DeltaLog, LogError, ModelLog, Put, PutFault, Snapshot, TableLog, Version,
};
use promarchive_archive::schema::Table;
use promarchive_archive::store::DurableLocal;
use tempfile::TempDir;
use url::Url;

use crate::receiver::histories::faults::FaultyStore;

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
        let store = Arc::new(FaultyStore::over(self.store.clone()));
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
