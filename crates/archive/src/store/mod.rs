//! The objects of an archive: where they stand, and what the place can do.
//!
//! A [`Store`] is the only one that knows whether an archive is a directory or in a bucket. What only a directory needs (a sync of names, a lock, space held
//! back) or only a directory has (staging files, pipes, links) is asked of it, and is nothing where it is not needed.

mod bounded;
mod bucket;
mod diagnosis;
mod directory;
mod lock;
pub(crate) mod place;
pub mod probe;
mod reserve;
mod stored_file;
pub mod traffic;
mod walk;

use std::fmt;
use std::sync::Arc;

use bounded::Bounded;
pub use bucket::BucketError;
use bucket::Variables;
use bytes::Bytes;
pub use directory::DurableLocal;
use futures::TryStreamExt;
pub use lock::{ArchiveLock, LOCK_FILE, UpgradeError};
use object_store::path::Path;
use object_store::{ListResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
pub use place::without_parents;
use promarchive_directory::{DirectoryError, Purpose, SHARED_DIRECTORY};
pub use reserve::{RESERVE_FILE, Reserve};
pub use stored_file::{LoadedRange, StoredFile};
use traffic::{Observer, Watched};
pub use walk::{Entry, WalkError, staged_name};

use crate::Location;
use crate::archive::ArchiveError;
use crate::log::{DataFile, LogError, Put};
use crate::schema::Table;

const ARCHIVE: Purpose = Purpose { what: "archive", mode: SHARED_DIRECTORY, hard_links: true };

/// The objects of one archive.
#[derive(Clone)]
pub struct Store {
    location: Location,
    /// Where a bucket is asked for them.
    endpoint: Option<String>,
    objects: Arc<dyn ObjectStore>,
}

/// Without the objects: their client has credentials.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.location)
    }
}

impl Store {
    /// The store of an archive. Nothing is made or read yet. The client of a bucket is made from the environment variables of this process.
    pub fn open(location: Location) -> Result<Self, ArchiveError> {
        Self::connect(location, &Variables::of_process(), None)
    }

    /// The same; who is told of each request.
    pub fn open_watched(location: Location, observer: Arc<dyn Observer>) -> Result<Self, ArchiveError> {
        Self::connect(location, &Variables::of_process(), Some(observer))
    }

