//! The file `writer` of a WAL directory: whose WAL it is.

use std::io;

use promarchive_model::WriterId;
use promarchive_model::environment::Entropy;

use super::disk::Disk;
use super::error::WalError;
use super::segment::{HEADER_BYTES, Header, SegmentName};

const FILE: &str = "writer";
/// 32 digits, a space, 8 digits, a line end: the file is never longer.
const FILE_BYTES: u64 = 32 + 1 + 8 + 1;

/// The id of the WAL in this directory; a new one, durable before this returns, if the directory never held a segment.
///
/// # Errors
/// [`WalError::WriterIdLost`] if there are segments and the file `writer` is missing or damaged; [`WalError::Io`].
pub fn load_or_create_writer(disk: &dyn Disk, entropy: &dyn Entropy) -> Result<WriterId, WalError> {
    let stored = match disk.read(FILE, FILE_BYTES + 1) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(WalError::io("read", FILE)(error)),
    };
    if let Some(id) = stored.as_deref().and_then(parse_line) {
        // The process that made it may have been killed before it synced: what was read may be in memory only.
        disk.sync(FILE).map_err(WalError::io("sync", FILE))?;
        disk.sync_dir().map_err(WalError::io("sync the directory entry of", FILE))?;
        return Ok(id);
    }
    let names = disk.list().map_err(WalError::io("list", "the files"))?;
    let segments: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    if !segments.is_empty() {
        let line = from_segments(disk, &segments).map(|id| line(id).trim_end().to_owned());
        return Err(WalError::WriterIdLost { missing: stored.is_none(), line });
    }
    if stored.is_some() {
        // Torn at birth: no segment was ever made, so nothing carries that id.
        disk.remove(FILE).map_err(WalError::io("remove", FILE))?;
    }
    let id = WriterId::from_u128(entropy.next_u128());
    store(id, disk)?;
    Ok(id)
}

fn store(id: WriterId, disk: &dyn Disk) -> Result<(), WalError> {
    let mut file = disk.create_new(FILE).map_err(WalError::io("create", FILE))?;
    file.write_all(line(id).as_bytes()).map_err(WalError::io("write", FILE))?;
    file.sync().map_err(WalError::io("sync", FILE))?;
    disk.sync_dir().map_err(WalError::io("sync the directory entry of", FILE))
}

/// The id that all readable segments agree on.
fn from_segments(disk: &dyn Disk, segments: &[SegmentName]) -> Option<WriterId> {
    let read = |name: &SegmentName| {
        let bytes = disk.read(&name.to_string(), HEADER_BYTES as u64).ok()?;
        Header::decode(&bytes, name.first()).ok()
    };
    let mut ids = segments.iter().filter_map(read);
    let (first, _) = ids.next()?;
    ids.all(|(header, _)| header.writer == first.writer).then_some(first.writer)
}

/// The file's content: the id and its checksum, in hexadecimal digits.
fn line(id: WriterId) -> String {
    format!("{id} {:08x}\n", crc32c::crc32c(&id.bytes()))
}

fn parse_line(bytes: &[u8]) -> Option<WriterId> {
    let text = str::from_utf8(bytes).ok()?;
    let id: WriterId = text.get(..32)?.parse().ok()?;
    // A person may have restored the file without the line end.
    (line(id).trim_end() == text.trim_end()).then_some(id)
}
