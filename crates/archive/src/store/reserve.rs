//! Disk space held back for a flush.
//!
//! With WAL and archive on one disk, a full disk would leave no way out: the WAL is purged only after a flush, and a flush needs space. So a file of
//! allocated blocks stands in the archive's directory. When the disk is full it is given up to the flush; while it is gone, nothing is
//! appended to the WAL that could eat the space. And nothing is ever appended whose flush might not fit into the free space and the
//! reserve together.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use promarchive_directory::open_plain;

use crate::schema::Table;

/// Name of the file in the archive's directory.
pub const RESERVE_FILE: &str = ".promarchive.reserve";

/// Bytes of table files that a byte of WAL can become. In the WAL a new series has its labels at least once, hardly compressed; in a file
/// they stand at most twice, as text and in label columns, compressed: random ones, the worst that can be sent, took 2.
const FILE_BYTES_PER_WAL_BYTE: u64 = 4;
/// The reserve takes no more than this part of a disk.
const LARGEST_SHARE: u64 = 8;

/// The file, there or given up.
#[derive(Debug)]
pub struct Reserve {
    /// The archive's directory; none where nothing can run full.
    directory: Option<PathBuf>,
    bytes: u64,
    held: AtomicBool,
}

impl Reserve {
    /// Space of so many bytes in the archive's directory, less on a small disk; not taken yet. Without a directory none is needed.
    pub(super) fn new(directory: Option<PathBuf>, bytes: u64) -> Self {
        let Some(directory) = directory else { return Self { directory, bytes: 0, held: AtomicBool::new(false) } };
        let share = rustix::fs::statvfs(&directory)
            .map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize) / LARGEST_SHARE);
        // A file system without a size has no blocks.
        let share = if share == 0 { u64::MAX } else { share };
        let bytes = bytes.min(share);
        Self { directory: Some(directory), bytes, held: AtomicBool::new(false) }
    }

    /// Whether the space is there.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Takes the space, if it is not held.
    pub fn take(&self) -> io::Result<()> {
        if self.is_held() {
            return Ok(());
        }
        if self.bytes > 0
            && let Some(path) = self.path()
        {
            // What is not our file to write to is not ours to remove either.
            let file = open(&path)?;
            if let Err(error) = self.allocate(&file) {
                self.give_up();
                return Err(error);
            }
        }
        self.held.store(true, Ordering::Release);
        Ok(())
    }

    fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(RESERVE_FILE))
    }

    fn allocate(&self, file: &File) -> io::Result<()> {
        if file.metadata()?.len() != self.bytes {
            file.set_len(0)?;
        }
        allocate(file, self.bytes)?;
        file.sync_all()
    }

    /// Bytes that are free on the archive's disk, without the space held back; none if the system does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.directory.as_ref()?).ok().filter(|disk| disk.f_blocks > 0)?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Why nothing can be written to the archive, where its disk tells more than an error does.
    pub fn cause_of_failure(&self) -> Option<String> {
        let directory = self.directory.as_ref()?;
        if !directory.join(Table::SAMPLES.name()).join("_delta_log").is_dir() {
            return Some(format!(
                "{} was removed, or its volume is no longer mounted: restore it, or stop promarchive and create a new \
                 archive",
                directory.display()
            ));
        }
        let disk = rustix::fs::statvfs(directory).ok()?;
        (disk.f_files > 0 && disk.f_favail == 0).then(|| {
            "the file system has no free inodes (check with df -i): delete files, or move the archive".to_owned()
        })
    }

    /// Whether files of so much WAL fit into the free space and the space held back.
    pub fn fits_flush_of(&self, wal_bytes: u64) -> bool {
        let held = if self.is_held() { self.bytes } else { 0 };
        let most = wal_bytes.saturating_mul(FILE_BYTES_PER_WAL_BYTE);
        self.free_bytes().is_none_or(|free| free.saturating_add(held) >= most)
    }

    /// Gives the space up to a flush of so much WAL, if the disk is so full that it may need it.
    pub fn give_up_if_needed(&self, wal_bytes: u64) {
        let most = wal_bytes.saturating_mul(FILE_BYTES_PER_WAL_BYTE).max(self.bytes);
        if self.is_held() && self.free_bytes().is_some_and(|free| free < most) {
            tracing::warn!(
                bytes = self.bytes,
                "the archive's disk is full: the reserved disk space is released for a flush"
            );
            self.give_up();
        }
    }

    fn give_up(&self) {
        self.held.store(false, Ordering::Release);
        let Some(path) = self.path() else { return };
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %path.display(), "cannot remove the file that reserves disk space");
        }
    }
}

/// Opens the file, or makes it. Its content will be lost, so it must have no other name.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = open_plain(options.create(true).truncate(false).write(true), path)?;
    if file.metadata()?.nlink() > 1 {
        let path = path.display();
        return Err(io::Error::other(format!(
            "{path} is a hard link to another file, which would be overwritten: find out who created it, then remove it"
        )));
    }
    Ok(file)
}

/// Allocates blocks; a file system that cannot gets zeros written.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, bytes),
        other => Ok(other?),
    }
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    use std::io::Write;
    const CHUNK: usize = 1 << 20;
    let zeros = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let chunk = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(zeros.get(..chunk).unwrap_or(&zeros))?;
        left -= chunk as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_link_points_to_is_neither_overwritten_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, victim) = (directory.path().join(RESERVE_FILE), directory.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        let reserve = Reserve::new(Some(directory.path().to_path_buf()), 1 << 20);
        let make: [fn(&std::path::Path, &std::path::Path) -> io::Result<()>; 2] =
            [|a, b| symlink(a, b), |a, b| fs::hard_link(a, b)];
        for (make, kind) in make.into_iter().zip(["symbolic link", "hard link"]) {
            make(&victim, &file).unwrap();
            let error = reserve.take().unwrap_err().to_string();
            assert!(error.contains(RESERVE_FILE) && error.contains(kind) && !reserve.is_held(), "{error}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious");
            fs::remove_file(&file).expect("it is still there");
        }
        reserve.take().unwrap();
        assert_eq!((reserve.is_held(), fs::metadata(&file).unwrap().len()), (true, 1 << 20));
    }

    #[test]
    fn where_nothing_runs_full_everything_fits() {
        let reserve = Reserve::new(None, 1 << 20);
        reserve.take().unwrap();
        assert!(reserve.is_held() && reserve.fits_flush_of(u64::MAX));
        reserve.give_up_if_needed(u64::MAX);
        assert_eq!((reserve.is_held(), reserve.free_bytes(), reserve.cause_of_failure()), (true, None, None));
    }
}
