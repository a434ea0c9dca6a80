//! The control records of an archive: whole, and nothing else beside them.

use promarchive_archive::control::{CONTROL_DIRECTORY, MOST_BYTES, fault};
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
    if staged_name(&entry.path).is_some() {
        let age_seconds = now.saturating_sub(entry.modified).max(0) / 1000;
        let message =
            format!("a temporary file of a write that did not finish: {} bytes, {age_seconds} s old", entry.bytes);
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
