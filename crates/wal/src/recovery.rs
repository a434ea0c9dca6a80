//! What a new process finds in the directory. Recovery reads: it changes no segment, and cuts none. It lists, checks all headers, then
//! walks through the segments in order, hands every record to the visitor, and reports what is not as it should be.

use std::fmt;
use std::ops::RangeInclusive;

use promarchive_model::WriterId;
use promarchive_model::failpoint::{FailPoint, reach};

use super::WalError;
use super::disk::Disk;
use super::log::Closed;
use super::position::{Position, span};
use super::record::{MIN_FRAME_BYTES, Record};
use super::scan::{Scan, scan};
use super::segment::{HEADER_BYTES, Header, HeaderFault, MAX_SEGMENT_BYTES, SegmentName};

/// What was found when the WAL was opened.
#[derive(Debug, Default)]
pub struct Recovery {
    /// How many records were handed to the visitor.
    pub records: u64,
    /// How many bytes of request bodies they carried.
    pub body_bytes: u64,
    /// Places where something is missing or unreadable. Reported at each start, until the segment is purged.
    pub damage: Vec<Damage>,
    /// Ends of segments that a crash or a full disk left unfinished. Nothing in them was acknowledged.
    pub torn: Vec<TornTail>,
    /// Positions that the tables have committed and the WAL has never seen: segments were lost, or the directory is an older
    /// copy.
    pub behind: Option<RangeInclusive<Position>>,
}

/// A place in a segment that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's name.
    pub file: String,
    /// Where the unreadable bytes begin.
    pub offset: u64,
    /// How many they are; 0 if bytes are not there at all.
    pub length: u64,
    /// The records that were there, at most: positions are also used up by groups that failed.
    pub missing: Option<RangeInclusive<Position>>,
    /// The file that holds a copy of the segment, which is kept when the segment is purged; none if no copy could be made.
    pub set_aside: Option<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, length, missing, set_aside } = self;
        write!(f, "WAL segment {file} is damaged: {length} bytes at offset {offset} cannot be read")?;
        match missing {
            Some(missing) => write!(f, "; records {} to {} may be lost", missing.start(), missing.end())?,
            None => write!(f, "; no record is lost")?,
        }
        match set_aside {
            Some(copy) => write!(f, "; all other records are replayed; a copy of the segment is kept as {copy}"),
            None => write!(f, "; all other records are replayed; copy the segment before it is purged"),
        }
    }
}

/// The end of a segment that was being written when the process or the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's name.
    pub file: String,
    /// Where the unfinished bytes begin.
    pub offset: u64,
    /// How many they are.
    pub length: u64,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, length } = self;
        write!(
            f,
            "the last {length} bytes of WAL segment {file}, from offset {offset}, are an incomplete write that was \
             never acknowledged"
        )
    }
}

/// Where the WAL goes on.
pub(super) struct End {
    /// The last position that may have been used.
    pub(super) tail: Position,
    /// The last position that may have been acknowledged.
    pub(super) durable: Position,
    pub(super) segments: Vec<Closed>,
}

/// A segment with what its header and those after it say.
struct Listed {
    name: SegmentName,
    bytes: u64,
    /// None if neither copy of it is readable.
    header: Option<(Header, Option<(u64, u64)>)>,
    following: Following,
}

/// What the segments behind one know of it.
#[derive(Clone, Copy, Default)]
struct Following {
    /// Where the next one begins.
    first: Option<Position>,
    /// What was synced when the next one that is readable was made.
    durable: Option<Position>,
}

impl Following {
    /// The last position before the next segment that may have been acknowledged; none if nobody knows.
    fn acknowledged(&self) -> Option<Position> {
        // With an unreadable one in between, `durable` is about that one, too.
        Some(self.durable?.min(self.first?.before()))
    }
}

impl Listed {
    /// Whether the segment is unreadable because it never was finished: then nothing in it was acknowledged.
    fn is_unfinished(&self) -> bool {
        self.header.is_none()
            && match self.following.acknowledged() {
                Some(acknowledged) => acknowledged < self.name.first(),
                // Records follow only once the header is synced.
                None => self.bytes <= HEADER_BYTES as u64,
            }
    }

