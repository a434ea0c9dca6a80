use promarchive_model::environment::SystemEntropy;

use super::super::{Disk, RealDisk};
use super::*;

fn open(path: &std::path::Path) -> (Wal, Recovery, Vec<(u64, Vec<u8>)>) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(path).unwrap());
    let writer = load_or_create_writer(&*disk, &SystemEntropy).unwrap();
    let mut replayed = Vec::new();
    let options = Options { segment_bytes: 10_000 };
    let visit = |position: Position, record: Record<'_>| {
        replayed.push((position.get(), record.body.to_vec()));
        Ok::<_, WalError>(())
    };
    let (wal, recovery) = Wal::recover(disk, Arc::new(SystemEntropy), writer, Position::ZERO, options, visit).unwrap();
    (wal, recovery, replayed)
}

#[test]
fn the_machines_file_system_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing/wal");
    let (mut wal, ..) = open(&path);
    let bodies: Vec<Vec<u8>> = (0..50_u8).map(|byte| vec![byte; 700]).collect();
    for group in bodies.chunks(7) {
        append(&mut wal, &group.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    }
    drop(wal);
    let (mut wal, recovery, replayed) = open(&path);
    assert!(recovery.damage.is_empty() && recovery.torn.is_empty());
    assert_eq!(replayed, (1..).zip(bodies).collect::<Vec<_>>());
    let on_disk =
        || std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert_eq!(wal.size_bytes(), on_disk() - 42);
    wal.purge(Position::new(49)).unwrap();
    assert!(wal.size_bytes() < 10_000 && wal.size_bytes() == on_disk() - 42);
    wal.purge(Position::new(50)).unwrap();
    drop(wal);
    let (mut wal, _, replayed) = open(&path);
    assert!(replayed.is_empty());
    assert!(*append(&mut wal, &[b"x"]).unwrap().start() > 50);
}

#[test]
fn a_torn_tail_is_reported_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (mut wal, ..) = open(directory.path());
    append(&mut wal, &[b"a", b"b"]).unwrap();
    drop(wal);
    let file = directory.path().join("wal-00000000000000000001.log");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    for _ in 0..2 {
        let (mut wal, recovery, replayed) = open(directory.path());
        assert_eq!(replayed[0], (1, b"a".to_vec()));
        assert_eq!((recovery.torn.len(), recovery.damage.len()), (1, 0));
        append(&mut wal, &[b"c"]).unwrap();
    }
    assert_eq!(std::fs::read(&file).unwrap().len(), whole.len() - 1);
}
