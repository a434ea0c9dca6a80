//! Rows that supersede committed ones: the files that have those are written again.
//!
//! A winning row is never dropped. If the loser is in no file any more, because others have replaced that file, the winner comes into a file of
//! its own flush. Both stand until the next merge of that day, which takes the one that the total order names.

use promarchive_archive::file::EncodedFile;
use promarchive_archive::log::{Commit, DataFile, FileStats};
use promarchive_archive::merge::RewriteError;
use promarchive_archive::schema::Table;
use promarchive_archive::store::Root;

use super::job::{FlushError, Job};
use super::report::TableReport;
use crate::settle::Winners;

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
        superseding: Vec<Winners>,
        change: &mut Commit,
        report: &mut TableReport,
    ) -> Result<(), FlushError> {
        // All rows of a day at once: what several flushes have written may be in one file by now.
        for mut winners in superseding {
            for old in committed.files {
                if winners.concern(old) {
                    winners = self.replace(committed.root, old, winners, change).await?;
                }
            }
            report.superseded += winners.used();
            self.append_rest(committed, winners, change, report).await?;
        }
        Ok(())
    }

    /// Writes one file again, if it has a row to replace.
    async fn replace(
        &self,
        root: &Root,
        old: &DataFile,
        mut winners: Winners,
        change: &mut Commit,
    ) -> Result<Winners, FlushError> {
        let (file, concerned) = (root.file(old), old.clone());
        let rewriting = blocking(root.name_of(&old.path), move || {
            let rewritten = winners.rewrite(&concerned, file)?;
            Ok((winners, rewritten))
        });
        let (winners, rewritten) = rewriting.await?;
        let Some(bytes) = rewritten else { return Ok(winners) };
        let stats = old.stats.clone().unwrap_or(FileStats { rows: 0, metric: None, timestamp: None });
        let new = self.put(root, self.path_like(old), old.origin.clone(), EncodedFile { bytes, stats }).await?;
        // The time stays: to recovery it says when the flush was whose rows these are.
        change.add.push(DataFile { stats: old.stats.clone(), modification_time: old.modification_time, ..new });
        change.remove.push(old.clone());
        Ok(winners)
    }

    /// Puts the winners whose losers are in no file into files of this flush.
    async fn append_rest(
        &self,
        Committed { table, root, .. }: Committed<'_>,
        winners: Winners,
        change: &mut Commit,
        report: &mut TableReport,
    ) -> Result<(), FlushError> {
        let (date, gone) = (winners.date(), winners.gone());
        let (mut winners, mut from, mut rows) = (winners, 0, 0);
        loop {
            let origin = self.origin();
            let encoding = blocking(root.name_of(""), move || {
                let rest = winners.rest(&origin, from)?;
                Ok((winners, rest))
            });
            let rest;
            (winners, rest) = encoding.await?;
            let Some((file, next)) = rest else { break };
            rows += file.stats.rows;
            change.add.push(self.put(root, self.path(date), self.origin(), file).await?);
            from = next;
        }
        if rows == 0 {
            return Ok(());
        }
        tracing::warn!(
            table = table.name(),
            %date,
            rows,
            "another program has replaced a file whose rows must be replaced: the new rows were added, and both \
             versions remain in the table until they are merged"
        );
        report.rows += rows;
        report.unmerged += rows;
        report.moved.extend(gone.into_iter().map(|flush| (flush, date)));
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
