use proptest::prelude::*;

use super::super::record::MIN_FRAME_BYTES;
use super::super::segment::{HEADER_BYTES, Header, Salt, Version};
use super::*;

type Replayed = (u64, Vec<u8>);

const FIRST: &str = "wal-00000000000000000001.log";

/// A directory with one segment, or two, and what it holds.
fn written(groups: &[&[&str]]) -> (Vec<(String, Vec<u8>)>, Vec<Replayed>) {
    let site = Site::new(5, 64 << 20);
    for group in groups {
        site.open().append(group).unwrap();
    }
    (site.files(), site.open().replayed)
}

fn with(files: &[(String, Vec<u8>)], name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Site {
    let site = Site::of(files);
    assert!(site.disk.tamper(name, change));
    site
}

fn positions(range: Option<RangeInclusive<Position>>) -> Vec<u64> {
    range.map_or_else(Vec::new, |range| (range.start().get()..=range.end().get()).collect())
}

/// The positions of the frames, and where each begins and ends.
fn frames(records: &[Replayed]) -> Vec<(u64, usize, usize)> {
    let mut start = HEADER_BYTES;
    let mut frames = Vec::new();
    for (position, body) in records {
        frames.push((*position, start, start + MIN_FRAME_BYTES + body.len()));
        start += MIN_FRAME_BYTES + body.len();
    }
    frames
}

#[test]
fn a_flipped_byte_in_the_middle_loses_its_own_record_only() {
    // All but the last record of the last segment; and every record of an earlier one.
    for (groups, judged) in
        [(&[&["alpha", "beta", "gamma", ""][..]][..], 3), (&[&["alpha", "beta", "gamma"], &["z"]], 3)]
    {
        let (files, records) = written(groups);
        for (victim, start, end) in frames(&records).into_iter().take(judged) {
            for offset in start..end {
                let site = with(&files, FIRST, |bytes| bytes[offset] ^= 0x41);
                let opened = site.open();
                let expected: Vec<_> = records.iter().filter(|(position, _)| *position != victim).cloned().collect();
                assert_eq!(opened.replayed, expected, "offset {offset}");
                let [damage] = &opened.recovery.damage[..] else { panic!("offset {offset}: {:?}", opened.recovery) };
                assert_eq!(
                    (damage.file.as_str(), damage.offset, damage.length),
                    (FIRST, start as u64, (end - start) as u64)
                );
                assert_eq!(positions(damage.missing.clone()), [victim]);
                assert!(opened.wal.tail().get() >= records.last().unwrap().0);
            }
        }
    }
}

#[test]
fn a_flipped_byte_in_the_very_last_record_looks_torn() {
    let (files, records) = written(&[&["alpha", "beta"]]);
    let (_, start, end) = frames(&records)[1];
    for offset in start..end {
        let opened = with(&files, FIRST, |bytes| bytes[offset] ^= 1).open();
        assert_eq!(opened.replayed, records[..1]);
        assert!(opened.recovery.damage.is_empty());
        assert_eq!(opened.recovery.torn.len(), 1);
        assert_eq!(
            (opened.recovery.torn[0].offset, opened.recovery.torn[0].length),
            (start as u64, (end - start) as u64)
        );
    }
}

#[test]
fn a_flipped_byte_in_the_header_loses_nothing() {
    let (files, records) = written(&[&["alpha", "beta"], &["gamma"]]);
    for offset in 0..HEADER_BYTES {
        let opened = with(&files, FIRST, |bytes| bytes[offset] ^= 0x10).open();
        assert_eq!(opened.replayed, records, "offset {offset}");
        let in_a_copy = offset % 4096 < 60;
        assert_eq!(opened.recovery.damage.len(), usize::from(in_a_copy), "offset {offset}");
        assert!(opened.recovery.damage.iter().all(|damage| damage.missing.is_none()));
    }
}

#[test]
fn a_header_copy_of_another_segment_loses_nothing() {
    let (files, records) = written(&[&["alpha", "beta"], &["gamma"]]);
    let other: Vec<u8> = files.iter().find(|(name, _)| name.ends_with("3.log")).unwrap().1[..60].to_vec();
    for at in [0, 4096] {
        let opened = with(&files, FIRST, |bytes| bytes[at..at + 60].copy_from_slice(&other)).open();
        assert_eq!(opened.replayed, records, "copy at {at}");
        assert_eq!(opened.recovery.damage.len(), 1);
        assert!(opened.recovery.damage[0].missing.is_none());
    }
}

#[test]
fn an_unreadable_segment_does_not_keep_the_others_from_being_replayed() {
    let (files, records) = written(&[&["a", "b"], &["c", "d", "e"], &["f"]]);
    let smash = |bytes: &mut Vec<u8>| bytes[..HEADER_BYTES].fill(0xee);
    for (first, lost) in [(1, 1..=2), (3, 3..=5), (6, 6..=6)] {
        let name = format!("wal-{first:020}.log");
        let site = with(&files, &name, smash);
        let damaged = site.disk.read(&name, u64::MAX).unwrap();
        let mut opened = site.open();
        let expected: Vec<_> = records.iter().filter(|(position, _)| !lost.contains(position)).cloned().collect();
        assert_eq!(opened.replayed, expected);
        let [damage] = &opened.recovery.damage.clone()[..] else { panic!("{:?}", opened.recovery) };
        assert_eq!((damage.file.clone(), positions(damage.missing.clone())), (name.clone(), lost.collect::<Vec<_>>()));
        // It is reported again, the copy stays the same, and the purge takes only the original.
        assert_eq!(*opened.append(&["g"]).unwrap().start(), 7);
        let again = site.open();
        assert_eq!(again.recovery.damage, opened.recovery.damage);
        opened.purge(7).unwrap();
        assert_eq!(site.segments().len(), 1);
        assert_eq!(site.disk.read(damage.set_aside.as_ref().unwrap(), u64::MAX).unwrap(), damaged);
        assert!(site.open().recovery.damage.is_empty());
    }
}

#[test]
fn what_is_lost_before_an_unreadable_segment_is_reported_too() {
    let (files, _) = written(&[&["a", "b"], &["c"], &["d"]]);
    let unreadable = "wal-00000000000000000003.log";
    for cut in [0, HEADER_BYTES] {
        let site = with(&files, FIRST, |bytes| bytes.truncate(cut));
        assert!(site.disk.tamper(unreadable, Vec::clear));
        let opened = site.open();
        assert_eq!(opened.texts(), [(4, "d")]);
        let missing: Vec<_> =
            opened.recovery.damage.iter().flat_map(|damage| positions(damage.missing.clone())).collect();
        assert_eq!(missing, [1, 2, 3], "cut to {cut} bytes: {:?}", opened.recovery);
    }
}

#[test]
fn a_segment_that_is_cut_or_gone_is_noticed() {
    let (files, records) = written(&[&["a", "b", "c"], &["d"]]);
    let (_, start, _) = frames(&records)[1];
    let opened = with(&files, FIRST, |bytes| bytes.truncate(start)).open();
    assert_eq!(opened.texts(), [(1, "a"), (4, "d")]);
    assert_eq!(positions(opened.recovery.damage[0].missing.clone()), [2, 3]);
    assert_eq!((opened.recovery.damage[0].offset, opened.recovery.damage[0].length), (start as u64, 0));
    // As long as nobody says that the tables have what is missing, the report stays.
    let site = with(&files, FIRST, |bytes| bytes.truncate(start));
    site.open().purge(1).unwrap();
    assert_eq!(site.open().recovery.damage.len(), 1);
    site.open().purge(3).unwrap();
    assert_eq!(site.open().recovery.damage.len(), 0);
    let opened = with(&files, FIRST, Vec::clear).open();
    assert_eq!(opened.texts(), [(4, "d")]);
    assert_eq!(positions(opened.recovery.damage[0].missing.clone()), [1, 2, 3]);
}

#[test]
fn a_lost_segment_between_two_is_reported() {
    let (files, _) = written(&[&["a"], &["b", "c"], &["d"]]);
    let site = Site::of(&files);
    site.disk.remove("wal-00000000000000000002.log").unwrap();
    let opened = site.open();
    assert_eq!(opened.texts(), [(1, "a"), (4, "d")]);
    assert_eq!(positions(opened.recovery.damage[0].missing.clone()), [2, 3]);
}

#[test]
fn a_torn_tail_of_any_length_costs_only_itself() {
    let (files, records) = written(&[&["alpha", "beta", "gamma"]]);
    let frames = frames(&records);
    for length in 0..=frames[2].2 {
        let site = with(&files, FIRST, |bytes| bytes.truncate(length));
        let mut opened = site.open();
        let whole = frames.iter().filter(|(_, _, end)| *end <= length).count();
        assert_eq!(opened.replayed, records[..whole], "length {length}");
        assert!(opened.recovery.damage.is_empty(), "length {length}");
        opened.append(&["next"]).unwrap();
        let again = site.open();
        assert_eq!(again.replayed.len(), whole + 1);
        assert!(again.recovery.damage.is_empty(), "length {length}: {:?}", again.recovery.damage);
    }
}

#[test]
fn a_newer_format_and_a_foreign_segment_are_left_alone() {
    let (files, _) = written(&[&["a"]]);
    let site = with(&files, FIRST, |bytes| {
        bytes[8] = 3;
        let sum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
        bytes[12..16].copy_from_slice(&sum);
    });
    let error = site.try_open(0).err().expect("refused");
    assert!(matches!(&error, WalError::UnknownVersion { version: 3, .. }) && !error.is_retryable(), "{error}");
    assert!(error.to_string().contains(FIRST));

    let other = Site::new(77, 64 << 20);
    other.open().append(&["a"]).unwrap();
    other.open().append(&["b"]).unwrap();
    let (stray, bytes) = other.files().into_iter().find(|(name, _)| name.ends_with("2.log")).unwrap();
    let site = Site::of(&[&files[..], &[(stray, bytes)]].concat());
    let error = site.try_open(0).err().expect("refused");
    assert!(matches!(error, WalError::ForeignSegment { .. }) && !error.is_retryable());
}

/// A frame as a sender would have to forge it.
fn forged(position: u64, salt: Salt) -> Vec<u8> {
    let mut frame = Vec::new();
    record(b"forged").encode(Position::new(position), salt, Version::One, &mut frame);
    frame
}

fn salt_of(segment: &[u8]) -> Salt {
    Header::decode(segment, Position::new(1)).unwrap().0.salt
}

#[test]
fn a_frame_inside_a_body_is_not_resurrected() {
    // A sender knows nothing of the salt (0). Even with the marker, its lower half, the checksum would fail; only who knew all
    // of it, as the last run does from the first, could forge a frame.
    let mut salt = 0;
    for (known_bits, forgery_succeeds) in [(0, false), (u64::from(u32::MAX), false), (u64::MAX, true)] {
        let known = Salt::new(salt & known_bits);
        let site = Site::new(5, 64 << 20);
        let body = [&b"body "[..], &forged(2, known), b" more"].concat();
        append(&mut site.open().wal, &[b"first", &body, b"third"]).unwrap();
        salt = u64::from_le_bytes(salt_of(&site.disk.read(FIRST, u64::MAX).unwrap()).bytes());
        let container = HEADER_BYTES + MIN_FRAME_BYTES + b"first".len();
        site.disk.tamper(FIRST, |bytes| bytes[container] ^= 1);
        let opened = site.open();
        let bodies: Vec<_> = opened.replayed.iter().map(|(_, body)| body.as_slice()).collect();
        assert_eq!(bodies.contains(&&b"forged"[..]), forgery_succeeds);
        assert!(bodies.contains(&&b"first"[..]) && bodies.contains(&&b"third"[..]));
        assert!(!opened.recovery.damage.is_empty());
    }
}

#[test]
fn a_full_disk_does_not_keep_a_damaged_wal_from_opening() {
    let (files, _) = written(&[&["a", "b"]]);
    let site = with(&files, FIRST, |bytes| bytes[HEADER_BYTES] ^= 1);
    site.disk.set_faults(super::super::Faults { capacity: Some(0), ..Default::default() });
    let opened = site.open();
    assert_eq!((opened.texts(), &opened.recovery.damage[0].set_aside), (vec![(2, "b")], &None));
    site.disk.set_faults(super::super::Faults::default());
    assert!(site.open().recovery.damage[0].set_aside.is_some());
}

#[test]
fn messages_name_the_place_and_what_to_do() {
    let (files, _) = written(&[&["a", "b"], &["c"]]);
    let opened = with(&files, FIRST, |bytes| bytes[HEADER_BYTES] ^= 1).open();
    assert_eq!(
        opened.recovery.damage[0].to_string(),
        "WAL segment wal-00000000000000000001.log is damaged: 38 bytes at offset 4160 cannot be read; records 1 to 1 \
         may be lost; all other records are replayed; a copy of the segment is kept as \
         wal-00000000000000000001.log.damaged"
    );
    let opened = with(&files, "wal-00000000000000000003.log", |bytes| bytes.truncate(bytes.len() - 1)).open();
    assert_eq!(
        opened.recovery.torn[0].to_string(),
        "the last 37 bytes of WAL segment wal-00000000000000000003.log, from offset 4160, are an incomplete write \
         that was never acknowledged"
    );
}

proptest! {
    /// Whatever happens to the bytes: no panic, no record that was never written, none that the damage has not touched is lost.
    #[test]
    fn damage_of_any_shape_costs_only_what_it_touches(
        segment in 0_usize..3,
        place in 0.0..1.0,
        noise in prop::collection::vec(any::<u8>(), 1..300),
        zero in any::<bool>(),
    ) {
        let (files, records) = written(&[&["alpha", "", "gamma gamma"], &["delta", "epsilon"], &["zeta", "eta"]]);
        let names: Vec<_> = files.iter().map(|(name, _)| name.clone()).filter(|name| SegmentName::parse(name).is_some()).collect();
        let mut touched = 0..0;
        let site = with(&files, &names[segment], |bytes| {
            let start = (place * bytes.len() as f64) as usize;
            let end = (start + noise.len()).min(bytes.len());
            touched = start..end;
            let noise = if zero { vec![0; noise.len()] } else { noise };
            bytes[start..end].copy_from_slice(&noise[..end - start]);
        });
        let opened = site.open();
        let first: u64 = names[segment][4..24].parse().unwrap();
        let held: Vec<_> = records.iter().skip_while(|(position, _)| *position < first).cloned().collect();
        let hit: Vec<u64> = frames(&held).into_iter().filter(|(_, start, end)| *start < touched.end && touched.start < *end)
            .map(|(position, ..)| position).collect();
        for (position, body) in &opened.replayed {
            prop_assert!(records.contains(&(*position, body.clone())));
        }
        let header_gone = touched.start < 60 && touched.end > 4096;
        for record in &records {
            let may_be_lost = hit.contains(&record.0) || (header_gone && record.0 >= first);
            prop_assert!(may_be_lost || opened.replayed.contains(record), "{record:?} lost, {touched:?} touched");
        }
        prop_assert!(opened.replayed.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let reported: Vec<u64> = opened.recovery.damage.iter().flat_map(|damage| positions(damage.missing.clone())).collect();
        for (position, _) in &records {
            let there = opened.replayed.iter().any(|(replayed, _)| replayed == position);
            prop_assert!(there || reported.contains(position) || !opened.recovery.torn.is_empty());
        }
    }

    /// A file of that name with anything in it.
    #[test]
    fn any_bytes_under_a_segments_name_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..9000), first in 0_u64..12) {
        let (mut files, records) = written(&[&["alpha", "beta"], &["gamma"]]);
        let name = format!("wal-{:020}.log", first);
        if files.iter().all(|(other, _)| *other != name) {
            files.push((name, bytes));
            let opened = Site::of(&files).open();
            prop_assert!(records.iter().all(|record| opened.replayed.contains(record)));
            prop_assert_eq!(opened.replayed.len(), records.len());
        }
    }
}
