//! One receiver owns an archive and a WAL. Readers and maintenance do not ask.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::open_plain;

/// A directory is in use, or cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "the {what} {} is in use by another running receiver: stop that receiver, or use another directory for this \
         one", .directory.display())]
    Held {
        /// What the directory is.
        what: &'static str,
        /// Which.
        directory: PathBuf,
    },
    /// The lock file cannot be made or locked.
    #[error("cannot lock the {what} {}: {source}", .directory.display())]
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
    /// Whether another process has it.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// Whether another try may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// A directory held by this process until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "held, not read")] File);

impl DirectoryLock {
    /// Takes the lock, a file `name` in `directory`; does not wait.
    pub fn take(what: &'static str, directory: &Path, name: &str) -> Result<Self, LockError> {
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
