//! A log that never goes back: a listing that lags must not make a file look gone that this process has put or seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::log::{Commit, Definition, LogError, Put, Snapshot, TableLog, Version};
use crate::schema::Table;

/// A log through which one process sees no version older than one that it has seen to be there.
#[derive(Debug)]
pub(crate) struct ForwardLog {
    table: Table,
    log: Arc<dyn TableLog>,
    seen: AtomicU64,
}

impl ForwardLog {
    pub(crate) fn new(table: Table, log: Arc<dyn TableLog>) -> Self {
        Self { table, log, seen: AtomicU64::new(0) }
    }
}

#[async_trait]
impl TableLog for ForwardLog {
    async fn load(&self) -> Result<Option<Arc<dyn Snapshot>>, LogError> {
        let seen = self.seen.load(Ordering::SeqCst);
        let loaded = self.log.load().await?;
        let version = loaded.as_ref().map_or(0, |snapshot| snapshot.version());
        if version < seen {
            let cause = format!(
                "the storage lists version {version}, but version {seen} was read before: the listing lags behind; if \
                 the table was restored from a backup, restart promarchive"
            );
            return Err(LogError::Store { place: self.table.name().to_owned(), cause });
        }
        self.seen.fetch_max(version, Ordering::SeqCst);
        Ok(loaded)
    }

    async fn create(&self, definition: &Definition) -> Result<Put, LogError> {
        self.log.create(definition).await
    }

    async fn put(&self, version: Version, commit: &Commit) -> Result<Put, LogError> {
        let put = self.log.put(version, commit).await?;
        self.seen.fetch_max(version, Ordering::SeqCst);
        Ok(put)
    }

    async fn sync(&self) -> Result<(), LogError> {
        self.log.sync().await
    }

    async fn checkpoint(&self) -> Result<(), LogError> {
        self.log.checkpoint().await
    }
}