    /// The same, with the client of a bucket made from these variables.
    pub fn open_with(
        location: Location,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ArchiveError> {
        Self::connect(location, &variables.into_iter().collect(), None)
    }

    fn connect(
        location: Location,
        variables: &Variables,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, ArchiveError> {
        let (objects, endpoint): (Arc<dyn ObjectStore>, _) = match (location.directory(), location.bucket()) {
            (Some(directory), _) => (Arc::new(DurableLocal::new(directory.to_path_buf())), None),
            (None, Some(bucket)) => {
                let client = bucket::client(bucket, variables)?;
                (client.objects, Some(client.endpoint))
            }
            (None, None) => {
                let why = "this kind of storage is not supported; use a directory or the URL of a bucket".to_owned();
                return Err(ArchiveError::Place(location.to_string(), why));
            }
        };
        let objects: Arc<dyn ObjectStore> = match observer {
            Some(observer) => Arc::new(Bounded(Watched::new(objects, observer))),
            None => Arc::new(Bounded(objects)),
        };
        Ok(Self { endpoint, ..Self::over(location, objects) })
    }

    /// Given objects, as a simulation needs them; they are addressed as the location says.
    pub fn over(location: Location, objects: Arc<dyn ObjectStore>) -> Self {
        Self { location, endpoint: None, objects }
    }

    /// Where the archive is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Where a bucket is asked for its objects; none for what is in no bucket.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Where the archive is, and where a bucket is asked for it.
    pub fn whereabouts(&self) -> String {
        let endpoint = self.endpoint.as_ref().map_or(String::new(), |endpoint| format!(" at {endpoint}"));
        format!("{}{endpoint}", self.location)
    }

    /// The same objects, said to be asked for there.
    #[cfg(test)]
    pub(crate) fn asked_at(self, endpoint: &str) -> Self {
        Self { endpoint: Some(endpoint.to_owned()), ..self }
    }

    /// The objects themselves.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The whole name of an object, for messages.
    pub fn name_of(&self, path: &Path) -> String {
        self.location.name_of(path)
    }

    /// An error of the store about an object.
    pub fn error(&self, path: &Path, error: &object_store::Error) -> LogError {
        LogError::Store { place: self.name_of(path), cause: diagnosis::told(error) }
    }

    /// A whole object.
    pub async fn read(&self, path: &Path) -> Result<Bytes, LogError> {
        let failed = |e: object_store::Error| self.error(path, &e);
        self.objects.get(path).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    /// A directory of the archive: that of a table, or of the control records.
    pub fn root_of(&self, name: &str) -> Root {
        Root { store: self.clone(), name: name.to_owned(), path: self.location.path().clone().join(name) }
    }

    /// Where a table stands.
    pub fn table(&self, table: Table) -> Root {
        self.root_of(table.name())
    }

    /// Whether there are tables.
    pub async fn has_tables(&self) -> Result<bool, LogError> {
        self.table(Table::SAMPLES).has_log().await
    }

    /// Makes the place where the archive is to be, durably.
    pub fn make(&self) -> Result<(), DirectoryError> {
        self.location.directory().map_or(Ok(()), |directory| ARCHIVE.make(directory))
    }

    /// Takes the archive for this process alone, where its store has such a lock: a directory has one receiver.
    pub fn lock(&self) -> Result<Option<ArchiveLock>, DirectoryError> {
        self.location.directory().map(ArchiveLock::take).transpose()
    }

    /// Whether one receiver at a time can have the archive. In a bucket there is no such lock: several may write, each with a WAL of its own.
    pub fn has_one_receiver(&self) -> bool {
        self.location.directory().is_some()
    }

    /// Makes sure that no receiver of an earlier version has the archive, where the store has locks.
    pub fn check_upgrade(&self) -> Result<(), UpgradeError> {
        self.location.directory().map_or(Ok(()), lock::check_upgrade)
    }

    /// So many bytes to be held back for flushes, where the store can run full; not taken yet.
    pub fn reserve(&self, bytes: u64) -> Reserve {
        Reserve::new(self.location.directory().map(|directory| directory.to_path_buf()), bytes)
    }

    /// Makes durable the names in a directory of the archive and in those above it. On the network a put is durable when the store answers.
    async fn sync(&self, path: &Path) -> Result<(), LogError> {
        let (Some(root), Some(parts)) = (self.location.directory(), path.prefix_match(self.location.path())) else {
            return Ok(());
        };
        let mut directory = root.to_path_buf();
        let mut directories = vec![directory.clone()];
        for part in parts {
            directory.push(part.as_ref());
            directories.push(directory.clone());
        }
        let synced = tokio::task::spawn_blocking(move || {
            directories.iter().rev().try_for_each(|directory| promarchive_directory::sync(directory))
        });
        let failed = |cause: String| LogError::Store { place: self.name_of(path), cause };
        let synced = synced.await.map_err(|e| failed(e.to_string()))?;
        synced.map_err(|e| failed(format!("cannot sync directories: {e}")))
    }
}

/// A directory in an archive, with its objects.
#[derive(Clone, Debug)]
pub struct Root {
    store: Store,
    name: String,
    path: Path,
}

impl Root {
    /// The archive's store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its URL, for the Delta kernel; it ends with a slash.
    pub(crate) fn url(&self) -> url::Url {
        self.store.location.url_of(&self.name)
    }

    /// An object in it; `name` may have slashes.
    pub fn place(&self, name: &str) -> Path {
        name.split('/').fold(self.path.clone(), |path, part| path.join(part))
    }

    /// The directory of the log.
    pub(crate) fn log(&self) -> Path {
        self.place("_delta_log")
    }

    /// The whole name of an object in it, for messages.
    pub fn name_of(&self, name: &str) -> String {
        self.store.name_of(&self.place(name))
    }

    /// A data file, to be read by ranges.
    pub fn file(&self, file: &DataFile) -> StoredFile {
        StoredFile::new(self.store.clone(), self.place(&file.path), file.size)
    }

    /// A whole object.
    pub async fn read(&self, name: &str) -> Result<Bytes, LogError> {
        self.store.read(&self.place(name)).await
    }

    /// A whole object; none if it is not there.
    pub(crate) async fn read_if_there(&self, name: &str) -> Result<Option<Bytes>, LogError> {
        self.read_at_most(name, u64::MAX).await
    }

    /// A whole object of so many bytes at most; none if it is not there.
    pub async fn read_at_most(&self, name: &str, most: u64) -> Result<Option<Bytes>, LogError> {
        let path = self.place(name);
        let failed = |e: object_store::Error| self.store.error(&path, &e);
        let found = match self.store.objects.get(&path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed)?,
        };
        if found.meta.size > most {
            let problem = format!("the file has {} bytes, but at most {most} bytes are allowed", found.meta.size);
            return Err(LogError::Refused {
                place: self.name_of(name),
                problem,
                advice: "find out which program wrote it",
            });
        }
        Ok(Some(found.bytes().await.map_err(failed)?))
    }

    /// The names of the objects in a directory, without those deeper down.
    pub(crate) async fn names_in(&self, directory: &str) -> Result<Vec<String>, LogError> {
        let listed = self.listed(directory).await?;
        Ok(listed.objects.iter().filter_map(|object| object.location.filename()).map(str::to_owned).collect())
    }

    /// The names of the directories in a directory.
    pub(crate) async fn directories_in(&self, directory: &str) -> Result<Vec<String>, LogError> {
        let listed = self.listed(directory).await?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        Ok(listed.common_prefixes.iter().filter_map(name).collect())
    }

    async fn listed(&self, directory: &str) -> Result<ListResult, LogError> {
        let path = self.place(directory);
        let listed = self.store.objects.list_with_delimiter(Some(&path)).await;
        listed.map_err(|e| self.store.error(&path, &e))
    }

    /// Whether an object is there.
    pub(crate) async fn has(&self, name: &str) -> Result<bool, LogError> {
        let path = self.place(name);
        match self.store.objects.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.store.error(&path, &e)),
        }
    }

