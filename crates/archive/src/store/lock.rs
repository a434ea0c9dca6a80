//! Who has an archive that is a directory: one receiver. An upgrade asks whether that is one of an earlier version.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use promarchive_directory::{DirectoryError, DirectoryLock, LockError};

use super::ARCHIVE;

/// Name of the lock file in the archive's directory.
pub const LOCK_FILE: &str = ".promarchive.lock";
/// Name of the other lock file there. Receivers that go on when the tables are upgraded hold it; those of earlier versions do not know it.
const UPGRADE_LOCK_FILE: &str = ".promarchive.upgrade.lock";
/// An upgrade holds a lock for a moment, and a receiver that starts has one before the other: who finds one held looks again so often.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// The archive is held by a receiver until this is dropped: first what only receivers of this version have.
#[derive(Debug)]
pub struct ArchiveLock {
    /// Tells `promarchive upgrade` that this receiver goes on when the tables are upgraded.
    _knows_upgrades: Option<DirectoryLock>,
    _archive: DirectoryLock,
}

impl ArchiveLock {
    /// Takes both locks. A receiver works without the second one, too: then the archive cannot be upgraded while it runs. Blocks for half a
    /// second where another receiver has it.
    pub(super) fn take(directory: &Path) -> Result<Self, DirectoryError> {
        let archive =
            patient(|| ARCHIVE.lock(directory, LOCK_FILE), |e| matches!(e, DirectoryError::Lock(e) if e.is_held()))?;
        let upgrade = patient(|| DirectoryLock::take(ARCHIVE.what, directory, UPGRADE_LOCK_FILE), LockError::is_held);
        if let Err(error) = &upgrade {
            tracing::warn!(%error, "promarchive upgrade will refuse to run while this receiver runs");
        }
        Ok(Self { _archive: archive, _knows_upgrades: upgrade.ok() })
    }
}

/// Tries again, for a while, as long as the error may be over in a moment.
fn patient<T, E>(mut take: impl FnMut() -> Result<T, E>, is_held: impl Fn(&E) -> bool) -> Result<T, E> {
    for _ in 1..TRIES {
        match take() {
            Err(error) if is_held(&error) => sleep(PAUSE),
            done => return done,
        }
    }
    take()
}

/// Why an archive cannot be upgraded now.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// A receiver of an earlier version is running.
    #[error(
        "archive {} is in use by a running receiver of an earlier version of promarchive, which cannot use an \
         upgraded archive: upgrade that receiver to this version first", .0.display()
    )]
    HeldByEarlier(PathBuf),
    /// A lock file cannot be made or locked.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Makes sure that no receiver of an earlier version has the archive. One that starts later refuses the tables by their protocol. Blocks for half a
/// second where one of an earlier version has it.
pub(super) fn check_upgrade(directory: &Path) -> Result<(), UpgradeError> {
    let take = |name| DirectoryLock::take(ARCHIVE.what, directory, name);
    let look = || match take(LOCK_FILE) {
        Ok(_) => Ok(()),
        Err(error) if !error.is_held() => Err(error.into()),
        Err(_) => match take(UPGRADE_LOCK_FILE) {
            // A receiver that knows upgrades.
            Err(error) if error.is_held() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(UpgradeError::HeldByEarlier(directory.to_path_buf())),
        },
    };
    patient(look, |error| matches!(error, UpgradeError::HeldByEarlier(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_of_an_earlier_version_keeps_an_upgrade_out() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path();
        check_upgrade(archive).unwrap();
        let earlier = DirectoryLock::take(ARCHIVE.what, archive, LOCK_FILE).unwrap();
        let refused = check_upgrade(archive).unwrap_err();
        assert!(matches!(refused, UpgradeError::HeldByEarlier(_)), "{refused}");
        drop(earlier);
        // Neither was left locked.
        let receiver = ArchiveLock::take(archive).unwrap();
        check_upgrade(archive).unwrap();
        let other = ArchiveLock::take(archive).unwrap_err();
        assert!(matches!(other, DirectoryError::Lock(LockError::Held { .. })), "{other}");
        drop(receiver);
        ArchiveLock::take(archive).unwrap();
    }
}
