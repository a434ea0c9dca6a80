use std::io::ErrorKind::StorageFull;

use super::super::Faults;
use super::super::segment::HEADER_BYTES;
use super::*;

const HEADER: u64 = HEADER_BYTES as u64;

fn fail_sync(nth: u64) -> Faults {
    Faults { fail_sync: Some(nth), ..Faults::default() }
}

#[test]
fn a_failed_sync_ends_the_segment_and_uses_up_the_positions() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.open();
    opened.append(&["a"]).unwrap();
    site.disk.set_faults(fail_sync(1));
    let error = opened.append(&["b", "c"]).unwrap_err();
    assert!(error.is_retryable() && !error.is_kind(StorageFull), "{error}");
    assert_eq!((opened.wal.tail().get(), opened.wal.durable().get()), (3, 1));
    assert_eq!(opened.append(&["d"]).unwrap(), 4..=4);
    assert_eq!(site.segments(), ["wal-00000000000000000001.log", "wal-00000000000000000004.log"]);
    site.disk.crash(&*site.entropy);
    let again = site.open();
    assert_eq!(again.texts(), [(1, "a"), (4, "d")]);
    assert!(again.recovery.damage.is_empty());
}

#[test]
fn a_refused_record_is_not_replayed_once_a_later_segment_exists() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.open();
    opened.append(&["a"]).unwrap();
    let name = site.segments()[0].clone();
    let before = site.disk.read(&name, u64::MAX).unwrap();
    opened.append(&["b"]).unwrap();
    let with_b = site.disk.read(&name, u64::MAX).unwrap();
    site.disk.tamper(&name, |bytes| *bytes = before);
    let mut opened = site.open();
    opened.append(&["c"]).unwrap();
    // As if the sync of "b" had failed, and the cut after it, too: the header of "c" says that only "a" counts.
    site.disk.tamper(&name, |bytes| *bytes = with_b);
    let again = site.open();
    assert_eq!(again.texts(), [(1, "a"), (2, "c")]);
    assert!(again.recovery.damage.is_empty());
}

#[test]
fn a_full_disk_refuses_and_then_works_by_itself() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.open();
    opened.append(&["a"]).unwrap();
    let used: usize = site.files().iter().map(|(_, bytes)| bytes.len()).sum();
    site.disk.set_faults(Faults { capacity: Some(used as u64 + 10), ..Faults::default() });
    for _ in 0..3 {
        let error = opened.append(&["b"]).unwrap_err();
        assert!(error.is_retryable() && error.is_kind(StorageFull), "{error}");
        assert!(error.to_string().contains("full"), "{error}");
    }
    // What did not fit is cut off, and no empty segments pile up.
    assert_eq!(site.files().iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), used);
    assert_eq!(opened.wal.size_bytes(), site.disk.len(&site.segments()[0]).unwrap());
    site.disk.set_faults(Faults::default());
    let positions = opened.append(&["c"]).unwrap();
    let again = site.open();
    assert_eq!(again.texts(), [(1, "a"), (*positions.start(), "c")]);
    assert!(again.recovery.damage.is_empty() && again.recovery.torn.is_empty());
}

#[test]
fn a_full_disk_can_be_opened_replayed_and_purged() {
    let site = Site::new(1, HEADER + 100);
    site.open().append(&["a", &"b".repeat(50), "c"]).unwrap();
    let used: usize = site.files().iter().map(|(_, bytes)| bytes.len()).sum();
    site.disk.set_faults(Faults { capacity: Some(used as u64), ..Faults::default() });
    let mut opened = site.open();
    assert_eq!(opened.replayed.len(), 3);
    assert!(opened.append(&["d"]).unwrap_err().is_kind(StorageFull));
    opened.purge(3).unwrap();
    assert_eq!(opened.wal.size_bytes(), HEADER);
    opened.append(&["d"]).unwrap();
}

#[test]
fn a_read_only_disk_is_named() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.open();
    opened.append(&["a"]).unwrap();
    site.disk.set_faults(Faults { read_only: true, ..Faults::default() });
    let error = opened.append(&["b"]).unwrap_err();
    assert!(error.to_string().contains("read-only") && error.is_retryable(), "{error}");
    site.disk.set_faults(Faults::default());
    opened.append(&["c"]).unwrap();
    assert_eq!(site.open().replayed.len(), 2);
}

