//! An archive: one root with its tables.

use std::sync::Arc;

use promarchive_api::ArchiveLocationError;
use promarchive_model::environment::{Clock, Entropy};

use crate::Location;
use crate::log::DeltaLog;
use crate::log::forward::ForwardLog;
use crate::log::{Definition, LogError, TableLog};
use crate::schema::{LABEL_COLUMNS_PROPERTY, LabelColumns, LabelColumnsError, SCHEMA_VERSION_PROPERTY, Table};
use crate::store::{BucketError, Root, Store};

/// Why an archive cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Neither a directory nor the URL of one or of a place in a bucket.
    #[error(transparent)]
    Location(#[from] ArchiveLocationError),
    /// A bucket that cannot be asked.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A path that the store cannot use.
    #[error("archive {0:?}: {1}")]
    Place(String, String),
    /// There is nothing.
    #[error("{0}: no archive found (there is no samples table); check the path or URL")]
    Missing(String),
    /// A table's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Written by another version of this program.
    #[error(
        "{table}: the schema version is {found}, but this version of promarchive supports version {known}; use the \
         version that wrote the archive, or a newer one"
    )]
    SchemaVersion {
        /// Which table.
        table: &'static str,
        /// Its version.
        found: String,
        /// The one that this program knows.
        known: u32,
    },
    /// Other label columns than asked for.
    #[error(
        "the archive has the label columns {found}, not {wanted}; label columns cannot be changed after the archive \
         was created; remove the setting, or create a new archive"
    )]
    LabelColumnsDiffer {
        /// Those of the archive.
        found: String,
        /// Those of the configuration.
        wanted: String,
    },
    /// Label columns that cannot be.
    #[error(transparent)]
    LabelColumns(#[from] LabelColumnsError),
}

impl ArchiveError {
    /// There is none at this location.
    pub fn missing(location: &Location) -> Self {
        Self::Missing(location.to_string())
    }

    /// Whether another try may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Log(e) => e.is_retryable(),
            Self::Location(_)
            | Self::Bucket(_)
            | Self::Place(..)
            | Self::Missing(_)
            | Self::SchemaVersion { .. }
            | Self::LabelColumnsDiffer { .. }
            | Self::LabelColumns(_) => false,
        }
    }
}

/// The tables of one archive and the store that they are on.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Store,
    tables: Vec<(Table, Root, Arc<dyn TableLog>)>,
    label_columns: LabelColumns,
}

impl Archive {
    /// An archive over given logs, as a simulation needs it.
    pub fn new(store: Store, logs: Vec<(Table, Arc<dyn TableLog>)>, label_columns: LabelColumns) -> Self {
        let table =
            |(table, log)| (table, store.table(table), Arc::new(ForwardLog::new(table, log)) as Arc<dyn TableLog>);
        let tables = logs.into_iter().map(table).collect();
        Self { store, tables, label_columns }
    }

    fn at(store: Store) -> Self {
        let log = |table| (table, Arc::new(DeltaLog::new(store.table(table))) as Arc<dyn TableLog>);
        let logs = Table::ALL.into_iter().map(log).collect();
        Self::new(store, logs, LabelColumns::default())
    }

    /// Opens an archive to read it.
    pub async fn open(store: Store) -> Result<Self, ArchiveError> {
        let mut archive = Self::at(store);
        let columns = archive.existing_label_columns().await?;
        archive.label_columns = columns.ok_or_else(|| ArchiveError::missing(archive.store.location()))?;
        Ok(archive)
    }

