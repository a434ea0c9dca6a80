//! The WAL of a running process: append, rotate, purge.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::sync::Arc;

use promarchive_model::WriterId;
use promarchive_model::environment::Entropy;
use promarchive_model::failpoint::{FailPoint, reach};

use super::disk::{Disk, DiskFile};
use super::error::WalError;
use super::position::{Position, span};
use super::record::{MAX_BODY_BYTES, Record};
use super::recovery::{Recovery, recover};
use super::segment::{HEADER_BYTES, Header, MAX_SEGMENT_BYTES, Salt, SegmentName, Version};

/// The group buffer keeps this much memory between groups, in bytes.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// How a WAL is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment ends before it grows longer than this, in bytes (at most 1 GiB); only a single record may make it longer.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

/// The write-ahead log of one directory. One thread at a time writes to it.
pub struct Wal {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    writer: WriterId,
    segment_bytes: u64,
    /// The last position given out, also to a group that failed.
    tail: Position,
    /// The last position that is synced.
    durable: Position,
    /// Segments that are not written to any more, oldest first.
    closed: VecDeque<Closed>,
    /// The segment that is written to: none at first, and none after a failure. An append makes one.
    active: Option<Active>,
    /// The frames of the group that is being written.
    buffer: Vec<u8>,
}

/// A segment that is not written to any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) name: SegmentName,
    /// The last position in it that counts; zero if none does.
    pub(super) last: Position,
    pub(super) bytes: u64,
    /// Its header is durable, so that it remembers the position.
    pub(super) whole: bool,
}

struct Active {
    file: Box<dyn DiskFile>,
    name: SegmentName,
    salt: Salt,
    version: Version,
    /// The last position synced in it; zero if there is none.
    last: Position,
    /// Its length up to there.
    bytes: u64,
}

impl Wal {
    /// Opens the WAL of a directory that no other process uses, and hands every record in it to `visit`, in the order of
    /// positions; the caller skips, table by table, what that table has committed.
    ///
    /// `writer` is the directory's id ([`load_or_create_writer`](crate::load_or_create_writer)); `floor` is the highest `txn` version that any table has
    /// committed for it. All positions given out from now on are above `floor` and above everything visited. Takes the memory of
    /// one segment.
    ///
    /// # Errors
    /// Those of `visit`, and [`WalError`] if the directory cannot be read or holds what this program must not touch. Damage is no
    /// error: see [`Recovery`].
    pub fn recover<E: From<WalError>>(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        writer: WriterId,
        floor: Position,
        options: Options,
        visit: impl FnMut(Position, Record<'_>) -> Result<(), E>,
    ) -> Result<(Self, Recovery), E> {
        let (end, mut recovery) = recover(&*disk, writer, visit)?;
        recovery.behind = end.tail.next().and_then(|next| span(next, floor));
        let wal = Self {
            disk,
            entropy,
            writer,
            segment_bytes: options.segment_bytes.min(MAX_SEGMENT_BYTES),
            tail: end.tail.max(floor),
            durable: end.durable.max(floor),
            closed: end.segments.into(),
            active: None,
            buffer: Vec::new(),
        };
        Ok((wal, recovery))
    }

    /// Where the oldest segment in a directory begins: no record that may be replayed has a lower position. [`Position::MAX`] when
    /// there is no segment.
    ///
    /// # Errors
    /// [`WalError::Io`] if the directory cannot be listed.
    pub fn first_position(disk: &dyn Disk) -> Result<Position, WalError> {
        let names = disk.list().map_err(WalError::io("list", "the files"))?;
        let first = names.iter().filter_map(|name| SegmentName::parse(name)).min();
        Ok(first.map_or(Position::MAX, SegmentName::first))
    }

    /// The last position given out, also to a group that failed; never lower than `durable`.
    pub fn tail(&self) -> Position {
        self.tail
    }

    /// The last position that is synced: a flush holds exactly the records up to here.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// The size of all segments, in bytes, for the caller's budget.
    pub fn size_bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        self.closed.iter().map(|segment| segment.bytes).fold(active, u64::saturating_add)
    }

