//! An archive: one root with its tables.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use promarchive_api::{ArchiveLocation, ArchiveLocationError};
use promarchive_model::environment::{Clock, Entropy};
use url::Url;

use crate::log::DeltaLog;
use crate::log::forward::ForwardLog;
use crate::log::{Definition, LogError, TableLog};
use crate::schema::{
    LABEL_COLUMNS_PROPERTY, LabelColumns, LabelColumnsError, SCHEMA_VERSION, SCHEMA_VERSION_PROPERTY, Table,
};
use crate::store::{DurableLocal, place};

/// Where an archive is: a directory, for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    directory: PathBuf,
}

/// Why an archive cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a directory or a `file://` URL.
    #[error(transparent)]
    Location(#[from] ArchiveLocationError),
    /// A path that the store cannot use.
    #[error("archive {0:?}: {1}")]
    Place(String, String),
    /// There is nothing.
    #[error("{0}: no archive here (no table of samples); check the path")]
    Missing(String),
    /// A table's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Written by another version of this program.
    #[error(
        "{table}: schema version {found}, and this program writes {SCHEMA_VERSION}; use the program that wrote the archive, or a newer one"
    )]
    SchemaVersion {
        /// Which table.
        table: &'static str,
        /// Its version.
        found: String,
    },
    /// Other label columns than asked for.
    #[error(
        "the archive has the label columns {found}, fixed when it was created, not {wanted}; leave the setting out, or start a new archive"
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
    /// Whether another try may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Log(e) => e.is_retryable(),
            Self::Location(_)
            | Self::Place(..)
            | Self::Missing(_)
            | Self::SchemaVersion { .. }
            | Self::LabelColumnsDiffer { .. }
            | Self::LabelColumns(_) => false,
        }
    }
}

impl Location {
    /// A directory's path or a `file://` URL.
    pub fn parse(text: &str) -> Result<Self, ArchiveError> {
        Self::at(text.parse::<ArchiveLocation>()?.directory())
    }

    /// A directory.
    pub fn at(directory: &FsPath) -> Result<Self, ArchiveError> {
        let refuse = |why: String| ArchiveError::Place(directory.display().to_string(), why);
        let place = place::without_parents(directory).map_err(|e| refuse(e.to_string()))?;
        if let Some(why) = place::fault(&place) {
            return Err(refuse(why.to_owned()));
        }
        Ok(Self { directory: place })
    }

    /// Characters of the path that keep some readers out; none if there are none.
    pub fn hurdle_for_readers(&self) -> Option<String> {
        place::hurdle_for_readers(&self.directory)
    }

    /// The absolute path.
    pub fn directory(&self) -> &FsPath {
        &self.directory
    }

    /// Whether there are tables.
    pub fn has_tables(&self) -> std::io::Result<bool> {
        self.directory.join(Table::Samples.name()).join("_delta_log").try_exists()
    }

    fn table(&self, table: Table) -> Result<(Path, Url), ArchiveError> {
        let directory = self.directory.join(table.name());
        let refuse = |why: String| ArchiveError::Place(directory.display().to_string(), why);
        let path = Path::from_absolute_path(&directory).map_err(|e| refuse(e.to_string()))?;
        let url = Url::from_directory_path(&directory).map_err(|()| refuse("not an absolute path".into()))?;
        Ok((path, url))
    }
}

/// The tables of one archive and the store that they are on.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    tables: Vec<(Table, Path, Arc<dyn TableLog>)>,
    label_columns: LabelColumns,
}

impl Archive {
    /// An archive over given logs, as a simulation needs it.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        tables: Vec<(Table, Path, Arc<dyn TableLog>)>,
        label_columns: LabelColumns,
    ) -> Self {
        let forward = |(table, path, log)| (table, path, Arc::new(ForwardLog::new(table, log)) as Arc<dyn TableLog>);
        let tables = tables.into_iter().map(forward).collect();
        Self { store, tables, label_columns }
    }

    fn at(location: &Location) -> Result<Self, ArchiveError> {
        let store: Arc<dyn ObjectStore> = Arc::new(DurableLocal::default());
        let mut tables: Vec<(Table, Path, Arc<dyn TableLog>)> = Vec::new();
        for table in Table::ALL {
            let (path, url) = location.table(table)?;
            tables.push((table, path.clone(), Arc::new(DeltaLog::new(store.clone(), path, url))));
        }
        Ok(Self::new(store, tables, LabelColumns::default()))
    }

    /// Opens an archive to read it.
    pub async fn open(location: &Location) -> Result<Self, ArchiveError> {
        let mut archive = Self::at(location)?;
        let columns = archive.existing_label_columns().await?;
        archive.label_columns =
            columns.ok_or_else(|| ArchiveError::Missing(location.directory.display().to_string()))?;
        Ok(archive)
    }

    /// Opens an archive to write to it; tables that are missing are made. `wanted` are the label columns asked for by the
    /// configuration, if it says anything.
    pub async fn open_or_create(
        location: &Location,
        wanted: Option<LabelColumns>,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, ArchiveError> {
        let mut archive = Self::at(location)?;
        archive.label_columns = match (archive.existing_label_columns().await?, wanted) {
            (Some(found), Some(wanted)) if found != wanted => {
                let (found, wanted) = (found.names().join(","), wanted.names().join(","));
                return Err(ArchiveError::LabelColumnsDiffer { found, wanted });
            }
            (Some(found), _) => found,
            (None, wanted) => {
                let new = wanted.unwrap_or_default();
                new.check_for_new_archive()?;
                new
            }
        };
        archive.create_missing(clock, entropy).await?;
        Ok(archive)
    }

    async fn create_missing(&self, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<(), ArchiveError> {
        for (table, _, log) in &self.tables {
            if log.load().await?.is_none() {
                let id = entropy.next_u128();
                let label_columns = self.label_columns.clone();
                log.create(&Definition { table: *table, label_columns, id, created: clock.now_ms() }).await?;
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
            if version != SCHEMA_VERSION.to_string() {
                return Err(ArchiveError::SchemaVersion { table: table.name(), found: version });
            }
            if *table == Table::Samples {
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
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Each table with the place of its files in the store and its log, in the order of commits.
    pub fn tables(&self) -> impl Iterator<Item = (Table, &Path, &Arc<dyn TableLog>)> {
        self.tables.iter().map(|(table, path, log)| (*table, path, log))
    }

    /// One table's place and log.
    pub fn table(&self, table: Table) -> Option<(&Path, &Arc<dyn TableLog>)> {
        self.tables.iter().find(|(other, ..)| *other == table).map(|(_, path, log)| (path, log))
    }
}
