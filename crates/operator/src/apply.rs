//! Brings the objects of an archive into the cluster: what differs is applied, what is not wanted any more is deleted,
//! and what is right is left alone.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tracing::{info, warn};

use crate::build::Desired;
use crate::cache::{Caches, ReadError, Source, TooLong, chain};
use crate::context::Context;
use crate::drift::{correction, difference};
use crate::entry::ArchiveName;
use crate::kind::Kind;
use crate::names::{APPLIED, FIELD_MANAGER, INSTANCE, MANAGED_BY, patch_params};

/// Something that is changed back at once is not changed again before.
const AFTER_NO_EFFECT: Duration = Duration::from_secs(300);

/// An object could not be brought into the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is there, and belongs to somebody else.
    #[error(
        "there is a {kind:?} \"{name}\" that does not belong to this archive: delete or rename it, or give the archive another name"
    )]
    NameTaken {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// One of the same name is still going.
    #[error("the {kind:?} \"{name}\" is being deleted: waiting until it is gone")]
    Ending {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The API server refuses it.
    #[error("{kind} \"{name}\": {reason}")]
    Request {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server said.
        reason: String,
        /// HTTP status, 0 if there was no answer.
        code: u16,
    },
}

impl ApplyError {
    /// Of a failed request.
    pub fn request(kind: impl Into<String>, name: impl Into<String>, error: &kube::Error) -> Self {
        let (reason, code) = match error {
            kube::Error::Api(status) => (status.message.clone(), status.code),
            other => (chain(other), 0),
        };
        Self::Request { kind: kind.into(), name: name.into(), reason, code }
    }

    /// Whether it may pass by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NameTaken { .. } => false,
            Self::Ending { .. } => true,
            Self::Request { code, .. } => !matches!(code, 400 | 403 | 405 | 413 | 422),
        }
    }
}

/// Brings the objects of one archive into the cluster.
pub struct Applier<'a> {
    /// What every look shares.
    pub context: &'a Context,
    /// Whose objects they are.
    pub archive: &'a ArchiveName,
    /// The archive's uid.
    pub uid: &'a str,
}

impl Applier<'_> {
    /// Applies `desired` in order; goes on after an error, and gives all of them.
    pub async fn apply(&self, desired: &[Desired]) -> Vec<ApplyError> {
        let mut errors = Vec::new();
        for object in desired {
            // What it would mount is somebody else's.
            let is_claim_taken =
                |error: &ApplyError| matches!(error, ApplyError::NameTaken { kind: Kind::PersistentVolumeClaim, .. });
            if object.kind == Kind::Deployment && errors.iter().any(is_claim_taken) {
                continue;
            }
            if let Err(error) = self.apply_one(object).await {
                errors.push(error);
            }
        }
        for (kind, orphan) in orphans(&self.context.caches, self.archive, self.uid, desired) {
            if let Err(error) = delete(&self.context.client, kind, &orphan).await {
                errors.push(error);
            }
        }
        errors
    }

    async fn apply_one(&self, desired: &Desired) -> Result<(), ApplyError> {
        let Desired { kind, name, object } = desired;
        let Self { context, archive, uid } = self;
        let failed = |error: kube::Error| ApplyError::request(format!("{kind:?}"), name, &error);
        let source = Source::Child(*kind);
        let place = (archive.namespace.as_str(), name.as_str());
        let record = context.caches.get(source, place.0, place.1);
        let live = match record.as_ref().filter(|record| belongs(record, *kind, archive, uid)) {
            Some(_) => context.caches.read(source, place.0, place.1).await,
            // Not ours as far as the cache goes; it may be somebody else's, or too new.
            None => context.caches.read_now(source, place.0, place.1).await,
        };
        let mut long = None;
        let live = match live {
            Ok(live) => live,
            Err(ReadError::Request(error)) => return Err(failed(error)),
            // It is nowhere as it should be; whose it is is known all the same, if it has our label.
            Err(ReadError::TooLong(error)) if record.is_some() => {
                long = Some(error);
                record
            }
            Err(ReadError::TooLong(_)) => return Err(ApplyError::NameTaken { kind: *kind, name: name.clone() }),
        };
        let difference = match &live {
            None => "all of it".to_owned(),
            Some(live) if live.metadata.deletion_timestamp.is_some() || is_left_behind(live, archive, uid) => {
                return Err(ApplyError::Ending { kind: *kind, name: name.clone() });
            }
            Some(live) if !belongs(live, *kind, archive, uid) => {
                return Err(ApplyError::NameTaken { kind: *kind, name: name.clone() });
            }
            Some(live) => match needs_apply(object, live) {
                Some(difference) => difference,
                None => return Ok(()),
            },
        };
        let attempt = (live.as_ref().and_then(|live| live.uid()).unwrap_or_default(), hash_of(object));
        if context.unsettled.said_within(&attempt, AFTER_NO_EFFECT).is_some() {
            return long.map_or(Ok(()), |error| Err(too_long(*kind, name, &error)));
        }
        info!(%archive, ?kind, name, place = difference, "is not as it should be: applying");
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let answer = match context.caches.patch(source, place, &params, &Patch::Apply(object)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                context.unsettled.renew(attempt, ());
                return Err(too_long(*kind, name, &error));
            }
            // Beside what somebody else put into a list it may be invalid.
            Err(kube::Error::Api(status)) if status.code == 422 && live.is_some() => match &live {
                Some(live) => DynamicObject::clone(live),
                None => return Ok(()),
            },
            Err(error) => return Err(failed(error)),
        };
        let Some(difference) = missing_in(object, &answer) else { return Ok(()) };
        let written = serde_json::to_value(&answer).unwrap_or_default();
        info!(%archive, ?kind, name, place = difference, "somebody else owns what is too much: taking it out");
        let correction = Patch::Merge(correction(object, &written));
        let answer = context.caches.patch(source, place, &patch_params(), &correction).await.map_err(failed)?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(too_long(*kind, name, &error)),
        };
        if let Some(difference) = missing_in(object, &answer) {
            warn!(%archive, ?kind, name, place = difference, "something in the cluster changes it at once: left so for 5 minutes");
            context.unsettled.renew(attempt, ());
        }
        Ok(())
    }
}