    /// Writes and syncs these records, in this order, and returns their positions, which follow one another without a gap. An
    /// empty group gets an empty range.
    ///
    /// # Errors
    /// After an error none of the records may be acknowledged, though some may be replayed. If the error is retryable the next call
    /// may succeed: it begins a new segment, and once a full disk has space again it works by itself. One body that is too large
    /// fails its whole group, so check bodies against [`MAX_BODY_BYTES`] before.
    pub fn append_group(&mut self, records: &[Record<'_>]) -> Result<RangeInclusive<Position>, WalError> {
        if let Some(record) = records.iter().find(|record| record.body.len() > MAX_BODY_BYTES) {
            return Err(WalError::RecordTooLarge { length: record.body.len() });
        }
        let version = records.iter().map(Record::version).max().unwrap_or(Version::One);
        self.leave_older_segment(version);
        // One more than there are records, so that the position after the last exists, too.
        if self.tail.after(records.len() as u64 + 1).is_none() {
            return Err(WalError::PositionsExhausted { tail: self.tail });
        }
        let first = Position::new(self.tail.get() + 1);
        for record in records {
            self.make_room(record, version)?;
            self.buffer_record(record);
        }
        self.commit_buffer()?;
        Ok(first..=self.tail)
    }

    /// Ends the segment that is written to if its version cannot hold what comes. The position of an empty one is used up, because no
    /// other may have its name.
    fn leave_older_segment(&mut self, version: Version) {
        let Some(active) = self.active.as_ref().filter(|active| active.version < version) else { return };
        if active.last == Position::ZERO {
            let Some(next) = self.tail.next() else { return };
            self.tail = next;
        }
        self.close_active();
    }

    /// Makes sure that there is a segment that a record fits into; a new one has this version.
    fn make_room(&mut self, record: &Record<'_>, version: Version) -> Result<(), WalError> {
        if let Some(active) = &self.active {
            let frame_bytes = record.frame_bytes(active.version) as u64;
            let filled = active.bytes.saturating_add(self.buffer.len() as u64);
            if filled <= HEADER_BYTES as u64 || filled.saturating_add(frame_bytes) <= self.segment_bytes {
                return Ok(());
            }
            self.commit_buffer()?;
            self.close_active();
        }
        self.create_segment(version)
    }

    fn buffer_record(&mut self, record: &Record<'_>) {
        if let Some(active) = &self.active {
            self.tail = Position::new(self.tail.get() + 1);
            record.encode(self.tail, active.salt, active.version, &mut self.buffer);
        }
    }

    /// Writes and syncs the buffered frames. If that fails the segment is given up: what a failed sync left behind is not known,
    /// and a second sync would not tell.
    fn commit_buffer(&mut self) -> Result<(), WalError> {
        let Some(active) = self.active.as_mut().filter(|_| !self.buffer.is_empty()) else { return Ok(()) };
        let written = write_and_sync(active, &self.buffer);
        if written.is_ok() {
            active.bytes += self.buffer.len() as u64;
            active.last = self.tail;
            self.durable = self.tail;
        } else {
            self.give_up_active();
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        written
    }

    /// The next header's `durable` tells recovery to ignore what is left behind the synced part. Cutting it off saves the space, and
    /// keeps a restart before that from replaying it; no harm is done if it fails.
    fn give_up_active(&mut self) {
        if let Some(mut active) = self.active.take() {
            let cut = active.file.truncate(active.bytes);
            let left = || self.disk.len(&active.name.to_string()).unwrap_or(active.bytes);
            let bytes = cut.map_or_else(|_| left(), |()| active.bytes);
            self.closed.push_back(Closed { name: active.name, last: active.last, bytes, whole: true });
        }
    }

    /// Ends the segment that is written to; the next append begins a new one. Called when a flush takes what is buffered: the
    /// purge behind it can then delete the segment, and a restart replays no more than the rows since. Touches no disk.
    pub fn end_segment(&mut self) {
        if self.active.as_ref().is_some_and(|active| active.last > Position::ZERO) {
            self.close_active();
        }
    }

    fn close_active(&mut self) {
        if let Some(Active { name, last, bytes, .. }) = self.active.take() {
            self.closed.push_back(Closed { name, last, bytes, whole: true });
        }
    }

    /// Begins a new segment. If that fails its first position is used up, so that no name is given twice.
    fn create_segment(&mut self, version: Version) -> Result<(), WalError> {
        let first = self.tail.next().ok_or(WalError::PositionsExhausted { tail: self.tail })?;
        let name = SegmentName::new(first);
        let salt = Salt::new(self.entropy.next_u64());
        let header = Header { version, writer: self.writer, salt, first, durable: self.durable };
        match create_with_header(&*self.disk, name, &header) {
            Ok(file) => {
                let bytes = HEADER_BYTES as u64;
                self.active = Some(Active { file, name, salt, version, last: Position::ZERO, bytes });
                Ok(())
            }
            Err(error) => {
                self.tail = first;
                self.abandon(name, &error);
                Err(error)
            }
        }
    }

    /// Removes what a failed creation left. Nothing is in it, but as long as it is there, what lies before it is purged first.
    fn abandon(&mut self, name: SegmentName, error: &WalError) {
        if error.is_kind(ErrorKind::AlreadyExists) {
            return;
        }
        match self.disk.remove(&name.to_string()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let bytes = HEADER_BYTES as u64;
                self.closed.push_back(Closed { name, last: Position::ZERO, bytes, whole: false });
            }
            _ => {}
        }
    }

    /// Deletes the segments whose records all lie at or below `through`, oldest first. The newest segment stays, or is replaced by
    /// an empty one, because its header remembers the position. All that a full disk needs is deleted before that.
    ///
    /// # Errors
    /// [`WalError::Io`]; what is not deleted yet is deleted by a later call.
    pub fn purge(&mut self, through: Position) -> Result<(), WalError> {
        let newest_whole = self.closed.iter().rev().position(|segment| segment.whole);
        let keep = newest_whole.map_or(self.closed.len(), |behind_it| behind_it + 1);
        self.delete_closed(through, if self.active.is_some() { 0 } else { keep })?;
        let spent = match &self.active {
            Some(active) => active.last > Position::ZERO && active.last <= through,
            None => self.closed.iter().all(|segment| segment.last <= through) && !self.closed.is_empty(),
        };
        if spent {
            self.close_active();
            // An empty segment has the oldest version: an earlier program may go on with it.
            self.create_segment(Version::One)?;
            self.delete_closed(through, 0)?;
        }
        Ok(())
    }

    /// One is durably gone before the next is touched: whatever happens, what is left is a suffix, and no gap looks like a loss.
    fn delete_closed(&mut self, through: Position, keep: usize) -> Result<(), WalError> {
        while let Some(&Closed { name, last, .. }) = self.closed.front()
            && last <= through
            && self.closed.len() > keep
        {
            match self.disk.remove(&name.to_string()) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(WalError::io("remove", name)(error));
                }
                _ => {}
            }
            self.disk.sync_dir().map_err(WalError::io("sync the removal of", name))?;
            self.closed.pop_front();
            reach(FailPoint::PurgeSegment).map_err(WalError::io("purge segments after", name))?;
        }
        Ok(())
    }
}

fn write_and_sync(active: &mut Active, frames: &[u8]) -> Result<(), WalError> {
    let name = active.name;
    reach(FailPoint::WalAppend).map_err(WalError::io("write to", name))?;
    active.file.write_all(frames).map_err(WalError::io("write to", name))?;
    reach(FailPoint::WalSync).map_err(WalError::io("sync", name))?;
    active.file.sync().map_err(WalError::io("sync", name))?;
    reach(FailPoint::WalSynced).map_err(WalError::io("sync", name))
}

fn create_with_header(disk: &dyn Disk, name: SegmentName, header: &Header) -> Result<Box<dyn DiskFile>, WalError> {
    reach(FailPoint::WalRotate).map_err(WalError::io("create", name))?;
    let mut file = disk.create_new(&name.to_string()).map_err(WalError::io("create", name))?;
    file.write_all(&header.encode()).map_err(WalError::io("write the header of", name))?;
    file.sync().map_err(WalError::io("sync the header of", name))?;
    reach(FailPoint::WalRotated).map_err(WalError::io("create", name))?;
    disk.sync_dir().map_err(WalError::io("sync the directory entry of", name))?;
    Ok(file)
}
