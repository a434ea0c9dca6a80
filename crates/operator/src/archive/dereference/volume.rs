//! The volume of an archive: its claim, and who else has to do with that.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::DynamicObject;

use crate::archive::LookError;
use crate::archive::claims::{self, Contender, Refusal};
use crate::archive::context::Context;
use crate::archive::own::belongs;
use crate::archive::validate::{Archive, Claim, Storage};
use crate::kubernetes::cache::{ReadError, Source};
use crate::kubernetes::kind::Kind;
use crate::names::ArchiveName;

/// The claim that the archive names, or that is made for it.
pub(crate) async fn claim(context: &Context, archive: &Archive) -> Result<Option<Arc<DynamicObject>>, LookError> {
    let kind = Kind::PersistentVolumeClaim;
    let namespace = archive.id.namespace.as_str();
    let Storage::Volume(wanted) = &archive.storage;
    let found = match wanted {
        // Without the operator's label: not in the cache.
        Claim::Existing(name) => context.caches.read_now(Source::Child(kind), namespace, name).await,
        Claim::New { .. } => {
            let found = read(context, kind, namespace, &archive.id.claim()).await;
            found.map(|found| found.filter(|found| belongs(found, kind, &archive.id, &archive.uid)))
        }
    };
    match (found, wanted) {
        (Ok(found), _) => Ok(found),
        // Somebody made it so. What it is like is not known, but whose it is.
        (Err(ReadError::TooLong(_)), Claim::New { .. }) => {
            let record = context.caches.get(Source::Child(kind), namespace, &archive.id.claim());
            Ok(record.filter(|record| belongs(record, kind, &archive.id, &archive.uid)))
        }
        (Err(ReadError::TooLong(_)), Claim::Existing(_)) => Ok(None),
        (Err(ReadError::Request(source)), _) => Err(LookError::Request { what: "read the claim", source }),
    }
}

/// Asks the API server for what is not in the cache: it may be somebody else's, or one of ours that is too new.
async fn read(
    context: &Context,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<DynamicObject>>, ReadError> {
    let source = Source::Child(kind);
    match context.caches.get(source, namespace, name) {
        Some(_) => context.caches.read(source, namespace, name).await,
        None => context.caches.read_now(source, namespace, name).await,
    }
}

/// Why the receiver may not mount the claim. Whether a claim of the operator's own name is its own is judged when it is applied.
pub(super) async fn refusal(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    claim: Option<&DynamicObject>,
) -> Result<Option<Refusal>, LookError> {
    let Storage::Volume(wanted) = &archive.storage;
    let name = wanted.name(&archive.id);
    let mut others = Vec::new();
    for (other, existing) in context.caches.archives_of(&archive.id.namespace) {
        let its = claims::name_of(&id_of(&other), existing);
        if other.metadata.uid.as_ref() != Some(&archive.uid) && its == name {
            // One whose Deployment nobody can look at may mount it.
            others.push(contender(context, &other, &name, Some(&name)).await?);
        }
    }
    Ok(match wanted {
        Claim::New { .. } if others.is_empty() => None,
        Claim::New { .. } => claims::refusal_of_own(&contender(context, object, &name, None).await?, &name, &others),
        Claim::Existing(_) => claims::refusal(&contender(context, object, &name, None).await?, &name, claim, &others),
    })
}

fn id_of(archive: &DynamicObject) -> ArchiveName {
    ArchiveName::new(archive.namespace().unwrap_or_default(), archive.name_any())
}

/// An archive as far as it has to do with the claim that it names. Its spec may be one that cannot be read. `hidden`: what its Deployment
/// is taken to mount if that is too long to be looked at.
async fn contender(
    context: &Context,
    object: &DynamicObject,
    claim: &str,
    hidden: Option<&str>,
) -> Result<Contender, LookError> {
    let (kind, id) = (Kind::Deployment, id_of(object));
    let is_its = |found: &DynamicObject| belongs(found, kind, &id, &object.uid().unwrap_or_default());
    let mounted = match read(context, kind, &id.namespace, &id.receiver()).await {
        Ok(deployment) => deployment.filter(|found| is_its(found)).as_deref().and_then(claims::mounted),
        Err(ReadError::TooLong(_)) => {
            let record = context.caches.get(Source::Child(kind), &id.namespace, &id.receiver());
            record.filter(|record| is_its(record)).and(hidden).map(ToOwned::to_owned)
        }
        Err(ReadError::Request(source)) => return Err(LookError::Request { what: "read a Deployment", source }),
    };
    Ok(Contender {
        created: object.creation_timestamp().map(|time| time.0),
        mounted,
        claim: claim.to_owned(),
        archive: id,
    })
}
