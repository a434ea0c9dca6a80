//! Directories that are still there after a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::SHARED_DIRECTORY;

/// Opens a directory to sync it; a pipe in its place holds nobody up.
fn open(directory: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(directory)
}

/// Makes the names in a directory durable.
pub fn sync(directory: &Path) -> io::Result<()> {
    open(directory)?.sync_all()
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
                let fault = "it is no directory, or a link that leads to none";
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
        match open(parent) {
            // One that only others may list, they have made.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            opened => opened?.sync_all()?,
        }
    }
    Ok(())
}