    /// Opens an archive to write to it; tables that are missing are made. `wanted` are the label columns asked for by the
    /// configuration, if it says anything.
    pub async fn open_or_create(
        store: Store,
        wanted: Option<LabelColumns>,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, ArchiveError> {
        let mut archive = Self::at(store);
        let mut existing = archive.existing_label_columns().await?;
        if existing.is_none() {
            archive.label_columns = wanted.clone().unwrap_or_default();
            archive.label_columns.check_for_new_archive()?;
            // Several receivers may begin an archive in a bucket at the same time: who makes the first table has chosen the columns of all.
            archive.create_missing(|table| table == Table::SAMPLES, clock, entropy).await?;
            existing = archive.existing_label_columns().await?;
        }
        if let Some(found) = existing {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                let (found, wanted) = (found.names().join(","), wanted.names().join(","));
                return Err(ArchiveError::LabelColumnsDiffer { found, wanted });
            }
            archive.label_columns = found;
        }
        archive.create_missing(|_| true, clock, entropy).await?;
        Ok(archive)
    }

    async fn create_missing(
        &self,
        among: fn(Table) -> bool,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<(), ArchiveError> {
        for (table, _, log) in self.tables.iter().filter(|(table, ..)| among(*table)) {
            if log.load().await?.is_none() {
                let id = entropy.next_u128();
                let label_columns = self.label_columns.clone();
                log.create(&Definition { table: *table, label_columns, id, created: clock.now_ms() }).await?;
                // A store may say that there is one already, and not list it yet.
                if log.load().await?.is_none() {
                    let place = table.name().to_owned();
                    let cause = "the table was created, but the store does not list it yet".to_owned();
                    return Err(LogError::Store { place, cause }.into());
                }
            }
            log.sync().await?;
        }
        Ok(())
    }

    /// Label columns of the tables that exist; `None` when the samples do not.
    async fn existing_label_columns(&self) -> Result<Option<LabelColumns>, ArchiveError> {
        let mut found = None;
        for (table, _, log) in &self.tables {
            let Some(snapshot) = log.load().await? else { continue };
            let property = |name: &str| snapshot.properties().get(name).cloned().unwrap_or_default();
            let version = property(SCHEMA_VERSION_PROPERTY);
            let known = table.version();
            if version != known.to_string() {
                return Err(ArchiveError::SchemaVersion { table: table.name(), found: version, known });
            }
            if *table == Table::SAMPLES {
                let columns = property(LABEL_COLUMNS_PROPERTY);
                let names = columns.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                found = Some(LabelColumns::new(names)?);
            }
        }
        Ok(found)
    }

    /// The label columns of its tables.
    pub fn label_columns(&self) -> &LabelColumns {
        &self.label_columns
    }

    /// The store that the tables are on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Each table with its files and its log, in the order of commits.
    pub fn tables(&self) -> impl Iterator<Item = (Table, &Root, &Arc<dyn TableLog>)> {
        self.tables.iter().map(|(table, root, log)| (*table, root, log))
    }

    /// One table's files and log.
    pub fn table(&self, table: Table) -> Option<(&Root, &Arc<dyn TableLog>)> {
        self.tables.iter().find(|(other, ..)| *other == table).map(|(_, root, log)| (root, log))
    }
}

#[cfg(test)]
mod tests {
    use promarchive_model::environment::{SystemClock, SystemEntropy};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_begins_an_archive_has_chosen_its_columns() {
        let directory = tempfile::tempdir().unwrap();
        let begin = async |archive: &str, columns: &[&str]| {
            let store = Store::open(Location::at(&directory.path().join(archive)).unwrap()).unwrap();
            store.make().unwrap();
            let wanted = LabelColumns::new(columns.iter().map(|&name| name.to_owned()).collect()).unwrap();
            Archive::open_or_create(store, Some(wanted), &SystemClock::default(), &SystemEntropy).await
        };
        for archive in ["a", "b", "c"] {
            let (one, other) = tokio::join!(begin(archive, &["pod"]), begin(archive, &["node", "job"]));
            let refused = [one.err(), other.err()].into_iter().flatten().collect::<Vec<_>>();
            assert!(matches!(refused.as_slice(), [ArchiveError::LabelColumnsDiffer { .. }]), "{refused:?}");
            let (one, other) = tokio::join!(begin(archive, &["pod"]), begin(archive, &["node", "job"]));
            assert_eq!([one.is_ok(), other.is_ok()].into_iter().filter(|&opened| opened).count(), 1);
        }
    }
}
