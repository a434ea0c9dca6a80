//! Directories that are still there after a power cut.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use crate::{SHARED_DIRECTORY, open_directory};

/// Makes the names in a directory durable.
pub fn sync(directory: &Path) -> io::Result<()> {
    open_directory(directory)?.sync_all()
}

/// Makes a directory with these permissions and its missing ancestors; each new one is synced into its parent.
pub fn create_durably(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_durably(parent, SHARED_DIRECTORY)?;
        match DirBuilder::new().mode(mode).create(directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            Err(_) if !directory.is_dir() => {
                let fault = "the path is not a directory, or is a symbolic link to something else";
                return Err(io::Error::new(io::ErrorKind::NotADirectory, fault));
            }
            _ => sync(parent)?,
        }
    } else {
        DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    }
    Ok(())
}

/// Makes a directory that everything else rests on, and syncs its entry and those of all directories above it, up to the mount point: an
/// earlier process may have made them and been killed, or seen the sync fail. A directory that is there keeps its permissions; a new one
/// gets `mode`, less what the process's umask takes away.
pub fn create_root_durably(directory: &Path, mode: u32) -> io::Result<()> {
    let directory = std::path::absolute(directory)?;
    create_durably(&directory, mode)?;
    let device = fs::metadata(&directory)?.dev();
    for parent in directory.ancestors().skip(1) {
        if fs::metadata(parent)?.dev() != device {
            break;
        }
        match open_directory(parent) {
            // One that only others may list, they have made.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            opened => opened?.sync_all()?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_a_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(sync(&pipe).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        sync(directory.path()).unwrap();
    }
}
