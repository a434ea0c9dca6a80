//! Checksums of versions (`_delta_log/….crc`). promarchive writes none, other programs do, and the Delta kernel reads those that it finds.

use std::fmt;

use crate::schema::Table;
use crate::store::{Root, Store};

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
    newest: String,
    /// How many there are beside it.
    others: usize,
}

impl fmt::Display for ForeignChecksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file {}", self.newest)?;
        match self.others {
            0 => write!(
                f,
                " was not written by promarchive, but readers of the table may use it: move it out of the directory"
            ),
            n => write!(
                f,
                " and {n} other {ENDING} files in the same directory were not written by promarchive, but readers of \
                 the table may use them: move them out of the directory"
            ),
        }
    }
}

/// The checksums beside the logs of an archive.
pub async fn foreign_checksums(store: &Store) -> Vec<ForeignChecksums> {
    let mut found = Vec::new();
    for table in Table::ALL {
        let root = store.table(table);
        let mut names = checksum_names(&root).await;
        if let Some(newest) = names.pop() {
            found.push(ForeignChecksums { newest: root.name_of(&format!("_delta_log/{newest}")), others: names.len() });
        }
    }
    found
}

/// The names of the checksums in a table's log, the newest version last; none where the log cannot be listed, which others tell.
pub async fn checksum_names(root: &Root) -> Vec<String> {
    let mut names = root.names_in("_delta_log").await.unwrap_or_default();
    names.retain(|name| is_checksum(name));
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Location;

    #[tokio::test]
    async fn checksums_are_named_by_their_whole_path() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Location::at(directory.path()).unwrap()).unwrap();
        assert_eq!(foreign_checksums(&store).await, []);
        let log = directory.path().join("samples/_delta_log");
        fs::create_dir_all(&log).unwrap();
        fs::write(log.join("00000000000000000001.json"), "").unwrap();
        assert_eq!(foreign_checksums(&store).await, []);
        let newest = log.join("00000000000000000012.crc");
        fs::write(&newest, "junk").unwrap();
        let said = async || foreign_checksums(&store).await.iter().map(ToString::to_string).collect::<Vec<_>>();
        let one = format!("the file {} was not written", newest.display());
        assert!(matches!(&said().await[..], [line] if line.starts_with(&one)), "{:?}", said().await);
        fs::write(log.join("00000000000000000002.crc"), "junk").unwrap();
        let more = format!("the file {} and 1 other .crc files in the same directory were not", newest.display());
        assert!(matches!(&said().await[..], [line] if line.starts_with(&more)), "{:?}", said().await);
    }
}
