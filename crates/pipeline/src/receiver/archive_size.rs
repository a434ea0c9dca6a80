//! How large the archive is, for the metrics: counted once at the start; flushes say what changes.

use promarchive_archive::Archive;
use promarchive_archive::log::{DataFile, LogError, TableLog};

use super::metrics::{Metrics, gauge};

/// Counts the files of all tables. A table that cannot be read now is left out, with a warning.
pub(super) async fn count(archive: &Archive, metrics: &Metrics) {
    for (table, _, log) in archive.tables() {
        match files(log.as_ref()).await {
            Ok(files) => {
                let bytes: u64 = files.iter().map(|file| file.size).sum();
                metrics.archive_changed(table.name(), gauge(files.len()), gauge(bytes));
            }
            Err(error) => {
                tracing::warn!(table = table.name(), %error, "the files of this table are not counted in the metrics")
            }
        }
    }
}

async fn files(log: &dyn TableLog) -> Result<Vec<DataFile>, LogError> {
    match log.load().await? {
        Some(snapshot) => snapshot.files().await,
        None => Ok(Vec::new()),
    }
}
