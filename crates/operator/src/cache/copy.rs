//! Copies JSON from one text to another without building it in memory: only what a rule names, and only as long as there is room.
//!
//! A text of a few bytes can ask for a lot of memory once it is a tree of values: `{"a":0},` is 8 bytes and becomes more than 600.
//! What tenants wrote is therefore read as a stream, and what is kept of it is text again.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::entry::{ArchiveName, EntryName};

/// Longest entry of `spec.remoteWrite` of ours, in bytes; the CRD allows about 10 KiB.
const LONGEST_ENTRY: usize = 64 << 10;
/// Longest name and URL of an entry that are kept.
const LONGEST_TEXT: usize = 2 << 10;
/// So many archives are noted of one object.
const MOST_MENTIONS: usize = 1024;
/// Longest name of a claim.
const LONGEST_CLAIM: usize = 253;
/// What is nested deeper is not copied. Nothing that is asked for is.
const DEEPEST: usize = 64;

/// What is copied.
#[derive(Debug)]
pub(super) enum Rule {
    /// Everything.
    All,
    /// `true` for whatever is there; null stays null.
    Presence,
    /// Of an object, these fields; of a list, these fields of each item.
    Fields(&'static [(&'static str, Rule)]),
    /// Everything, and these fields by rules of their own.
    AllWith(&'static [(&'static str, Rule)]),
    /// The name of the claim that an archive names. It is noted, too.
    Claim,
    /// A list of remote write entries: those of promarchive as they are, name and URL of the others.
    Entries,
    /// The data of a Secret; its keys tell which archives it belongs to.
    Keys,
}

/// What was copied.
#[derive(Debug)]
pub(super) struct Copied {
    text: Vec<u8>,
    room: usize,
    is_full: bool,
    depth: usize,
    /// Archives that own an entry or a key.
    pub(super) mentions: BTreeSet<ArchiveName>,
    /// There are more of them than are noted.
    pub(super) more_mentions: bool,
    /// The claim that an archive names.
    pub(super) claim: Option<String>,
}

impl Copied {
    pub(super) fn with_room(room: usize) -> Self {
        Self {
            text: Vec::new(),
            room,
            is_full: false,
            depth: 0,
            mentions: BTreeSet::new(),
            more_mentions: false,
            claim: None,
        }
    }

    /// The text; none if there was not enough room.
    pub(super) fn text(self) -> Option<String> {
        if self.is_full { None } else { String::from_utf8(self.text).ok() }
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        if self.is_full || self.text.len() + text.len() > self.room {
            self.is_full = true;
            self.text = Vec::new();
            return;
        }
        self.text.extend_from_slice(text);
    }

    /// Whether a list or an object is copied; else it is read over.
    fn enter(&mut self, rule: &Rule) -> bool {
        if matches!(rule, Rule::Presence) {
            self.push(b"true");
            return false;
        }
        if self.depth == DEEPEST {
            self.is_full = true;
            return false;
        }
        self.depth += 1;
        true
    }

    fn push_value(&mut self, value: &(impl Serialize + ?Sized)) {
        // Writing to this cannot fail, and texts and numbers can be written.
        let _ = serde_json::to_writer(Pushed(self), value);
    }

    /// The key of a member of an object, after a comma if it is not the first one.
    pub(super) fn push_key(&mut self, is_first: &mut bool, key: &str) {
        if !std::mem::replace(is_first, false) {
            self.push(b",");
        }
        self.push_value(key);
        self.push(b":");
    }

    fn mention(&mut self, archive: ArchiveName) {
        if self.mentions.len() < MOST_MENTIONS {
            self.mentions.insert(archive);
        } else if !self.mentions.contains(&archive) {
            self.more_mentions = true;
        }
    }
}

struct Pushed<'a>(&'a mut Copied);

impl std::io::Write for Pushed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The methods of a visitor for what it does not want: reads over it and gives `$otherwise`.
macro_rules! anything_else {
    ($self:ident => $otherwise:expr; $($method:ident($type:ty)),*) => {
        $(fn $method<E>($self, _: $type) -> Result<Self::Value, E> {
            $otherwise
        })*

        fn visit_unit<E>($self) -> Result<Self::Value, E> {
            $otherwise
        }

        fn visit_seq<A: SeqAccess<'de>>($self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            $otherwise
        }
    };
}

/// Copies one value.
pub(super) struct Copy<'a> {
    pub(super) rule: &'static Rule,
    pub(super) into: &'a mut Copied,
}

