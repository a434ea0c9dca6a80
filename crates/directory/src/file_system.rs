//! Whether a file system can do what durability and exclusion rest on, asked once at the start.
//!
//! Those of CIFS, 9p, FAT and some of FUSE cannot sync a directory, make hard links or lock files. They say so with an errno that a
//! retry does not change.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::{DirectoryLock, LockError, open_plain};

/// Name of the file that is made, linked and removed again.
const PROBE_FILE: &str = ".promarchive.probe";
/// Its second name.
const PROBE_LINK: &str = ".promarchive.probe.link";

/// A file system lacks something; trying again does not help.
#[derive(Debug, thiserror::Error)]
#[error(
    "the file system of the {what} {} ({kind}) cannot {}: acknowledged data would not be safe on it; use a file \
     system that supports this, such as ext4, XFS or Btrfs, or a POSIX-compliant network \
     volume", .directory.display(), list(.lacks)
)]
pub struct FileSystemError {
    what: &'static str,
    directory: PathBuf,
    kind: String,
    lacks: Vec<Lack>,
}

/// What a file system cannot do, and how it said so.
#[derive(Debug)]
struct Lack {
    what: &'static str,
    said: io::Error,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.said)
    }
}

fn list(lacks: &[Lack]) -> String {
    lacks.iter().map(Lack::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether an error says that the file system cannot do it, and not that it could not this time.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    const CANNOT: [Errno; 7] =
        [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::PERM, Errno::NOLCK, Errno::ISDIR, Errno::BADF];
    Errno::from_io_error(error).is_some_and(|errno| CANNOT.contains(&errno))
}

/// Refuses a directory whose file system cannot do what is needed of it: sync files and directories, lock, and for an archive also make
/// hard links. `locked` is how taking its lock went. Whatever else goes wrong is left to those who need it.
pub(crate) fn check(
    what: &'static str,
    directory: &Path,
    hard_links: bool,
    locked: Option<&Result<DirectoryLock, LockError>>,
) -> Result<(), FileSystemError> {
    let mut lacks = Vec::new();
    if let Some(Err(LockError::Io { source, .. })) = locked
        && is_unsupported(source)
    {
        lacks.push(Lack { what: "lock a file", said: copy_of(source) });
    }
    let mut note = |what, done: io::Result<()>| match done {
        Err(said) if is_unsupported(&said) => lacks.push(Lack { what, said }),
        Err(error) => tracing::debug!(%error, directory = %directory.display(), "cannot {what}"),
        Ok(()) => {}
    };
    let (file, link) = (directory.join(PROBE_FILE), directory.join(PROBE_LINK));
    let clear = || [&file, &link].into_iter().for_each(|path| drop(fs::remove_file(path)));
    // What a process left that was killed here.
    clear();
    if let Ok(probe) = open_plain(OpenOptions::new().write(true).create_new(true), &file) {
        note("sync a file", probe.sync_all());
        if hard_links {
            note("make a hard link", fs::hard_link(&file, &link));
        }
        clear();
    }
    note("sync a directory", crate::sync(directory));
    if lacks.is_empty() {
        return Ok(());
    }
    Err(FileSystemError { what, directory: directory.to_path_buf(), kind: kind(directory), lacks })
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// The name of its kind, as far as it is known here.
fn kind(directory: &Path) -> String {
    const KINDS: [(u64, &str); 14] = [
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB2"),
        (0x517B, "SMB"),
        (0x0102_1997, "9p"),
        (0x6573_5546, "FUSE"),
        (0x6969, "NFS"),
        (0x4D44, "FAT"),
        (0x2011_BAB0, "exFAT"),
        (0x794C_7630, "overlay"),
        (0x0102_1994, "tmpfs"),
        (0xEF53, "ext4"),
        (0x5846_5342, "XFS"),
        (0x9123_683E, "Btrfs"),
        (0x00C3_6400, "Ceph"),
    ];
    let Ok(found) = rustix::fs::statfs(directory) else { return "unknown type".to_owned() };
    // The field is 32 bits wide in the kernel, and signed.
    let number = u64::try_from(found.f_type).unwrap_or_default() & 0xFFFF_FFFF;
    let known = KINDS.into_iter().find(|&(magic, _)| magic == number);
    known.map_or_else(|| format!("type {number:#x}"), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_that_stays_is_told_from_one_that_passes() {
        let error = |errno: Errno| io::Error::from(errno);
        for cannot in [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::PERM, Errno::NOLCK] {
            assert!(is_unsupported(&error(cannot)), "{cannot}");
        }
        for passes in [Errno::IO, Errno::NOSPC, Errno::ACCESS, Errno::ROFS, Errno::INTR, Errno::STALE, Errno::MFILE] {
            assert!(!is_unsupported(&error(passes)), "{passes}");
        }
        assert!(!is_unsupported(&io::Error::other("a link")));
    }

    #[test]
    fn a_good_one_passes_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(PROBE_FILE), "left by a crash").unwrap();
        check("archive", directory.path(), true, None).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn all_that_it_lacks_is_said_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let source = io::Error::from(Errno::OPNOTSUPP);
        let locked = Err(LockError::Io { what: "archive", directory: directory.path().to_path_buf(), source });
        let mut error = check("archive", directory.path(), true, Some(&locked)).unwrap_err();
        error.lacks.push(Lack { what: "make a hard link", said: io::Error::from(Errno::PERM) });
        let text = error.to_string();
        for part in ["the file system of the archive", "cannot lock a file (", ", make a hard link (", "such as ext4"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
