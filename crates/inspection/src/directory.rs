//! What stands in a table's directory, listed or not.
//!
//! Read from the file system itself: the store hides the staging files (`name#1`) that a killed put leaves.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path as FsPath, PathBuf};
use std::time::UNIX_EPOCH;

use promarchive_archive::file::DataFilePath;
use promarchive_archive::log::is_checksum;
use promarchive_archive::log::listing::LogName;

use super::finding::{Check, Finding, MOVE_CHECKSUM, REMOVE_SPECIAL_FILE};
use super::verification::Leftover;

/// A file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Relative to the table's directory, with slashes.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Milliseconds since the epoch.
    pub(super) modified: i64,
    /// Whether it is an ordinary file.
    pub(super) is_file: bool,
    /// Whether it can be read as one: it may be a link to one.
    pub(super) is_readable: bool,
}

/// A place that cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", .place.display())]
pub(super) struct WalkError {
    place: PathBuf,
    cause: std::io::Error,
}

/// All files below a directory, by path.
pub(super) fn walk(root: &FsPath) -> Result<Vec<Entry>, WalkError> {
    let mut entries = Vec::new();
    let mut directories = vec![(root.to_path_buf(), String::new())];
    while let Some((directory, prefix)) = directories.pop() {
        let failed = |cause| WalkError { place: directory.clone(), cause };
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
            let message = "neither a file nor a directory: readers that open it wait, or fail";
            unlisted.findings.push(Finding::new(Check::LogUnreadable, message).file(path).advice(REMOVE_SPECIAL_FILE));
        } else if entry.is_file && path.starts_with("_delta_log/") && is_checksum(path) {
            let message = "a checksum that promarchive did not write: readers of the table may use it";
            unlisted.findings.push(Finding::new(Check::UnexpectedFile, message).file(path).advice(MOVE_CHECKSUM));
        } else if !(entry.is_file && is_log(path)) {
            let kind = if entry.is_file { "a file" } else { "neither a file nor a directory" };
            unlisted
                .findings
                .push(Finding::new(Check::UnexpectedFile, format!("{kind} that is none of promarchive's")).file(path));
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
    let (name, number) = path.rsplit_once('#')?;
    let staged = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (staged && (is_log(name) || DataFilePath::parse(name).is_some())).then_some("a file that was never put in place")
}
