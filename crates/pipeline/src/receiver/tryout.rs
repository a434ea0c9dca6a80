//! Whether a WAL that has failed takes writes again. A receiver that is not ready may get no requests to find that out with.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use promarchive_wal::Disk;

/// Of the file that is written to find it out.
const NAME: &str = "probe";
/// A disk that is all but full takes a few bytes: at least so many are written.
const LEAST: u64 = 4096;
/// More than a request usually has, and little enough to be written twice a second to a disk that fails.
const MOST: u64 = 8 << 20;
const CHUNK: usize = 1 << 20;

/// Writes as much as could not be written.
pub(super) struct Tryout {
    disk: Arc<dyn Disk>,
    /// The most that has failed since it last worked.
    failed: AtomicU64,
}

impl Tryout {
    /// Under the WAL.
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, failed: AtomicU64::new(0) }
    }

    /// So many bytes could not be written.
    pub(super) fn failed(&self, bytes: u64) {
        self.failed.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The WAL has taken a group.
    pub(super) fn works(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// Writes as much as has failed, up to [`MOST`], syncs it, and takes it away again.
    pub(super) fn run(&self) -> io::Result<()> {
        self.remove()?;
        let written = self.write(self.failed.load(Ordering::Relaxed).clamp(LEAST, MOST));
        // Half of it must not take the space that is missing.
        let removed = self.remove();
        written.and(removed)?;
        self.works();
        Ok(())
    }

    fn write(&self, bytes: u64) -> io::Result<()> {
        let mut file = self.disk.create_new(NAME)?;
        let zeros = vec![0; CHUNK.min(usize::try_from(bytes).unwrap_or(CHUNK))];
        let mut left = bytes;
        while left > 0 {
            let length = zeros.len().min(usize::try_from(left).unwrap_or(CHUNK));
            file.write_all(zeros.get(..length).unwrap_or(&zeros))?;
            left -= length as u64;
        }
        file.sync()
    }

    fn remove(&self) -> io::Result<()> {
        match self.disk.remove(NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
