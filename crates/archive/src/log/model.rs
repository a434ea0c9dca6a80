//! A table log in memory: the model that the real one is held against, and what simulations run on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use promarchive_model::WriterId;

use crate::log::{
    Addition, Commit, CommitKind, DataFile, Definition, LogError, Put, Snapshot, TableLog, TableProtocol, Version,
};
use crate::schema::{LABEL_COLUMNS_PROPERTY, SCHEMA_VERSION_PROPERTY};

/// How the next put of a [`ModelLog`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutFault {
    /// Before anything happened.
    Before,
    /// After it landed, at the sync: reported failed, seen by everybody, and not durable.
    After,
}

#[derive(Debug, Default)]
struct State {
    definition: Option<Definition>,
    commits: Vec<Commit>,
    /// How many of them are durable.
    synced: usize,
    fault: Option<PutFault>,
    /// Whether the table has the protocol of earlier versions until it is upgraded.
    is_old: bool,
}

/// A table log in memory. A clone is another handle to the same log.
#[derive(Clone, Debug, Default)]
pub struct ModelLog {
    state: Arc<Mutex<State>>,
}

impl ModelLog {
    /// Makes the table one of an earlier version, which other programs may write to.
    pub fn age(&self) {
        self.lock().is_old = true;
    }

    /// Makes the next put fail.
    pub fn fail_next_put(&self, fault: PutFault) {
        self.lock().fault = Some(fault);
    }

    /// Forgets a fault that has not struck.
    pub fn clear_fault(&self) {
        self.lock().fault = None;
    }

    /// The machine loses power: commits that were never synced are gone.
    pub fn crash(&self) {
        let mut state = self.lock();
        let synced = state.synced;
        state.commits.truncate(synced);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed() -> LogError {
    LogError::Store { place: "model".into(), cause: "injected fault".into() }
}

#[async_trait]
impl TableLog for ModelLog {
    async fn load(&self) -> Result<Option<Arc<dyn Snapshot>>, LogError> {
        let state = self.lock();
        let Some(definition) = &state.definition else { return Ok(None) };
        let properties = BTreeMap::from([
            (SCHEMA_VERSION_PROPERTY.to_owned(), definition.table.version().to_string()),
            (LABEL_COLUMNS_PROPERTY.to_owned(), definition.label_columns.names().join(",")),
        ]);
        let created = if state.is_old { TableProtocol::Open } else { TableProtocol::NEW };
        Ok(Some(Arc::new(ModelSnapshot { created, properties, commits: state.commits.clone() })))
    }

    async fn create(&self, definition: &Definition) -> Result<Put, LogError> {
        let mut state = self.lock();
        if state.definition.is_some() {
            return Ok(Put::Taken);
        }
        state.definition = Some(definition.clone());
        Ok(Put::Done)
    }

    async fn put(&self, version: Version, commit: &Commit) -> Result<Put, LogError> {
        let mut state = self.lock();
        let fault = state.fault.take();
        if fault == Some(PutFault::Before) {
            return Err(failed());
        }
        let next = 1 + state.commits.len() as Version;
        if version > next {
            return Err(LogError::Store {
                place: "model".into(),
                cause: format!("version {version} after {}", next - 1),
            });
        }
        if version < next {
            return Ok(Put::Taken);
        }
        state.commits.push(commit.clone());
        if fault == Some(PutFault::After) {
            return Err(failed());
        }
        state.synced = state.commits.len();
        Ok(Put::Done)
    }

    async fn sync(&self) -> Result<(), LogError> {
        let mut state = self.lock();
        state.synced = state.commits.len();
        Ok(())
    }

    async fn checkpoint(&self) -> Result<(), LogError> {
        Ok(())
    }
}

#[derive(Debug)]
struct ModelSnapshot {
    /// The protocol of version 0.
    created: TableProtocol,
    properties: BTreeMap<String, String>,
    commits: Vec<Commit>,
}

#[async_trait]
impl Snapshot for ModelSnapshot {
    fn version(&self) -> Version {
        self.commits.len() as Version
    }

    fn protocol(&self) -> TableProtocol {
        let is_upgraded = self.commits.iter().any(|commit| commit.kind == CommitKind::Upgrade);
        if is_upgraded { TableProtocol::NEW } else { self.created }
    }

    fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    async fn transaction(&self, writer: WriterId) -> Result<Option<u64>, LogError> {
        let of_writer = |commit: &Commit| commit.transaction().filter(|(of, _)| *of == writer);
        Ok(self.commits.iter().rev().find_map(of_writer).map(|(_, position)| position))
    }

    async fn files(&self) -> Result<Vec<DataFile>, LogError> {
        let mut files: Vec<DataFile> = Vec::new();
        for commit in &self.commits {
            files.retain(|file| !commit.remove.iter().any(|removed| removed.path == file.path));
            files.extend(commit.add.iter().cloned());
        }
        Ok(files)
    }

    async fn additions(&self, files: &BTreeSet<String>) -> Result<Vec<Addition>, LogError> {
        let mut wanted = files.clone();
        let addition = |(version, commit): (Version, &Commit)| {
            let added = commit.add.iter().map(|file| file.path.clone()).filter(|path| wanted.remove(path));
            Addition { version, by: None, files: added.collect() }
        };
        let additions = (1..).zip(&self.commits).collect::<Vec<_>>().into_iter().rev().map(addition);
        Ok(additions.filter(|addition| !addition.files.is_empty()).collect())
    }
}