    /// Puts an object, whose name nobody else takes; durable when this returns.
    pub async fn put(&self, name: &str, content: Bytes) -> Result<(), LogError> {
        let path = self.place(name);
        let put = self.store.objects.put(&path, PutPayload::from(content)).await;
        put.map(drop).map_err(|e| self.store.error(&path, &e))
    }

    /// Removes an object.
    pub async fn delete(&self, name: &str) -> Result<(), LogError> {
        let path = self.place(name);
        self.store.objects.delete(&path).await.map_err(|e| self.store.error(&path, &e))
    }

    /// Puts an object if there is none of its name; durable when this returns. What stands there already may be these very bytes, put by a try
    /// that was reported failed.
    pub(crate) async fn put_if_absent(&self, name: &str, content: Bytes) -> Result<Put, LogError> {
        let path = self.place(name);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.objects.put_opts(&path, PutPayload::from(content.clone()), options).await {
            Ok(_) => Ok(Put::Done),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                // Others may have put anything there, of any size.
                let there = self.read_at_most(name, content.len() as u64).await;
                if !matches!(&there, Ok(Some(there)) if *there == content) {
                    return match there {
                        Err(error) if error.is_retryable() => Err(error),
                        _ => Ok(Put::Taken),
                    };
                }
                self.sync_directory_of(name).await?;
                Ok(Put::Done)
            }
            Err(e) => Err(self.store.error(&path, &e)),
        }
    }

    /// Makes durable that an object is there: files are synced before they get their name, so only directories may be behind.
    pub(crate) async fn sync_directory_of(&self, name: &str) -> Result<(), LogError> {
        let directory = name.rsplit_once('/').map_or_else(|| self.path.clone(), |(directory, _)| self.place(directory));
        self.store.sync(&directory).await
    }

    /// Whether there is a log, and so a table.
    pub(crate) async fn has_log(&self) -> Result<bool, LogError> {
        let log = self.log();
        let first = self.store.objects.list(Some(&log)).try_next().await;
        first.map(|object| object.is_some()).map_err(|e| self.store.error(&log, &e))
    }

    /// All that stands below it, by path, also what is no object.
    pub async fn walk(&self) -> Result<Vec<Entry>, WalkError> {
        match self.store.location.directory() {
            Some(directory) => walk::directory(directory.join(&self.name)).await,
            None => walk::objects(&self.store, &self.path).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_that_cannot_be_read_is_named_by_its_whole_path() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Location::at(directory.path()).unwrap()).unwrap();
        let error = store.table(Table::SAMPLES).read("part-0.parquet").await.unwrap_err().to_string();
        let file = directory.path().join("samples/part-0.parquet");
        assert!(error.starts_with(file.to_str().unwrap()), "{error}");
    }

    #[tokio::test]
    async fn an_object_is_put_once() {
        let directory = tempfile::tempdir().unwrap();
        for store in [
            Store::open(Location::at(directory.path()).unwrap()).unwrap(),
            Store::over(Location::in_memory().unwrap(), Arc::new(object_store::memory::InMemory::new())),
        ] {
            let root = store.root_of("records");
            for (content, put) in [("a", Put::Done), ("a", Put::Done), ("b", Put::Taken)] {
                assert_eq!(root.put_if_absent("x/1", content.into()).await.unwrap(), put);
            }
            assert_eq!(root.read("x/1").await.unwrap(), "a");
            // Whatever size it says it has.
            if let Some(directory) = store.location().directory() {
                let file = std::fs::File::create(directory.join("records/x/2")).unwrap();
                file.set_len(1 << 40).unwrap();
                assert_eq!(root.put_if_absent("x/2", "a".into()).await.unwrap(), Put::Taken);
            }
        }
    }
}
