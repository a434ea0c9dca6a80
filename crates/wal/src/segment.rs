//! A segment's name and header.

use std::fmt;

use promarchive_model::WriterId;

use super::position::Position;

const MAGIC: [u8; 8] = *b"promwal\n";
/// Magic, version, checksum of both, writer id, salt, first, durable, checksum of all before.
const COPY_BYTES: usize = 8 + 4 + 4 + 16 + 8 + 8 + 8 + 4;
/// The second copy of the header lies in another page than the first: one bad page does not make a segment unreadable.
const SECOND_COPY: usize = 4096;
/// Where the first record begins. The rest of the header is zero.
pub(super) const HEADER_BYTES: usize = SECOND_COPY + 64;
/// No segment is longer, whatever the configuration says; a longer file is not one of ours.
pub(super) const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// The format of a segment's records. A segment is written in the oldest that can hold them, so that an earlier program reads it if it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// A record says when it came, and until when its samples may be.
    One,
    /// And from when on, and which label was set on its series.
    Two,
}

impl Version {
    fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    fn of(number: u32) -> Option<Self> {
        [Self::One, Self::Two].into_iter().find(|version| version.number() == number)
    }
}

/// The name of a segment file, `wal-<first position, 20 digits>.log`: sorted by name is sorted by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName(Position);

impl SegmentName {
    pub(super) fn new(first: Position) -> Self {
        Self(first)
    }

    /// The segment that the file `name` is, if its name says that it is one.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("wal-")?.strip_suffix(".log")?;
        if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().map(|first| Self(Position::new(first)))
    }

    /// The position of its first record.
    pub(super) fn first(self) -> Position {
        self.0
    }

    /// Where a damaged segment is copied to before it is purged.
    pub(super) fn set_aside(self) -> String {
        format!("{self}.damaged")
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wal-{:020}.log", self.0.get())
    }
}

/// 64 random bits, drawn for each segment and known to nobody outside. The lower half marks the beginning of a frame, all of
/// it goes into every checksum: no sender can put something into a body that recovery would take for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(u64);

impl Salt {
    pub(super) fn new(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    pub(super) fn marker(self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.bytes();
        [a, b, c, d]
    }
}

/// What a segment says about itself and about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: Version,
    pub(super) writer: WriterId,
    pub(super) salt: Salt,
    /// The position of the first record; nothing before the segment has this one or a later one.
    pub(super) first: Position,
    /// The last position that was synced when the segment was made. What earlier segments hold above it was never
    /// acknowledged; what they lack at or below it is lost.
    pub(super) durable: Position,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Neither copy is whole.
    Damaged,
    /// It is whole, and of a version that this program does not know.
    Version(u32),
}

impl Header {
    /// Both copies and the space around them: [`HEADER_BYTES`] bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let copy = self.encode_copy();
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&copy);
        bytes.resize(SECOND_COPY, 0);
        bytes.extend_from_slice(&copy);
        bytes.resize(HEADER_BYTES, 0);
        bytes
    }

    fn encode_copy(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(COPY_BYTES);
        copy.extend_from_slice(&MAGIC);
        copy.extend_from_slice(&self.version.number().to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        copy.extend_from_slice(&self.writer.bytes());
        copy.extend_from_slice(&self.salt.bytes());
        copy.extend_from_slice(&self.first.get().to_le_bytes());
        copy.extend_from_slice(&self.durable.get().to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        copy
    }

    /// The header at the start of a segment whose name says `first`, and the offset and length of the copy that is damaged, if one
    /// is. A whole copy that says something else belongs to another segment: it is where it is by mistake.
    pub(super) fn decode(segment: &[u8], first: Position) -> Result<(Self, Option<(u64, u64)>), HeaderFault> {
        let copy = |bytes: &[u8]| match decode_copy(bytes) {
            Ok(header) if header.first != first => Err(HeaderFault::Damaged),
            other => other,
        };
        match (copy(segment), copy(segment.get(SECOND_COPY..).unwrap_or_default())) {
            (Err(HeaderFault::Version(version)), _) | (_, Err(HeaderFault::Version(version))) => {
                Err(HeaderFault::Version(version))
            }
            (Ok(header), Ok(_)) => Ok((header, None)),
            (Ok(header), Err(HeaderFault::Damaged)) => Ok((header, Some((SECOND_COPY as u64, COPY_BYTES as u64)))),
            (Err(HeaderFault::Damaged), Ok(header)) => Ok((header, Some((0, COPY_BYTES as u64)))),
            (Err(HeaderFault::Damaged), Err(HeaderFault::Damaged)) => Err(HeaderFault::Damaged),
        }
    }
}

/// The version has a checksum of its own, at a place that no version will change: damage is not taken for a newer format.
fn decode_copy(bytes: &[u8]) -> Result<Header, HeaderFault> {
    let number = decode_version(bytes).ok_or(HeaderFault::Damaged)?;
    let version = Version::of(number).ok_or(HeaderFault::Version(number))?;
    decode_known(bytes, version).ok_or(HeaderFault::Damaged)
}

fn decode_version(bytes: &[u8]) -> Option<u32> {
    let (summed, rest) = bytes.split_at_checked(12)?;
    let (stored, _) = rest.split_first_chunk()?;
    let (magic, version) = summed.split_first_chunk()?;
    let whole = *magic == MAGIC && crc32c::crc32c(summed) == u32::from_le_bytes(*stored);
    whole.then(|| version.first_chunk().map(|version| u32::from_le_bytes(*version)))?
}

/// The header is the same in all versions so far.
fn decode_known(bytes: &[u8], version: Version) -> Option<Header> {
    let (summed, rest) = bytes.split_at_checked(COPY_BYTES - 4)?;
    let (stored, _) = rest.split_first_chunk()?;
    if crc32c::crc32c(summed) != u32::from_le_bytes(*stored) {
        return None;
    }
    let (writer, rest) = summed.get(16..)?.split_first_chunk()?;
    let (salt, rest) = rest.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (durable, _) = rest.split_first_chunk()?;
    Some(Header {
        version,
        writer: WriterId::from_bytes(*writer),
        salt: Salt::new(u64::from_le_bytes(*salt)),
        first: Position::new(u64::from_le_bytes(*first)),
        durable: Position::new(u64::from_le_bytes(*durable)),
    })
}
