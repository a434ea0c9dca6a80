//! What was copied of a JSON text, and how much of it there is room for.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::names::ArchiveName;

/// So many archives are noted of one object.
const MOST_MENTIONS: usize = 1024;
/// What is nested deeper is not copied. Nothing that is asked for is.
const DEEPEST: usize = 64;

/// What is copied.
#[derive(Debug)]
pub(super) enum Rule {
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

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// How long the text is.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Takes back what was added since the text had this length.
    pub(super) fn cut(&mut self, len: usize) {
        self.text.truncate(len);
    }

    /// Ends what [`Self::enter`] began.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
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
    pub(super) fn enter(&mut self, rule: &Rule) -> bool {
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

    pub(super) fn push_value(&mut self, value: &(impl Serialize + ?Sized)) {
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

    pub(super) fn mention(&mut self, archive: ArchiveName) {
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
