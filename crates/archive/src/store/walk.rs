//! All that stands in a directory of an archive: its objects, and on a file system also what is none.

use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use futures::TryStreamExt;
use object_store::path::Path;

use super::{Store, diagnosis};

/// A file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Relative to the directory, with slashes.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// Milliseconds since the epoch.
    pub modified: i64,
    /// Whether it is an ordinary file.
    pub is_file: bool,
    /// Whether it can be read as one: it may be a link to one.
    pub is_readable: bool,
}

/// A place that cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct WalkError {
    place: String,
    cause: String,
    is_missing: bool,
}

impl WalkError {
    /// Whether there is no such place.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }
}

/// The name that a staged file is to have: the object store of a directory writes `name#1`, `name#2` and so on beside `name`, and a crash can
/// leave them.
pub fn staged_name(path: &str) -> Option<&str> {
    let (name, number) = path.rsplit_once('#')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

pub(super) async fn directory(root: PathBuf) -> Result<Vec<Entry>, WalkError> {
    let place = root.display().to_string();
    let walked = tokio::task::spawn_blocking(move || walk(root)).await;
    walked.map_err(|e| WalkError { place, cause: e.to_string(), is_missing: false })?
}

fn walk(root: PathBuf) -> Result<Vec<Entry>, WalkError> {
    let mut entries = Vec::new();
    let mut directories = vec![(root, String::new())];
    while let Some((directory, prefix)) = directories.pop() {
        let failed = |cause: std::io::Error| WalkError {
            place: directory.display().to_string(),
            is_missing: cause.kind() == std::io::ErrorKind::NotFound,
            cause: cause.to_string(),
        };
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Gone since it was listed: the receiver's own staging files.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(failed(e)),
            };
            if metadata.is_dir() {
                directories.push((entry.path(), format!("{path}/")));
                continue;
            }
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let modified = modified.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
            let is_file = metadata.is_file();
            let is_readable = is_file || fs::metadata(entry.path()).is_ok_and(|target| target.is_file());
            entries.push(Entry { path, bytes: metadata.len(), modified, is_file, is_readable });
        }
    }
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

pub(super) async fn objects(store: &Store, root: &Path) -> Result<Vec<Entry>, WalkError> {
    let listed = store.objects().list(Some(root)).try_collect::<Vec<_>>().await;
    let listed =
        listed.map_err(|e| WalkError { place: store.name_of(root), cause: diagnosis::told(&e), is_missing: false })?;
    let entry = |object: object_store::ObjectMeta| {
        let parts: Vec<_> = object.location.prefix_match(root)?.collect();
        let path = parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>().join("/");
        let modified = object.last_modified.timestamp_millis();
        Some(Entry { path, bytes: object.size, modified, is_file: true, is_readable: true })
    };
    let mut entries: Vec<Entry> = listed.into_iter().filter_map(entry).collect();
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;
    use crate::Location;

    #[test]
    fn staged_files() {
        assert_eq!(staged_name("date=2026-11-22/x.parquet#12"), Some("date=2026-11-22/x.parquet"));
        for other in ["x#", "x#1a", "x", "#"] {
            assert_eq!(staged_name(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_directory_and_objects_are_walked_alike() {
        let directory = tempfile::tempdir().unwrap();
        for store in [
            Store::open(Location::at(directory.path()).unwrap()).unwrap(),
            Store::over(Location::in_memory().unwrap(), Arc::new(InMemory::new())),
        ] {
            let root = store.root_of("samples");
            for name in ["date=1970-01-01/b", "a"] {
                store.objects().put(&root.place(name), "12".into()).await.unwrap();
            }
            let found = root.walk().await.unwrap();
            let found: Vec<_> = found.iter().map(|entry| (entry.path.as_str(), entry.bytes, entry.is_file)).collect();
            assert_eq!(found, [("a", 2, true), ("date=1970-01-01/b", 2, true)]);
        }
    }
}
