//! Text of strangers, made fit for one line of an answer or a log.

use std::borrow::Cow;

/// Bytes shown of one string.
const SHOWN: usize = 64;

/// The start of `bytes` in double quotes, escaped as Rust does (control and invisible characters too), not UTF-8
/// replaced.
pub fn quote(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN) {
        Some(start) if bytes.len() > SHOWN => {
            let text = String::from_utf8_lossy(start);
            // The cut may be inside a character.
            format!("{:?}…", text.trim_end_matches(char::REPLACEMENT_CHARACTER))
        }
        _ => format!("{:?}", String::from_utf8_lossy(bytes)),
    }
}

/// A metric or label name: bare where PromQL allows it, else quoted.
pub fn name(bytes: &[u8]) -> Cow<'_, str> {
    let bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    match str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.len() <= SHOWN && bytes.iter().all(bare) => Cow::Borrowed(text),
        _ => Cow::Owned(quote(bytes)),
    }
}

/// Cuts `text` to at most `max` bytes, the `…` that then ends it included.
pub fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        assert_eq!(quote(b"a\"b\n\x07\xff"), "\"a\\\"b\\n\\u{7}\u{fffd}\"");
        assert_eq!(quote("\u{202e}".as_bytes()), r#""\u{202e}""#);
        assert_eq!(quote(&[b'x'; 64]), format!("{:?}", "x".repeat(64)));
        assert_eq!(quote("é".repeat(40).as_bytes()), format!("{:?}…", "é".repeat(32)));
        assert_eq!(quote(format!("x{}", "é".repeat(40)).as_bytes()), format!("\"x{}\"…", "é".repeat(31)));
    }

    #[test]
    fn names() {
        assert_eq!(name(b"node_cpu:rate5m"), "node_cpu:rate5m");
        assert_eq!(name("service.name".as_bytes()), "\"service.name\"");
        assert_eq!(name(b""), "\"\"");
    }

    #[test]
    fn truncating() {
        let mut text = "ééé".to_owned();
        truncate(&mut text, 6);
        assert_eq!(text, "ééé");
        truncate(&mut text, 5);
        assert_eq!(text, "é…");
    }
}
