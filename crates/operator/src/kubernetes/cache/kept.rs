//! What is kept of an object: the few fields of its metadata that are used, and its content as text.
//!
//! Both are bounded, whatever the object has in it. So is the sum of all texts: what does not fit is not kept, and is read from
//! the API server when it is needed ([`super::Caches::read`]).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, TypeMeta};
use promarchive_api::metrics_archive::PrometheusKind;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::changed::Mentions;
use super::copied::{Copied, Rule};
use super::copy::Copy;
use super::metadata::Metadata;
use super::source::Source;
use crate::kubernetes::kind::Kind;
use crate::names::ArchiveName;

/// Longest content of one object that is kept.
const LONGEST_KEPT: usize = 16 << 10;
/// All contents that are kept, together.
const ALL_KEPT: usize = 16 << 20;
/// Longest content of one object that is read at all; a Secret can have more than a megabyte in it.
const LONGEST_READ: usize = 256 << 10;
const LONGEST_SECRET: usize = 2 << 20;
/// Longest list of archives that are mentioned in one object; the shorter one if all that is kept is too much.
const LONGEST_MENTIONS: usize = 16 << 10;
const FEWER_MENTIONS: usize = 4 << 10;

/// The fields of a definition that tell what an entry can have.
static DEFINITION: Rule = Rule::Fields(&[
    ("status", Rule::Fields(&[("conditions", Rule::Fields(&[("type", Rule::All), ("status", Rule::All)]))])),
    ("spec", Rule::Fields(&[("versions", Rule::Fields(&[("name", Rule::All), ("schema", SCHEMA)]))])),
]);
const SCHEMA: Rule = Rule::Fields(&[("openAPIV3Schema", Rule::Fields(&[("properties", SPEC_SCHEMA)]))]);
const SPEC_SCHEMA: Rule = Rule::Fields(&[("spec", Rule::Fields(&[("properties", LIST_SCHEMA)]))]);
const LIST_SCHEMA: Rule =
    Rule::Fields(&[("remoteWrite", Rule::Fields(&[("items", Rule::Fields(&[("properties", ENTRY_SCHEMA)]))]))]);
const ENTRY_SCHEMA: Rule = Rule::Fields(&[
    ("messageVersion", Rule::Presence),
    ("sendExemplars", Rule::Presence),
    ("sendNativeHistograms", Rule::Presence),
    ("queueConfig", Rule::Fields(&[("properties", Rule::Fields(&[("retryOnRateLimit", Rule::Presence)]))])),
]);
static PROMETHEUS: Rule = Rule::Fields(&[(
    "spec",
    Rule::Fields(&[
        ("remoteWrite", Rule::Entries),
        ("scrapeInterval", Rule::All),
        ("version", Rule::All),
        ("image", Rule::All),
        ("mode", Rule::All),
        ("paused", Rule::All),
        ("hostNetwork", Rule::All),
        ("nameValidationScheme", Rule::All),
        ("serviceMonitorSelector", Rule::Presence),
        ("podMonitorSelector", Rule::Presence),
        ("probeSelector", Rule::Presence),
        ("scrapeConfigSelector", Rule::Presence),
        ("additionalScrapeConfigs", Rule::Presence),
    ]),
)]);
static ARCHIVE: Rule = Rule::Fields(&[("spec", Rule::AllWith(&[("storage", STORAGE)])), ("status", Rule::All)]);
const STORAGE: Rule = Rule::AllWith(&[("persistentVolume", Rule::AllWith(&[("existingClaim", Rule::Claim)]))]);
static SECRET: Rule = Rule::Fields(&[("data", Rule::Keys)]);
static NOTHING: Rule = Rule::Fields(&[]);
/// Its status is not looked at, and is as long as the cluster is large.
static CHILD: Rule = Rule::Fields(&[
    ("spec", Rule::All),
    ("data", Rule::All),
    ("binaryData", Rule::All),
    ("automountServiceAccountToken", Rule::All),
]);
static CHILD_WITH_STATUS: Rule = Rule::Fields(&[("spec", Rule::All), ("status", Rule::All)]);

fn rule(source: Source) -> &'static Rule {
    match source {
        Source::Archive => &ARCHIVE,
        Source::Prometheus(PrometheusKind::Prometheus | PrometheusKind::PrometheusAgent) => &PROMETHEUS,
        Source::Secret => &SECRET,
        Source::Namespace => &NOTHING,
        Source::Definition => &DEFINITION,
        Source::Child(Kind::Deployment | Kind::PersistentVolumeClaim) => &CHILD_WITH_STATUS,
        Source::Child(_) => &CHILD,
    }
}