#[test]
fn an_unreadable_disk_is_an_error_and_no_reason_to_cut() {
    let site = Site::new(1, 64 << 20);
    site.open().append(&["a"]).unwrap();
    site.disk.set_faults(Faults { unreadable: true, ..Faults::default() });
    let error = site.try_open(0).err().expect("refused");
    assert!(error.is_retryable() && error.to_string().contains("kernel log"), "{error}");
    site.disk.set_faults(Faults::default());
    assert_eq!(site.open().texts(), [(1, "a")]);
}

#[test]
fn what_is_replayed_after_a_kill_is_made_durable_first() {
    let site = Site::new(1, 64 << 20);
    let mut opened = site.open();
    opened.append(&["a"]).unwrap();
    // Dead between the write and its sync: the page cache still has the record.
    site.disk.set_faults(Faults { die_at: Some(2), ..Faults::default() });
    opened.append(&["b"]).unwrap_err();
    site.disk.kill();
    assert_eq!(site.open().texts(), [(1, "a"), (2, "b")]);
    for _ in 0..20 {
        site.disk.crash(&*site.entropy);
        assert_eq!(site.open().texts(), [(1, "a"), (2, "b")]);
    }
}

#[test]
fn a_death_anywhere_while_a_segment_is_made_leaves_nothing_to_complain_about() {
    for step in 1..=8 {
        for crash in [false, true] {
            let site = Site::new(step, HEADER);
            let mut opened = site.open();
            opened.append(&["a"]).unwrap();
            site.disk.set_faults(Faults { die_at: Some(step), ..Faults::default() });
            let acknowledged = opened.append(&["b"]).is_ok();
            if crash {
                site.disk.crash(&*site.entropy)
            } else {
                site.disk.kill()
            }
            let mut again = site.open();
            assert!(again.recovery.damage.is_empty(), "step {step}: {:?}", again.recovery.damage);
            let texts = again.texts();
            assert!(texts == [(1, "a"), (2, "b")] || (!acknowledged && texts == [(1, "a")]), "step {step}: {texts:?}");
            again.append(&["c"]).unwrap();
            let last = site.open();
            assert!(last.recovery.damage.is_empty(), "step {step}: {:?}", last.recovery.damage);
            assert_eq!(last.texts().last().unwrap().1, "c");
        }
    }
}

#[test]
fn an_interrupted_purge_leaves_a_suffix_and_goes_on_later() {
    for step in 1..=12 {
        for crash in [false, true] {
            let site = Site::new(step, HEADER);
            let mut opened = site.open();
            opened.append(&["a", "b", "c", "d"]).unwrap();
            site.disk.set_faults(Faults { die_at: Some(step), ..Faults::default() });
            let _ = opened.purge(3);
            if crash {
                site.disk.crash(&*site.entropy)
            } else {
                site.disk.kill()
            }
            let mut again = site.open();
            assert!(again.recovery.damage.is_empty(), "step {step}: {:?}", again.recovery.damage);
            assert!([(1, "a"), (2, "b"), (3, "c"), (4, "d")].ends_with(&again.texts()) && !again.replayed.is_empty());
            again.purge(4).unwrap();
            assert_eq!(again.wal.size_bytes(), HEADER);
            assert_eq!(site.segments().len(), 1);
        }
    }
}

#[test]
fn a_purge_whose_directory_sync_failed_is_completed_by_the_next() {
    let site = Site::new(1, HEADER);
    let mut opened = site.open();
    opened.append(&["a", "b", "c"]).unwrap();
    // The removal happens, its sync does not.
    site.disk.set_faults(Faults { die_at: Some(2), ..Faults::default() });
    opened.purge(2).unwrap_err();
    site.disk.set_faults(Faults::default());
    opened.purge(2).unwrap();
    site.disk.crash(&*site.entropy);
    assert_eq!(site.open().texts(), [(3, "c")]);
}
