//! One receiver owns an archive and a WAL. Readers and maintenance do not ask.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use promarchive_wal::open_plain;

/// Name of the lock file in the archive's directory.
pub const ARCHIVE_LOCK_FILE: &str = ".promarchive.lock";
/// Name of the other lock file there. Receivers that go on when the tables are upgraded hold it; those of earlier versions do not know it.
const UPGRADE_LOCK_FILE: &str = ".promarchive.upgrade.lock";
/// What the directory is, in messages.
const ARCHIVE: &str = "archive";

/// A directory is in use, or cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{what} {} belongs to another receiver that is running: stop that one, or give this one a directory of its own", .directory.display())]
    Held {
        /// What the directory is.
        what: &'static str,
        /// Which.
        directory: PathBuf,
    },
    /// A receiver of an earlier version is running.
    #[error(
        "archive {} belongs to a running receiver of an earlier version of promarchive, which could not go on after the upgrade: start \
         that receiver with this version first", .0.display()
    )]
    HeldByEarlier(PathBuf),
    /// The lock file cannot be made or locked.
    #[error("cannot lock {what} {}: {source}", .directory.display())]
    Io {
        /// What the directory is.
        what: &'static str,
        /// Which.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl LockError {
    /// Whether another try may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// A directory held by this process until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "held, not read")] File);

impl DirectoryLock {
    /// Takes the lock, a file `name` in `directory`; does not wait.
    pub(super) fn take(what: &'static str, directory: &Path, name: &str) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { what, directory: directory.to_path_buf(), source };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = open_plain(&mut options, &directory.join(name)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::Held { what, directory: directory.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Tells `promarchive upgrade` that this receiver goes on when the tables are upgraded.
#[derive(Debug)]
pub(super) struct KnowsUpgrades(#[expect(dead_code, reason = "held, not read")] Option<DirectoryLock>);

impl KnowsUpgrades {
    /// The receiver works without the lock, too: then the archive cannot be upgraded while it runs.
    pub(super) fn take(archive: &Path) -> Self {
        let lock = DirectoryLock::take(ARCHIVE, archive, UPGRADE_LOCK_FILE);
        if let Err(error) = &lock {
            tracing::warn!(%error, "promarchive upgrade will refuse to work beside this receiver");
        }
        Self(lock.ok())
    }
}

/// An archive that may be upgraded, for as long as this lives: no receiver of an earlier version has it.
#[derive(Debug)]
pub struct ArchiveHold(#[expect(dead_code, reason = "held, not read")] Vec<DirectoryLock>);

/// Makes sure that no receiver of an earlier version has the archive, and that none starts. One that goes on after an upgrade may run.
///
/// # Errors
/// A receiver of an earlier version has it, or a lock file cannot be made.
pub fn hold_for_upgrade(archive: &Path) -> Result<ArchiveHold, LockError> {
    let take = |name| DirectoryLock::take(ARCHIVE, archive, name);
    match (take(ARCHIVE_LOCK_FILE), take(UPGRADE_LOCK_FILE)) {
        (Ok(archive), Ok(upgrade)) => Ok(ArchiveHold(vec![archive, upgrade])),
        // A receiver that knows upgrades has both. If one of them is free, it is starting or ending.
        (_, Err(LockError::Held { .. })) => Ok(ArchiveHold(Vec::new())),
        (Err(LockError::Held { .. }), Ok(_)) => Err(LockError::HeldByEarlier(archive.to_path_buf())),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_of_an_earlier_version_keeps_an_upgrade_out() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path();
        let receiver = DirectoryLock::take(ARCHIVE, archive, ARCHIVE_LOCK_FILE).unwrap();
        let refused = hold_for_upgrade(archive).unwrap_err();
        assert!(matches!(refused, LockError::HeldByEarlier(_)), "{refused}");
        // The refused one has left nothing locked.
        let knows = KnowsUpgrades::take(archive);
        drop(hold_for_upgrade(archive).unwrap());
        drop((receiver, knows));
        let hold = hold_for_upgrade(archive).unwrap();
        drop(hold_for_upgrade(archive).unwrap());
        let starting = DirectoryLock::take(ARCHIVE, archive, ARCHIVE_LOCK_FILE);
        assert!(matches!(starting, Err(LockError::Held { .. })), "no receiver starts meanwhile");
        drop(hold);
        DirectoryLock::take(ARCHIVE, archive, ARCHIVE_LOCK_FILE).unwrap();
    }
}
