//! Which commits have added which files, as the log itself tells: to say who wrote a file that is not ours.

use std::collections::BTreeSet;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::log::raw::parse_commit;
use crate::log::{Addition, LogError, Version, store_error};

/// Versions that are looked at, at most. Each is an object to read.
const LOOK_BACK: u64 = 10_000;

/// Looks for `files` in the commits up to `newest`, and at the newest first; `name` gives the place of a version. A commit that is not there any
/// more, or that cannot be read, is left out.
pub(super) async fn additions(
    store: &dyn ObjectStore,
    name: impl Fn(Version) -> Path,
    newest: Version,
    files: &BTreeSet<String>,
) -> Result<Vec<Addition>, LogError> {
    let mut wanted = files.clone();
    let mut additions = Vec::new();
    for version in (newest.saturating_sub(LOOK_BACK)..=newest).rev() {
        if wanted.is_empty() {
            break;
        }
        let place = name(version);
        let bytes = match store.get(&place).await {
            Err(object_store::Error::NotFound { .. }) => continue,
            found => found.map_err(|e| store_error(&place, &e))?.bytes().await.map_err(|e| store_error(&place, &e))?,
        };
        let Ok(commit) = parse_commit(&bytes) else { continue };
        let added = commit.added.into_iter().map(|added| added.path).filter(|path| wanted.remove(path));
        let files: Vec<String> = added.collect();
        if !files.is_empty() {
            additions.push(Addition { version, by: commit.engine, files });
        }
    }
    Ok(additions)
}