/// An object as it was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) source: Source,
    pub(super) metadata: ObjectMeta,
    /// Its content as JSON; none if it is longer than what is read.
    pub(super) text: Option<String>,
    mentions: Vec<ArchiveName>,
    /// There are more of them.
    more_mentions: bool,
    claim: Option<String>,
}

/// An object was read, and its content is longer than what is looked at.
#[derive(Debug, thiserror::Error)]
#[error("the object is too large: the part that the operator reads has more than {} KiB", LONGEST_READ >> 10)]
pub struct TooLong;

impl Read {
    /// As an object, with its content.
    pub(super) fn object(self) -> Result<DynamicObject, TooLong> {
        let text = self.text.as_deref().ok_or(TooLong)?;
        Ok(object(self.source, &self.metadata, text))
    }

    /// As an object without content.
    pub(super) fn record(self) -> DynamicObject {
        DynamicObject { types: types(self.source), metadata: self.metadata, data: Value::Null }
    }
}

fn types(source: Source) -> Option<TypeMeta> {
    let resource = source.resource();
    Some(TypeMeta { api_version: resource.api_version, kind: resource.kind })
}

/// The object with this content.
pub(super) fn object(source: Source, metadata: &ObjectMeta, text: &str) -> DynamicObject {
    // What was copied as JSON is JSON.
    let data = serde_json::from_str(text).unwrap_or_default();
    DynamicObject { types: types(source), metadata: metadata.clone(), data }
}

/// How much room all texts take.
#[derive(Debug, Default)]
pub(super) struct Room(AtomicUsize);

impl Room {
    fn has(&self, bytes: usize) -> bool {
        self.0.load(Ordering::Relaxed) + bytes <= ALL_KEPT
    }
}

/// An object as it is kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its metadata.
    pub(super) record: Arc<DynamicObject>,
    /// Its content, if it is kept.
    pub(super) text: Option<Box<str>>,
    /// Whether its content is short enough to be kept, if there is room.
    pub(super) is_short: bool,
    /// Archives that have an entry or a key in it, one a line.
    mentions: Box<str>,
    /// There are more of them.
    more_mentions: bool,
    /// The claim that an archive names.
    pub(super) claim: Option<Box<str>>,
    taken: usize,
    room: Arc<Room>,
}

impl Kept {
    pub(super) fn new(read: Read, room: &Arc<Room>) -> Self {
        let longest = if room.has(LONGEST_MENTIONS) { LONGEST_MENTIONS } else { FEWER_MENTIONS };
        let (mut mentions, mut more_mentions) = (String::new(), read.more_mentions);
        for archive in &read.mentions {
            let line = format!("{archive}\n");
            if mentions.len() + line.len() <= longest {
                mentions.push_str(&line);
            } else {
                more_mentions = true;
            }
        }
        let short = read.text.as_ref().filter(|text| text.len() <= LONGEST_KEPT);
        let is_short = short.is_some();
        let text = short.filter(|text| room.has(text.len()));
        let text = text.map(|text| text.as_str().into());
        let claim = read.claim.as_deref().map(Box::from);
        let length = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let taken = mentions.len() + length(&text) + length(&claim);
        room.0.fetch_add(taken, Ordering::Relaxed);
        let record = Arc::new(read.record());
        Self { record, text, is_short, mentions: mentions.into(), more_mentions, claim, taken, room: room.clone() }
    }

    /// Archives that have an entry or a key in it.
    pub(super) fn mentions(&self) -> impl Iterator<Item = ArchiveName> {
        let lines = self.mentions.lines().filter_map(|line| line.split_once('/'));
        lines.map(|(namespace, name)| ArchiveName::new(namespace, name))
    }

