//! A log written by the program, and damaged.

use std::collections::BTreeMap;
use std::ops::Range;

use promarchive_testkit::Faults;

use super::*;

const MOST_STEPS: usize = 48;
const MOST_DAMAGES: usize = 12;

/// What was given to the log.
#[derive(Default)]
struct Written {
    /// By position: the body, and whether it was acknowledged.
    records: BTreeMap<u64, (Vec<u8>, bool)>,
    purged_through: u64,
}

pub(super) fn check(mut script: Script<'_>) {
    let disk = LossyDisk::default();
    let entropy = Arc::new(SeededEntropy::new(script.seed()));
    let written = write(&disk, &entropy, &mut script);
    let pristine = files(&disk);
    let mut damaged = pristine.clone();
    let moved = damage(&mut damaged, &mut script);
    let disk = disk_of(&damaged);
    let opened = open(&disk, &entropy).expect("no damage keeps the log from opening");
    let replayed = opened.replayed.clone();
    assert!(replayed.windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order: {replayed:?}");
    for (position, body) in &replayed {
        let sent = written.records.get(position).map(|(sent, _)| sent);
        assert_eq!(sent, Some(body), "record {position} was never written so");
    }
    assert_complete(&written, &pristine, &damaged, &opened, moved);
    assert_eq!(assert_usable(&disk, &entropy, opened), replayed, "replayed differently at the next start");
}

/// Writes as the script says, and leaves the log as a kill would.
fn write(disk: &LossyDisk, entropy: &Arc<SeededEntropy>, script: &mut Script<'_>) -> Written {
    let mut written = Written::default();
    let mut wal = open(disk, entropy).expect("an empty directory").wal;
    for _ in 0..MOST_STEPS {
        match script.byte() % 8 {
            0 => break,
            1..=3 => append(&mut wal, script, &mut written),
            4 => wal.end_segment(),
            5 => {
                let through = script.byte().into();
                written.purged_through = written.purged_through.max(through);
                wal.purge(Position::new(through)).expect("a disk without faults");
            }
            6 => {
                let opened = open(disk, entropy).expect("a log without damage");
                assert_unchanged(&written, &opened);
                wal = opened.wal;
            }
            _ => {
                disk.set_faults(Faults { fail_sync: Some(1), ..Faults::default() });
                append(&mut wal, script, &mut written);
                disk.set_faults(Faults::default());
            }
        }
    }
    written
}

fn append(wal: &mut Wal, script: &mut Script<'_>, written: &mut Written) {
    let bodies: Vec<&[u8]> = (0..1 + script.byte() % 4).map(|_| script.bytes()).collect();
    let first = wal.tail().get() + 1;
    let acknowledged = wal.append_group(&bodies.iter().copied().map(record_of).collect::<Vec<_>>()).is_ok();
    // To make a segment may take a position, too: which record has which is then only known from the tail.
    let first = (wal.tail().get() + 1).saturating_sub(bodies.len() as u64).max(first);
    for (position, body) in (first..=wal.tail().get()).zip(bodies) {
        written.records.insert(position, (body.to_vec(), acknowledged));
    }
}

/// Some need the newer format.
fn record_of(body: &[u8]) -> Record<'_> {
    let label = SetLabel::new("sender", "team").filter(|_| body.len() % 3 == 1);
    Record { protocol: Protocol::V1, received_at: 1, accept_until: 2, accept_from: i64::MIN, label, body }
}

/// Without damage, everything acknowledged comes back, and nothing is reported.
fn assert_unchanged(written: &Written, opened: &Opened) {
    assert!(opened.recovery.damage.is_empty(), "{:?}", opened.recovery);
    let replayed: BTreeMap<_, _> = opened.replayed.iter().map(|(position, body)| (position, body)).collect();
    for (position, (body, acknowledged)) in &written.records {
        if *acknowledged && *position > written.purged_through {
            assert_eq!(replayed.get(position), Some(&body), "record {position} is lost");
        }
    }
}

