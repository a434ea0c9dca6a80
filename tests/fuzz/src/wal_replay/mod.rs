//! Replay of the write-ahead log, in two ways, by the first byte of the input:
//!
//! - [`damaged`]: a log is written by the program, and then damaged. What is not damaged comes back, and what is missing is
//!   reported.
//! - [`forged`]: segments of any content, with headers and checksums that hold. They may contradict each other; what is written
//!   afterwards comes back.

mod damaged;
mod forged;
mod script;

use std::sync::Arc;

use promarchive_model::environment::SeededEntropy;
use promarchive_model::{Protocol, SetLabel, WriterId};
use promarchive_testkit::LossyDisk;
use promarchive_wal::{Disk, Options, Position, Record, Recovery, Wal, WalError};
use script::Script;

use crate::memory::within;

const WRITER: WriterId = WriterId::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
/// Small, so that an input fills several.
const SEGMENT_BYTES: u64 = 4160 + 300;
const HEADER_BYTES: usize = 4160;
/// Offsets of the header's copies, each of this many bytes.
const COPIES: [usize; 2] = [0, 4096];
const COPY_BYTES: usize = 60;

/// Checks a replay.
///
/// # Panics
///
/// If a record is lost without a word, comes twice, out of order, or was never written; if the log cannot be written to
/// afterwards; if more memory is taken than a few times the files.
pub fn wal_replay(input: &[u8]) {
    match input.split_first() {
        Some((kind, script)) if kind % 2 == 0 => damaged::check(Script::new(script)),
        Some((_, script)) => forged::check(Script::new(script)),
        None => {}
    }
}

type Files = Vec<(String, Vec<u8>)>;

fn files(disk: &LossyDisk) -> Files {
    let names = disk.list().expect("a disk without faults");
    names.into_iter().map(|name| (name.clone(), disk.read(&name, u64::MAX).expect("a disk without faults"))).collect()
}

fn disk_of(files: &Files) -> LossyDisk {
    let disk = LossyDisk::default();
    for (name, bytes) in files {
        let mut file = disk.create_new(name).expect("names differ");
        file.write_all(bytes).expect("a disk without faults");
        file.sync().expect("a disk without faults");
    }
    disk.sync_dir().expect("a disk without faults");
    disk
}

/// An opened log, and what was replayed.
struct Opened {
    wal: Wal,
    recovery: Recovery,
    replayed: Vec<(u64, Vec<u8>)>,
}

/// Opens the log on `disk`. Recovery reads one segment at a time, and keeps a copy of each damaged one on the disk, which is in
/// memory here.
fn open(disk: &LossyDisk, entropy: &Arc<SeededEntropy>) -> Result<Opened, WalError> {
    let bytes: usize = files(disk).iter().map(|(_, bytes)| bytes.len()).sum();
    within((64 << 10) + 12 * bytes, || {
        let mut replayed = Vec::new();
        let visit = |position: Position, record: Record<'_>| {
            replayed.push((position.get(), record.body.to_vec()));
            Ok::<_, WalError>(())
        };
        let options = Options { segment_bytes: SEGMENT_BYTES };
        let disk = Arc::new(disk.clone());
        let (wal, recovery) = Wal::recover(disk, entropy.clone(), WRITER, Position::ZERO, options, visit)?;
        Ok(Opened { wal, recovery, replayed })
    })
}

/// What is written after a replay comes back at the next start, behind what was replayed, which is returned.
fn assert_usable(disk: &LossyDisk, entropy: &Arc<SeededEntropy>, mut opened: Opened) -> Vec<(u64, Vec<u8>)> {
    let body = b"written after the damage";
    let record =
        Record { protocol: Protocol::V2, received_at: 7, accept_until: 8, accept_from: i64::MIN, label: None, body };
    let positions = match opened.wal.append_group(&[record]) {
        Ok(positions) => positions,
        // A header may claim that all positions are used up.
        Err(WalError::PositionsExhausted { .. }) => return opened.replayed,
        Err(error) => panic!("cannot be written to after a replay: {error}"),
    };
    let position = positions.start().get();
    assert!(opened.replayed.iter().all(|(other, _)| *other < position), "position {position} was given twice");
    let mut again = open(disk, entropy).expect("opened before").replayed;
    assert_eq!(again.pop(), Some((position, body.to_vec())), "what was written last is lost");
    again
}
