use promarchive_model::environment::Entropy as _;

use super::super::record::MIN_FRAME_BYTES;
use super::super::segment::HEADER_BYTES;
use super::*;

const HEADER: u64 = HEADER_BYTES as u64;

#[test]
fn what_is_appended_is_replayed_in_order() {
    let site = Site::new(1, 64 << 20);
    let mut first = site.open();
    assert_eq!(first.append(&["a", "", "c"]).unwrap(), 1..=3);
    assert_eq!(first.append(&["d"]).unwrap(), 4..=4);
    assert_eq!((first.wal.tail().get(), first.wal.durable().get()), (4, 4));
    let second = site.open();
    assert_eq!(second.texts(), [(1, "a"), (2, ""), (3, "c"), (4, "d")]);
    assert_eq!((second.recovery.records, second.recovery.body_bytes), (4, 3));
    assert!(second.recovery.damage.is_empty() && second.recovery.torn.is_empty() && second.recovery.behind.is_none());
    assert_eq!(second.wal.size_bytes(), first.wal.size_bytes());
}

#[test]
fn an_empty_group_is_an_empty_range_and_no_write() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.open();
    assert!(opened.append(&[]).unwrap().is_empty());
    assert_eq!(site.segments(), [""; 0]);
}

#[test]
fn a_process_never_appends_to_an_old_segment() {
    let site = Site::new(1, 64 << 20);
    site.open().append(&["a", "b"]).unwrap();
    site.open().append(&["c"]).unwrap();
    assert_eq!(site.segments(), ["wal-00000000000000000001.log", "wal-00000000000000000003.log"]);
    assert_eq!(site.open().texts(), [(1, "a"), (2, "b"), (3, "c")]);
}

#[test]
fn a_segment_ends_before_it_grows_too_long() {
    let site = Site::new(1, HEADER + 2 * (MIN_FRAME_BYTES as u64 + 10));
    let mut opened = site.open();
    // One group may go over several segments, and a record longer than a segment gets one of its own.
    let long = "y".repeat(1000);
    assert_eq!(opened.append(&["x123456789", "x123456789", "x123456789", &long, "z"]).unwrap(), 1..=5);
    let names = [1, 3, 4, 5].map(|first| format!("wal-{first:020}.log"));
    assert_eq!(site.segments(), names);
    let on_disk: u64 = names.iter().map(|name| site.disk.len(name).unwrap()).sum();
    assert_eq!(opened.wal.size_bytes(), on_disk);
    assert_eq!(site.open().texts().len(), 5);
}

#[test]
fn a_purge_deletes_whole_segments_and_keeps_the_position() {
    let site = Site::new(1, HEADER + MIN_FRAME_BYTES as u64 + 1);
    let mut opened = site.open();
    opened.append(&["a", "b", "c"]).unwrap();
    assert_eq!(site.segments().len(), 3);
    opened.purge(1).unwrap();
    assert_eq!(site.open().texts(), [(2, "b"), (3, "c")]);
    opened.purge(3).unwrap();
    assert_eq!(site.segments(), ["wal-00000000000000000004.log"]);
    assert_eq!(opened.wal.size_bytes(), HEADER);
    opened.purge(3).unwrap();
    assert_eq!(site.segments(), ["wal-00000000000000000004.log"]);
    // Nothing of the tables is known here (floor 0), yet no position comes twice.
    let mut next = site.open();
    assert!(next.recovery.damage.is_empty());
    assert_eq!(next.wal.durable().get(), 3);
    let positions = next.append(&["d"]).unwrap();
    assert!(*positions.start() > 3, "{positions:?}");
}

#[test]
fn a_purge_by_a_process_that_has_appended_nothing_keeps_the_position() {
    let site = Site::new(1, 64 << 20);
    site.open().append(&["a", "b"]).unwrap();
    let mut opened = site.open();
    opened.purge(1).unwrap();
    assert_eq!(site.open().texts().len(), 2);
    opened.purge(2).unwrap();
    assert_eq!(site.segments(), ["wal-00000000000000000003.log"]);
    assert_eq!(opened.append(&["c"]).unwrap(), 3..=3);
    let again = site.open();
    assert_eq!(again.texts(), [(3, "c")]);
    assert!(again.recovery.damage.is_empty());
}

#[test]
fn a_purge_touches_no_other_file() {
    let site = Site::new(1, 64 << 20);
    let others = ["wal-1.log", "wal-0000000000000000000x.log", "notes", "wal-00000000000000000001.log.damaged"];
    for name in others {
        site.disk.create_new(name).unwrap();
    }
    let mut opened = site.open();
    opened.append(&["a"]).unwrap();
    opened.purge(1).unwrap();
    let names = site.disk.list().unwrap();
    assert!(others.iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
}

#[test]
fn positions_start_above_what_the_tables_have_committed() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.try_open(41).unwrap();
    assert_eq!(opened.append(&["a"]).unwrap(), 42..=42);
    let mut later = site.try_open(41).unwrap();
    assert_eq!((later.texts(), later.recovery.behind.clone()), (vec![(42, "a")], None));
    assert_eq!(later.append(&["b"]).unwrap(), 43..=43);
}

