//! A request from its headers to its last exemplar: `Content-Type`, a line end, `Content-Encoding`, a line end, the body as sent.
//! An empty line is a header that is not there.

use promarchive_wire::{DecodeError, decompress, negotiate};

use crate::memory::within;
use crate::{decode, mutation};

/// The longest body, decompressed, in bytes: `maxDecodedBytes`.
const DECODED_BYTES: usize = 1 << 20;
/// What the decompressor takes beside the body: a table of 2¹⁴ entries and its error's text.
const DECOMPRESSOR_BYTES: usize = 64 << 10;

/// The parts of an input.
struct Parts<'a> {
    content_type: &'a [u8],
    content_encoding: &'a [u8],
    /// Compressed.
    body: &'a [u8],
    /// Everything before it.
    head: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(input: &'a [u8]) -> Option<Self> {
        let mut lines = input.splitn(3, |byte| *byte == b'\n');
        let (content_type, content_encoding, body) = (lines.next()?, lines.next()?, lines.next()?);
        let head = input.get(..input.len() - body.len())?;
        Some(Self { content_type, content_encoding, body, head })
    }
}

/// Checks a request.
///
/// # Panics
///
/// If more memory is taken than the body declares and the decoder may, if a good body is refused, or if an answer is more than one
/// line.
pub fn request(input: &[u8]) {
    let Some(parts) = Parts::split(input) else { return };
    // The server hands on what is text.
    let (Some(content_type), Some(encoding)) = (header(parts.content_type), header(parts.content_encoding)) else {
        return;
    };
    let protocol = match negotiate(content_type, encoding) {
        Ok(protocol) => protocol,
        Err(unsupported) => return assert_one_line(&unsupported.to_string()),
    };
    let Some(body) = decompressed(parts.body) else { return };
    match decode::walk(protocol, &body) {
        Ok(()) => {}
        Err(error) => assert_one_line(&error.to_string()),
    }
}

/// A header's value; the inner `None` if the header is not there.
fn header(value: &[u8]) -> Option<Option<&str>> {
    let text = str::from_utf8(value).ok()?;
    Some((!text.is_empty()).then_some(text))
}

fn assert_one_line(answer: &str) {
    assert!(!answer.contains('\n') && answer.len() <= 1024, "{answer:?}");
}

/// The decompressed body, which must be what the library makes of it.
fn decompressed(body: &[u8]) -> Option<Vec<u8>> {
    let declared = snap::raw::decompress_len(body).unwrap_or(0);
    let most = if declared <= DECODED_BYTES { declared } else { 0 };
    let mut out = Vec::new();
    let result = within(DECOMPRESSOR_BYTES + most, || decompress(body, DECODED_BYTES, &mut out));
    if declared <= DECODED_BYTES {
        let library = snap::raw::Decoder::new().decompress_vec(body);
        assert_eq!(result.is_ok(), library.is_ok(), "{result:?}, though the library says {library:?}");
        assert!(library.is_err() || library.as_ref() == Ok(&out), "decompressed differently");
    }
    match result {
        Ok(()) => Some(out),
        Err(error) => {
            assert!(out.is_empty(), "something is left of a body that was refused");
            assert!(matches!(error, DecodeError::Snappy(_) | DecodeError::TooLarge { .. }), "{error:?}");
            assert_one_line(&error.to_string());
            None
        }
    }
}

/// A changed input: mostly the message inside of the body, otherwise headers, or the compressed bytes. For `seed` and `change` see
/// [`mutation::mutate`].
pub fn mutate(input: &[u8], seed: u32, change: &mut dyn FnMut(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let Some(parts) = Parts::split(input) else { return change(input.to_vec()) };
    let is_small = snap::raw::decompress_len(parts.body).is_ok_and(|declared| declared <= DECODED_BYTES);
    let body = is_small.then(|| snap::raw::Decoder::new().decompress_vec(parts.body).ok()).flatten();
    match (seed % 4, body) {
        (1.., Some(body)) => {
            let body = mutation::mutate(&body, seed, change);
            let body = snap::raw::Encoder::new().compress_vec(&body).unwrap_or_default();
            [parts.head, &body].concat()
        }
        (1, None) => [parts.head, &change(parts.body.to_vec())].concat(),
        _ => change(input.to_vec()),
    }
}
