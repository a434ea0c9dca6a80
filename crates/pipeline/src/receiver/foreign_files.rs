//! Files in the tables of which nobody knows where their rows come from: another program has committed them, or a later version of this one.
//!
//! They do no harm to what was acknowledged, so the receiver goes on beside them, and says at its start what they are.

use std::collections::BTreeSet;
use std::fmt;

use promarchive_archive::Archive;
use promarchive_archive::file::Origin;
use promarchive_archive::log::{Addition, LogError, TableLog};

/// Characters of a foreign name that are told.
const LONGEST_NAME: usize = 100;

/// The files of unknown origin that one commit has added, and that are still there.
#[derive(Debug, PartialEq, Eq)]
struct ForeignFiles {
    table: &'static str,
    example: String,
    /// How many there are beside it.
    others: usize,
    /// None if the log does not tell any more.
    version: Option<u64>,
    by: Option<String>,
}

impl fmt::Display for ForeignFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, example, others, version, by } = self;
        let (they, their, them) = if *others == 0 { ("It", "Its", "it") } else { ("They", "Their", "them") };
        write!(f, "table {table} has ")?;
        match others {
            0 => write!(f, "a file of unknown origin: {example}. ")?,
            n => write!(f, "{} files of unknown origin, for example {example}. ", n + 1)?,
        }
        match version {
            Some(version) => write!(f, "{they} appeared in table version {version}, ")?,
            None => write!(f, "{they} appeared in a table version that is no longer in the log, ")?,
        }
        match by {
            Some(by) => {
                let name: String = by.chars().take(LONGEST_NAME).collect();
                write!(f, "which was written by a program with the name {name:?}. ")?;
            }
            None => f.write_str("which was written by a program without a name. ")?,
        }
        write!(
            f,
            "{their} rows are kept, but promarchive never rewrites {them}. A row of {them} that is sent again appears \
             twice. No other program should write to the tables"
        )
    }
}

/// Says what files of unknown origin there are.
pub(super) async fn warn(archive: &Archive) {
    for (table, _, log) in archive.tables() {
        match find(table.name(), log.as_ref()).await {
            Ok(found) => found.iter().for_each(|files| tracing::warn!("{files}")),
            Err(error) => {
                tracing::warn!(table = table.name(), %error, "cannot check whether other programs have written to the table");
            }
        }
    }
}

async fn find(table: &'static str, log: &dyn TableLog) -> Result<Vec<ForeignFiles>, LogError> {
    let Some(snapshot) = log.load().await? else { return Ok(Vec::new()) };
    let files = snapshot.files().await?.into_iter().filter(|file| file.origin == Origin::Foreign);
    let mut left: BTreeSet<String> = files.map(|file| file.path).collect();
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let additions = snapshot.additions(&left).await?;
    let mut found = Vec::new();
    for Addition { version, by, mut files } in additions {
        left.retain(|file| !files.contains(file));
        if let Some(example) = files.pop() {
            found.push(ForeignFiles { table, example, others: files.len(), version: Some(version), by });
        }
    }
    if let Some(example) = left.pop_first() {
        found.push(ForeignFiles { table, example, others: left.len(), version: None, by: None });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use promarchive_archive::log::{Commit, CommitKind, DataFile, Definition};
    use promarchive_archive::schema::{LabelColumns, Table};
    use promarchive_model::{Date, WriterId};
    use promarchive_testkit::ModelLog;

    use super::*;

    fn file(path: &str, origin: Origin) -> DataFile {
        let path = format!("date=2025-11-08/{path}");
        DataFile { path, size: 1, modification_time: 0, date: Date(20_400), stats: None, origin, checksum: None }
    }

    #[tokio::test]
    async fn foreign_files_are_told_by_commit() {
        let log = ModelLog::default();
        let definition =
            Definition { table: Table::SAMPLES, label_columns: LabelColumns::default(), id: 1, created: 0 };
        log.create(&definition).await.unwrap();
        let writer = WriterId::from_u128(1);
        let ours = file("ours", Origin::Flush { writer, position: 1 });
        let [a, b, c, gone] = ["a", "b", "c", "gone"].map(|path| file(path, Origin::Foreign));
        let commits = [(vec![ours], vec![]), (vec![a, b, gone.clone()], vec![]), (vec![c], vec![gone])];
        for (version, (add, remove)) in (1..).zip(commits) {
            let commit = Commit { kind: CommitKind::Delete, add, remove, time: 0 };
            log.put(version, &commit).await.unwrap();
        }
        let found = find("samples", &log).await.unwrap();
        let of = |version, path: &str, others| ForeignFiles {
            table: "samples",
            example: format!("date=2025-11-08/{path}"),
            others,
            version: Some(version),
            by: None,
        };
        assert_eq!(found, [of(3, "c", 0), of(2, "b", 1)]);
    }

    #[test]
    fn a_name_that_is_no_name_does_no_harm() {
        let files = ForeignFiles {
            table: "samples",
            example: "x".to_owned(),
            others: 2,
            version: Some(7),
            by: Some(format!("evil\n{}", "x".repeat(1000))),
        };
        let said = files.to_string();
        assert!(said.contains("3 files") && said.contains("version 7") && said.contains("evil\\nxxx"), "{said}");
        assert!(said.lines().count() == 1 && said.len() < 600, "{said}");
    }
}
