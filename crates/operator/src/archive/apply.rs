//! Brings the objects of an archive into the cluster: what differs is applied, what is not wanted any more is deleted,
//! and what is right is left alone.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::Value;
use tracing::{info, warn};

use crate::archive::build::Desired;
use crate::archive::context::Context;
use crate::archive::own::{belongs, delete};
use crate::kubernetes::ApplyError;
use crate::kubernetes::cache::{Caches, ReadError, Source, TooLong};
use crate::kubernetes::drift::{correction, difference};
use crate::kubernetes::kind::Kind;
use crate::names::{APPLIED, ArchiveName, Component, FIELD_MANAGER, patch_params};

/// Something that is changed back at once is not changed again before.
const AFTER_NO_EFFECT: Duration = Duration::from_secs(300);

/// Brings the objects of one archive into the cluster.
pub(crate) struct Applier<'a> {
    /// What every look shares.
    pub context: &'a Context,
    /// Whose objects they are.
    pub archive: &'a ArchiveName,
    /// The archive's uid.
    pub uid: &'a str,
}

impl Applier<'_> {
    /// Applies `desired` in order; goes on after an error, and gives all of them.
    pub(crate) async fn apply(&self, desired: &[Desired]) -> Vec<ApplyError> {
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
        let Found { live, long } = self.found(desired).await?;
        let Some(difference) = self.difference(desired, live.as_deref())? else { return Ok(()) };
        let attempt = (live.as_ref().and_then(|live| live.uid()).unwrap_or_default(), hash_of(object));
        if self.context.unsettled.said_within(&attempt, AFTER_NO_EFFECT).is_some() {
            return long.map_or(Ok(()), |error| Err(too_long(*kind, name, &error)));
        }
        info!(archive = %self.archive, ?kind, name, place = difference, "applying an object that differs from the desired state");
        let (source, named) = (Source::Child(*kind), (self.archive.namespace.as_str(), name.as_str()));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let answer = match (self.context.caches.patch(source, named, &params, &Patch::Apply(object)).await, live) {
            (Ok(Ok(answer)), _) => answer,
            (Ok(Err(error)), _) => {
                self.context.unsettled.renew(attempt, ());
                return Err(too_long(*kind, name, &error));
            }
            // Beside what somebody else put into a list it may be invalid.
            (Err(kube::Error::Api(status)), Some(live)) if status.code == 422 => DynamicObject::clone(&live),
            (Err(error), _) => return Err(ApplyError::request(format!("{kind:?}"), name, &error)),
        };
        self.correct(desired, &answer, attempt).await
    }

    /// What is there now under the name of `desired`.
    async fn found(&self, desired: &Desired) -> Result<Found, ApplyError> {
        let Desired { kind, name, .. } = desired;
        let Self { context, archive, uid } = self;
        let (source, namespace) = (Source::Child(*kind), &archive.namespace);
        let record = context.caches.get(source, namespace, name);
        let read = match record.as_ref().filter(|record| belongs(record, *kind, archive, uid)) {
            Some(_) => context.caches.read(source, namespace, name).await,
            // Not ours as far as the cache goes; it may be somebody else's, or too new.
            None => context.caches.read_now(source, namespace, name).await,
        };
        match read {
            Ok(live) => Ok(Found { live, long: None }),
            Err(ReadError::Request(error)) => Err(ApplyError::request(format!("{kind:?}"), name, &error)),
            // It is nowhere as it should be; whose it is is known all the same, if it has our label.
            Err(ReadError::TooLong(error)) if record.is_some() => Ok(Found { live: record, long: Some(error) }),
            Err(ReadError::TooLong(_)) => Err(ApplyError::NameTaken { kind: *kind, name: name.clone() }),
        }
    }

    /// Where `live` is not as it should be; none if it is right.
    fn difference(&self, desired: &Desired, live: Option<&DynamicObject>) -> Result<Option<String>, ApplyError> {
        let Desired { kind, name, object } = desired;
        match live {
            None => Ok(Some("the object does not exist".to_owned())),
            Some(live)
                if live.metadata.deletion_timestamp.is_some() || is_left_behind(live, self.archive, self.uid) =>
            {
                Err(ApplyError::Ending { kind: *kind, name: name.clone() })
            }
            Some(live) if !belongs(live, *kind, self.archive, self.uid) => {
                Err(ApplyError::NameTaken { kind: *kind, name: name.clone() })
            }
            Some(live) => Ok(needs_apply(object, live)),
        }
    }

    /// Takes out of `applied` what another field manager owns and `desired` does not have.
    async fn correct(
        &self,
        desired: &Desired,
        applied: &DynamicObject,
        attempt: (String, String),
    ) -> Result<(), ApplyError> {
        let Desired { kind, name, object } = desired;
        let archive = self.archive;
        let Some(difference) = missing_in(object, applied) else { return Ok(()) };
        let written = serde_json::to_value(applied).unwrap_or_default();
        info!(%archive, ?kind, name, place = difference, "another field manager owns extra entries; removing them");
        let correction = Patch::Merge(correction(object, &written));
        let (source, named) = (Source::Child(*kind), (archive.namespace.as_str(), name.as_str()));
        let answer = self.context.caches.patch(source, named, &patch_params(), &correction).await;
        let answer = answer.map_err(|error| ApplyError::request(format!("{kind:?}"), name, &error))?;
        let answer = answer.map_err(|error| too_long(*kind, name, &error))?;
        if let Some(difference) = missing_in(object, &answer) {
            warn!(%archive, ?kind, name, place = difference, "another program in the cluster changed the object back immediately; retrying in 5 minutes");
            self.context.unsettled.renew(attempt, ());
        }
        Ok(())
    }
}

