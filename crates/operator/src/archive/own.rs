//! Objects of an archive's own: whose they are, reading and deleting them.

use std::sync::Arc;

use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};
use kube::{Client, ResourceExt};
use tracing::info;

use crate::archive::LookError;
use crate::archive::context::Context;
use crate::kubernetes::ApplyError;
use crate::kubernetes::cache::{ReadError, Source};
use crate::kubernetes::kind::Kind;
use crate::names::{ArchiveName, INSTANCE, MANAGED_BY};

/// Whether `live` is an object of this archive.
pub(crate) fn belongs(live: &DynamicObject, kind: Kind, archive: &ArchiveName, uid: &str) -> bool {
    if kind == Kind::PersistentVolumeClaim {
        // Kept from an archive of the same name before.
        let labels = live.labels();
        return labels.get(MANAGED_BY).is_some_and(|by| by == "promarchive-operator")
            && labels.get(INSTANCE) == Some(&archive.name);
    }
    is_controlled_by(live, archive, uid)
}

/// Whether the archive is the controller of `live`. Whoever may change `live` can write that: it keeps apart what belongs to
/// different archives, and does not vouch for what is in the object.
pub(crate) fn is_controlled_by(live: &DynamicObject, archive: &ArchiveName, uid: &str) -> bool {
    live.owner_references().iter().any(|owner| {
        owner.controller == Some(true)
            && owner.kind == "MetricsArchive"
            && owner.api_version.starts_with("promarchive.dev/")
            && owner.name == archive.name
            && owner.uid == uid
    }) && live.namespace().as_ref() == Some(&archive.namespace)
}

/// An object of the archive's own. One of that name that is somebody else's says nothing.
pub(crate) async fn own_object(
    context: &Context,
    archive: &ArchiveName,
    uid: &str,
    kind: Kind,
    name: &str,
) -> Result<Option<Arc<DynamicObject>>, LookError> {
    let source = Source::Child(kind);
    let is_its = |found: &DynamicObject| is_controlled_by(found, archive, uid);
    if context.caches.get(source, &archive.namespace, name).is_some_and(|record| !is_its(&record)) {
        return Ok(None);
    }
    match context.caches.read(source, &archive.namespace, name).await {
        Ok(found) => Ok(found.filter(|found| is_its(found))),
        // Nothing that the operator makes is so long; it is about to be set right.
        Err(ReadError::TooLong(_)) => Ok(None),
        Err(ReadError::Request(source)) => Err(LookError::Request { what: "read an object of the archive", source }),
    }
}

/// Deletes `object`, if it is still the one that was seen.
pub(crate) async fn delete(client: &Client, kind: Kind, object: &DynamicObject) -> Result<(), ApplyError> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    info!(namespace, ?kind, name, "deleting an object that is no longer needed");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind.resource());
    let uid = Preconditions { uid: object.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(uid), ..DeleteParams::background() };
    match api.delete(&name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ApplyError::request(format!("{kind:?}"), name, &error)),
    }
}
