//! What is asked of every history: while it runs, and when everything works again.

use super::backing::Ground;
use super::world::{RECEIVERS, World};
use crate::receiver::histories::ensure;
use crate::receiver::histories::tables::Contents;

/// What an emptied WAL may still take on a disk, in bytes: the header of the segment that remembers the position.
const EMPTY_WAL: u64 = 2 * 4160;

impl World {
    /// Reads all tables and holds them against what was promised.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let mut contents = Contents::default();
        let Self { runtime, logs, tables, reader, foreign, .. } = self;
        let mut left = foreign.clone();
        for (&table, log) in logs.iter() {
            let loaded = runtime.block_on(async {
                let snapshot = log.load().await?.ok_or_else(super::foreign::no_table)?;
                snapshot.files().await
            });
            for file in loaded.map_err(|e| e.to_string())? {
                if left.take_if(|(_, strange)| strange.path == file.path).is_some() {
                    continue;
                }
                let root = tables.store().table(table);
                let bytes = runtime.block_on(root.read(&file.path)).map_err(|e| e.to_string())?;
                reader.add(&mut contents, table, &file, bytes)?;
            }
        }
        ensure!(left.is_none(), "a file of another program is gone: {left:?}");
        self.ledger.check(&contents)
    }

    /// Everything works again: all that was acknowledged comes to the tables and stays there over another power loss, and the WALs are empty.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.calm()?;
        for _ in 0..2 {
            for number in 0..RECEIVERS {
                self.put_away(number)?;
            }
            self.lose_power()?;
            self.calm()?;
        }
        for number in 0..RECEIVERS {
            self.put_away(number)?;
            // The WAL is purged behind what a flush commits.
            self.write_new(number)?;
            self.put_away(number)?;
            let bytes = self.receivers[number].wal_bytes();
            ensure!(bytes <= EMPTY_WAL, "the WAL of {number} keeps {bytes} bytes");
        }
        self.check()?;
        self.check_versions()
    }

    /// Opens a receiver if need be, and flushes.
    fn put_away(&mut self, number: usize) -> Result<(), String> {
        for _ in 0..6 {
            let had_core = self.receivers[number].core.is_some();
            let before = self.ledger.flushes(number);
            self.begin(number)?;
            self.calm()?;
            if had_core && self.ledger.flushes(number) > before {
                return Ok(());
            }
        }
        Err(format!("{number} cannot put everything away, and nothing is wrong"))
    }

    /// Versions have no gaps.
    fn check_versions(&mut self) -> Result<(), String> {
        if self.setup.ground == Ground::Model {
            return Ok(());
        }
        for (&table, log) in &self.logs {
            let store = self.tables.store();
            let directory = store.table(table).place("_delta_log");
            let listed = store.objects().list_with_delimiter(Some(&directory));
            let listed = self.runtime.block_on(listed).map_err(|e| e.to_string())?;
            let names = listed.objects.iter().filter_map(|object| object.location.filename()?.strip_suffix(".json"));
            let mut versions: Vec<u64> = names.filter_map(|name| name.parse().ok()).collect();
            versions.sort_unstable();
            ensure!(versions.iter().copied().eq(0..versions.len() as u64), "{}: {versions:?}", table.name());
            let newest = self.runtime.block_on(log.load()).map_err(|e| e.to_string())?.map(|newest| newest.version());
            ensure!(newest == versions.last().copied(), "{}: {newest:?} of {versions:?}", table.name());
        }
        Ok(())
    }
}
