//! The file system, as far as a WAL needs it: one flat directory. Passed in, so that a test can lose what was not synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use promarchive_directory::{PRIVATE_DIRECTORY, open_plain, sync};

/// One directory. Names are plain file names in it. Calls block.
pub trait Disk: Send + Sync {
    /// The names of the files in the directory, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file, open for writing; [`io::ErrorKind::AlreadyExists`] if there is one of that name.
    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// The length of a file, in bytes.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// The first `limit` bytes of a file, or all of it if it is shorter.
    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>>;
    /// Makes durable what any process has written to a file.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Removes a file from the directory.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes durable which files the directory holds.
    fn sync_dir(&self) -> io::Result<()>;
}

/// A file that was created to be written to.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at the end. After an error any part of them may be there.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written. After an error it may be lost, though reading still shows it, and a second try proves
    /// nothing: the kernel has marked it clean.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A directory of the machine's own file system.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
}

impl RealDisk {
    /// The directory at this path, created for the user of this process alone if it is missing.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        if !directory.is_dir() {
            DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(&directory)?;
            // The new entry is in the parent; further missing parents are the caller's to make durable.
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(Self { directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is not one of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = open_plain(OpenOptions::new().write(true).create_new(true), &self.path(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(fs::symlink_metadata(self.path(name))?.len())
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let file = open_plain(OpenOptions::new().read(true), &self.path(name))?;
        let expected = file.metadata()?.len().min(limit);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        open_plain(OpenOptions::new().read(true), &self.path(name))?.sync_data()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        sync(&self.directory)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
