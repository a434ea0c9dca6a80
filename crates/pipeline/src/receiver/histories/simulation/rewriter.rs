//! A program beside the receivers that replaces files by equal ones, and merges those of a day, as a compaction would: it must lose races
//! without harm.

use std::sync::Arc;

use bytes::Bytes;
use promarchive_archive::Archive;
use promarchive_archive::commit::{CommitError, commit};
use promarchive_archive::file::{DataFilePath, EncodedFile, Origin};
use promarchive_archive::log::{Commit, CommitKind, DataFile, LogError, Put, TableLog};
use promarchive_archive::schema::Table;
use promarchive_archive::store::Root;
use promarchive_model::environment::{Entropy, SeededEntropy};

use crate::receiver::histories::merging::{Merge, Merged, merges};
use crate::receiver::histories::tables::Reader;

/// How often it tries before it leaves a commit whose outcome it does not know.
const TRIES: usize = 3;

/// Files to add, and those that they replace.
type Swap = (Vec<DataFile>, Vec<DataFile>);

/// One job of it.
pub(super) struct Rewrite {
    pub(super) archive: Archive,
    pub(super) entropy: Arc<SeededEntropy>,
    pub(super) table: Table,
    /// Commits without a look at what is active by then: to show that this would be noticed.
    pub(super) careless: bool,
}

impl Rewrite {
    /// Tells in words how it went; nobody depends on it.
    pub(super) async fn run(self) -> Result<String, String> {
        let (root, log) = self.archive.table(self.table).ok_or("no table")?;
        let snapshot = log.load().await.map_err(text)?.ok_or("no table")?;
        let files = snapshot.files().await.map_err(text)?;
        let mut possible = merges(&files);
        let (add, remove) = match self.below(2) {
            0 if !possible.is_empty() => self.merge(root, possible.swap_remove(self.below(possible.len()))).await?,
            _ => self.copy(root, &files).await?,
        };
        if remove.is_empty() {
            return Ok("nothing to do".into());
        }
        let change = Commit { kind: CommitKind::Rewrite, add, remove, time: 0 };
        if self.careless {
            return self.commit_carelessly(log.as_ref(), &change).await;
        }
        self.commit(log.as_ref(), &change).await
    }

    /// Puts up to two files again under other names.
    async fn copy(&self, root: &Root, files: &[DataFile]) -> Result<Swap, String> {
        let ours = |file: &&DataFile| file.origin != Origin::Foreign;
        let from = self.below(files.len().max(1));
        let old: Vec<DataFile> = files.iter().filter(ours).skip(from).take(2).cloned().collect();
        let mut add = Vec::new();
        for file in &old {
            let content = root.read(&file.path).await.map_err(text)?;
            let nonce = self.entropy.next_u64();
            let path = match DataFilePath::parse(&file.path) {
                Some(path) => DataFilePath { nonce, ..path }.to_string(),
                None => format!("date={}/merge-{nonce:016x}.parquet", file.date),
            };
            self.put(root, &path, content).await?;
            add.push(DataFile { path, ..file.clone() });
        }
        Ok((add, old))
    }

    /// Puts one file instead of several.
    async fn merge(&self, root: &Root, merge: Merge) -> Result<Swap, String> {
        let (mut merged, mut reader) = (Merged::default(), Reader::default());
        for file in &merge.files {
            let content = root.read(&file.path).await.map_err(text)?;
            let rows = reader.rows(self.table, file, content)?;
            for (key, flush, content) in reader.attributed(self.table, file, &rows)? {
                merged.add(key.clone(), flush, content.clone());
            }
        }
        let (path, modification_time) = (merge.path(self.entropy.next_u64()), merge.modification_time());
        let Merge { date, files, origin } = merge;
        let EncodedFile { bytes, stats } = merged.encode(self.table, &origin);
        let (size, stats) = (bytes.len() as u64, Some(stats));
        self.put(root, &path, bytes.into()).await?;
        let file = DataFile { path, size, modification_time, date, stats, origin, checksum: None };
        Ok((vec![file], files))
    }

    async fn put(&self, root: &Root, path: &str, content: Bytes) -> Result<(), String> {
        root.put(path, content).await.map_err(|e| e.to_string())
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.entropy.next_u64()).unwrap_or(0) % bound
    }

    async fn commit(&self, log: &dyn TableLog, change: &Commit) -> Result<String, String> {
        let mut result = Err("no try".to_owned());
        for _ in 0..TRIES {
            result = match commit(log, change, None).await {
                Ok(committed) => return Ok(format!("{committed:?}")),
                Err(CommitError::Stale(path)) => return Ok(format!("lost: {path} is gone")),
                Err(error) => Err(error.to_string()),
            };
        }
        result
    }

    async fn commit_carelessly(&self, log: &dyn TableLog, change: &Commit) -> Result<String, String> {
        for _ in 0..TRIES {
            let version = log.load().await.map_err(text)?.ok_or("no table")?.version() + 1;
            if log.put(version, change).await.map_err(text)? == Put::Done {
                return Ok(format!("as version {version}, carelessly"));
            }
        }
        Err("too many races".into())
    }
}

fn text(error: LogError) -> String {
    error.to_string()
}
