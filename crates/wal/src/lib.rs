//! The write-ahead log: what is acknowledged is here first, synced.
//!
//! # Format
//!
//! A WAL is one flat directory that one process uses at a time (the caller holds the lock). All numbers are little-endian,
//! all checksums CRC-32C.
//!
//! ```text
//! writer                             the writer id: 32 hexadecimal digits, a space, its checksum in 8, a line end
//! wal-<first position>.log           a segment; the position in 20 decimal digits
//! wal-<first position>.log.damaged   a copy of a damaged segment, for a person to look at
//!
//! segment   header copy (60 bytes) at 0, again at 4096, zero between; frames from 4160 to the end, with contiguous positions
//! header    magic "promwal\n" | version u32 (1 or 2) | checksum u32 of these 12 bytes
//!           writer 16 bytes | salt u64 | first u64 | durable u64 | checksum u32 of all before
//! frame     marker u32 | length u32 of the payload | position u64 | checksum u32 | payload
//! payload   protocol u8 (1 or 2) | received_at i64 ms | accept_until i64 ms | in version 2: terms | body (snappy, as received)
//! terms     accept_from i64 ms | length u8, name | length u8, value; of a label that was set on all series, both empty for none
//! ```
//!
//! - A **position** is the number of a record. Positions never restart or go back, also after a full purge; they may leave gaps
//!   between segments, for groups that failed.
//! - The **salt** is random and new for each segment. The marker is its lower half, and a frame's checksum runs over salt,
//!   length, position and payload. No sender knows it, so none can hide something in a body that passes for a frame.
//! - A segment has **version** 2 only if a record in it needs it. An empty one that a purge leaves has version 1: an earlier program can go on
//!   with it.
//! - **durable** is the last position that was synced when the segment was made. It is the judge over everything before:
//!   what lies above it was never acknowledged, what is missing at or below it is lost.
//!
//! # Life cycle
//!
//! 1. [`load_or_create_writer`]: the id is synced, and its directory entry, before the first segment is made.
//! 2. [`Wal::recover`] checks all headers, syncs what a killed process may have left unsynced, then hands every record to a
//!    visitor. It changes no segment.
//! 3. [`Wal::append_group`]: one write and one sync for the whole group. A process never appends to a segment of an earlier one.
//!    A new segment and its directory entry are synced before any record in it.
//! 4. A failed write or sync ends the segment: it is never written or synced again, its group's positions are used up, and the
//!    next append begins a new segment.
//! 5. [`Wal::purge`] deletes segments whose records are all in the tables, oldest first, each durably before the next. The
//!    newest one stays or is replaced by an empty one, because it remembers the position.
//!
//! # Recovery
//!
//! | found | verdict |
//! |---|---|
//! | unreadable bytes, a frame behind them | damage: what was there is reported missing, all else is replayed |
//! | unreadable bytes at the end, or none, and the next segment's `durable` promises more | damage, as above |
//! | other unreadable bytes at the end | torn tail: never acknowledged |
//! | whole frames above the next segment's `durable` | refused to their senders: skipped |
//! | a header of which one copy is damaged, or another segment's | damage, nothing missing |
//! | no readable header, nothing acknowledged can be in it | unfinished: torn |
//! | no readable header otherwise | damage: all its positions are missing, all other segments are replayed; the next readable `durable` judges the one before, too |
//! | a newer version, another writer's segment | an error: this program must not touch it |
//!
//! A copy of a damaged segment is made once; the segment itself stays as it is, and is reported at each start, until it is purged.
//!
//! Three limits. In the last segment a damaged last record cannot be told from a torn one. After a power loss, a group whose pages
//! reached the disk out of order is reported as damage, though it was never acknowledged. And when a sync fails, the process dies
//! before it can cut the segment, and power is lost after the next start, then a record that was replayed in between is gone, and
//! reported as damage: never one that was acknowledged.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod disk;
mod error;
mod log;
#[cfg(any(test, feature = "simulation"))]
mod lossy;
mod position;
mod record;
mod recovery;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod writer_id;

pub use disk::{Disk, DiskFile, RealDisk};
pub use error::WalError;
pub use log::{Options, Wal};
#[cfg(any(test, feature = "simulation"))]
pub use lossy::{Faults, LossyDisk};
pub use position::Position;
pub use record::{MAX_BODY_BYTES, Record};
pub use recovery::{Damage, Recovery, TornTail};
pub use writer_id::load_or_create_writer;
