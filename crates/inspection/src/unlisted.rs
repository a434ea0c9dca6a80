//! What stands in a table's directory and is not listed.

use std::collections::{BTreeSet, HashSet};

use promarchive_archive::file::DataFilePath;
use promarchive_archive::log::is_checksum;
use promarchive_archive::log::listing::LogName;
use promarchive_archive::store::{Entry, staged_name};

use super::finding::{Check, Finding, MOVE_CHECKSUM, REMOVE_SPECIAL_FILE};
use super::verification::Leftover;

/// What is in the directory beside the files that are listed.
#[derive(Debug, Default)]
pub(super) struct Unlisted {
    pub(super) leftovers: Vec<Leftover>,
    pub(super) findings: Vec<Finding>,
}

/// Sorts out what is not listed. `removed` are the files that a commit took out; `now` in milliseconds since the epoch.
pub(super) fn sort_out(entries: &[Entry], listed: &BTreeSet<&str>, removed: &HashSet<String>, now: i64) -> Unlisted {
    let mut unlisted = Unlisted::default();
    let (mut kept, mut kept_bytes) = (0_u64, 0_u64);
    for entry in entries.iter().filter(|entry| !listed.contains(entry.path.as_str())) {
        let path = entry.path.as_str();
        if entry.is_file && removed.contains(path) {
            (kept, kept_bytes) = (kept + 1, kept_bytes + entry.bytes);
        } else if let Some(what) = leftover(path).filter(|_| entry.is_file) {
            let age_seconds = now.saturating_sub(entry.modified).max(0).cast_unsigned() / 1000;
            let message = format!("{what}: {} bytes, {age_seconds} s old", entry.bytes);
            unlisted.findings.push(Finding::new(Check::Leftover, message).file(path));
            unlisted.leftovers.push(Leftover { file: path.to_owned(), bytes: entry.bytes, age_seconds });
        } else if !entry.is_readable && is_log(path) {
            let message = "this is neither a file nor a directory: readers that open it block or fail";
            unlisted.findings.push(Finding::new(Check::LogUnreadable, message).file(path).advice(REMOVE_SPECIAL_FILE));
        } else if entry.is_file && path.starts_with("_delta_log/") && is_checksum(path) {
            let message = "promarchive did not write this checksum, but readers of the table may use it";
            unlisted.findings.push(Finding::new(Check::UnexpectedFile, message).file(path).advice(MOVE_CHECKSUM));
        } else if !(entry.is_file && is_log(path)) {
            let kind = if entry.is_file { "a file" } else { "neither a file nor a directory" };
            unlisted.findings.push(
                Finding::new(Check::UnexpectedFile, format!("{kind} that promarchive did not create")).file(path),
            );
        }
    }
    if kept > 0 {
        let message = format!("{kept} files of {kept_bytes} bytes were replaced by later versions");
        unlisted.findings.push(Finding::new(Check::Removed, message));
    }
    unlisted
}

fn is_log(path: &str) -> bool {
    path.strip_prefix("_delta_log/").and_then(LogName::parse).is_some()
}

/// What a crash can leave under such a name.
fn leftover(path: &str) -> Option<&'static str> {
    if DataFilePath::parse(path).is_some() {
        return Some("a data file that was never committed");
    }
    let name = staged_name(path)?;
    (is_log(name) || DataFilePath::parse(name).is_some()).then_some("a temporary file of a write that did not finish")
}
