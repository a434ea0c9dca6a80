//! Segments that no program has written, with checksums that hold.

use super::*;

const MAGIC: &[u8] = b"promwal\n";
const SALT: u64 = 0x1122_3344_5566_7788;
const MOST_FILES: usize = 4;
const MOST_PIECES: usize = 24;

pub(super) fn check(mut script: Script<'_>) {
    let files = forge(&mut script);
    let disk = disk_of(&files);
    let entropy = Arc::new(SeededEntropy::new(2));
    match open(&disk, &entropy) {
        Ok(opened) => {
            let is_there = |body: &[u8]| {
                body.is_empty() || files.iter().any(|(_, file)| file.windows(body.len()).any(|window| window == body))
            };
            assert!(opened.replayed.iter().all(|(_, body)| is_there(body)), "replayed what is in no file");
            assert_usable(&disk, &entropy, opened);
        }
        Err(error) => assert!(
            matches!(error, WalError::UnknownVersion { .. } | WalError::ForeignSegment { .. }),
            "does not open: {error}"
        ),
    }
}

fn forge(script: &mut Script<'_>) -> Files {
    let mut files = Files::new();
    for _ in 0..MOST_FILES {
        if script.is_over() {
            break;
        }
        let first = script.position();
        let name = format!("wal-{first:020}.log");
        if !files.iter().any(|(other, _)| *other == name) {
            files.push((name, segment(first, script)));
        }
    }
    files
}

fn segment(first: u64, script: &mut Script<'_>) -> Vec<u8> {
    let kind = script.byte();
    if kind == 255 {
        return script.bytes().to_vec();
    }
    let durable = script.position();
    let version = if kind & 64 == 0 { 1 } else { u32::from(script.byte()) };
    let writer = if kind & 32 == 0 { WRITER } else { WriterId::from_u128(script.position().into()) };
    let copy = header(version, writer, if kind & 16 == 0 { first } else { script.position() }, durable);
    let mut bytes = vec![0; HEADER_BYTES];
    for (bit, at) in [1, 2].into_iter().zip(COPIES) {
        if kind & bit == 0 {
            bytes[at..at + COPY_BYTES].copy_from_slice(&copy);
        }
    }
    let mut position = first;
    for _ in 0..MOST_PIECES {
        match script.byte() {
            0 => break,
            choice => piece(choice, &mut position, script, &mut bytes),
        }
    }
    if kind & 4 != 0 {
        bytes.truncate(script.number());
    }
    bytes
}

fn header(version: u32, writer: WriterId, first: u64, durable: u64) -> Vec<u8> {
    let mut copy = [MAGIC, &version.to_le_bytes()].concat();
    copy.extend(crc32c::crc32c(&copy).to_le_bytes());
    copy.extend(u128::from_str_radix(&writer.to_string(), 16).expect("32 digits").to_be_bytes());
    for number in [SALT, first, durable] {
        copy.extend(number.to_le_bytes());
    }
    copy.extend(crc32c::crc32c(&copy).to_le_bytes());
    copy
}

/// A frame that holds, one with something wrong in it, or no frame.
fn piece(choice: u8, position: &mut u64, script: &mut Script<'_>, out: &mut Vec<u8>) {
    if choice & 7 == 7 {
        return out.extend_from_slice(script.bytes());
    }
    if choice & 8 != 0 {
        *position = script.position();
    }
    let protocol = if choice & 16 == 0 { 1 + (choice >> 7) } else { script.byte() };
    let mut payload = vec![protocol];
    payload.extend([0; 16]);
    payload.extend_from_slice(script.bytes());
    if choice & 32 != 0 {
        payload.truncate(script.byte().into());
    }
    let length = payload.len() as u32;
    let sum = crc32c::crc32c(&SALT.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &length.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &position.to_le_bytes());
    let mut sum = crc32c::crc32c_append(sum, &payload);
    let mut sent_length = length;
    match choice & 7 {
        5 => sum ^= 1,
        6 => sent_length = u32::from(script.byte()) << (script.byte() % 32),
        _ => {}
    }
    out.extend_from_slice(&SALT.to_le_bytes()[..4]);
    out.extend(sent_length.to_le_bytes());
    out.extend(position.to_le_bytes());
    out.extend(sum.to_le_bytes());
    out.extend(payload);
    *position = position.wrapping_add(1);
}
