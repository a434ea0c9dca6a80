//! Another program that writes into the tables: receivers go on beside what it leaves, and leave it alone.

use promarchive_archive::file::Origin;
use promarchive_archive::log::{Commit, CommitKind, DataFile, LogError};
use promarchive_archive::schema::Table;
use promarchive_model::Date;

use super::world::Chance;

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

pub(super) fn no_table() -> LogError {
    LogError::Store { place: "simulation".into(), cause: "no table".into() }
}