/// Somebody made it so long that nobody can tell what is in it.
fn too_long(kind: Kind, name: &str, error: &TooLong) -> ApplyError {
    let (kind, reason) = (format!("{kind:?}"), format!("{error}. Delete it, and it is made anew"));
    ApplyError::Request { kind, name: name.to_owned(), reason, code: 413 }
}

/// Where `live` is not as `object` asks. The items of a list say nothing of their kind.
fn missing_in(object: &Value, live: &DynamicObject) -> Option<String> {
    let mut wanted = object.clone();
    if let Some(fields) = wanted.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    difference(&wanted, &serde_json::to_value(live).unwrap_or_default())
}

fn hash_of(object: &Value) -> String {
    let annotations = object.pointer("/metadata/annotations");
    annotations.and_then(|all| all.get(APPLIED)?.as_str()).unwrap_or_default().to_owned()
}

/// Where `live` is not as it should be. The hash tells when something is not wanted any more, which `live` alone cannot tell.
fn needs_apply(object: &Value, live: &DynamicObject) -> Option<String> {
    if live.annotations().get(APPLIED) != Some(&hash_of(object)) {
        return Some("what is wanted".to_owned());
    }
    missing_in(object, live)
}

/// Whether `live` belongs to an archive of the same name that is gone: the garbage collector is about to take it.
fn is_left_behind(live: &DynamicObject, archive: &ArchiveName, uid: &str) -> bool {
    let is_former =
        |owner: &OwnerReference| owner.kind == "MetricsArchive" && owner.name == archive.name && owner.uid != uid;
    live.owner_references().iter().any(is_former)
}

/// Whether `live` is an object of this archive.
pub fn belongs(live: &DynamicObject, kind: Kind, archive: &ArchiveName, uid: &str) -> bool {
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
pub fn is_controlled_by(live: &DynamicObject, archive: &ArchiveName, uid: &str) -> bool {
    live.owner_references().iter().any(|owner| {
        owner.controller == Some(true)
            && owner.kind == "MetricsArchive"
            && owner.api_version.starts_with("promarchive.dev/")
            && owner.name == archive.name
            && owner.uid == uid
    }) && live.namespace().as_ref() == Some(&archive.namespace)
}

/// Objects of this archive that are not wanted any more. The claim is not among them: data goes only when the policy says so. Nor is
/// the Deployment: it stays as it is while its claim may not be mounted anew.
fn orphans(caches: &Caches, archive: &ArchiveName, uid: &str, desired: &[Desired]) -> Vec<(Kind, Arc<DynamicObject>)> {
    let kinds = Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::PersistentVolumeClaim | Kind::Deployment));
    let all = kinds.flat_map(|kind| caches.all(Source::Child(kind)).into_iter().map(move |object| (kind, object)));
    all.filter(|(kind, object)| {
        object.namespace().as_ref() == Some(&archive.namespace)
            && belongs(object, *kind, archive, uid)
            // The admission policy lets nothing go that has another name: somebody else gave it our owner.
            && [archive.receiver(), archive.snippet()].contains(&object.name_any())
            && object.metadata.deletion_timestamp.is_none()
            && !desired.iter().any(|wanted| wanted.kind == *kind && wanted.name == object.name_any())
    })
    .collect()
}

/// Deletes `object`, if it is still the one that was seen.
pub async fn delete(client: &Client, kind: Kind, object: &DynamicObject) -> Result<(), ApplyError> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    info!(namespace, ?kind, name, "is not wanted any more: deleting");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind.resource());
    let uid = Preconditions { uid: object.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(uid), ..DeleteParams::background() };
    match api.delete(&name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ApplyError::request(format!("{kind:?}"), name, &error)),
    }
}