    /// The last position that an unreadable segment can have held.
    fn last_possible(&self) -> Position {
        let records = self.bytes.saturating_sub(HEADER_BYTES as u64) / MIN_FRAME_BYTES as u64;
        let by_size = Position::new(self.name.first().get().saturating_add(records)).before();
        let next = self.following.first.map_or(Position::MAX, Position::before);
        // Not by size if it is known better: it may have been cut.
        self.following.acknowledged().unwrap_or(by_size.min(next))
    }
}

/// Walks through the directory and calls `visit` for every record, in the order of positions.
pub(super) fn recover<E: From<WalError>>(
    disk: &dyn Disk,
    writer: WriterId,
    mut visit: impl FnMut(Position, Record<'_>) -> Result<(), E>,
) -> Result<(End, Recovery), E> {
    let listed = list(disk, writer)?;
    sync_what_is_found(disk, &listed)?;
    let mut recovery = Recovery::default();
    let mut end = End { tail: Position::ZERO, durable: Position::ZERO, segments: Vec::new() };
    for segment in listed {
        let last = match &segment.header {
            Some((header, bad_copy)) => {
                end.durable = end.durable.max(header.durable);
                walk(disk, &segment, header, *bad_copy, &mut recovery, &mut visit)?
            }
            None => report_unreadable(disk, &segment, &mut recovery)?,
        };
        end.durable = end.durable.max(last);
        // The first position counts as used, also of an empty segment: no name is given twice.
        end.tail = end.tail.max(last).max(segment.name.first());
        end.segments.push(Closed { name: segment.name, last, bytes: segment.bytes, whole: segment.header.is_some() });
    }
    Ok((end, recovery))
}

/// All segments in order. Fails before anything is replayed if one is not for this program or this directory.
fn list(disk: &dyn Disk, writer: WriterId) -> Result<Vec<Listed>, WalError> {
    let names = disk.list().map_err(WalError::io("list", "the files"))?;
    let mut names: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    let mut following = Following::default();
    let mut listed = Vec::with_capacity(names.len());
    for name in names.into_iter().rev() {
        let bytes = disk.len(&name.to_string()).map_err(WalError::io("read the length of", name))?;
        if bytes > MAX_SEGMENT_BYTES {
            return Err(WalError::Oversized { file: name.to_string(), length: bytes });
        }
        let segment = Listed { name, bytes, header: read_header(disk, name, writer)?, following };
        following = match &segment.header {
            Some((header, _)) => Following { first: Some(name.first()), durable: Some(header.durable) },
            None if segment.is_unfinished() => following,
            None => Following { first: Some(name.first()), ..following },
        };
        listed.push(segment);
    }
    listed.reverse();
    Ok(listed)
}

type HeaderAndBadCopy = (Header, Option<(u64, u64)>);

fn read_header(disk: &dyn Disk, name: SegmentName, writer: WriterId) -> Result<Option<HeaderAndBadCopy>, WalError> {
    let bytes = disk.read(&name.to_string(), HEADER_BYTES as u64).map_err(WalError::io("read", name))?;
    match Header::decode(&bytes, name.first()) {
        Ok((header, _)) if header.writer != writer => {
            Err(WalError::ForeignSegment { file: name.to_string(), expected: writer, found: header.writer })
        }
        Ok(found) => Ok(Some(found)),
        Err(HeaderFault::Version(version)) => Err(WalError::UnknownVersion { file: name.to_string(), version }),
        Err(HeaderFault::Damaged) => Ok(None),
    }
}

/// The process before may have been killed between a write and its sync, or between a segment's creation and the directory's. What
/// is found is built upon, so it is made durable first. Earlier segments were synced before later ones were made.
fn sync_what_is_found(disk: &dyn Disk, listed: &[Listed]) -> Result<(), WalError> {
    let Some(Listed { name, .. }) = listed.iter().rev().find(|segment| segment.header.is_some()) else { return Ok(()) };
    disk.sync(&name.to_string()).map_err(WalError::io("sync", name))?;
    disk.sync_dir().map_err(WalError::io("sync the directory entry of", name))
}

/// Visits one segment's records, and returns the last position that it held; zero if none.
fn walk<E: From<WalError>>(
    disk: &dyn Disk,
    segment: &Listed,
    header: &Header,
    bad_copy: Option<(u64, u64)>,
    recovery: &mut Recovery,
    visit: &mut impl FnMut(Position, Record<'_>) -> Result<(), E>,
) -> Result<Position, E> {
    let name = segment.name;
    let bytes = disk.read(&name.to_string(), MAX_SEGMENT_BYTES).map_err(WalError::io("read", name))?;
    let acknowledged = segment.following.acknowledged().unwrap_or(Position::MAX);
    let durable = segment.following.durable.unwrap_or(Position::MAX);
    let scan = scan(&bytes, header);
    let (damage, torn) = judge(name, &bytes, &scan, bad_copy, acknowledged);
    if !damage.is_empty() || torn.is_some() {
        reach(FailPoint::ReplayRepair).map_err(WalError::io("repair", name))?;
    }
    let mut last = Position::ZERO;
    for lost in damage {
        last = lost.missing.as_ref().map_or(last, |missing| last.max(*missing.end()));
        recovery.damage.push(Damage { set_aside: set_aside(disk, name, &bytes), ..lost });
    }
    recovery.torn.extend(torn);
    // What is above was refused to its sender, though it may be whole.
    for frame in scan.frames.iter().take_while(|frame| frame.position <= durable) {
        reach(FailPoint::ReplayRecord).map_err(WalError::io("replay", name))?;
        visit(frame.position, frame.record)?;
        last = last.max(frame.position);
        recovery.records += 1;
        recovery.body_bytes += frame.record.body.len() as u64;
    }
    Ok(last)
}

/// Which of the unreadable places matter: nothing above `acknowledged` was promised to anybody.
fn judge(
    name: SegmentName,
    bytes: &[u8],
    scan: &Scan<'_>,
    bad_copy: Option<(u64, u64)>,
    acknowledged: Position,
) -> (Vec<Damage>, Option<TornTail>) {
    let place = |offset: usize, length: usize, missing| Damage {
        file: name.to_string(),
        offset: offset as u64,
        length: length as u64,
        missing,
        set_aside: None,
    };
    let mut damage = Vec::new();
    if let Some((offset, length)) = bad_copy.filter(|_| bytes.len() > HEADER_BYTES) {
        damage.push(Damage { offset, length, ..place(0, 0, None) });
    }
    for gap in scan.gaps.iter().take_while(|gap| gap.expected <= acknowledged) {
        damage.push(place(gap.offset, gap.length, span(gap.expected, gap.found.before().min(acknowledged))));
    }
    let rest = bytes.len().saturating_sub(scan.end);
    // Without a later segment nobody knows what was acknowledged behind the last whole record: it passes for unfinished.
    if acknowledged < Position::MAX && scan.expected <= acknowledged {
        damage.push(place(scan.end, rest, span(scan.expected, acknowledged)));
        return (damage, None);
    }
    let torn = TornTail { file: name.to_string(), offset: scan.end as u64, length: rest as u64 };
    (damage, (rest > 0).then_some(torn))
}

/// A segment without a header: its salt is lost, and with it all its records. Returns the last position that it may have held.
fn report_unreadable(disk: &dyn Disk, segment: &Listed, recovery: &mut Recovery) -> Result<Position, WalError> {
    let (name, last) = (segment.name, segment.last_possible());
    reach(FailPoint::ReplayRepair).map_err(WalError::io("repair", name))?;
    if segment.is_unfinished() {
        recovery.torn.push(TornTail { file: name.to_string(), offset: 0, length: segment.bytes });
        return Ok(Position::ZERO);
    }
    let bytes = disk.read(&name.to_string(), MAX_SEGMENT_BYTES).map_err(WalError::io("read", name))?;
    recovery.damage.push(Damage {
        file: name.to_string(),
        offset: 0,
        length: segment.bytes,
        missing: span(name.first(), last),
        set_aside: set_aside(disk, name, &bytes),
    });
    Ok(last)
}

/// Keeps a copy of a damaged segment for a person to look at, once. A disk that is full must not keep the WAL from opening,
/// and until the purge the segment itself is there: a failure is no error.
fn set_aside(disk: &dyn Disk, name: SegmentName, bytes: &[u8]) -> Option<String> {
    let copy = name.set_aside();
    if disk.len(&copy).is_ok_and(|length| length == bytes.len() as u64) {
        return Some(copy);
    }
    let write = || {
        // A copy of another length is one that a crash interrupted.
        let _ = disk.remove(&copy);
        let mut file = disk.create_new(&copy)?;
        file.write_all(bytes)?;
        file.sync()?;
        disk.sync_dir()
    };
    match write() {
        Ok(()) => Some(copy),
        Err(_) => {
            let _ = disk.remove(&copy);
            None
        }
    }
}
