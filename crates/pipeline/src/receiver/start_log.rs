//! What the log says while a receiver starts.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use promarchive_api::LabelColumns;
use promarchive_archive::log::{TableProtocol, foreign_checksums};
use promarchive_archive::store::Store;
use promarchive_archive::{Archive, Location, Proof};
use promarchive_wal::Recovery;

/// Why a start is tried again and again: each cause is told when it comes, not at each try.
#[derive(Debug, Default)]
pub(super) struct Causes(Option<String>);

impl Causes {
    /// Whether the last try failed of something else, or this is the first one. Words with digits do not count: how long a request to a store
    /// has taken, and the number that the store gave it, are others each time.
    pub(super) fn is_new(&mut self, cause: &str) -> bool {
        let words = cause.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
        let cause = Some(words.collect::<Vec<_>>().join(" "));
        let new = self.0 != cause;
        self.0 = cause;
        new
    }
}

pub(super) fn warn_of_path(location: &Location) {
    if let Some(hurdle) = location.hurdle_for_readers() {
        tracing::warn!(
            "the path {} contains {hurdle}, so Polars and Daft cannot read the archive; DuckDB, Spark, pandas and \
             deltalake can. For all readers, use a path with only letters, digits, '.', '_' and '-'",
            location
        );
    }
}

/// A WAL holds what senders sent, also what the archive's readers may not see. Earlier versions made it for everybody.
pub(super) fn warn_of_readers(wal: &Path) {
    const OTHERS: u32 = 0o007;
    if std::fs::metadata(wal).is_ok_and(|found| found.mode() & OTHERS != 0) {
        tracing::warn!(
            "every user of this machine can read or change the WAL directory {}: remove this permission with chmod \
             o-rwx",
            wal.display()
        );
    }
}

/// What an archive of an earlier version has, and a new one cannot.
pub(super) fn warn_of_label_columns(label_columns: &LabelColumns) {
    if let Some(name) = label_columns.for_later() {
        tracing::warn!(
            "the archive has a label column \"{name}\", which is also a column of the tables of downsampled samples: \
             this archive works, but it cannot be downsampled. To use downsampling, create a new archive without this \
             label column"
        );
    }
}

/// Tables of earlier versions are open to writes of other programs until somebody upgrades them.
pub(super) async fn tell_of_upgrade(archive: &Archive, location: &Location) {
    for (_, _, log) in archive.tables() {
        // Whatever is wrong with a log is told when it is needed.
        if let Ok(Some(snapshot)) = log.load().await
            && snapshot.protocol() == TableProtocol::Open
        {
            tracing::info!(
                "this archive was created by an earlier version, so other programs can write to its tables; to \
                 prevent this, run `promarchive upgrade {}`",
                location
            );
            return;
        }
    }
}

/// What it has cost to prove the conditional put of the archive's bucket.
pub(super) fn tell_of_proof(store: &Store, proof: Proof, duration_ms: u64) {
    let (puts, reads) = (proof.effort.puts(), proof.effort.reads());
    let what = if proof.is_repeated { "proved again, as at each start" } else { "proved" };
    tracing::info!(store = store.whereabouts(), puts, reads, duration_ms, "the store's conditional put holds: {what}");
}

/// Readers of the tables may use them, whatever is in them.
pub(super) async fn warn_of_checksums(store: &Store) {
    for found in foreign_checksums(store).await {
        tracing::warn!("{found}");
    }
}

pub(super) fn report(recovery: &Recovery) {
    for torn in &recovery.torn {
        tracing::info!("{torn}");
    }
    for damage in &recovery.damage {
        tracing::error!("{damage}");
    }
    if let Some(behind) = &recovery.behind {
        let (first, last) = (behind.start(), behind.end());
        tracing::warn!(
            "the tables contain WAL positions {first} to {last}, which are missing in the WAL: the WAL is an older \
             copy, or segments are lost"
        );
    }
    if recovery.records > 0 {
        tracing::info!(records = recovery.records, bytes = recovery.body_bytes, "replayed the WAL");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_though_a_store_words_it_anew() {
        let mut causes = Causes::default();
        let cause = |time: &str, id: &str| {
            format!("s3://lab: no answer in {time}, after 10 retries, <RequestId>{id}</RequestId>")
        };
        assert!(causes.is_new(&cause("9.81s", "44F2")));
        assert!(!causes.is_new(&cause("10.04s", "0A19")));
        assert!(causes.is_new("the access key is not known to the store"));
        assert!(causes.is_new(&cause("9.81s", "44F2")));
    }

    #[test]
    fn a_cause_is_told_when_it_comes() {
        let mut causes = Causes::default();
        let told: Vec<&str> = ["a", "a", "b", "b", "b", "a"].into_iter().filter(|cause| causes.is_new(cause)).collect();
        assert_eq!(told, ["a", "b", "a"]);
    }
}
