//! A writer beside the receivers that replaces files by equal ones, as a compaction would: it must lose races without harm.

use std::sync::Arc;

use object_store::{ObjectStoreExt, PutPayload};
use promarchive_archive::Archive;
use promarchive_archive::commit::{CommitError, commit};
use promarchive_archive::file::DataFilePath;
use promarchive_archive::log::{Commit, DataFile, LogError, Put, TableLog};
use promarchive_archive::schema::Table;
use promarchive_archive::store::{place, read};
use promarchive_model::WriterId;
use promarchive_model::environment::{Entropy, SeededEntropy};

/// Its name in the tables.
const WRITER: WriterId = WriterId::from_u128(0xcafe);
/// How often it tries before it leaves a commit whose outcome it does not know.
const TRIES: usize = 3;

/// One job of it.
pub(super) struct Rewrite {
    pub(super) archive: Archive,
    pub(super) entropy: Arc<SeededEntropy>,
    /// Number of the job: its transaction.
    pub(super) number: u64,
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
        let ours = |file: &&DataFile| DataFilePath::parse(&file.path).is_some();
        let from = self.below(files.len().max(1));
        let old: Vec<DataFile> = files.iter().filter(ours).skip(from).take(2).cloned().collect();
        if old.is_empty() {
            return Ok("nothing to do".into());
        }
        let mut add = Vec::new();
        for file in &old {
            let content = read(self.archive.store().as_ref(), &place(root, &file.path)).await.map_err(text)?;
            let path = DataFilePath::parse(&file.path).ok_or("a strange name")?;
            let path = DataFilePath { nonce: self.entropy.next_u64(), ..path }.to_string();
            let put = self.archive.store().put(&place(root, &path), PutPayload::from(content)).await;
            put.map_err(|e| e.to_string())?;
            add.push(DataFile { path, ..file.clone() });
        }
        let change = Commit { transaction: (WRITER, self.number), add, remove: old, time: 0 };
        if self.careless {
            return self.commit_carelessly(log.as_ref(), &change).await;
        }
        self.commit(log.as_ref(), &change).await
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.entropy.next_u64()).unwrap_or(0) % bound
    }

    async fn commit(&self, log: &dyn TableLog, change: &Commit) -> Result<String, String> {
        let mut result = Err("no try".to_owned());
        for _ in 0..TRIES {
            result = match commit(log, change, Some(self.number - 1)).await {
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
