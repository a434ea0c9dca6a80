//! Opening plain files, and nothing else in their place.
//!
//! A named pipe would hold up who opens it until somebody opens its other end, so files are opened without waiting and looked at afterwards.
//! Who can make names in a directory of ours, or could once, must not choose by a symbolic link which file of this user is written
//! to. Links on the way to the directory are the choice of whoever named it, and are followed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Permissions of a file that only the user of this process is to read.
pub const PRIVATE_FILE: u32 = 0o600;
/// The same of a directory.
pub const PRIVATE_DIRECTORY: u32 = 0o700;

/// Opens the file at `path` as `options` say. A new file is for the user of this process alone.
///
/// # Errors
/// Those of the file system; and if a link or anything but a plain file stands there, an error that names the path and says what to do.
pub fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Without NONBLOCK a named pipe would hold up the caller until somebody reads from it.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    match options.mode(PRIVATE_FILE).custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(no_plain_file(path)),
        // Asked only to tell the reason: the open above has failed in any case.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && is_something_else(path) => {
            Err(no_plain_file(path))
        }
        Err(error) => Err(error),
    }
}

/// Why no plain file was opened to be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// What the operating system said.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory.
    #[error("it is a directory, not a regular file")]
    Directory,
    /// Anything else.
    #[error("it is a pipe, a socket or a device, not a regular file: find out who created it, then remove it")]
    Special,
}

/// Opens the plain file at `path`, which others may have put there, to read it. Links are followed.
pub fn open_to_read(path: &Path) -> Result<(File, Metadata), Unreadable> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        // A socket cannot be opened at all.
        Err(error) => {
            let special = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
            return Err(if special { Unreadable::Special } else { error.into() });
        }
    };
    let metadata = file.metadata()?;
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Ok((file, metadata)),
        (_, true) => Err(Unreadable::Directory),
        _ => Err(Unreadable::Special),
    }
}

/// Opens a directory, to sync it or to reach what is in it; an error if anything else stands there. A named pipe would hold up who opens it
/// as a file.
pub fn open_directory(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::DIRECTORY.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn is_something_else(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| !found.is_file())
}

fn no_plain_file(path: &Path) -> io::Error {
    let kind = match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => "a symbolic link",
        _ => "not a regular file",
    };
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "{} is {kind}, but promarchive opens only regular files under this name: find out who created it, then \
             remove it",
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn to_write() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        options
    }

    #[test]
    fn a_plain_file_is_made_for_its_owner_alone_and_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        open_plain(&mut to_write(), &path).unwrap();
        open_plain(&mut to_write(), &path).unwrap();
        open_plain(OpenOptions::new().read(true), &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE_FILE);
        let again = open_plain(OpenOptions::new().write(true).create_new(true), &path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let missing = open_plain(OpenOptions::new().read(true), &directory.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_no_directory_and_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(open_directory(&pipe).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        open_directory(directory.path()).unwrap().sync_all().unwrap();
    }

    #[test]
    fn whatever_else_stands_there_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        symlink(at("victim"), at("link")).unwrap();
        symlink(at("missing"), at("dangling")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["link", "dangling", "directory", "pipe", "socket"] {
            for options in [&mut to_write(), OpenOptions::new().read(true)] {
                let error = open_plain(options, &at(name)).unwrap_err().to_string();
                assert!(error.contains(&at(name).display().to_string()) && error.contains("remove it"), "{error}");
                assert_eq!(error.contains("symbolic link"), ["link", "dangling"].contains(&name), "{error}");
            }
        }
        drop(socket);
        assert_eq!(fs::read(at("victim")).unwrap(), b"precious");
        assert!(!at("missing").exists());
    }
}
