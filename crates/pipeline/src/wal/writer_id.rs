use std::fmt;
use std::io;

use super::disk::Disk;
use super::error::WalError;
use super::segment::{HEADER_BYTES, Header, SegmentName};
use crate::environment::Entropy;

const FILE: &str = "writer";
/// 32 digits, a space, 8 digits, a line end: the file is never longer.
const FILE_BYTES: u64 = 32 + 1 + 8 + 1;

/// Who writes into the tables from this WAL directory: 128 random bits, born with the directory, the name of every `txn`.
///
/// It is never a pod's name: a pod that gets a new volume under its old name would have its records skipped as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId(u128);

impl WriterId {
    /// The id with these bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The id of the WAL in this directory; a new one, durable before this returns, if the directory never held a segment.
    ///
    /// # Errors
    /// [`WalError::WriterIdLost`] if there are segments and the file `writer` is missing or damaged; [`WalError::Io`].
    pub fn load_or_create(disk: &dyn Disk, entropy: &dyn Entropy) -> Result<Self, WalError> {
        let stored = match disk.read(FILE, FILE_BYTES + 1) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(WalError::io("read", FILE)(error)),
        };
        if let Some(id) = stored.as_deref().and_then(Self::parse_line) {
            // The process that made it may have been killed before it synced: what was read may be in memory only.
            disk.sync(FILE).map_err(WalError::io("sync", FILE))?;
            disk.sync_dir().map_err(WalError::io("sync the directory entry of", FILE))?;
            return Ok(id);
        }
        let names = disk.list().map_err(WalError::io("list", "the files"))?;
        let segments: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
        if !segments.is_empty() {
            let line = Self::from_segments(disk, &segments).map(|id| id.line().trim_end().to_owned());
            return Err(WalError::WriterIdLost { missing: stored.is_none(), line });
        }
        if stored.is_some() {
            // Torn at birth: no segment was ever made, so nothing carries that id.
            disk.remove(FILE).map_err(WalError::io("remove", FILE))?;
        }
        let id = Self(entropy.next_u128());
        id.store(disk)?;
        Ok(id)
    }

    fn store(self, disk: &dyn Disk) -> Result<(), WalError> {
        let mut file = disk.create_new(FILE).map_err(WalError::io("create", FILE))?;
        file.write_all(self.line().as_bytes()).map_err(WalError::io("write", FILE))?;
        file.sync().map_err(WalError::io("sync", FILE))?;
        disk.sync_dir().map_err(WalError::io("sync the directory entry of", FILE))
    }

    /// The id that all readable segments agree on.
    fn from_segments(disk: &dyn Disk, segments: &[SegmentName]) -> Option<Self> {
        let read = |name: &SegmentName| {
            let bytes = disk.read(&name.to_string(), HEADER_BYTES as u64).ok()?;
            Header::decode(&bytes, name.first()).ok()
        };
        let mut ids = segments.iter().filter_map(read);
        let (first, _) = ids.next()?;
        ids.all(|(header, _)| header.writer == first.writer).then_some(first.writer)
    }

    /// The file's content: the id and its checksum, in hexadecimal digits.
    fn line(self) -> String {
        format!("{self} {:08x}\n", crc32c::crc32c(&self.bytes()))
    }

    fn parse_line(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let id = Self(u128::from_str_radix(text.get(..32)?, 16).ok()?);
        // A person may have restored the file without the line end.
        (id.line().trim_end() == text.trim_end()).then_some(id)
    }

    pub(super) fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl std::str::FromStr for WriterId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
