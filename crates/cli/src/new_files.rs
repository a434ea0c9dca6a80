//! Which permissions the files and directories have that this process makes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use promarchive_api::ArchiveAccess;
use rustix::fs::Mode;
use rustix::process::{geteuid, umask};

/// What is taken from new files if nobody asks for anything else: everything of other users, and writing of the group.
const DEFAULT: ArchiveAccess = ArchiveAccess::Group;

/// Limits who may read what this process makes from now on.
///
/// A setting counts as it is. Without one, a stricter umask of whoever started the process stays.
pub(crate) fn limit(access: Option<ArchiveAccess>) {
    let wanted = Mode::from_raw_mode(access.unwrap_or(DEFAULT).umask());
    let inherited = umask(wanted);
    if access.is_none() {
        umask(inherited | wanted);
    }
}

/// Makes what this process makes from now on readable for those who may read this directory.
///
/// # Errors
/// The directory is another user's, who could not read or change what this process makes.
pub(crate) fn like_those_of(directory: &Path) -> io::Result<()> {
    let found = fs::metadata(directory)?;
    let (owner, user) = (found.uid(), geteuid().as_raw());
    if owner != user {
        let place = directory.display();
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{place} belongs to user {owner}, but this command runs as user {user}: run it as the user of the \
                 receiver (sudo -u '#{owner}')"
            ),
        ));
    }
    umask(Mode::from_raw_mode(!found.mode() & 0o777));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn files_are_as_readable_as_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("log");
        create_dir(&place).unwrap();
        set_permissions(&place, PermissionsExt::from_mode(0o750)).unwrap();
        let before = umask(Mode::from_raw_mode(0o077));
        like_those_of(&place).unwrap();
        File::create(place.join("file")).unwrap();
        umask(before);
        assert_eq!(fs::metadata(place.join("file")).unwrap().mode() & 0o777, 0o640);
        if geteuid().is_root() {
            chown(&place, Some(1234), None).unwrap();
            let error = like_those_of(&place).unwrap_err().to_string();
            assert!(error.contains("belongs to user 1234") && error.contains("sudo -u '#1234'"), "{error}");
        }
    }
}