/// Damages the files. Returns whether bytes were moved: a record may then stand where another should.
fn damage(files: &mut Files, script: &mut Script<'_>) -> bool {
    let mut moved = false;
    for _ in 0..MOST_DAMAGES {
        if script.is_over() || files.is_empty() {
            break;
        }
        let kind = script.byte() % 7;
        let at = usize::from(script.byte()) % files.len();
        if kind == 0 {
            files.remove(at);
            continue;
        }
        let other = usize::from(script.byte()) % files.len();
        let source = files[other].1.clone();
        let bytes = &mut files[at].1;
        // Mostly among the records.
        let offset =
            (script.number() % (bytes.len() + 1)).max(usize::from(script.byte() % 2) * HEADER_BYTES).min(bytes.len());
        match kind {
            1 | 2 => {
                let mask = script.byte().max(1);
                bytes.get_mut(offset).into_iter().for_each(|byte| *byte ^= mask);
            }
            3 => {
                let end = bytes.len().min(offset + script.number());
                bytes[offset..end].fill(0);
            }
            4 => bytes.truncate(offset),
            5 => bytes.extend_from_slice(script.bytes()),
            _ => {
                moved = true;
                let start = script.number() % (source.len() + 1);
                let end = source.len().min(start + script.number());
                let length = (end - start).min(bytes.len() - offset);
                bytes[offset..offset + length].copy_from_slice(&source[start..start + length]);
            }
        }
    }
    moved
}

/// Whatever was acknowledged comes back or is reported, and comes back if its bytes are untouched.
fn assert_complete(written: &Written, pristine: &Files, damaged: &Files, opened: &Opened, moved: bool) {
    let frames = frames(pristine);
    let now: BTreeMap<&str, &[u8]> = damaged.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let before: BTreeMap<&str, &[u8]> = pristine.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let readable = |name: &str| {
        let now = now.get(name).copied().unwrap_or_default();
        COPIES
            .iter()
            .any(|at| now.get(*at..at + COPY_BYTES).is_some_and(|copy| copy == &before[name][*at..at + COPY_BYTES]))
    };
    // Up to where the headers that are left say that everything was durable.
    let promised = pristine.iter().filter(|(name, _)| readable(name)).map(|(_, bytes)| number(bytes, 48)).max();
    let oldest = damaged.first().map_or(u64::MAX, |(name, _)| first_position(name));
    let damage = &opened.recovery.damage;
    let reported = |position: u64| {
        damage
            .iter()
            .filter_map(|damage| damage.missing.as_ref())
            .any(|missing| missing.contains(&Position::new(position)))
    };
    for (position, (_, acknowledged)) in &written.records {
        let replayed = opened.replayed.binary_search_by_key(position, |(position, _)| *position).is_ok();
        if replayed || !acknowledged || *position <= written.purged_through {
            continue;
        }
        let whole = frames.get(position).is_some_and(|(name, range)| {
            readable(name)
                && now.get(name.as_str()).and_then(|bytes| bytes.get(range.clone()))
                    == Some(&before[name.as_str()][range.clone()])
        });
        assert!(!whole || moved, "record {position} is whole, and was not replayed: {:?}", opened.recovery);
        if promised.is_some_and(|promised| *position <= promised) && *position >= oldest {
            assert!(reported(*position), "record {position} is lost without a word: {:?}", opened.recovery);
        }
    }
}

/// Where each record's frame is, as the format is documented: marker (4), length (4), position (8), checksum (4), payload.
fn frames(files: &Files) -> BTreeMap<u64, (String, Range<usize>)> {
    let mut frames = BTreeMap::new();
    for (name, bytes) in files {
        let mut offset = HEADER_BYTES;
        while let Some(length) = bytes.get(offset + 4..offset + 8) {
            let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let end = offset + 20 + length;
            frames.insert(number(bytes, offset + 8), (name.clone(), offset..end));
            offset = end;
        }
    }
    frames
}

fn number(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..offset + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn first_position(name: &str) -> u64 {
    name["wal-".len()..][..20].parse().expect("segments are named by positions")
}
