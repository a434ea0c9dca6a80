//! The fields of an object's metadata that are used, each of them bounded: labels, annotations, owners and finalizers have no
//! common limit below that of the whole object, and what is noted of managers is as long as the object.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference, Time};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::copy::ShortText;
use super::source::Source;
use crate::kubernetes::kind::Kind;
use crate::names::{
    ALLOW_ARCHIVES, APPLIED, ARCHIVE_UID, FIELD_MANAGER, FINALIZER, OWN_LABELS, ROTATE_CERTIFICATES, ROTATE_TOKENS,
};

/// Longest value of an annotation that is kept.
const LONGEST_ANNOTATION: usize = 4 << 10;
/// The labels by which a Prometheus can be chosen, or chooses a PodMonitor: so many, and so long together.
const MOST_LABELS: usize = 64;
const LONGEST_LABELS: usize = 4 << 10;
const MOST_OWNERS: usize = 8;

const OUR_ANNOTATIONS: [&str; 5] = [ALLOW_ARCHIVES, ROTATE_TOKENS, ROTATE_CERTIFICATES, ARCHIVE_UID, APPLIED];

/// What is kept of an object's metadata.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "labels")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "annotations")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "owners")]
    owner_references: Vec<OwnerReference>,
    #[serde(deserialize_with = "is_held")]
    finalizers: bool,
    #[serde(deserialize_with = "written")]
    managed_fields: Option<Time>,
}

impl Metadata {
    /// As everybody else knows it. Of the finalizers and the managers there are only ours.
    pub(super) fn into_meta(mut self, source: Source) -> ObjectMeta {
        // A Prometheus is chosen by its labels, and a PodMonitor has those that its archive asks for.
        if !matches!(source, Source::Prometheus(_) | Source::Child(Kind::PodMonitor)) {
            self.labels.retain(|name, _| OWN_LABELS.contains(&name.as_str()));
        }
        let written = self.managed_fields.map(|time| ManagedFieldsEntry {
            manager: Some(FIELD_MANAGER.to_owned()),
            time: Some(time),
            ..ManagedFieldsEntry::default()
        });
        ObjectMeta {
            name: self.name,
            namespace: self.namespace,
            uid: self.uid,
            resource_version: self.resource_version,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            deletion_timestamp: self.deletion_timestamp,
            labels: Some(self.labels).filter(|all| !all.is_empty()),
            annotations: Some(self.annotations).filter(|all| !all.is_empty()),
            owner_references: Some(self.owner_references).filter(|all| !all.is_empty()),
            finalizers: self.finalizers.then(|| vec![FINALIZER.to_owned()]),
            managed_fields: written.map(|written| vec![written]),
            ..ObjectMeta::default()
        }
    }
}

/// Folds a list, item by item. What is no list is empty.
struct List<T, V, F>(F, V, PhantomData<T>);

impl<'de, T: Deserialize<'de>, V, F: FnMut(&mut V, T)> Visitor<'de> for List<T, V, F> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<V, E> {
        Ok(self.1)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<V, A::Error> {
        while let Some(item) = items.next_element()? {
            (self.0)(&mut self.1, item);
        }
        Ok(self.1)
    }
}

fn list<'de, T: Deserialize<'de>, V: Default, D: Deserializer<'de>>(
    deserializer: D,
    fold: impl FnMut(&mut V, T),
) -> Result<V, D::Error> {
    deserializer.deserialize_any(List(fold, V::default(), PhantomData))
}

/// Folds a map of texts, of which `is_wanted` are read.
struct Texts<F, W>(F, W);

impl<'de, F: FnMut(&mut BTreeMap<String, String>, String, String), W: Fn(&str) -> bool> Visitor<'de> for Texts<F, W> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(key) = fields.next_key::<String>()? {
            if (self.1)(&key) {
                let text = fields.next_value()?;
                (self.0)(&mut all, key, text);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(all)
    }
}

fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut left = LONGEST_LABELS;
    let fold = |all: &mut BTreeMap<String, String>, name: String, value: String| {
        let length = name.len() + value.len();
        if OWN_LABELS.contains(&name.as_str()) {
            all.insert(name, value);
        } else if all.len() < MOST_LABELS && length <= left {
            left -= length;
            all.insert(name, value);
        }
    };
    deserializer.deserialize_any(Texts(fold, |_: &str| true))
}

fn annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let fold = |all: &mut BTreeMap<String, String>, name: String, value: String| {
        let value = shortened(value);
        all.insert(name, value);
    };
    deserializer.deserialize_any(Texts(fold, |name: &str| OUR_ANNOTATIONS.contains(&name)))
}

/// As much as fits. It ends before a comma, so that no item of a list becomes another one.
fn shortened(mut value: String) -> String {
    if value.len() > LONGEST_ANNOTATION {
        let fits = (0..=LONGEST_ANNOTATION).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
        value.truncate(fits);
        let end = value.rfind(',').unwrap_or(0);
        value.truncate(end);
    }
    value
}

