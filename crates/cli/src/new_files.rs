//! Which permissions the files and directories have that this process makes.

use promarchive_api::ArchiveAccess;
use rustix::fs::Mode;
use rustix::process::umask;

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
