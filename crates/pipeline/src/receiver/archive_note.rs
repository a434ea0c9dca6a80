//! The file `archive` in the WAL directory: this WAL has had an archive, and where.
//!
//! A path without tables is a new archive to a receiver, and a volume that is not mounted is a path without tables. So the WAL
//! directory remembers. The note is written once all tables are there, durably: whenever a crash comes, a WAL with the
//! note has had tables, and one without may begin an archive. Without the note nothing is lost but this protection.

use std::io;

use promarchive_archive::Location;
use promarchive_model::failpoint::{self, FailPoint};
use promarchive_wal::Disk;

/// Name of the file in the WAL directory; a person deletes it to begin a new archive with this WAL.
pub(super) const ARCHIVE_NOTE: &str = "archive";
/// Longer than any path.
const LONGEST_NOTE_BYTES: u64 = 8192;

/// Where the archive of this WAL was when the note was written; none if there is no note.
pub(super) fn read(disk: &dyn Disk) -> io::Result<Option<String>> {
    match disk.read(ARCHIVE_NOTE, LONGEST_NOTE_BYTES) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the note if there is none. All tables of `archive` must be durable.
pub(super) fn write(disk: &dyn Disk, archive: &Location) -> io::Result<()> {
    if read(disk)?.is_some() {
        return Ok(());
    }
    failpoint::reach(FailPoint::ArchiveNote)?;
    let mut file = disk.create_new(ARCHIVE_NOTE)?;
    // Torn or empty it still says that there was one.
    file.write_all(format!("{}\n", archive).as_bytes())?;
    file.sync()?;
    disk.sync_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use promarchive_model::environment::SeededEntropy;
    use promarchive_testkit::LossyDisk;

    #[test]
    fn a_note_outlasts_a_power_cut_and_the_first_one_stands() {
        let disk = LossyDisk::default();
        assert_eq!(read(&disk).unwrap(), None);
        write(&disk, &Location::parse("/a b/ü").unwrap()).unwrap();
        write(&disk, &Location::parse("/elsewhere").unwrap()).unwrap();
        disk.crash(&SeededEntropy::new(1));
        assert_eq!(read(&disk).unwrap().as_deref(), Some("/a b/ü"));
    }
}
