//! What names are made of.

use sha2::{Digest, Sha256};

/// What the names of all entries begin with.
pub(super) const PREFIX: &str = "promarchive";

/// Whether `text` is a DNS label of at most `longest` characters.
pub(super) fn is_label(text: &str, longest: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What `write` makes of the name, or of its hash if that would be too long.
pub(super) fn shorter(longest: usize, name: &str, write: impl Fn(&str) -> String) -> String {
    let text = write(name);
    if text.len() <= longest { text } else { write(&format!("_{}", hex(name.as_bytes(), 32))) }
}

/// The first `digits` hexadecimal digits of the SHA-256.
pub(super) fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

/// The first 16 hexadecimal digits of the SHA-256.
pub fn short_hash(bytes: &[u8]) -> String {
    hex(bytes, 16)
}
