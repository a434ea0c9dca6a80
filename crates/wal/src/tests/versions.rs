//! Two formats of records, and programs that know only the older one.

use super::*;

/// A record that the older format cannot hold.
fn labelled(body: &[u8]) -> Record<'_> {
    Record { label: SetLabel::new("sender", "team/k8s"), ..plain(body) }
}

/// A record that it can.
fn plain(body: &[u8]) -> Record<'_> {
    Record { protocol: Protocol::V1, received_at: 1, accept_until: 2, accept_from: i64::MIN, label: None, body }
}

/// The version that each segment's header names, by the position in its name.
fn versions(site: &Site) -> Vec<(String, u8)> {
    let files = site.files().into_iter().filter(|(name, _)| SegmentName::parse(name).is_some());
    files.map(|(name, bytes)| (name[22..24].to_owned(), bytes[8])).collect()
}

fn open(site: &Site) -> (Wal, Vec<(u64, String)>) {
    let writer = load_or_create_writer(&site.disk, &*site.entropy).unwrap();
    let mut replayed = Vec::new();
    let visit = |position: Position, record: Record<'_>| {
        replayed.push((position.get(), format!("{:?}", Record { received_at: 0, accept_until: 0, ..record })));
        Ok::<_, WalError>(())
    };
    let options = Options { segment_bytes: site.segment_bytes };
    let (wal, recovery) =
        Wal::recover(Arc::new(site.disk.clone()), site.entropy.clone(), writer, Position::ZERO, options, visit)
            .unwrap();
    assert!(recovery.damage.is_empty() && recovery.torn.is_empty(), "{recovery:?}");
    (wal, replayed)
}

#[test]
fn a_segment_has_the_oldest_version_that_can_hold_its_records() {
    let site = Site::new(1, 64 << 20);
    let (mut wal, _) = open(&site);
    let earliest = Record { accept_from: -7, ..plain(b"c") };
    let records = [plain(b"a"), labelled(b"b"), earliest, plain(b"d")];
    assert_eq!(wal.append_group(&records[..1]).unwrap().start().get(), 1);
    assert_eq!(versions(&site), [("01".to_owned(), 1)], "as before there was another version");
    assert_eq!(wal.append_group(&records[1..]).unwrap().start().get(), 2);
    assert_eq!(wal.append_group(&records[..1]).unwrap().start().get(), 5);
    assert_eq!(versions(&site), [("01".to_owned(), 1), ("02".to_owned(), 2)], "one that can hold it goes on");
    let (_, replayed) = open(&site);
    let sent = records.iter().chain(&records[..1]);
    let sent = sent.map(|record| format!("{:?}", Record { received_at: 0, accept_until: 0, ..*record }));
    assert_eq!(replayed, (1..).zip(sent).collect::<Vec<_>>());
}

/// Whoever goes back to an earlier version lets the newer one flush and stop before.
#[test]
fn what_a_flush_leaves_is_of_the_oldest_version() {
    let site = Site::new(1, 64 << 20);
    let (mut wal, _) = open(&site);
    wal.append_group(&[labelled(b"a")]).unwrap();
    wal.end_segment();
    wal.purge(Position::new(1)).unwrap();
    assert_eq!(versions(&site), [("02".to_owned(), 1)]);

    // Its name is taken, so that the next one has another position.
    let positions = wal.append_group(&[labelled(b"b"), plain(b"c")]).unwrap();
    assert_eq!((positions.start().get(), positions.end().get()), (3, 4));
    assert_eq!(versions(&site), [("02".to_owned(), 1), ("03".to_owned(), 2)]);
    let (mut wal, replayed) = open(&site);
    assert_eq!(replayed.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [3, 4]);
    wal.purge(Position::new(4)).unwrap();
    assert_eq!(versions(&site).len(), 1);
}

#[test]
fn a_record_of_the_newer_version_has_the_documented_bytes() {
    let site = Site::new(1, 64 << 20);
    let (mut wal, _) = open(&site);
    let record = Record { received_at: 1, accept_until: 2, accept_from: 3, ..labelled(b"body") };
    wal.append_group(&[record]).unwrap();
    let (_, segment) = site.files().into_iter().find(|(name, _)| SegmentName::parse(name).is_some()).unwrap();
    let payload = [
        &[1][..],
        &1_i64.to_le_bytes(),
        &2_i64.to_le_bytes(),
        &3_i64.to_le_bytes(),
        b"\x06sender",
        b"\x08team/k8s",
        b"body",
    ]
    .concat();
    assert_eq!(segment[4160 + 20..], payload);
}
