//! Paths among the settings: which there can be, and where they lead.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::SettingsError;

/// More links than the system follows.
const MOST_LINKS: u32 = 40;

/// Refuses what a shell or a browser would take for another place. `setting` is its name in the file.
pub(super) fn check_plain(setting: &'static str, given: Option<&Path>) -> Result<(), SettingsError> {
    let Some(given) = given else { return Ok(()) };
    let text = given.to_string_lossy();
    let fault = if text.starts_with('~') {
        "~ is not expanded here; write the full path of the home directory, or ./~ for a directory of that name"
    } else if text.starts_with("file:") || text.contains("://") {
        "a URL is not allowed here; use a path"
    } else {
        return Ok(());
    };
    Err(SettingsError::NoPlainPath { setting, path: given.to_path_buf(), fault })
}

/// `<archive>.wal`, beside the archive.
pub(super) fn beside(archive: &Path) -> Result<PathBuf, SettingsError> {
    // `.` has no name of its own; its absolute path does.
    let whole = match archive.components().next_back() {
        Some(Component::Normal(_)) => archive.to_path_buf(),
        _ => real(archive)?,
    };
    let name = whole.file_name().ok_or_else(|| SettingsError::NoPlaceForWal { archive: archive.to_path_buf() })?;
    let mut name = name.to_os_string();
    name.push(".wal");
    Ok(whole.with_file_name(name))
}

/// Refuses a WAL inside its archive, and an archive inside its WAL. Links are followed, also to what does not exist yet.
pub fn check_apart(archive: &Path, wal: &Path) -> Result<(), SettingsError> {
    let (archive, wal) = (real(archive)?, real(wal)?);
    if wal.starts_with(&archive) {
        return Err(SettingsError::WalInArchive { wal, archive });
    }
    if archive.starts_with(&wal) {
        return Err(SettingsError::ArchiveInWal { wal, archive });
    }
    Ok(())
}

/// The path from the root without links, `.` and `..`.
fn real(path: &Path) -> Result<PathBuf, SettingsError> {
    followed(path, MOST_LINKS).map_err(|error| unusable(path, &error))
}

/// What does not exist yet is taken by its name; a link to it is followed all the same.
fn followed(path: &Path, links: u32) -> io::Result<PathBuf> {
    let mut real = PathBuf::new();
    for component in std::path::absolute(path)?.components() {
        if component == Component::ParentDir {
            real.pop();
            continue;
        }
        let before = real.clone();
        real.push(component);
        real = match real.canonicalize() {
            Ok(found) => found,
            Err(_) => match real.read_link() {
                Ok(target) if links > 0 => followed(&before.join(target), links - 1)?,
                _ => real,
            },
        };
    }
    Ok(real)
}

fn unusable(path: &Path, error: &io::Error) -> SettingsError {
    SettingsError::Path { path: path.to_path_buf(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_to_what_is_not_there_yet_leads_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::create_dir(at("archive")).unwrap();
        symlink(at("archive/wal"), at("absolute")).unwrap();
        symlink("archive/new/wal", at("relative")).unwrap();
        symlink(at("relative"), at("twice")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        for wal in ["absolute", "relative", "twice", "absolute/deeper"] {
            assert!(matches!(check_apart(&at("archive"), &at(wal)), Err(SettingsError::WalInArchive { .. })), "{wal}");
        }
        assert!(check_apart(&at("archive"), &at("loop")).is_ok());
    }
}
