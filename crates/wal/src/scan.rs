//! What the bytes of one segment hold: whole frames, and what lies between and behind them. No I/O.

use super::position::Position;
use super::record::Frame;
use super::segment::{HEADER_BYTES, Header};

/// The contents of a segment.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    /// In the order of their positions.
    pub(super) frames: Vec<Frame<'a>>,
    /// What is no frame, though a frame follows.
    pub(super) gaps: Vec<Gap>,
    /// Where the last frame ends.
    pub(super) end: usize,
    /// The position that a frame at `end` would have.
    pub(super) expected: Position,
}

/// Bytes that are no frame, followed by a frame.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) offset: usize,
    pub(super) length: usize,
    /// The position of the frame that should begin here, and that of the one that follows.
    pub(super) expected: Position,
    pub(super) found: Position,
}

/// Reads a segment.
pub(super) fn scan<'a>(segment: &'a [u8], header: &Header) -> Scan<'a> {
    let mut scan = Scan { frames: Vec::new(), gaps: Vec::new(), end: HEADER_BYTES, expected: header.first };
    while let Some((offset, frame)) = find_frame(segment, scan.end, header, scan.expected) {
        if offset > scan.end || frame.position > scan.expected {
            let (expected, found) = (scan.expected, frame.position);
            scan.gaps.push(Gap { offset: scan.end, length: offset - scan.end, expected, found });
        }
        scan.end = offset + frame.bytes;
        scan.expected = Position::new(frame.position.get().saturating_add(1));
        scan.frames.push(frame);
    }
    scan
}

/// The first whole frame at or after `from` whose position is `expected` or later.
///
/// Nobody outside knows the marker, so that it turns up by chance only, and few places are tried.
fn find_frame<'a>(segment: &'a [u8], from: usize, header: &Header, expected: Position) -> Option<(usize, Frame<'a>)> {
    let marker = header.salt.marker();
    let mut offset = from;
    loop {
        let rest = segment.get(offset..)?;
        offset += rest.windows(marker.len()).position(|window| window == marker)?;
        let frame = Frame::decode(segment.get(offset..)?, header.salt, header.version);
        if let Some(frame) = frame.filter(|frame| frame.position >= expected) {
            return Some((offset, frame));
        }
        offset += 1;
    }
}
