//! The control records of an archive: whole, and nothing else beside them.

use promarchive_archive::control::{CONTROL_DIRECTORY, MOST_BYTES, fault};
use promarchive_archive::store::probe::SCRATCH_DIRECTORY;
use promarchive_archive::store::{Entry, Root, Store, staged_name};

use super::finding::{Check, Finding};

/// Checks all of them; `now` in milliseconds since the epoch.
pub(super) async fn check(store: &Store, now: i64) -> Vec<Finding> {
    let root = store.root_of(CONTROL_DIRECTORY);
    let entries = match root.walk().await {
        Ok(entries) => entries,
        // An archive of an earlier version has none, and a new one not yet.
        Err(error) if error.is_missing() => Vec::new(),
        Err(error) => return vec![Finding::new(Check::DirectoryUnreadable, error.to_string())],
    };
    let mut findings = Vec::new();
    for entry in entries {
        let name = format!("{CONTROL_DIRECTORY}/{}", entry.path);
        findings.extend(look(&root, &entry, now).await.map(|finding| finding.file(name)));
    }
    findings
}

async fn look(root: &Root, entry: &Entry, now: i64) -> Option<Finding> {
    if !entry.is_file {
        return Some(Finding::new(Check::UnexpectedFile, "neither a file nor a directory"));
    }
    let of_probe = entry.path.split('/').next() == Some(SCRATCH_DIRECTORY);
    if of_probe || staged_name(&entry.path).is_some() {
        let age_seconds = now.saturating_sub(entry.modified).max(0) / 1000;
        let what = if of_probe {
            "an object of a probe of the store"
        } else {
            "a temporary file of a write that did not finish"
        };
        let message = format!("{what}: {} bytes, {age_seconds} s old", entry.bytes);
        return Some(Finding::new(Check::Leftover, message));
    }
    let problem = match root.read_at_most(&entry.path, MOST_BYTES).await {
        // Gone since it was listed: the receiver has put a newer one.
        Ok(None) => return None,
        Ok(Some(bytes)) => fault(&entry.path, &bytes)?,
        Err(error) => format!("cannot be read: {error}"),
    };
    Some(Finding::new(Check::ControlRecord, format!("the control record {problem}")))
}

#[cfg(test)]
mod tests {
    use promarchive_archive::Location;

    use super::*;

    #[tokio::test]
    async fn what_a_probe_has_left_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Location::at(directory.path()).unwrap()).unwrap();
        let root = store.root_of(CONTROL_DIRECTORY);
        for name in ["scratch/1f/at-once-1-1", "scratches/1f/x"] {
            root.put(name, "x".into()).await.unwrap();
        }
        let found: Vec<Check> = check(&store, 0).await.into_iter().map(|finding| finding.check).collect();
        assert_eq!(found, [Check::Leftover, Check::ControlRecord]);
    }
}
