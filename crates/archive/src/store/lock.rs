//! Who has an archive that is a directory: one receiver, or an upgrade that no receiver of an earlier version may be beside.

use std::path::{Path, PathBuf};

use promarchive_directory::{DirectoryLock, LockError};

/// Name of the lock file in the archive's directory.
pub const LOCK_FILE: &str = ".promarchive.lock";
/// Name of the other lock file there. Receivers that go on when the tables are upgraded hold it; those of earlier versions do not know it.
const UPGRADE_LOCK_FILE: &str = ".promarchive.upgrade.lock";
/// What the directory is, in messages.
pub(super) const ARCHIVE: &str = "archive";

/// The archive is held by a receiver until this is dropped.
#[derive(Debug)]
pub struct ArchiveLock {
    _archive: DirectoryLock,
    /// Tells `promarchive upgrade` that this receiver goes on when the tables are upgraded.
    _knows_upgrades: Option<DirectoryLock>,
}

impl ArchiveLock {
    /// A receiver works without the second lock, too: then the archive cannot be upgraded while it runs.
    pub(super) fn new(directory: &Path, archive: DirectoryLock) -> Self {
        let upgrade = DirectoryLock::take(ARCHIVE, directory, UPGRADE_LOCK_FILE);
        if let Err(error) = &upgrade {
            tracing::warn!(%error, "promarchive upgrade will refuse to work beside this receiver");
        }
        Self { _archive: archive, _knows_upgrades: upgrade.ok() }
    }
}

/// Why an archive cannot be upgraded now.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeLockError {
    /// A receiver of an earlier version is running.
    #[error(
        "archive {} belongs to a running receiver of an earlier version of promarchive, which could not go on after the upgrade: start \
         that receiver with this version first", .0.display()
    )]
    HeldByEarlier(PathBuf),
    /// A lock file cannot be made or locked.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// An archive that may be upgraded, for as long as this lives: no receiver of an earlier version has it, and none starts.
#[derive(Debug, Default)]
pub struct UpgradeLock {
    _held: Vec<DirectoryLock>,
}

impl UpgradeLock {
    /// Makes sure that no receiver of an earlier version has the archive. One that goes on after an upgrade may run.
    pub(super) fn take(directory: &Path) -> Result<Self, UpgradeLockError> {
        let take = |name| DirectoryLock::take(ARCHIVE, directory, name);
        match (take(LOCK_FILE), take(UPGRADE_LOCK_FILE)) {
            (Ok(archive), Ok(upgrade)) => Ok(Self { _held: vec![archive, upgrade] }),
            // A receiver that knows upgrades has both. If one of them is free, it is starting or ending.
            (_, Err(LockError::Held { .. })) => Ok(Self::default()),
            (Err(LockError::Held { .. }), Ok(_)) => Err(UpgradeLockError::HeldByEarlier(directory.to_path_buf())),
            (Err(error), _) | (_, Err(error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_of_an_earlier_version_keeps_an_upgrade_out() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path();
        let take = || DirectoryLock::take(ARCHIVE, archive, LOCK_FILE);
        let earlier = take().unwrap();
        let refused = UpgradeLock::take(archive).unwrap_err();
        assert!(matches!(refused, UpgradeLockError::HeldByEarlier(_)), "{refused}");
        // The refused one has left nothing locked.
        let receiver = ArchiveLock::new(archive, earlier);
        drop(UpgradeLock::take(archive).unwrap());
        drop(receiver);
        let upgrade = UpgradeLock::take(archive).unwrap();
        drop(UpgradeLock::take(archive).unwrap());
        assert!(matches!(take(), Err(LockError::Held { .. })), "no receiver starts meanwhile");
        drop(upgrade);
        take().unwrap();
    }
}
