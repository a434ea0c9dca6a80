//! A directory that holds an archive or a write-ahead log: made durably, probed for what its file system can do, locked, and opened without
//! falling for what others put there.

mod durable;
mod file_system;
mod lock;
mod plain_file;

use std::io;
use std::path::{Path, PathBuf};

pub use durable::{create_durably, create_root_durably, sync};
pub use file_system::FileSystemError;
use file_system::is_unsupported;
pub use lock::{DirectoryLock, LockError};
pub use plain_file::{PRIVATE_DIRECTORY, PRIVATE_FILE, Unreadable, open_directory, open_plain, open_to_read};

/// Permissions of a new directory that others may read, less what the process's umask takes away.
pub const SHARED_DIRECTORY: u32 = 0o777;

/// What a directory is for, and what its file system must be able to do.
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    /// What it is called in messages.
    pub what: &'static str,
    /// Permissions of a new one.
    pub mode: u32,
    /// Whether hard links are made in it.
    pub hard_links: bool,
}

/// A directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its file system cannot do what is needed.
    #[error(transparent)]
    FileSystem(#[from] FileSystemError),
    /// It cannot be made, or looked into.
    #[error("cannot create or read {}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl DirectoryError {
    /// Whether another try may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lock(e) => e.is_retryable(),
            Self::FileSystem(_) => false,
            Self::Io { .. } => true,
        }
    }
}

impl Purpose {
    /// Makes the directory durably. Where that is not possible at all, the error says everything that its file system lacks.
    pub fn make(self, path: &Path) -> Result<(), DirectoryError> {
        let Err(source) = create_root_durably(path, self.mode) else { return Ok(()) };
        if is_unsupported(&source) && path.is_dir() {
            file_system::check(self.what, path, self.hard_links, None)?;
        }
        Err(DirectoryError::Io { path: path.to_path_buf(), source })
    }

    /// Takes the lock of the directory, the file `name` in it, and makes sure that its file system can do what is needed.
    pub fn lock(self, path: &Path, name: &str) -> Result<DirectoryLock, DirectoryError> {
        let locked = DirectoryLock::take(self.what, path, name);
        if !matches!(locked, Err(LockError::Held { .. })) {
            file_system::check(self.what, path, self.hard_links, Some(&locked))?;
        }
        Ok(locked?)
    }
}
