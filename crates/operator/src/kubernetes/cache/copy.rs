//! Copies JSON from one text to another without building it in memory: only what a rule names, and only as long as there is room.
//!
//! A text of a few bytes can ask for a lot of memory once it is a tree of values: `{"a":0},` is 8 bytes and becomes more than 600.
//! What tenants wrote is therefore read as a stream, and what is kept of it is text again.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::copied::{Copied, Rule};
use crate::names::{ArchiveName, EntryName};

/// Longest entry of `spec.remoteWrite` of ours, in bytes; the CRD allows about 10 KiB.
const LONGEST_ENTRY: usize = 64 << 10;
/// Longest name and URL of an entry that are kept.
const LONGEST_TEXT: usize = 2 << 10;
/// Longest name of a claim.
const LONGEST_CLAIM: usize = 253;

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
            let mark = into.len();
            if !is_first {
                into.push(b",");
            }
            let next = match rule {
                Rule::Entries => items.next_element_seed(Entry { into: &mut *into })?,
                _ => items.next_element_seed(Copy { rule, into: &mut *into })?,
            };
            if next.is_none() {
                into.cut(mark);
                break;
            }
            is_first = false;
        }
        into.push(b"]");
        into.leave();
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
            match rule.filter(|rule| !into.is_full() || is_noted(rule)) {
                Some(rule) => {
                    into.push_key(&mut is_first, &key);
                    fields.next_value_seed(Copy { rule, into: &mut *into })?;
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        into.push(b"}");
        into.leave();
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
mod tests;