#[test]
fn tables_that_are_ahead_of_the_wal_are_reported() {
    let site = Site::new(1, 64 << 20);
    site.open().append(&["a"]).unwrap();
    let opened = site.try_open(5).unwrap();
    assert_eq!(opened.recovery.behind, Some(Position::new(2)..=Position::new(5)));
    assert!(site.try_open(1).unwrap().recovery.behind.is_none());
}

#[test]
fn there_is_an_end_of_positions() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.try_open(Position::MAX.get() - 2).unwrap();
    assert!(matches!(opened.append(&["a", "b"]), Err(WalError::PositionsExhausted { .. })));
    assert_eq!(opened.append(&["a"]).unwrap(), Position::MAX.get() - 1..=Position::MAX.get() - 1);
    assert!(matches!(opened.append(&["a"]), Err(WalError::PositionsExhausted { .. })));
    assert_eq!(site.open().texts().len(), 1);
}

#[test]
fn a_body_of_the_largest_size_fits_and_no_larger_one() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.open();
    let body = vec![7; super::super::MAX_BODY_BYTES + 1];
    let error = append(&mut opened.wal, &[b"a", &body]).unwrap_err();
    assert!(matches!(error, WalError::RecordTooLarge { .. }) && !error.is_retryable());
    assert_eq!(append(&mut opened.wal, &[&body[1..], b"b"]).unwrap(), 1..=2);
    let replayed = site.open().replayed;
    assert!(replayed[0].1 == body[1..] && replayed[1].1 == b"b");
}

#[test]
fn the_visitor_can_stop_the_replay() {
    let site = Site::new(1, 64 << 20);
    site.open().append(&["a", "b"]).unwrap();
    let writer = load_or_create_writer(&site.disk, &*site.entropy).unwrap();
    let disk = Arc::new(site.disk.clone());
    let mut seen = 0;
    let result = Wal::recover(disk, site.entropy.clone(), writer, Position::ZERO, Options::default(), |_, _| {
        seen += 1;
        Err(WalError::RecordTooLarge { length: 0 })
    });
    assert!(matches!(result, Err(WalError::RecordTooLarge { .. })));
    assert_eq!(seen, 1);
}

#[test]
fn the_writer_id_is_born_once() {
    let site = Site::new(1, 64 << 20);
    let id = load_or_create_writer(&site.disk, &*site.entropy).unwrap();
    site.disk.crash(&*site.entropy);
    assert_eq!(load_or_create_writer(&site.disk, &*site.entropy).unwrap(), id);
    assert_eq!(id.to_string().len(), 32);
    // An editor's line end more or less is no damage.
    site.disk.tamper("writer", |bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!(load_or_create_writer(&site.disk, &*site.entropy).unwrap(), id);
}

#[test]
fn a_writer_id_torn_at_birth_is_made_anew() {
    let written = Site::new(1, 64 << 20);
    load_or_create_writer(&written.disk, &*written.entropy).unwrap();
    let whole = written.disk.read("writer", u64::MAX).unwrap();
    for length in 0..whole.len() - 1 {
        let site = Site::of(&[("writer".to_owned(), whole[..length].to_vec())]);
        let id = load_or_create_writer(&site.disk, &*site.entropy).unwrap();
        assert_eq!(load_or_create_writer(&site.disk, &SeededEntropy::new(9)).unwrap(), id);
    }
}

#[test]
fn a_lost_writer_id_is_not_replaced_while_there_are_segments() {
    let site = Site::new(1, 64 << 20);
    site.open().append(&["a"]).unwrap();
    let line = String::from_utf8(site.disk.read("writer", u64::MAX).unwrap()).unwrap();
    for digit in 0..line.len() - 1 {
        site.disk.tamper("writer", |bytes| bytes[digit] = if bytes[digit] == b'0' { b'1' } else { b'0' });
        let error = site.try_open(0).err().expect("refused");
        assert!(error.to_string().contains(line.trim_end()) && !error.is_retryable(), "{error}");
        site.disk.tamper("writer", |bytes| *bytes = line.clone().into_bytes());
    }
    site.disk.remove("writer").unwrap();
    let error = site.try_open(0).err().expect("refused");
    assert!(matches!(error, WalError::WriterIdLost { missing: true, .. }));
    // What the message says helps.
    site.disk.create_new("writer").unwrap().write_all(line.trim_end().as_bytes()).unwrap();
    assert_eq!(site.open().texts(), [(1, "a")]);
}

#[test]
fn segments_get_different_salts() {
    let entropy = SeededEntropy::new(3);
    assert_ne!(entropy.next_u64(), entropy.next_u64());
    let site = Site::new(1, HEADER);
    site.open().append(&["a", "a"]).unwrap();
    let frames: Vec<_> = site
        .segments()
        .iter()
        .map(|name| site.disk.read(name, u64::MAX).unwrap()[HEADER_BYTES..][..4].to_vec())
        .collect();
    assert_eq!(frames.len(), 2);
    assert_ne!(frames[0], frames[1]);
}