/// A text that is left out if it is too long.
#[derive(Default)]
struct Short(String);

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::DeserializeSeed;
        ShortText.deserialize(deserializer).map(|text| Self(text.unwrap_or_default()))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Owner {
    api_version: Short,
    kind: Short,
    name: Short,
    uid: Short,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

/// The owners of an object, the controller among them: there is one at most.
pub(crate) fn owners<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OwnerReference>, D::Error> {
    list(deserializer, |all: &mut Vec<OwnerReference>, owner: Owner| {
        if all.len() == MOST_OWNERS && owner.controller == Some(true) {
            all.pop();
        }
        if all.len() < MOST_OWNERS {
            all.push(OwnerReference {
                api_version: owner.api_version.0,
                kind: owner.kind.0,
                name: owner.name.0,
                uid: owner.uid.0,
                controller: owner.controller,
                block_owner_deletion: owner.block_owner_deletion,
            });
        }
    })
}

/// Whether our finalizer is there.
fn is_held<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    list(deserializer, |held: &mut bool, name: Short| *held |= name.0 == FINALIZER)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Manager {
    manager: Short,
    time: Option<Time>,
}

/// When we last wrote.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    list(deserializer, |last: &mut Option<Time>, one: Manager| {
        if one.manager.0 == FIELD_MANAGER && one.time.as_ref().map(|time| time.0) > last.as_ref().map(|time| time.0) {
            *last = one.time;
        }
    })
}

#[cfg(test)]
mod tests {
    use promarchive_api::metrics_archive::PrometheusKind;
    use serde_json::json;

    use super::*;

    fn read(meta: serde_json::Value, source: Source) -> ObjectMeta {
        serde_json::from_value::<Metadata>(meta).unwrap().into_meta(source)
    }

    #[test]
    fn only_what_is_used_is_kept() {
        let meta = json!({
            "name": "n", "namespace": "s", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": null,
            "labels": {"app.kubernetes.io/instance": "lab", "team": "a"},
            "annotations": {"promarchive.dev/applied": "h", "theirs": "x".repeat(1 << 18)},
            "ownerReferences": [{"apiVersion": "v", "kind": "K", "name": "o", "uid": "1", "controller": true}],
            "finalizers": ["theirs", "promarchive.dev/archive"],
            "managedFields": [
                {"manager": "promarchive-operator", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}},
                {"manager": "promarchive-operator", "time": "2026-01-02T00:00:00Z", "subresource": "status"},
                {"manager": "theirs", "time": "2026-01-03T00:00:00Z"},
            ],
        });
        let kept = serde_json::to_value(read(meta.clone(), Source::Secret)).unwrap();
        let mut wanted = meta.clone();
        for field in ["deletionTimestamp", "labels", "annotations", "finalizers", "managedFields"] {
            wanted.as_object_mut().unwrap().remove(field);
        }
        wanted["labels"] = json!({"app.kubernetes.io/instance": "lab"});
        wanted["annotations"] = json!({"promarchive.dev/applied": "h"});
        wanted["finalizers"] = json!(["promarchive.dev/archive"]);
        wanted["managedFields"] = json!([{"manager": "promarchive-operator", "time": "2026-01-02T00:00:00Z"}]);
        assert_eq!(kept, wanted);
        for source in [Source::Prometheus(PrometheusKind::Prometheus), Source::Child(Kind::PodMonitor)] {
            assert_eq!(read(meta.clone(), source).labels.unwrap().len(), 2, "{source:?} is chosen by its labels");
        }
    }

    #[test]
    fn every_field_is_bounded() {
        let many = |each: fn(usize) -> String| (0..5_000).map(|at| (each(at), each(at))).collect::<BTreeMap<_, _>>();
        let meta = json!({
            "labels": many(|at| format!("label-{at}")),
            "ownerReferences": (0..5_000).map(|at| json!({"name": "x".repeat(9_000), "uid": at.to_string()})).collect::<Vec<_>>(),
            "finalizers": (0..5_000).map(|at| format!("theirs/{at}")).collect::<Vec<_>>(),
            "annotations": {"promarchive.dev/allow-archives": "team/lab,".repeat(9_000)},
        });
        let kept = read(meta, Source::Prometheus(PrometheusKind::Prometheus));
        assert_eq!(kept.finalizers, None);
        let length = serde_json::to_string(&kept).unwrap().len();
        assert!(length < 12 << 10, "{length}");
    }

    #[test]
    fn every_annotation_of_ours_is_kept_and_the_controller_wherever_it_is() {
        let ours = ["allow-archives", "rotate-tokens", "rotate-certificates", "archive-uid", "applied"];
        let ours: BTreeMap<_, _> =
            ours.iter().map(|name| (format!("promarchive.dev/{name}"), "x".to_owned())).collect();
        let mut owners: Vec<_> = (0..100).map(|at| json!({"name": at.to_string()})).collect();
        owners.push(json!({"name": "it", "controller": true}));
        let kept = read(json!({"annotations": ours, "ownerReferences": owners}), Source::Archive);
        assert_eq!(kept.annotations, Some(ours));
        let owners = kept.owner_references.unwrap();
        assert_eq!((owners.len(), owners.last().unwrap().name.as_str()), (MOST_OWNERS, "it"));
    }

    #[test]
    fn a_long_consent_ends_with_a_whole_name() {
        let archives = shortened("team/lab,".repeat(1_000));
        assert!(archives.len() > LONGEST_ANNOTATION - 20 && archives.len() <= LONGEST_ANNOTATION);
        assert!(archives.split(',').all(|one| one == "team/lab"));
        assert_eq!(shortened("x".repeat(LONGEST_ANNOTATION + 1)), "", "no part of a name is a name");
        assert_eq!(shortened("é".repeat(3)), "ééé");
    }
}