/// What is there under the name of an object that is wanted.
struct Found {
    /// The object. If it is too long, its metadata alone.
    live: Option<Arc<DynamicObject>>,
    long: Option<TooLong>,
}

/// Somebody made it so long that nobody can tell what is in it.
fn too_long(kind: Kind, name: &str, error: &TooLong) -> ApplyError {
    let (kind, reason) =
        (format!("{kind:?}"), format!("{error}. Delete the object; the operator then creates it again"));
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
        return Some("the desired state has changed".to_owned());
    }
    missing_in(object, live)
}

/// Whether `live` belongs to an archive of the same name that is gone: the garbage collector is about to take it.
fn is_left_behind(live: &DynamicObject, archive: &ArchiveName, uid: &str) -> bool {
    let is_former =
        |owner: &OwnerReference| owner.kind == "MetricsArchive" && owner.name == archive.name && owner.uid != uid;
    live.owner_references().iter().any(is_former)
}

/// Objects of this archive that are not wanted any more. The claim is not among them: data goes only when the policy says so. Nor is
/// the Deployment: it stays as it is while its claim may not be mounted anew.
fn orphans(caches: &Caches, archive: &ArchiveName, uid: &str, desired: &[Desired]) -> Vec<(Kind, Arc<DynamicObject>)> {
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_deleted() && *kind != Kind::PersistentVolumeClaim);
    let components = Component::ALL.map(|component| archive.component(component));
    let names: Vec<String> = components.into_iter().chain([archive.snippet()]).collect();
    let all = kinds.flat_map(|kind| caches.all(Source::Child(kind)).into_iter().map(move |object| (kind, object)));
    all.filter(|(kind, object)| {
        object.namespace().as_ref() == Some(&archive.namespace)
            && belongs(object, *kind, archive, uid)
            // The admission policy lets nothing go that has another name: somebody else gave it our owner.
            && names.contains(&object.name_any())
            && object.metadata.deletion_timestamp.is_none()
            && !desired.iter().any(|wanted| wanted.kind == *kind && wanted.name == object.name_any())
    })
    .collect()
}
