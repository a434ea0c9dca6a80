//! Objects: where they stand, and a directory that keeps what it was given.

mod local;
pub(crate) mod place;
mod stored_file;

use bytes::Bytes;
pub(crate) use local::sync_directory;
pub use local::{DIRECTORY, DurableLocal, create_root_durably};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
pub use place::{absolute, without_parents};
pub use stored_file::{LoadedRange, StoredFile};

use crate::log::{LogError, store_error};

/// Where a table's file stands in the store.
pub fn place(root: &Path, name: &str) -> Path {
    name.split('/').fold(root.clone(), |path, part| path.join(part))
}

/// A whole object.
pub async fn read(store: &dyn ObjectStore, location: &Path) -> Result<Bytes, LogError> {
    let failed = |e: object_store::Error| store_error(location, &e);
    store.get(location).await.map_err(failed)?.bytes().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_that_cannot_be_read_is_named_by_its_whole_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("samples/part-0.parquet");
        let location = Path::from_absolute_path(&file).unwrap();
        let error = read(&DurableLocal::default(), &location).await.unwrap_err().to_string();
        assert!(error.starts_with(file.to_str().unwrap()), "{error}");
    }
}
