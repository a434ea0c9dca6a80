//! A record, and the frame that it is written in.

use super::position::Position;
use super::segment::Salt;
use crate::remote_write::Protocol;

/// Marker, length, position, checksum.
pub(super) const FRAME_HEADER_BYTES: usize = 4 + 4 + 8 + 4;
/// Protocol, received_at, accept_until: what a payload holds before the body.
const PAYLOAD_HEADER_BYTES: usize = 1 + 8 + 8;
/// The smallest frame there can be: one with an empty body.
pub(super) const MIN_FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAYLOAD_HEADER_BYTES;
/// The largest payload, when writing and when reading.
const MAX_PAYLOAD_BYTES: usize = 64 << 20;
/// The largest body that a record may carry, in bytes.
pub const MAX_BODY_BYTES: usize = MAX_PAYLOAD_BYTES - PAYLOAD_HEADER_BYTES;

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
    /// The body exactly as received: snappy-compressed protobuf.
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The size of its frame in a segment, in bytes.
    pub(super) fn frame_bytes(&self) -> usize {
        MIN_FRAME_BYTES.saturating_add(self.body.len())
    }

    /// Appends the record's frame to `out`. The body has been checked against [`MAX_BODY_BYTES`].
    pub(super) fn encode(&self, position: Position, salt: Salt, out: &mut Vec<u8>) {
        let mut payload_header = Vec::with_capacity(PAYLOAD_HEADER_BYTES);
        payload_header.push(protocol_byte(self.protocol));
        payload_header.extend_from_slice(&self.received_at.to_le_bytes());
        payload_header.extend_from_slice(&self.accept_until.to_le_bytes());
        let length = u32::try_from(PAYLOAD_HEADER_BYTES + self.body.len()).unwrap_or(u32::MAX);
        let checksum = checksum(salt, length, position, &[&payload_header, self.body]);
        out.extend_from_slice(&salt.marker());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&position.get().to_le_bytes());
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&payload_header);
        out.extend_from_slice(self.body);
    }

    fn decode(payload: &'a [u8]) -> Option<Self> {
        let (&[protocol], rest) = payload.split_first_chunk()?;
        let (received_at, rest) = rest.split_first_chunk()?;
        let (accept_until, body) = rest.split_first_chunk()?;
        Some(Self {
            protocol: protocol_of(protocol)?,
            received_at: i64::from_le_bytes(*received_at),
            accept_until: i64::from_le_bytes(*accept_until),
            body,
        })
    }
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
    pub(super) fn decode(bytes: &'a [u8], salt: Salt) -> Option<Self> {
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
        Some(Self { position, record: Record::decode(payload)?, bytes: FRAME_HEADER_BYTES + payload_bytes })
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
