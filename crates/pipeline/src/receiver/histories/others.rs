//! What others do to the tables beside the receiver: a compaction, by hand, and programs that are not ours.

use std::collections::BTreeMap;

use promarchive_archive::commit::{Committed, commit};
use promarchive_archive::file::Origin;
use promarchive_archive::log::{Commit, CommitKind, DataFile};
use promarchive_archive::schema::Table;
use promarchive_model::environment::Entropy;
use promarchive_model::{Date, FlushId};

use super::ensure;
use super::merging::{Merge, Merged, merges};
use super::tables::Parts;
use super::world::World;

/// A change of one table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Others {
    /// Files of a day are merged: the n-th of all the ways in which that can be done.
    Merge(usize),
    /// Another program adds a file, of which the store has nothing: who reads it fails.
    Append,
    /// It takes all such files out again.
    Delete,
    /// It puts a file of its own, with the same rows, instead of the n-th of ours.
    Replace(usize),
}

impl World {
    pub(super) fn others(&mut self, table: Table, change: Others) -> Result<(), String> {
        let files = self.files(table);
        match change {
            Others::Merge(which) => {
                let mut possible = merges(&files);
                if possible.is_empty() {
                    return Ok(());
                }
                let merge = possible.swap_remove(which % possible.len());
                self.merge(table, merge)?;
            }
            Others::Append => {
                let file = self.foreign_file(Date(20_400));
                self.foreign.push((table, file.clone()));
                self.change(table, CommitKind::Delete, vec![file], Vec::new())?;
            }
            Others::Delete => {
                let of_table = |(other, file): &(Table, DataFile)| (*other == table).then(|| file.clone());
                let gone: Vec<DataFile> = self.foreign.iter().filter_map(of_table).collect();
                self.foreign.retain(|(other, _)| *other != table);
                if !gone.is_empty() {
                    self.change(table, CommitKind::Delete, Vec::new(), gone)?;
                }
            }
            Others::Replace(which) => {
                let ours: Vec<&DataFile> = files.iter().filter(|file| file.origin != Origin::Foreign).collect();
                if let Some(old) = ours.get(which % ours.len().max(1)) {
                    self.replace(table, old)?;
                }
            }
        }
        self.check()
    }

    fn foreign_file(&mut self, date: Date) -> DataFile {
        let path = format!("date={date}/part-00000-{:016x}-c000.snappy.parquet", self.entropy.next_u64());
        let (origin, modification_time) = (Origin::Foreign, self.now());
        DataFile { path, size: 1, modification_time, date, stats: None, origin, checksum: None }
    }

    /// The rows of files as one file, and where they come from.
    fn merged(&mut self, table: Table, files: &[DataFile]) -> Result<(Merged, Parts), String> {
        let (mut merged, mut flushes) = (Merged::default(), BTreeMap::<FlushId, i64>::new());
        for file in files {
            let bytes = self.bytes(table, file)?;
            let rows = self.reader.rows(table, file, bytes)?;
            for (key, flush, content) in self.reader.attributed(table, file, &rows)? {
                merged.add(key.clone(), flush, content.clone());
            }
            for (flush, time) in self.reader.flushes(table, file) {
                let first = flushes.entry(flush).or_insert(time);
                *first = time.min(*first);
            }
        }
        let rows = merged.flushes();
        Ok((merged, Parts { rows, flushes }))
    }

    pub(super) fn bytes(&self, table: Table, file: &DataFile) -> Result<bytes::Bytes, String> {
        let root = self.archive.store().table(table);
        self.runtime.block_on(root.read(&file.path)).map_err(|e| e.to_string())
    }

    /// Puts a file with rows that are there already.
    fn put(&mut self, table: Table, file: DataFile, merged: &Merged, parts: Parts) -> DataFile {
        let encoded = merged.encode(table, &file.origin);
        let file = DataFile { size: encoded.bytes.len() as u64, stats: Some(encoded.stats), ..file };
        let root = self.archive.store().table(table);
        self.runtime.block_on(root.put(&file.path, encoded.bytes.into())).unwrap();
        self.reader.note_parts(table, &file, parts);
        file
    }

    fn merge(&mut self, table: Table, merge: Merge) -> Result<(), String> {
        let (merged, parts) = self.merged(table, &merge.files)?;
        let (path, modification_time) = (merge.path(self.entropy.next_u64()), merge.modification_time());
        let Merge { date, files, origin } = merge;
        let file = DataFile { path, size: 0, modification_time, date, stats: None, origin, checksum: None };
        let file = self.put(table, file, &merged, parts);
        self.change(table, CommitKind::Rewrite, vec![file], files)
    }

    fn replace(&mut self, table: Table, old: &DataFile) -> Result<(), String> {
        let (merged, parts) = self.merged(table, std::slice::from_ref(old))?;
        // Once it is not in a file of ours, a row that is sent again may stand beside it.
        self.model.excuse(parts.rows.keys().cloned());
        let file = self.foreign_file(old.date);
        let file = self.put(table, file, &merged, parts);
        self.change(table, CommitKind::Rewrite, vec![file], vec![old.clone()])
    }

    fn change(&self, table: Table, kind: CommitKind, add: Vec<DataFile>, remove: Vec<DataFile>) -> Result<(), String> {
        let change = Commit { kind, add, remove, time: self.now() };
        let committed = self.runtime.block_on(commit(&self.logs[&table], &change, None)).map_err(|e| e.to_string())?;
        ensure!(matches!(committed, Committed::Now { .. }), "{committed:?}");
        Ok(())
    }

    /// Merges all files of a day whose rows are known, those of other programs, too: then nothing stands twice because of them.
    pub(super) fn merge_all(&mut self) -> Result<(), String> {
        for table in Table::ALL {
            let mut days: BTreeMap<Date, Vec<DataFile>> = BTreeMap::new();
            for file in self.files(table).into_iter().filter(|file| file.stats.is_some()) {
                days.entry(file.date).or_default().push(file);
            }
            for (date, files) in days {
                let (_, parts) = self.merged(table, &files)?;
                let mut flushes: BTreeMap<_, std::ops::RangeInclusive<u64>> = BTreeMap::new();
                for &(writer, position) in parts.flushes.keys() {
                    let range = flushes.entry(writer).or_insert(position..=position);
                    *range = *range.start().min(&position)..=*range.end().max(&position);
                }
                let origin = Origin::Merge { level: 9, flushes: flushes.into_iter().collect() };
                self.merge(table, Merge { date, files, origin })?;
            }
        }
        self.model.excuse_nothing();
        self.check()
    }
}
