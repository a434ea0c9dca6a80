//! Text of strangers, made fit for one line of an answer or a log.

use std::borrow::Cow;
use std::fmt::Write as _;

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

/// The text with control and invisible characters escaped as Rust does: fit for one line of an answer or a log, whatever it is.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, |character, out| out.extend(character.escape_default()))
}

/// Lines of text: as [`visible`], but line ends stay.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character == '\n', |character, out| out.extend(character.escape_default()))
}

/// A JSON document without control and invisible characters: there they stand in strings, and any character of a string may be escaped.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let escape = |character: char, out: &mut String| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    };
    escaped(json, |character| character == '\n', escape)
}

fn escaped(text: &str, stays: fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let is_hidden = |character: char| is_hidden(character) && !stays(character);
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        if is_hidden(character) { escape(character, &mut out) } else { out.push(character) }
    }
    Cow::Owned(out)
}

/// Whether a terminal may act on a character, or show nothing of it, or turn the text around it: control and format characters.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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
    fn nothing_hidden_stays() {
        assert!(matches!(visible("date=2026-11-30/é “x” 日本 \u{928}\u{93f}"), Cow::Borrowed(_)));
        assert_eq!(visible("\x1b[31mx\u{9b}\n\u{202e}"), r"\u{1b}[31mx\u{9b}\n\u{202e}");
        assert_eq!(visible_lines("a\nb\r\n"), "a\nb\\r\n");
        assert_eq!(visible_json("{\n\"a\u{9b}\u{e0041}\": 1}"), "{\n\"a\\u009b\\udb40\\udc41\": 1}");
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
