//! An object as it should be: its name, labels and owner.
//!
//! Every object says in its label `app.kubernetes.io/component` which component it belongs to. What all components share has no such
//! label. Selectors select by it, so that nothing leads to the pods of another component.

#![allow(clippy::indexing_slicing, reason = "by name, into JSON objects that are made right here")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::archive::validate::Archive;
use crate::kubernetes::kind::Kind;
use crate::names::{APPLIED, COMPONENT, Component, INSTANCE, MANAGED_BY, NAME, short_hash};

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// All of it, for a server-side apply.
    pub object: Value,
}

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Of one component. The labels are those that the archive asks for.
    Of(Component, &'a BTreeMap<String, String>),
    /// Of all components.
    Shared,
}

/// No labels are asked for.
pub(super) static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl Part<'_> {
    /// Of one component, with no labels but the operator's.
    pub(super) fn of(component: Component) -> Self {
        Self::Of(component, &NO_LABELS)
    }
}

/// Labels by which the pods of a component are found. Never changed: a Deployment's selector cannot be.
pub(super) fn selector(archive: &Archive, component: Component) -> Value {
    json!({NAME: "promarchive", COMPONENT: component.as_str(), INSTANCE: archive.id.name})
}

/// The labels of an object; those of the operator stand above those that the archive asks for.
pub(super) fn labels(archive: &Archive, part: Part<'_>) -> Value {
    let mut all = match part {
        Part::Of(_, asked) => json!(asked),
        Part::Shared => json!({}),
    };
    all[NAME] = json!("promarchive");
    if let Part::Of(component, _) = part {
        all[COMPONENT] = json!(component.as_str());
    }
    all[INSTANCE] = json!(archive.id.name);
    all[MANAGED_BY] = json!("promarchive-operator");
    all
}

/// An object of the archive: what `body` says, with name, labels, owner and the hash of all of it.
pub(super) fn desired(archive: &Archive, part: Part<'_>, kind: Kind, name: String, body: Value) -> Desired {
    let resource = kind.resource();
    let mut object = body;
    object["apiVersion"] = json!(resource.api_version);
    object["kind"] = json!(resource.kind);
    let labels = labels(archive, part);
    object["metadata"] = json!({"name": name, "namespace": archive.id.namespace, "labels": labels});
    // The claim outlives the archive, or is deleted by name.
    if kind != Kind::PersistentVolumeClaim {
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "promarchive.dev/v1alpha1",
            "kind": "MetricsArchive",
            "name": archive.id.name,
            "uid": archive.uid,
            "controller": true,
            "blockOwnerDeletion": false,
        }]);
    }
    let hash = short_hash(object.to_string().as_bytes());
    object["metadata"]["annotations"] = json!({APPLIED: hash});
    Desired { kind, name, object }
}
