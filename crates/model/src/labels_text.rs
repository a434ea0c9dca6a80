//! The canonical text of a label set: JSON, keys sorted by their bytes, no white space, the metric name left out.
//!
//! `{"instance":"a:9100","job":"node"}`; the empty set is `{}`. Escaped are `"`, `\` and the characters below U+0020 (`\n`,
//! `\r`, `\t`, `\b`, `\f`, else `\u00xx` in lower case); everything else stands as UTF-8. One label set has one text, byte
//! for byte, wherever it appears. Rows sort by the bytes of this text, which is not Prometheus's label order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

/// A `labels` value that is not a JSON object of strings.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON object of strings: {0}")]
pub struct MalformedLabels(#[from] serde_json::Error);

/// Appends `text` with JSON's escapes.
pub fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(needs_escape) {
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = tail.chars();
        if let Some(special) = chars.next() {
            push_escape(out, special);
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escape(out: &mut String, special: char) {
    match special {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        other => {
            const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
            out.push_str("\\u00");
            out.extend(HEX.get((other as usize >> 4) & 0xf));
            out.extend(HEX.get(other as usize & 0xf));
        }
    }
}

/// The canonical text of labels that are sorted by name.
pub fn labels_text<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::from("{");
    for (name, value) in labels {
        text.push_str(if text.len() > 1 { ",\"" } else { "\"" });
        push_escaped(&mut text, name);
        text.push_str("\":\"");
        push_escaped(&mut text, value);
        text.push('"');
    }
    text.push('}');
    text
}

/// The labels of a canonical text.
pub fn parse_labels_text(text: &str) -> Result<BTreeMap<String, String>, MalformedLabels> {
    Ok(serde_json::from_str(text)?)
}

/// Order of two different names, or values, as they stand in the canonical text, closing quote included: `"a!"` is before
/// `"a"`, because `!` is before `"`.
pub fn compare_escaped(a: &str, b: &str) -> Ordering {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let next = |text: &str| {
        let mut rest = String::with_capacity(8);
        // A multi-byte character may be cut here: compare the raw byte then, as nothing in it is ever escaped.
        match text.as_bytes().get(common) {
            None => rest.push('"'),
            Some(&byte) if needs_escape(byte) => push_escape(&mut rest, byte as char),
            Some(&byte) => return (byte, rest),
        }
        (rest.as_bytes().first().copied().unwrap_or_default(), rest)
    };
    let ((first_a, escape_a), (first_b, escape_b)) = (next(a), next(b));
    first_a.cmp(&first_b).then_with(|| escape_a.cmp(&escape_b))
}

/// `series_id`: XXH3-64 (seed 0) of the metric's name, a zero byte, and the canonical text of the labels, read as a signed number.
/// A convenience for joins, never an identity: that is (metric, labels).
pub fn series_id(metric: &str, labels_text: &str) -> i64 {
    let mut hash = Xxh3::new();
    hash.update(metric.as_bytes());
    hash.update(&[0]);
    hash.update(labels_text.as_bytes());
    hash.digest().cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_canonical() {
        assert_eq!(labels_text([].into_iter()), "{}");
        let text = labels_text([("a", "x\"\\\n\u{1}é"), ("b", "")].into_iter());
        assert_eq!(text, "{\"a\":\"x\\\"\\\\\\n\\u0001é\",\"b\":\"\"}");
    }

    #[test]
    fn series_id_is_the_documented_hash() {
        // python3 -c 'import xxhash; print(xxhash.xxh3_64_intdigest(b"up\0{\"job\":\"node\"}"))', as a signed number.
        let whole = xxhash_rust::xxh3::xxh3_64(b"up\0{\"job\":\"node\"}").cast_signed();
        assert_eq!(series_id("up", "{\"job\":\"node\"}"), whole);
    }

    proptest! {
        #[test]
        fn text_is_json_and_round_trips(labels in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..5)) {
            let text = labels_text(labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            prop_assert_eq!(parse_labels_text(&text).unwrap(), labels);
        }

        #[test]
        fn escaped_order_is_the_texts_order(a in "[ab!\"\\\\\n\u{1}é~{}]{0,4}", b in "[ab!\"\\\\\n\u{1}é~{}]{0,4}") {
            let text = |s: &str| { let mut out = String::new(); push_escaped(&mut out, s); out.push('"'); out };
            prop_assert_eq!(compare_escaped(&a, &b), text(&a).cmp(&text(&b)));
        }
    }
}
