//! Snappy block format: a varint with the decoded length, then literals and copies.
//! <https://github.com/google/snappy/blob/main/format_description.txt>

use super::DecodeError;

/// The longest copy (64 bytes) takes 3 bytes: no body decodes to more than 64/3 of its size.
const MAX_EXPANSION: (u64, u64) = (64, 3);

/// Decompresses `body` (block format, never framed) into `out`, whose capacity is reused and whose contents are
/// replaced.
///
/// The declared length is checked against `limit` (bytes), and against what a body of this size can hold at all, before
/// anything is allocated.
///
/// # Errors
///
/// [`DecodeError::TooLarge`] over the limit, [`DecodeError::Snappy`] when the body is no snappy block. `out` is empty
/// then.
pub fn decompress(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let declared = match snap::raw::decompress_len(body) {
        Ok(declared) => declared,
        Err(error) => return fail(out, DecodeError::Snappy(error.to_string())),
    };
    if declared > limit {
        return fail(out, DecodeError::TooLarge { declared, limit });
    }
    let (expanded, compressed) = MAX_EXPANSION;
    if declared as u64 * compressed > body.len() as u64 * expanded {
        let text = format!(
            "the declared length is {declared} bytes, which is more than a body of {} bytes can contain",
            body.len()
        );
        return fail(out, DecodeError::Snappy(text));
    }
    // Not cleared first: only growth is zeroed, and all of it is overwritten.
    out.resize(declared, 0);
    match snap::raw::Decoder::new().decompress(body, out) {
        Ok(_) => Ok(()),
        Err(error) => fail(out, DecodeError::Snappy(error.to_string())),
    }
}

fn fail(out: &mut Vec<u8>, error: DecodeError) -> Result<(), DecodeError> {
    out.clear();
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    #[test]
    fn round_trip_reuses_and_shrinks() {
        let mut out = vec![7; 100];
        for text in [&b"hello hello hello hello"[..], b"", b"x"] {
            decompress(&compress(text), 23, &mut out).unwrap();
            assert_eq!(out, text);
        }
        assert!(out.capacity() >= 100);
    }

    #[test]
    fn highly_compressible_bodies_pass() {
        let zeros = vec![0; 1 << 20];
        let mut out = Vec::new();
        decompress(&compress(&zeros), 1 << 20, &mut out).unwrap();
        assert_eq!(out, zeros);
    }

    #[test]
    fn over_the_limit() {
        let mut out = vec![1];
        let error = decompress(&compress(&[0; 1000]), 999, &mut out).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { declared: 1000, limit: 999 });
        assert!(out.is_empty());
    }

    #[test]
    fn a_huge_declared_length_allocates_nothing() {
        let mut out = Vec::new();
        let body = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert!(matches!(decompress(&body, usize::MAX, &mut out), Err(DecodeError::Snappy(_))));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn broken_bodies() {
        let good = compress(b"some text, some text, some text, some text");
        let mut out = Vec::new();
        assert!(matches!(decompress(b"", 100, &mut out), Err(DecodeError::Snappy(_))));
        for end in 1..good.len() {
            assert!(matches!(decompress(&good[..end], 100, &mut out), Err(DecodeError::Snappy(_))), "{end}");
            assert!(out.is_empty());
        }
        // The framed format starts with a stream identifier.
        assert!(decompress(b"\xff\x06\x00\x00sNaPpY", 1 << 20, &mut out).is_err());
    }
}
