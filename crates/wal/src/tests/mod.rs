#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod damage;
mod faults;
mod histories;
mod lifecycle;
mod real_disk;
mod versions;

use std::ops::RangeInclusive;
use std::sync::Arc;

use promarchive_model::environment::SeededEntropy;
use promarchive_model::{Protocol, SetLabel};

use super::segment::SegmentName;
use super::{Disk, LossyDisk, Options, Position, Record, Recovery, Wal, WalError, load_or_create_writer};

/// A directory and the randomness of those who use it.
#[derive(Clone)]
struct Site {
    disk: LossyDisk,
    entropy: Arc<SeededEntropy>,
    segment_bytes: u64,
}

/// What a process has after it opened the WAL.
struct Opened {
    wal: Wal,
    recovery: Recovery,
    replayed: Vec<(u64, Vec<u8>)>,
}

impl Site {
    fn new(seed: u64, segment_bytes: u64) -> Self {
        Self { disk: LossyDisk::default(), entropy: Arc::new(SeededEntropy::new(seed)), segment_bytes }
    }

    /// A directory with these files, all of them durable.
    fn of(files: &[(String, Vec<u8>)]) -> Self {
        let site = Self::new(1, 64 << 20);
        for (name, bytes) in files {
            let mut file = site.disk.create_new(name).unwrap();
            file.write_all(bytes).unwrap();
            file.sync().unwrap();
        }
        site.disk.sync_dir().unwrap();
        site
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.disk.list().unwrap();
        names.into_iter().map(|name| (name.clone(), self.disk.read(&name, u64::MAX).unwrap())).collect()
    }

    fn segments(&self) -> Vec<String> {
        self.disk.list().unwrap().into_iter().filter(|name| SegmentName::parse(name).is_some()).collect()
    }

    fn try_open(&self, floor: u64) -> Result<Opened, WalError> {
        let writer = load_or_create_writer(&self.disk, &*self.entropy)?;
        let mut replayed = Vec::new();
        let (wal, recovery) = Wal::recover(
            Arc::new(self.disk.clone()),
            self.entropy.clone(),
            writer,
            Position::new(floor),
            Options { segment_bytes: self.segment_bytes },
            |position, record| {
                assert_eq!(record, self::record(record.body));
                replayed.push((position.get(), record.body.to_vec()));
                Ok::<_, WalError>(())
            },
        )?;
        Ok(Opened { wal, recovery, replayed })
    }

    fn open(&self) -> Opened {
        self.try_open(0).unwrap()
    }
}

impl Opened {
    fn append(&mut self, bodies: &[&str]) -> Result<RangeInclusive<u64>, WalError> {
        append(&mut self.wal, &bodies.iter().map(|body| body.as_bytes()).collect::<Vec<_>>())
    }

    fn purge(&mut self, through: u64) -> Result<(), WalError> {
        self.wal.purge(Position::new(through))
    }

    fn texts(&self) -> Vec<(u64, &str)> {
        self.replayed.iter().map(|(position, body)| (*position, str::from_utf8(body).unwrap())).collect()
    }
}

/// A record whose other fields follow from its body.
fn record(body: &[u8]) -> Record<'_> {
    let sum = i64::from(crc32c::crc32c(body));
    let protocol = if sum % 2 == 0 { Protocol::V1 } else { Protocol::V2 };
    // Some of the longer ones need the newer format.
    let (accept_from, label) = match sum % 5 {
        0 if body.len() > 64 => (-sum - 1, None),
        1 if body.len() > 64 => (i64::MIN, SetLabel::new("sender", "team/k8s")),
        _ => (i64::MIN, None),
    };
    Record { protocol, received_at: 1_700_000_000_000 + sum, accept_until: -sum, accept_from, label, body }
}

fn append(wal: &mut Wal, bodies: &[&[u8]]) -> Result<RangeInclusive<u64>, WalError> {
    let records: Vec<_> = bodies.iter().map(|body| record(body)).collect();
    wal.append_group(&records).map(|positions| positions.start().get()..=positions.end().get())
}
