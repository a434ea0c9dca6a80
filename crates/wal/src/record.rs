//! A record, and the frame that it is written in.

use promarchive_model::{Protocol, SetLabel};

use super::position::Position;
use super::segment::{Salt, Version};

/// Marker, length, position, checksum.
pub(super) const FRAME_HEADER_BYTES: usize = 4 + 4 + 8 + 4;
/// Protocol, received_at, accept_until: what a payload of version 1 holds before the body.
const V1_PAYLOAD_HEADER_BYTES: usize = 1 + 8 + 8;
/// In version 2 also accept_from and the lengths of a label's name and value, which follow them.
const V2_PAYLOAD_HEADER_BYTES: usize = V1_PAYLOAD_HEADER_BYTES + 8 + 1 + 1;
/// The longest that a payload can hold before the body.
const MOST_PAYLOAD_HEADER_BYTES: usize = V2_PAYLOAD_HEADER_BYTES + 2 * SetLabel::MOST_BYTES;
/// The smallest frame there can be: one with an empty body.
pub(super) const MIN_FRAME_BYTES: usize = FRAME_HEADER_BYTES + V1_PAYLOAD_HEADER_BYTES;
/// The largest payload, when writing and when reading.
const MAX_PAYLOAD_BYTES: usize = 64 << 20;
/// The largest body that a record may carry, in bytes.
pub const MAX_BODY_BYTES: usize = MAX_PAYLOAD_BYTES - MOST_PAYLOAD_HEADER_BYTES;

/// One request, as it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which remote write protocol the body is written in.
    pub protocol: Protocol,
    /// When the request arrived, in milliseconds since the epoch, UTC.
    pub received_at: i64,
    /// The latest sample timestamp that the request was allowed, in milliseconds since the epoch, UTC. A replay refuses the
    /// samples that the sender was told were refused, whatever the configuration says by then.
    pub accept_until: i64,
    /// The earliest sample timestamp that the request was allowed, likewise; [`i64::MIN`] if there was no such limit.
    pub accept_from: i64,
    /// The label that was set on each of its series, if one was. A replay sets the same, whatever the configuration says by then.
    pub label: Option<SetLabel<'a>>,
    /// The body exactly as received: snappy-compressed protobuf.
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The format version that a segment must have to hold it: the oldest, so that older programs read what they can.
    pub(super) fn version(&self) -> Version {
        if self.label.is_none() && self.accept_from == i64::MIN { Version::One } else { Version::Two }
    }

    /// The size of its frame in a segment of this version, in bytes.
    pub(super) fn frame_bytes(&self, version: Version) -> usize {
        FRAME_HEADER_BYTES.saturating_add(self.payload_header_bytes(version)).saturating_add(self.body.len())
    }

    fn payload_header_bytes(&self, version: Version) -> usize {
        let label = self.label.map_or(0, |label| label.name().len() + label.value().len());
        match version {
            Version::One => V1_PAYLOAD_HEADER_BYTES,
            Version::Two => V2_PAYLOAD_HEADER_BYTES + label,
        }
    }

    /// Appends the record's frame to `out`, for a segment whose version is at least [`Self::version`]. The body has been checked
    /// against [`MAX_BODY_BYTES`].
    pub(super) fn encode(&self, position: Position, salt: Salt, version: Version, out: &mut Vec<u8>) {
        let payload_header = self.payload_header(version);
        let length = u32::try_from(payload_header.len() + self.body.len()).unwrap_or(u32::MAX);
        let checksum = checksum(salt, length, position, &[&payload_header, self.body]);
        out.extend_from_slice(&salt.marker());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&position.get().to_le_bytes());
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&payload_header);
        out.extend_from_slice(self.body);
    }

    fn payload_header(&self, version: Version) -> Vec<u8> {
        let mut header = Vec::with_capacity(self.payload_header_bytes(version));
        header.push(protocol_byte(self.protocol));
        header.extend_from_slice(&self.received_at.to_le_bytes());
        header.extend_from_slice(&self.accept_until.to_le_bytes());
        if version == Version::Two {
            header.extend_from_slice(&self.accept_from.to_le_bytes());
            for text in self.label.map_or(["", ""], |label| [label.name(), label.value()]) {
                // A label's name and value are no longer than a byte can say.
                header.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                header.extend_from_slice(text.as_bytes());
            }
        }
        header
    }

    fn decode(payload: &'a [u8], version: Version) -> Option<Self> {
        let (&[protocol], rest) = payload.split_first_chunk()?;
        let (received_at, rest) = rest.split_first_chunk()?;
        let (accept_until, rest) = rest.split_first_chunk()?;
        let (accept_from, label, body) = match version {
            Version::One => (i64::MIN, None, rest),
            Version::Two => {
                let (accept_from, rest) = rest.split_first_chunk()?;
                let (name, rest) = short_text(rest)?;
                let (value, body) = short_text(rest)?;
                (i64::from_le_bytes(*accept_from), SetLabel::new(name, value), body)
            }
        };
        Some(Self {
            protocol: protocol_of(protocol)?,
            received_at: i64::from_le_bytes(*received_at),
            accept_until: i64::from_le_bytes(*accept_until),
            accept_from,
            label,
            body,
        })
    }
}

/// A text behind its length in one byte, and what follows.
fn short_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(length.into())?;
    Some((str::from_utf8(text).ok()?, rest))
}

/// A record found in a segment, with its place in the sequence.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) position: Position,
    pub(super) record: Record<'a>,
    /// The size of the whole frame, in bytes.
    pub(super) bytes: usize,
}

impl<'a> Frame<'a> {
    /// The frame at the start of `bytes`, if there is a whole and undamaged one.
    pub(super) fn decode(bytes: &'a [u8], salt: Salt, version: Version) -> Option<Self> {
        let (marker, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (position, rest) = rest.split_first_chunk()?;
        let (stored, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        let payload_bytes = usize::try_from(length).ok()?;
        if *marker != salt.marker() || payload_bytes > MAX_PAYLOAD_BYTES {
            return None;
        }
        let payload = rest.get(..payload_bytes)?;
        let position = Position::new(u64::from_le_bytes(*position));
        if checksum(salt, length, position, &[payload]) != u32::from_le_bytes(*stored) {
            return None;
        }
        Some(Self { position, record: Record::decode(payload, version)?, bytes: FRAME_HEADER_BYTES + payload_bytes })
    }
}

/// The salt comes first, so that only who knows it can make a checksum that holds.
fn checksum(salt: Salt, length: u32, position: Position, payload: &[&[u8]]) -> u32 {
    let sum = crc32c::crc32c(&salt.bytes());
    let sum = crc32c::crc32c_append(sum, &length.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &position.get().to_le_bytes());
    payload.iter().fold(sum, |sum, part| crc32c::crc32c_append(sum, part))
}

fn protocol_byte(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::V1 => 1,
        Protocol::V2 => 2,
    }
}

fn protocol_of(byte: u8) -> Option<Protocol> {
    match byte {
        1 => Some(Protocol::V1),
        2 => Some(Protocol::V2),
        _ => None,
    }
}
