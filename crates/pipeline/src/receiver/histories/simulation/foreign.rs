//! Another program that writes into the tables: receivers go on beside what it leaves, and leave it alone.

use std::collections::BTreeMap;

use promarchive_archive::file::Origin;
use promarchive_archive::log::{Commit, CommitKind, DataFile, LogError};
use promarchive_archive::schema::Table;
use promarchive_model::Date;

use super::world::{Chance, World};
use crate::receiver::histories::tables::Parts;

/// What it commits, and what it has left in the tables by then.
pub(super) struct Change {
    pub(super) commit: (Table, Commit),
    pub(super) left: Option<(Table, DataFile)>,
}

/// A file as other programs name theirs, of which the store has nothing: who reads it fails. The next change removes it.
pub(super) fn change(left: Option<(Table, DataFile)>, number: u64, chance: &Chance) -> Change {
    let commit = |add, remove| Commit { kind: CommitKind::Delete, add, remove, time: 0 };
    if let Some((table, file)) = left {
        return Change { commit: (table, commit(Vec::new(), vec![file])), left: None };
    }
    let table = Table::ALL[chance.below(Table::ALL.len())];
    let date = Date(20_400);
    let path = format!("date={date}/part-{number:05}-c000.snappy.parquet");
    let origin = Origin::Foreign;
    let file = DataFile { path, size: 1, modification_time: 0, date, stats: None, origin, checksum: None };
    Change { commit: (table, commit(vec![file.clone()], Vec::new())), left: Some((table, file)) }
}

/// A file of another program with the rows of one of ours.
pub(super) fn replacement_of(old: &DataFile, number: u64) -> DataFile {
    let path = format!("date={}/part-{number:05}-c001.snappy.parquet", old.date);
    DataFile { path, origin: Origin::Foreign, checksum: None, ..old.clone() }
}

pub(super) fn no_table() -> LogError {
    LogError::Store { place: "simulation".into(), cause: "no table".into() }
}

impl World {
    /// Another program takes a version, or takes its file away again, or puts a file of its own instead of one of ours.
    pub(super) fn be_foreign(&mut self) -> Result<(), String> {
        if self.chance.percent(50) { self.replace_by_foreign() } else { self.add_foreign() }
    }

    fn replace_by_foreign(&mut self) -> Result<(), String> {
        self.foreign_commits += 1;
        let table = Table::ALL[self.chance.below(Table::ALL.len())];
        let log = self.logs[&table].clone();
        let loaded = self.runtime.block_on(async {
            let snapshot = log.load().await?.ok_or_else(no_table)?;
            Ok::<_, LogError>((snapshot.version(), snapshot.files().await?))
        });
        let (version, mut files) = loaded.map_err(|e| e.to_string())?;
        files.retain(|file| file.origin != Origin::Foreign);
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let Some(old) = self.chance.among(&files) else { return Ok(()) };
        let root = self.tables.store().table(table);
        let bytes = self.runtime.block_on(root.read(&old.path)).map_err(|e| e.to_string())?;
        let rows = self.reader.rows(table, &old, bytes.clone())?;
        let attributed = self.reader.attributed(table, &old, &rows)?;
        let rows: BTreeMap<_, _> = attributed.into_iter().map(|(key, flush, _)| (key.clone(), flush)).collect();
        self.ledger.excuse(rows.keys().cloned());
        let new = replacement_of(&old, self.foreign_commits);
        self.reader.note_parts(table, &new, Parts { rows, flushes: self.reader.flushes(table, &old) });
        self.runtime.block_on(root.put(&new.path, bytes)).map_err(|e| e.to_string())?;
        let change = Commit { kind: CommitKind::Rewrite, add: vec![new], remove: vec![old], time: 0 };
        let put = self.runtime.block_on(log.put(version + 1, &change));
        self.note(format!("a foreign file in {}: {:?}", table.name(), put.map_err(|e| e.to_string())));
        Ok(())
    }

    pub(super) fn add_foreign(&mut self) -> Result<(), String> {
        self.foreign_commits += 1;
        let change = change(self.foreign.take(), self.foreign_commits, &self.chance);
        let (table, commit) = change.commit;
        let log = self.logs[&table].clone();
        let put = self.runtime.block_on(async {
            let snapshot = log.load().await?.ok_or_else(no_table)?;
            log.put(snapshot.version() + 1, &commit).await
        });
        self.foreign = change.left;
        self.note(format!("a foreign commit to {}: {:?}", table.name(), put.map_err(|e| e.to_string())));
        Ok(())
    }
}
