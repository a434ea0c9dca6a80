//! The name of an entry in `spec.remoteWrite`.

use std::fmt;
use std::str::FromStr;

use super::archive::ArchiveName;
use super::text::{PREFIX, hex};

const LONGEST_ENTRY_HEADER: usize = 64;

/// Name of an entry of ours: `promarchive/<namespace>/<archive>/<hash>`, with 8 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName {
    archive: ArchiveName,
    hash: String,
}

impl ArchiveName {
    /// Whether the entry is one of this archive's.
    pub fn owns(&self, entry: &EntryName) -> bool {
        entry.archive() == self
    }
}

/// Why a text is no [`EntryName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid entry name \"{given}\"; expected promarchive/<namespace>/<archive>/<8 hexadecimal digits>")]
pub struct EntryNameError {
    given: String,
}

impl EntryName {
    /// The name of the entry of `archive` whose fields are `canonical`.
    pub(crate) fn of(archive: &ArchiveName, canonical: &str) -> Self {
        Self { archive: archive.clone(), hash: hex(canonical.as_bytes(), 8) }
    }

    /// Whose entry it is.
    pub fn archive(&self) -> &ArchiveName {
        &self.archive
    }

    /// What the entry's requests say in [`promarchive_api::ENTRY_HEADER`], and its marks in `entry`: the name, or, if that
    /// is over the 64 bytes that the receiver takes, `promarchive/<hash>`. The receiver has one archive's senders, so this tells
    /// their entries apart.
    pub fn header(&self) -> String {
        let name = self.to_string();
        if name.len() <= LONGEST_ENTRY_HEADER { name } else { format!("{PREFIX}/{}", self.hash) }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.archive.entry_prefix(), self.hash)
    }
}

impl FromStr for EntryName {
    type Err = EntryNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| EntryNameError { given: text.chars().take(200).collect() })
    }
}

/// Strict: what we would not have written is somebody else's.
fn parse(text: &str) -> Option<EntryName> {
    let mut parts = text.split('/');
    let (prefix, namespace, name, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hash = hash.len() == 8 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let archive = ArchiveName { namespace: namespace.to_owned(), name: name.to_owned() };
    let is_ours = prefix == PREFIX && archive.is_valid() && is_hash && parts.next().is_none();
    is_ours.then(|| EntryName { archive, hash: hash.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_would_write_is_ours() {
        let name: EntryName = "promarchive/monitoring/lab/1a2b3c4d".parse().unwrap();
        assert_eq!(name.to_string(), "promarchive/monitoring/lab/1a2b3c4d");
        assert!(ArchiveName::new("monitoring", "lab").owns(&name));
        assert!(!ArchiveName::new("monitoring", "la").owns(&name) && !ArchiveName::new("lab", "lab").owns(&name));
        for foreign in [
            "",
            "promarchive",
            "promarchive/monitoring/lab",
            "promarchive/monitoring/lab/1a2b3c4",
            "promarchive/monitoring/lab/1a2b3c4d5",
            "promarchive/monitoring/lab/1A2B3C4D",
            "promarchive/monitoring/lab/1a2b3c4d/",
            "promarchive/monitoring/lab/1a2b3c4d-old",
            "promarchive/monitoring/9lab/1a2b3c4d",
            "promarchive/-monitoring/lab/1a2b3c4d",
            "promarchive//lab/1a2b3c4d",
            " promarchive/monitoring/lab/1a2b3c4d",
            "Promarchive/monitoring/lab/1a2b3c4d",
        ] {
            assert!(foreign.parse::<EntryName>().is_err(), "{foreign}");
        }
    }

    #[test]
    fn the_header_is_one_that_the_receiver_takes() {
        let longest = EntryName::of(&ArchiveName::new("n".repeat(63), "a".repeat(52)), "x");
        assert_eq!(longest.to_string().parse(), Ok(longest.clone()));
        assert_eq!(longest.header(), format!("promarchive/{}", hex(b"x", 8)));
        let short = EntryName::of(&ArchiveName::new("monitoring", "lab"), "x");
        assert_eq!(short.header(), short.to_string());
    }
}