impl<'de> DeserializeSeed<'de> for Copy<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Copy<'_> {
    fn scalar<E>(self, value: impl Serialize) -> Result<(), E> {
        match self.rule {
            Rule::Presence => self.into.push(b"true"),
            _ => self.into.push_value(&value),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Copy<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        if matches!(self.rule, Rule::Claim) {
            self.into.claim = (value.len() <= LONGEST_CLAIM).then(|| value.to_owned());
        }
        self.scalar(value)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.into.push(b"null");
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { rule, into } = self;
        if !into.enter(rule) {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        into.push(b"[");
        let mut is_first = true;
        loop {
            let mark = into.text.len();
            if !is_first {
                into.push(b",");
            }
            let next = match rule {
                Rule::Entries => items.next_element_seed(Entry { into: &mut *into })?,
                _ => items.next_element_seed(Copy { rule, into: &mut *into })?,
            };
            if next.is_none() {
                into.text.truncate(mark);
                break;
            }
            is_first = false;
        }
        into.push(b"]");
        into.depth -= 1;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Self { rule, into } = self;
        if !into.enter(rule) {
            while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        into.push(b"{");
        let mut is_first = true;
        while let Some(key) = fields.next_key::<String>()? {
            let rule = match rule {
                Rule::Fields(known) => known.iter().find(|(name, _)| *name == key).map(|(_, rule)| rule),
                Rule::AllWith(known) => {
                    Some(known.iter().find(|(name, _)| *name == key).map_or(&Rule::All, |(_, rule)| rule))
                }
                other => Some(other),
            };
            if let Some(Rule::Keys) = rule
                && let Some(archive) = archive_of(&key)
            {
                into.mention(archive);
            }
            // What has no room is read on for its entries, its keys and its claim alone.
            let is_noted =
                |rule: &Rule| matches!(rule, Rule::Fields(_) | Rule::AllWith(_) | Rule::Entries | Rule::Claim);
            match rule.filter(|rule| !into.is_full || is_noted(rule)) {
                Some(rule) => {
                    into.push_key(&mut is_first, &key);
                    fields.next_value_seed(Copy { rule, into: &mut *into })?;
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        into.push(b"}");
        into.depth -= 1;
        Ok(())
    }
}

/// Whose key of a Secret it is: `<namespace>.<archive>.…`
fn archive_of(key: &str) -> Option<ArchiveName> {
    let mut parts = key.splitn(3, '.');
    let archive = ArchiveName::new(parts.next()?, parts.next()?);
    (parts.next().is_some() && archive.is_valid()).then_some(archive)
}

/// Copies one item of `spec.remoteWrite`.
struct Entry<'a> {
    into: &'a mut Copied,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry of remoteWrite")
    }

    anything_else!(self => {
        self.into.push(b"null");
        Ok(())
    }; visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        // Whose it is is known only at its end.
        let mut whole = Copied::with_room(LONGEST_ENTRY);
        let (mut name, mut url, mut is_first) = (None, None, true);
        whole.push(b"{");
        while let Some(key) = fields.next_key::<String>()? {
            whole.push_key(&mut is_first, &key);
            match key.as_str() {
                "name" | "url" => {
                    let text = fields.next_value_seed(ShortText)?;
                    whole.push_value(&text);
                    if key == "name" { name = text } else { url = text }
                }
                _ => fields.next_value_seed(Copy { rule: &Rule::All, into: &mut whole })?,
            }
        }
        whole.push(b"}");
        let ours = name.as_deref().and_then(|name| name.parse::<EntryName>().ok());
        match (ours, whole.text()) {
            (Some(ours), Some(text)) => {
                self.into.mention(ours.archive().clone());
                self.into.push(text.as_bytes());
            }
            (ours, _) => {
                if let Some(ours) = &ours {
                    self.into.mention(ours.archive().clone());
                }
                self.into.push_value(&Brief { name, url, cut: ours.is_some() });
            }
        }
        Ok(())
    }
}

/// What is kept of an entry that is not ours, or of one of ours that somebody made longer than ours can be.
#[derive(Serialize)]
struct Brief {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Never the same as an entry that is wanted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// A text, if it is one and not too long.
pub(super) struct ShortText;

impl<'de> DeserializeSeed<'de> for ShortText {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShortText {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((text.len() <= LONGEST_TEXT).then(|| text.to_owned()))
    }

    anything_else!(self => Ok(None); visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn copied(rule: &'static Rule, from: &Value, room: usize) -> (Option<Value>, Vec<String>) {
        let mut into = Copied::with_room(room);
        let text = from.to_string();
        Copy { rule, into: &mut into }.deserialize(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        let mentions = into.mentions.iter().map(ToString::to_string).collect();
        (into.text().map(|text| serde_json::from_str(&text).unwrap()), mentions)
    }

    #[test]
    fn everything_is_copied_as_it_is() {
        let all = json!({"a": [1, -2, 2.5, true, null, "x\"\n\u{e9}", {}, []], "b": {"c": {"d": [[]]}}, "": 0});
        assert_eq!(copied(&Rule::All, &all, 1 << 20).0, Some(all));
    }

    #[test]
    fn fields_that_are_not_named_are_left_out_and_presence_is_told() {
        static RULE: Rule = Rule::Fields(&[
            (
                "spec",
                Rule::Fields(&[
                    ("list", Rule::Fields(&[("a", Rule::All)])),
                    ("big", Rule::Presence),
                    ("no", Rule::Presence),
                ]),
            ),
            ("data", Rule::Keys),
        ]);
        let from = json!({"status": {"x": 1}, "spec": {"list": [{"a": 1, "b": 2}, {}], "big": {"c": [1]}, "no": null, "z": 1}});
        let wanted = json!({"spec": {"list": [{"a": 1}, {}], "big": true, "no": null}});
        assert_eq!(copied(&RULE, &from, 1 << 20).0, Some(wanted));
    }

    #[test]
    fn entries_keep_their_places_and_only_ours_are_copied_in_full() {
        let ours =
            json!({"authorization": {"type": "Bearer"}, "name": "promarchive/n/lab/0a1b2c3d", "url": "https://r"});
        let from = json!([
            {"basicAuth": {"big": "x".repeat(5000)}, "name": "theirs", "url": "https://example.org", "queueConfig": {}},
            ours,
            {"url": "https://example.org"},
            {"name": ["no text"], "url": 7},
            "no entry at all",
            {"name": "promarchive/n/long/0a1b2c3d", "url": "u", "headers": {"x": "y".repeat(LONGEST_ENTRY)}},
        ]);
        let (copy, mentions) = copied(&Rule::Entries, &from, 1 << 20);
        let wanted = json!([
            {"name": "theirs", "url": "https://example.org"},
            ours,
            {"url": "https://example.org"},
            {},
            null,
            {"name": "promarchive/n/long/0a1b2c3d", "url": "u", "cut": true},
        ]);
        assert_eq!(copy, Some(wanted));
        assert_eq!(mentions, ["n/lab", "n/long"]);
    }

    #[test]
    fn the_claim_of_an_archive_is_noted_however_long_the_rest_is() {
        static RULE: Rule = Rule::AllWith(&[("storage", Rule::AllWith(&[("claim", Rule::Claim)]))]);
        let from = json!({"more": "x".repeat(100), "storage": {"claim": "c", "other": [1]}, "rest": {"a": null}});
        for (room, is_whole) in [(1 << 10, true), (20, false)] {
            let mut into = Copied::with_room(room);
            let text = from.to_string();
            Copy { rule: &RULE, into: &mut into }.deserialize(&mut serde_json::Deserializer::from_str(&text)).unwrap();
            assert_eq!(into.claim.as_deref(), Some("c"));
            let copy = into.text().map(|text| serde_json::from_str::<Value>(&text).unwrap());
            assert_eq!(copy, is_whole.then(|| from.clone()));
        }
    }

    #[test]
    fn only_keys_of_our_shape_name_an_archive() {
        assert_eq!(archive_of("team.lab.x.p.token"), Some(ArchiveName::new("team", "lab")));
        for other in ["team.lab", "team", "", "Team.lab.x", "team.9lab.x", "team..x", "_.lab.x"] {
            assert_eq!(archive_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_has_no_room_is_not_there_at_all_and_still_mentioned() {
        static RULE: Rule =
            Rule::Fields(&[("spec", Rule::Fields(&[("more", Rule::All), ("remoteWrite", Rule::Entries)]))]);
        let from = json!({"spec": {"more": "x".repeat(100), "remoteWrite": [{"name": "promarchive/n/lab/0a1b2c3d"}]}});
        assert_eq!(copied(&RULE, &from, 100), (None, vec!["n/lab".to_owned()]));
        let from = json!({"a.b.token": "x".repeat(100), "c.d.ca.crt": "", "theirs": "", "two.parts": ""});
        assert_eq!(copied(&Rule::Keys, &from, 20), (None, vec!["a/b".to_owned(), "c/d".to_owned()]));
    }
}
