//! Checksums of versions (`_delta_log/….crc`). promarchive writes none, other programs do, and the Delta kernel reads those that it finds.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Location;
use crate::schema::Table;

/// Ends the name of each.
const ENDING: &str = ".crc";

/// Whether a file's name is that of a checksum.
pub fn is_checksum(name: &str) -> bool {
    name.ends_with(ENDING)
}

/// The checksums of one table, of which there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChecksums {
    /// The whole path of the one of the newest version.
    newest: PathBuf,
    /// How many there are beside it.
    others: usize,
}

impl fmt::Display for ForeignChecksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file {}", self.newest.display())?;
        match self.others {
            0 => write!(f, " was not written by promarchive, and readers of the table may use it: move it away"),
            n => write!(
                f,
                " and {n} more {ENDING} beside it were not written by promarchive, and readers of the table may use them: move them away"
            ),
        }
    }
}

/// The checksums beside the logs of an archive.
pub async fn foreign_checksums(location: &Location) -> Vec<ForeignChecksums> {
    let logs = Table::ALL.map(|table| location.directory().join(table.name()).join("_delta_log"));
    let found = tokio::task::spawn_blocking(move || logs.iter().filter_map(|log| checksums_in(log)).collect());
    found.await.unwrap_or_default()
}

fn checksums_in(log: &Path) -> Option<ForeignChecksums> {
    let mut names = checksum_names(log);
    let newest = log.join(names.pop()?);
    Some(ForeignChecksums { newest, others: names.len() })
}

/// The names of the checksums in a log's directory, the newest version last; none where the directory cannot be read, which others tell.
pub fn checksum_names(log: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(log).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| is_checksum(name));
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn checksums_are_named_by_their_whole_path() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::at(directory.path()).unwrap();
        assert_eq!(foreign_checksums(&location).await, []);
        let log = directory.path().join("samples/_delta_log");
        fs::create_dir_all(&log).unwrap();
        fs::write(log.join("00000000000000000001.json"), "").unwrap();
        assert_eq!(foreign_checksums(&location).await, []);
        let newest = log.join("00000000000000000012.crc");
        fs::write(&newest, "junk").unwrap();
        let said = async || foreign_checksums(&location).await.iter().map(ToString::to_string).collect::<Vec<_>>();
        let one = format!("the file {} was not written", newest.display());
        assert!(matches!(&said().await[..], [line] if line.starts_with(&one)), "{:?}", said().await);
        fs::write(log.join("00000000000000000002.crc"), "junk").unwrap();
        let more = format!("the file {} and 1 more .crc beside it were not", newest.display());
        assert!(matches!(&said().await[..], [line] if line.starts_with(&more)), "{:?}", said().await);
    }
}
