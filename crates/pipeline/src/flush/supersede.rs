//! Rows that take the place of committed ones: the files that have those are written again.
//!
//! A winning row is never dropped. If the loser is in no file any more, because others have replaced that file, the winner comes into a file of
//! its own flush. Both stand until the next merge of that day, which takes the one that the total order names.

use std::collections::BTreeMap;

use bytes::Bytes;
use promarchive_archive::file::EncodedFile;
use promarchive_archive::log::{Commit, DataFile, FileStats};
use promarchive_archive::merge::{Replacement, RewriteError};
use promarchive_archive::schema::Table;
use promarchive_archive::store::Root;
use promarchive_model::Date;

use super::job::{FlushError, Job};
use super::report::TableReport;
use crate::memtable::FlushId;
use crate::settle::SupersedingFiles;

/// Where a table's files are, and which it has.
#[derive(Clone, Copy)]
pub(super) struct Committed<'a> {
    pub(super) table: Table,
    pub(super) root: &'a Root,
    pub(super) files: &'a [DataFile],
}

impl Job<'_> {
    /// Writes the files again that have superseded rows; the commit swaps old for new.
    pub(super) async fn supersede(
        &self,
        committed: Committed<'_>,
        superseding: SupersedingFiles,
        change: &mut Commit,
        report: &mut TableReport,
    ) -> Result<(), FlushError> {
        // All rows of a day at once: what several flushes have written may be in one file by now.
        let mut days: BTreeMap<Date, Vec<(FlushId, Bytes)>> = BTreeMap::new();
        for ((flush, date), rows) in superseding {
            days.entry(date).or_default().push((flush, rows.bytes.into()));
        }
        for (date, rows) in days {
            let (table, label_columns) = (committed.table, self.archive.label_columns().clone());
            let mut replacement =
                blocking(committed.root.name_of(""), move || Replacement::read(table, &label_columns, rows)).await?;
            for old in committed.files.iter().filter(|file| file.date == date) {
                if replacement.concerns(&old.origin) {
                    replacement = self.replace(committed.root, old, replacement, change).await?;
                }
            }
            report.superseded += replacement.used();
            self.append_rest(committed, date, replacement, change, report).await?;
        }
        Ok(())
    }

    /// Writes one file again, if it has a row to replace.
    async fn replace(
        &self,
        root: &Root,
        old: &DataFile,
        mut replacement: Replacement,
        change: &mut Commit,
    ) -> Result<Replacement, FlushError> {
        let (file, origin) = (root.file(old), old.origin.clone());
        let rewriting = blocking(root.name_of(&old.path), move || {
            let rewritten = replacement.rewrite(&origin, file)?;
            Ok((replacement, rewritten))
        });
        let (replacement, rewritten) = rewriting.await?;
        let Some(bytes) = rewritten else { return Ok(replacement) };
        let stats = old.stats.clone().unwrap_or(FileStats { rows: 0, metric: None, timestamp: None });
        let new = self.put(root, self.path_like(old), old.origin.clone(), EncodedFile { bytes, stats }).await?;
        // The time stays: to recovery it says when the flush was whose rows these are.
        change.add.push(DataFile { stats: old.stats.clone(), modification_time: old.modification_time, ..new });
        change.remove.push(old.clone());
        Ok(replacement)
    }

    /// Puts the winners whose losers are in no file into a file of this flush.
    async fn append_rest(
        &self,
        Committed { table, root, .. }: Committed<'_>,
        date: Date,
        replacement: Replacement,
        change: &mut Commit,
        report: &mut TableReport,
    ) -> Result<(), FlushError> {
        let (origin, gone) = (self.origin(), replacement.gone());
        let Some(rest) = blocking(root.name_of(""), move || replacement.rest(&origin)).await? else { return Ok(()) };
        let rows = rest.stats.rows;
        tracing::warn!(
            table = table.name(),
            %date,
            rows,
            "rows take the place of others whose file is gone: another program has replaced it. They are added, and both stand until they are merged"
        );
        report.rows += rows;
        report.unmerged += rows;
        report.moved.extend(gone.into_iter().map(|flush| (flush, date)));
        change.add.push(self.put(root, self.path(date), self.origin(), rest).await?);
        Ok(())
    }
}

/// Encoding takes the processor for a while: not on the threads that answer requests.
async fn blocking<T: Send + 'static>(
    path: String,
    work: impl FnOnce() -> Result<T, RewriteError> + Send + 'static,
) -> Result<T, FlushError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|e| FlushError::Cut(e.to_string()))?;
    done.map_err(|e| FlushError::Rewrite { path, cause: e.to_string() })
}