    /// Archives that have an entry or a key in one of these, which are one object at different times.
    pub(super) fn mentions_of<'a>(all: impl IntoIterator<Item = &'a Self>) -> Mentions {
        let mut names = BTreeSet::new();
        for kept in all {
            if kept.more_mentions {
                return Mentions::TooMany;
            }
            names.extend(kept.mentions());
        }
        Mentions::Only(names)
    }

    /// Whether `archive` has an entry or a key in it.
    pub(super) fn is_mentioned(&self, archive: &ArchiveName) -> bool {
        let line = archive.to_string();
        self.mentions.lines().any(|one| one == line)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Reads one object of this kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading(pub(super) Source);

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Read, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Read, A::Error> {
        let Self(source) = self;
        let mut metadata = Metadata::default();
        let mut content = Copied::with_room(if source == Source::Secret { LONGEST_SECRET } else { LONGEST_READ });
        let Rule::Fields(known) = rule(source) else { return Err(A::Error::custom("no fields are known")) };
        let mut is_first = true;
        content.push(b"{");
        while let Some(key) = fields.next_key::<String>()? {
            if key == "metadata" {
                metadata = fields.next_value()?;
            } else if let Some((_, rule)) = known.iter().find(|(name, _)| *name == key) {
                content.push_key(&mut is_first, &key);
                fields.next_value_seed(Copy { rule, into: &mut content })?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        content.push(b"}");
        let mentions = std::mem::take(&mut content.mentions).into_iter().collect();
        let more_mentions = content.more_mentions;
        let claim = content.claim.take();
        Ok(Read { source, metadata: metadata.into_meta(source), text: content.text(), mentions, more_mentions, claim })
    }
}

impl Read {
    /// Without a content that would not be kept anyway: a page has many.
    pub(super) fn shortened(mut self) -> Self {
        self.text = self.text.filter(|text| text.len() <= LONGEST_KEPT);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PROMETHEUS: Source = Source::Prometheus(PrometheusKind::Prometheus);

    fn read(source: Source, from: &Value) -> Read {
        Reading(source).deserialize(&mut serde_json::Deserializer::from_str(&from.to_string())).unwrap()
    }

    #[test]
    fn an_object_is_what_is_used_of_it() {
        let from = json!({
            "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
            "metadata": {"name": "main", "namespace": "n", "labels": {"team": "a"}, "managedFields": [{"manager": "x"}]},
            "spec": {
                "containers": [{"name": "big"}], "paused": true, "scrapeInterval": "5s", "podMonitorSelector": {"a": [1]},
                "serviceMonitorSelector": null, "remoteWrite": [{"url": "u", "headers": {}}],
            },
            "status": {"conditions": []},
        });
        let object = read(PROMETHEUS, &from).object().unwrap();
        assert_eq!(object.types.as_ref().map(|types| types.kind.as_str()), Some("Prometheus"));
        let wanted = json!({"spec": {
            "paused": true, "scrapeInterval": "5s", "podMonitorSelector": true, "serviceMonitorSelector": null,
            "remoteWrite": [{"url": "u"}],
        }});
        assert_eq!(object.data, wanted);
        assert_eq!(object.metadata.managed_fields, None);
    }

    #[test]
    fn what_is_kept_is_bounded_for_one_object_and_for_all() {
        let room = Arc::new(Room::default());
        let secret =
            |bytes: usize| read(Source::Secret, &json!({"metadata": {}, "data": {"a.b.token": "x".repeat(bytes)}}));
        let long = Kept::new(secret(LONGEST_KEPT), &room);
        assert!(long.text.is_none(), "too long for one");
        assert!(long.is_mentioned(&ArchiveName::new("a", "b")), "and still known");
        let all: Vec<Kept> = (0..2_000).map(|_| Kept::new(secret(15 << 10), &room)).collect();
        let kept: usize = all.iter().filter_map(|kept| kept.text.as_ref()).map(|text| text.len()).sum();
        assert!(kept <= ALL_KEPT && kept > ALL_KEPT - LONGEST_KEPT, "{kept}");
        drop((all, long));
        assert_eq!(room.0.load(Ordering::Relaxed), 0, "what is gone takes no room");
        assert!(Kept::new(secret(15 << 10), &room).text.is_some());
    }

    #[test]
    fn what_is_longer_than_can_be_read_is_told_from_what_is_empty() {
        let from = json!({"metadata": {"name": "a"}, "spec": {"more": "x".repeat(LONGEST_READ)}});
        let read = read(Source::Archive, &from);
        assert_eq!(read.metadata.name.as_deref(), Some("a"));
        assert!(read.object().is_err());
    }

    #[test]
    fn which_claim_an_archive_names_is_known_whatever_else_is_in_it() {
        let room = Arc::new(Room::default());
        for bytes in [0, LONGEST_KEPT, LONGEST_READ] {
            let spec = json!({"more": "x".repeat(bytes), "storage": {"persistentVolume": {"existingClaim": "c"}}});
            let kept = Kept::new(read(Source::Archive, &json!({"metadata": {"name": "a"}, "spec": spec})), &room);
            assert_eq!(kept.claim.as_deref(), Some("c"));
        }
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}
