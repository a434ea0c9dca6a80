//! How far a WAL has come, without changing anything in its directory.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use promarchive_model::WriterId;
use promarchive_model::environment::SeededEntropy;
use promarchive_wal::{Disk, DiskFile, Options, Position, RealDisk, Recovery, Wal, WalError};

use super::finding::{Check, Finding};

/// Times that reading is tried, when segments are purged while they are read.
const TRIES: u32 = 5;

/// What a WAL directory says.
#[derive(Debug)]
pub(super) struct WalTail {
    pub(super) writer: WriterId,
    /// The last position that it remembers to have given out.
    pub(super) tail: Position,
    pub(super) findings: Vec<Finding>,
}

/// Reads the WAL in a directory. Blocks; takes the memory of one segment. Beside a running receiver the answer is that of some moment
/// between start and end.
pub(super) fn read_tail(directory: &Path) -> Result<WalTail, Box<Finding>> {
    let unreadable = |message: String| Box::new(Finding::new(Check::WalUnreadable, message));
    // `RealDisk` would make a directory that is missing.
    if !directory.is_dir() {
        return Err(unreadable(format!("{}: the WAL directory does not exist", directory.display())));
    }
    let disk = RealDisk::open(directory).map_err(|e| unreadable(format!("{}: {e}", directory.display())))?;
    let disk: Arc<dyn Disk> = Arc::new(ReadOnly(disk));
    let mut tries = 0;
    loop {
        tries += 1;
        match try_read(&disk) {
            Ok(tail) => return Ok(tail),
            // Purged since it was listed.
            Err(WalError::Io { source, .. }) if source.kind() == ErrorKind::NotFound && tries < TRIES => {}
            Err(WalError::Io { source, .. }) if source.kind() == ErrorKind::ReadOnlyFilesystem => {
                return Err(unreadable(format!(
                    "{}: this directory has no WAL (the file `writer` is missing)",
                    directory.display()
                )));
            }
            Err(e) => return Err(unreadable(e.to_string())),
        }
    }
}

fn try_read(disk: &Arc<dyn Disk>) -> Result<WalTail, WalError> {
    // Nothing is drawn from it: only what is created needs randomness.
    let entropy = Arc::new(SeededEntropy::new(0));
    let writer = promarchive_wal::load_or_create_writer(disk.as_ref(), entropy.as_ref())?;
    let (wal, recovery) =
        Wal::recover(disk.clone(), entropy, writer, Position::ZERO, Options::default(), |_, _| Ok::<_, WalError>(()))?;
    Ok(WalTail { writer, tail: wal.tail(), findings: findings(&recovery) })
}

fn findings(recovery: &Recovery) -> Vec<Finding> {
    let damage = recovery.damage.iter().map(|damage| {
        let missing = damage.missing.as_ref().map(|m| format!("; records {} to {} may be lost", m.start(), m.end()));
        let message = format!("{} bytes cannot be read{}", damage.length, missing.unwrap_or_default());
        Finding::new(Check::WalDamaged, message).file(&damage.file).offset(damage.offset)
    });
    let torn = recovery.torn.iter().map(|torn| {
        let message = format!("the last {} bytes are an incomplete write", torn.length);
        Finding::new(Check::WalTorn, message).file(&torn.file).offset(torn.offset)
    });
    damage.chain(torn).collect()
}

/// A directory that is looked at only.
struct ReadOnly(RealDisk);

fn refused<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnly {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create_new(&self, _name: &str) -> io::Result<Box<dyn DiskFile>> {
        refused()
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.0.len(name)
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        self.0.read(name, limit)
    }

    fn sync(&self, _name: &str) -> io::Result<()> {
        // Nothing is built upon what is found.
        Ok(())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}
