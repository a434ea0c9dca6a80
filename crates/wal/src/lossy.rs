//! A disk in memory that loses, at a crash, what was not synced, and that fails when told to. For tests and simulations.
//!
//! What a process sees is the page cache. Beneath it each file has its synced content and the writes since, and the directory
//! has its synced entries and the creations and removals since. At a [`LossyDisk::crash`] each of those survives, or not, or (a
//! write) in part, whatever the fate of its neighbours.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use promarchive_model::environment::Entropy;

use super::disk::{Disk, DiskFile};

/// A handle of the disk; clones see the same one.
#[derive(Clone, Default)]
pub struct LossyDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    entries: BTreeMap<String, usize>,
    synced_entries: BTreeMap<String, usize>,
    pending_entries: Vec<EntryChange>,
    /// Counts crashes and kills: a file that an earlier process opened is closed.
    process: u64,
    faults: Faults,
}

#[derive(Default)]
struct Inode {
    cached: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

#[derive(Clone)]
enum EntryChange {
    Create { name: String, inode: usize },
    Remove { name: String },
}

/// What the disk does wrong. All counters count down from now; 1 is the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// This sync of a file fails, and what it should have made durable is lost without another error, as on Linux.
    pub fail_sync: Option<u64>,
    /// This write fails with half of the bytes written.
    pub fail_write: Option<u64>,
    /// At this change of any kind the process dies: half of a write is done, and all later changes fail.
    pub die_at: Option<u64>,
    /// Bytes that fit on the disk; past them writes are short and fail.
    pub capacity: Option<u64>,
    /// All changes are refused.
    pub read_only: bool,
    /// All reads of files fail.
    pub unreadable: bool,
    /// A crash may also leave zeros in the middle of a write whose end survived.
    pub holes: bool,
    /// Files are reported as synced, and are not.
    pub lie_about_files: bool,
    /// The directory is reported as synced, and is not.
    pub lie_about_directory: bool,
}

impl LossyDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// What goes wrong, with the counters as they stand.
    pub fn faults(&self) -> Faults {
        self.lock().faults
    }

    /// The process is killed: its files are closed, the page cache stays.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.process += 1;
        state.faults = Faults { holes: state.faults.holes, ..Faults::lies_of(state.faults) };
    }

    /// The machine loses power: chance decides about all that was not synced.
    pub fn crash(&self, chance: &dyn Entropy) {
        self.kill();
        let mut state = self.lock();
        let holes = state.faults.holes;
        for inode in &mut state.inodes {
            let mut content = std::mem::take(&mut inode.synced);
            for change in inode.pending.drain(..) {
                change.survive(&mut content, holes, chance);
            }
            inode.cached.clone_from(&content);
            inode.synced = content;
        }
        let State { entries, synced_entries, pending_entries, .. } = &mut *state;
        for change in pending_entries.drain(..) {
            if chance.next_u64().is_multiple_of(2) {
                change.apply(synced_entries);
            }
        }
        entries.clone_from(synced_entries);
    }

    /// Changes the bytes of a file behind everybody's back, durably. Returns whether there is such a file.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.lock();
        let Some(inode) = state.inode_mut(name) else { return false };
        change(&mut inode.cached);
        inode.synced.clone_from(&inode.cached);
        inode.pending.clear();
        true
    }
}

impl Faults {
    fn lies_of(faults: Self) -> Self {
        let Self { lie_about_files, lie_about_directory, .. } = faults;
        Self { lie_about_files, lie_about_directory, ..Self::default() }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                if let Some(place) = content.get_mut(*offset..end) {
                    place.copy_from_slice(bytes);
                }
            }
            Self::Truncate { length } => content.truncate(*length),
        }
    }

    fn survive(self, content: &mut Vec<u8>, holes: bool, chance: &dyn Entropy) {
        let torn = match self {
            Self::Write { offset, mut bytes } => {
                match chance.next_u64() % 4 {
                    0 => return,
                    1 => bytes.truncate(below(bytes.len(), chance)),
                    2 if holes => {
                        let from = below(bytes.len(), chance);
                        let length = below(bytes.len() - from, chance);
                        bytes.iter_mut().skip(from).take(length).for_each(|byte| *byte = 0);
                    }
                    _ => {}
                }
                Self::Write { offset, bytes }
            }
            Self::Truncate { .. } if chance.next_u64().is_multiple_of(2) => return,
            whole => whole,
        };
        torn.apply(content);
    }
}

fn below(length: usize, chance: &dyn Entropy) -> usize {
    usize::try_from(chance.next_u64() % (length as u64 + 1)).unwrap_or(length)
}

impl EntryChange {
    fn apply(self, entries: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create { name, inode } => drop(entries.insert(name, inode)),
            Self::Remove { name } => drop(entries.remove(&name)),
        }
    }
}

