//! Brings an archive of an earlier version to the protocol of new archives: one commit for each table.
//!
//! The commits follow the commit protocol like all others. So receivers and other upgrades may run beside it, and if it is killed, each table
//! is as it was before, or upgraded. Doing it again does the rest.

use promarchive_model::environment::Clock;

use crate::Archive;
use crate::commit::{CommitError, Committed, commit};
use crate::log::{Commit, CommitKind, TableLog, Version};
use crate::schema::Table;

/// What became of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgraded {
    /// It has the new protocol as of this version.
    Now(Version),
    /// It had the new protocol already, at this version.
    Before(Version),
    /// There is no such table. A receiver makes it when it starts, with the new protocol.
    Missing,
}

/// One table of an upgrade, and why it failed if it did.
#[derive(Debug)]
pub struct TableUpgrade {
    /// Which.
    pub table: Table,
    /// What became of it.
    pub result: Result<Upgraded, CommitError>,
}

/// Upgrades all tables. One that fails does not keep the others from it.
pub async fn upgrade(archive: &Archive, clock: &dyn Clock) -> Vec<TableUpgrade> {
    let mut upgrades = Vec::new();
    for (table, _, log) in archive.tables() {
        upgrades.push(TableUpgrade { table, result: upgrade_table(log.as_ref(), clock).await });
    }
    upgrades
}

async fn upgrade_table(log: &dyn TableLog, clock: &dyn Clock) -> Result<Upgraded, CommitError> {
    let Some(snapshot) = log.load().await? else { return Ok(Upgraded::Missing) };
    let change = Commit { kind: CommitKind::Upgrade, add: Vec::new(), remove: Vec::new(), time: clock.now_ms() };
    Ok(match commit(log, &change, None).await? {
        Committed::Now { version, .. } => Upgraded::Now(version),
        Committed::Earlier => Upgraded::Before(snapshot.version()),
    })
}
