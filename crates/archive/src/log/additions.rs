//! Which commits have added which files, as the log itself tells: to say who wrote a file that is not ours.

use std::collections::BTreeSet;

use crate::log::listing::commit_name;
use crate::log::raw::parse_commit;
use crate::log::{Addition, LogError, Version};
use crate::store::Root;

/// Versions that are looked at, at most. Each is an object to read.
const LOOK_BACK: u64 = 10_000;

/// Looks for `files` in the commits up to `newest`, and at the newest first. A commit that is not there any
/// more, or that cannot be read, is left out.
pub(super) async fn additions(
    root: &Root,
    newest: Version,
    files: &BTreeSet<String>,
) -> Result<Vec<Addition>, LogError> {
    let mut wanted = files.clone();
    let mut additions = Vec::new();
    for version in (newest.saturating_sub(LOOK_BACK)..=newest).rev() {
        if wanted.is_empty() {
            break;
        }
        let Some(bytes) = root.read_if_there(&commit_name(version)).await? else { continue };
        let Ok(commit) = parse_commit(&bytes) else { continue };
        let added = commit.added.into_iter().map(|added| added.path).filter(|path| wanted.remove(path));
        let files: Vec<String> = added.collect();
        if !files.is_empty() {
            additions.push(Addition { version, by: commit.engine, files });
        }
    }
    Ok(additions)
}