/// Counts one event down, and tells whether it is the one to fail.
fn strikes(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(1) => {
            *counter = None;
            true
        }
        Some(left) => {
            *left = left.saturating_sub(1);
            false
        }
        None => false,
    }
}

fn io_error() -> io::Error {
    io::Error::other("input/output error (injected)")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    fn inode(&self, name: &str) -> io::Result<&Inode> {
        self.entries.get(name).and_then(|inode| self.inodes.get(*inode)).ok_or_else(not_found)
    }

    fn inode_mut(&mut self, name: &str) -> Option<&mut Inode> {
        let inode = *self.entries.get(name)?;
        self.inodes.get_mut(inode)
    }

    /// Refuses a change if the disk is read-only or the process dead. True if the process dies just now.
    fn begin_change(&mut self) -> io::Result<bool> {
        match &mut self.faults.die_at {
            Some(0) => return Err(io_error()),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(self.faults.die_at == Some(0))
    }

    fn free_bytes(&self) -> usize {
        let Some(capacity) = self.faults.capacity else { return usize::MAX };
        let used: usize =
            self.entries.values().filter_map(|inode| self.inodes.get(*inode)).map(|i| i.cached.len()).sum();
        usize::try_from(capacity).unwrap_or(usize::MAX).saturating_sub(used)
    }

    fn write(&mut self, inode: usize, bytes: &[u8]) -> io::Result<()> {
        let dies = self.begin_change()?;
        let fails = strikes(&mut self.faults.fail_write);
        let free = self.free_bytes();
        let wanted = if dies || fails { bytes.len() / 2 } else { bytes.len() };
        let written = bytes.get(..wanted.min(free)).unwrap_or_default();
        let Some(inode) = self.inodes.get_mut(inode) else { return Err(not_found()) };
        let change = Change::Write { offset: inode.cached.len(), bytes: written.to_vec() };
        change.apply(&mut inode.cached);
        inode.pending.push(change);
        match written.len() == bytes.len() {
            _ if dies || fails => Err(io_error()),
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        if self.begin_change()? {
            return Err(io_error());
        }
        let fails = strikes(&mut self.faults.fail_sync);
        let lies = self.faults.lie_about_files;
        let Some(inode) = self.inodes.get_mut(inode) else { return Err(not_found()) };
        if fails {
            inode.pending.clear();
            return Err(io_error());
        }
        if !lies {
            for change in inode.pending.drain(..) {
                change.apply(&mut inode.synced);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, inode: usize, length: u64) -> io::Result<()> {
        if self.begin_change()? {
            return Err(io_error());
        }
        let Some(inode) = self.inodes.get_mut(inode) else { return Err(not_found()) };
        let change = Change::Truncate { length: usize::try_from(length).unwrap_or(usize::MAX) };
        change.apply(&mut inode.cached);
        inode.pending.push(change);
        Ok(())
    }
}

impl Disk for LossyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().entries.keys().cloned().collect())
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let dies = state.begin_change()?;
        if state.entries.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        let change = EntryChange::Create { name: name.to_owned(), inode };
        change.clone().apply(&mut state.entries);
        state.pending_entries.push(change);
        if dies {
            return Err(io_error());
        }
        Ok(Box::new(LossyFile { disk: self.clone(), inode, process: state.process }))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.lock().inode(name)?.cached.len() as u64)
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let state = self.lock();
        let content = &state.inode(name)?.cached;
        if state.faults.unreadable {
            return Err(io_error());
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(content.len());
        Ok(content.get(..limit).unwrap_or_default().to_vec())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        let inode = *state.entries.get(name).ok_or_else(not_found)?;
        state.sync(inode)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        let dies = state.begin_change()?;
        if !state.entries.contains_key(name) {
            return Err(not_found());
        }
        let change = EntryChange::Remove { name: name.to_owned() };
        change.clone().apply(&mut state.entries);
        state.pending_entries.push(change);
        if dies { Err(io_error()) } else { Ok(()) }
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.begin_change()? {
            return Err(io_error());
        }
        if !state.faults.lie_about_directory {
            let State { synced_entries, pending_entries, .. } = &mut *state;
            pending_entries.drain(..).for_each(|change| change.apply(synced_entries));
        }
        Ok(())
    }
}

struct LossyFile {
    disk: LossyDisk,
    inode: usize,
    process: u64,
}

impl LossyFile {
    /// The disk, unless the process that opened the file is dead.
    fn disk(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.process == self.process { Ok(state) } else { Err(io_error()) }
    }
}

impl DiskFile for LossyFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk()?.write(self.inode, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk()?.sync(self.inode)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk()?.truncate(self.inode, length)
    }
}
