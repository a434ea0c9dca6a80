//! The end of an archive: drain, take the entries out, wait until nothing more comes, flush, let go.
//!
//! Where it stands follows from what is found and from when the archive was deleted; nothing else is remembered, so an
//! operator that dies anywhere goes on from there. Every wait is bounded: what is late is reported and left behind.
//!
//! ```text
//! entries are there ──drained, or drainTimeout over──► no entries ──quiet, or limit over──► flush ──► Secrets, claim, finalizer
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch};
use promarchive_api::metrics_archive::{AccessMode, DeletionPolicy, Mode, PrometheusKind, Reason, TlsMode};
use serde_json::json;
use tracing::{info, warn};

use crate::archive::chosen::Sender;
use crate::archive::configure::{self, name_of};
use crate::archive::context::Context;
use crate::archive::credentials::SecretData;
use crate::archive::dereference::{self, Found, dereference};
use crate::archive::status::{Finding, Findings};
use crate::archive::validate::{Archive, Claim, Receiver, Storage};
use crate::archive::{LookError, claims, secrets, status_writer};
use crate::kubernetes::cache::Source;
use crate::kubernetes::kind::Kind;
use crate::kubernetes::namespaces::is_ending;
use crate::names::{ArchiveName, EntryName, FINALIZER, patch_params};
use crate::process::failpoint::{self, FailPoint};
use crate::process::queue::Next;
use crate::senders::delivery::{scrape_interval, silence};
use crate::senders::entry;

const AGAIN: Duration = Duration::from_secs(2);
/// From an entry taken out to the last request: the kubelet brings the configuration, and the queue sends what it holds.
const QUIET_LIMIT: Duration = Duration::from_secs(180);
/// Nothing has come for so long.
const QUIET: Duration = Duration::from_secs(20);

/// One step of the end of `archive`. `withdrawn`: whether it has nothing left in objects that do not consent.
pub(crate) async fn remove(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    withdrawn: bool,
) -> Result<Next, LookError> {
    if !object.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(Next::After(AGAIN));
    }
    let found = dereference(context, archive, object).await?;
    let waits = Waits::of(context, archive, object, &found);
    let with_entry: Vec<&Sender<'_>> =
        found.senders.iter().filter(|sender| is_ours_to_remove(archive, sender)).collect();
    if !with_entry.is_empty() && waits.for_entries {
        return drain(context, archive, object, &found, &with_entry, !waits.to_drain).await;
    }
    if !withdrawn && waits.for_entries {
        report(context, object, "removing the remoteWrite entries").await?;
        return Ok(Next::After(AGAIN));
    }
    if let Some(text) = waits.for_tail {
        report(context, object, text).await?;
        return Ok(Next::After(AGAIN));
    }
    failpoint::reach(FailPoint::BeforeLastFlush);
    let endpoint = found.endpoint.clone().filter(|_| found.is_receiver_ready());
    // Nothing more of it is needed, and a flush takes its time.
    drop(found);
    if let Some(endpoint) = endpoint
        && let Err(error) = context.receivers.flush(&endpoint).await
    {
        // The receiver flushes when it is stopped, too; and its WAL stays with the tables.
        warn!(archive = %archive.id, %error, "the last flush failed");
    }
    finish(context, archive, object).await
}

/// What is still worth waiting for. Only a namespace that ends, and a receiver that is not even wanted any more, end every wait: a
/// receiver that does not answer now may answer in a moment, and Prometheus keeps what it has.
struct Waits {
    /// Entries are still tried to be taken out.
    for_entries: bool,
    /// Entries stay until everything has come by them.
    to_drain: bool,
    /// For what the pods still have, or for the receiver to take it.
    for_tail: Option<&'static str>,
}

impl Waits {
    fn of(context: &Context, archive: &Archive, object: &DynamicObject, found: &Found<'_>) -> Self {
        let elapsed = since_deletion(object);
        let timeout = configure::drain_timeout(archive);
        let ending = is_ending(&context.caches, &archive.id.namespace) || found.deployment.is_none();
        let written = found.senders.iter().map(|sender| sender.prometheus.written()).max().unwrap_or(0);
        let since_written = Timestamp::now().as_millisecond().saturating_sub(written);
        // Its owner can write any time there: that may make it longer, and not endless.
        let is_recent = since_written < i64::try_from(QUIET_LIMIT.as_millis()).unwrap_or(i64::MAX)
            && elapsed < timeout + QUIET_LIMIT * 2;
        let for_tail = if ending || found.senders.is_empty() {
            None
        } else if found.is_receiver_ready() {
            let may_come = elapsed < timeout + QUIET_LIMIT || is_recent;
            (may_come && !is_quiet(found)).then_some(
                "the remoteWrite entries are removed; waiting for the remaining samples of the Prometheus pods",
            )
        } else {
            (elapsed < timeout).then_some(
                "the remoteWrite entries are removed; waiting for the receiver, which must receive the remaining \
                     samples of the Prometheus pods",
            )
        };
        Self { for_entries: elapsed < timeout + QUIET_LIMIT, to_drain: !ending && elapsed < timeout, for_tail }
    }
}

/// An entry in an object that the operator may change: not pasted by a person, and not going away with its object.
fn is_ours_to_remove(archive: &Archive, sender: &Sender<'_>) -> bool {
    let manual = sender.selection.is_some_and(|selection| selection.mode == Mode::Manual);
    !manual && !sender.prometheus.is_deleting() && crate::archive::chosen::has_entry_of(&sender.prometheus, &archive.id)
}

async fn drain(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    found: &Found<'_>,
    senders: &[&Sender<'_>],
    late: bool,
) -> Result<Next, LookError> {
    let mut undrained = Vec::new();
    for sender in senders {
        let list = sender.prometheus.remote_write().unwrap_or_default();
        let is_drained = |entry: &EntryName| configure::is_drained(found, sender, entry, deleted_at(object));
        let ours = entry::names(list).filter(|name| *name.archive() == archive.id);
        if !late && !ours.clone().all(|entry| is_drained(&entry)) {
            undrained.push(name_of(sender).to_string());
            continue;
        }
        configure::drain_event(context, object, found, sender, ours.clone().next().as_ref(), deleted_at(object)).await;
        context.patcher.take_out(&archive.id, &sender.prometheus).await;
    }
    let text = match undrained.first() {
        Some(first) => format!(
            "waiting until {first} has sent the samples that it had scraped when the archive was deleted, at most {} s",
            configure::drain_timeout(archive).as_secs()
        ),
        None => "removing the remoteWrite entries".to_owned(),
    };
    report(context, object, &text).await?;
    Ok(Next::After(AGAIN))
}

/// Whether nothing has come for long from those whose entries are out. A pasted entry goes on sending.
fn is_quiet(found: &Found<'_>) -> bool {
    let Some(deliveries) = found.deliveries() else { return true };
    let pasted = |sender: &&Sender<'_>| sender.selection.is_some_and(|selection| selection.mode == Mode::Manual);
    let pasted: Vec<String> = found.senders.iter().filter(pasted).map(|sender| name_of(sender).sender()).collect();
    // A Prometheus that scrapes rarely sends rarely.
    let intervals = found.senders.iter().map(|sender| scrape_interval(sender.prometheus.scrape_interval()).duration());
    let longest = intervals.max().unwrap_or_default();
    silence(deliveries, |sender| !pasted.iter().any(|one| one == sender)) > QUIET.max(longest * 2)
}

async fn finish(context: &Context, archive: &Archive, object: &DynamicObject) -> Result<Next, LookError> {
    let referenced = referencing(context, &archive.id);
    for namespace in secrets::namespaces_with_keys(&context.caches, &archive.id) {
        if referenced.contains(&namespace) {
            // A Secret that an entry names and that lacks the key stops the Prometheus Operator's work on that object.
            warn!(archive = %archive.id, namespace, "an entry that the operator may not change still uses the Secret, so the keys stay in it");
            continue;
        }
        if let Err(error) = secrets::write(context, &archive.id, &namespace, &SecretData::new()).await {
            warn!(archive = %archive.id, namespace, %error, "cannot remove the archive's keys from the Secret");
        }
    }
    if let (DeletionPolicy::Delete, Storage::Volume(Claim::New { .. })) = (archive.deletion_policy, &archive.storage) {
        delete_claim(context, archive, object).await?;
    }
    failpoint::reach(FailPoint::BeforeRelease);
    release(context, object).await?;
    info!(archive = %archive.id, "the archive is deleted");
    Ok(Next::After(AGAIN))
}

/// Deletes the claim that was made for this archive. One that was kept from an archive before, of the same name, holds that one's data:
/// whoever deleted that archive wanted it to stay.
async fn delete_claim(context: &Context, archive: &Archive, object: &DynamicObject) -> Result<(), LookError> {
    let Some(claim) = dereference::claim(context, archive).await? else { return Ok(()) };
    let created = object.creation_timestamp().map(|time| time.0);
    if claims::made_for(Some(&claim), &archive.uid, created).as_deref() != Some(&archive.uid) {
        let (name, namespace) = (archive.id.claim(), &archive.id.namespace);
        let note = format!(
            "the claim \"{name}\" is kept, because it was created for an earlier archive of this name. To delete it \
             with all its tables, run: kubectl delete pvc {name} --namespace {namespace}"
        );
        warn!(archive = %archive.id, note);
        context.events.write(object, true, Reason::ClaimKept.as_str(), "Remove", note).await;
        return Ok(());
    }
    if claim.metadata.deletion_timestamp.is_none()
        && let Err(error) = crate::archive::own::delete(&context.client, Kind::PersistentVolumeClaim, &claim).await
    {
        warn!(archive = %archive.id, %error, "cannot delete the claim; delete it manually");
    }
    Ok(())
}

/// Namespaces with an object in which an entry of the archive is: one that a person has pasted.
fn referencing(context: &Context, archive: &ArchiveName) -> BTreeSet<String> {
    let mentioning = |kind| context.caches.mentioning(Source::Prometheus(kind), archive);
    let all = PrometheusKind::ALL.into_iter().flat_map(mentioning);
    let staying = all.filter(|record| record.metadata.deletion_timestamp.is_none());
    staying.filter_map(|record| record.metadata.namespace.clone()).collect()
}

/// An archive whose spec nobody can read, as far as its end needs to know it: its data stays, and the defaults hold.
pub(crate) async fn unreadable(
    context: &Context,
    id: &ArchiveName,
    object: &DynamicObject,
) -> Result<Archive, LookError> {
    let data = secrets::data(&context.caches, &id.namespace).await?;
    let has_tls = data.contains_key(&id.secret_key("tls.crt"));
    Ok(Archive {
        id: id.clone(),
        uid: object.uid().unwrap_or_default(),
        storage: Storage::Volume(Claim::New {
            size: String::new(),
            storage_class: None,
            access_mode: AccessMode::default(),
        }),
        receiver: Receiver::unknown(if has_tls { TlsMode::SelfSigned } else { TlsMode::Disabled }),
        selections: Vec::new(),
        deletion_policy: DeletionPolicy::Retain,
        rotation: String::new(),
        new_authority: String::new(),
    })
}

/// Takes our finalizer off.
pub(crate) async fn release(context: &Context, object: &DynamicObject) -> Result<(), LookError> {
    set_finalizers(context, object, false, "remove the finalizer").await
}

/// Puts our finalizer on.
pub(crate) async fn hold(context: &Context, object: &DynamicObject) -> Result<(), LookError> {
    set_finalizers(context, object, true, "add the finalizer").await
}

/// The finalizers of others are not kept: they are read before the list is written as a whole.
#[derive(serde::Deserialize)]
struct Held {
    metadata: HeldMeta,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeldMeta {
    uid: String,
    resource_version: String,
    #[serde(default)]
    finalizers: Vec<String>,
}

async fn set_finalizers(
    context: &Context,
    object: &DynamicObject,
    held: bool,
    what: &'static str,
) -> Result<(), LookError> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let failed = |source| LookError::Request { what, source };
    let found = context.caches.requests.get_as::<Held>(Source::Archive, &namespace, &name).await.map_err(failed)?;
    let Some(Held { metadata }) = found.filter(|found| Some(&found.metadata.uid) == object.metadata.uid.as_ref())
    else {
        return Ok(());
    };
    if metadata.finalizers.iter().any(|name| name == FINALIZER) == held {
        return Ok(());
    }
    let mut finalizers = metadata.finalizers;
    finalizers.retain(|name| name != FINALIZER);
    finalizers.extend(held.then(|| FINALIZER.to_owned()));
    // Only if the list is still the one that was read.
    let patch = json!({"metadata": {"resourceVersion": metadata.resource_version, "finalizers": finalizers}});
    let patch = Patch::Merge(patch);
    match context.caches.patch(Source::Archive, (namespace.as_str(), name.as_str()), &patch_params(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

async fn report(context: &Context, object: &DynamicObject, text: &str) -> Result<(), LookError> {
    let found = Findings::only(object.metadata.generation, Finding::bad(Reason::Deleting, text));
    status_writer::write(context, object, &found).await
}

/// Ms since 1970.
fn deleted_at(object: &DynamicObject) -> i64 {
    object.metadata.deletion_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond())
}

fn since_deletion(object: &DynamicObject) -> Duration {
    let deleted = deleted_at(object);
    Duration::from_millis(u64::try_from(Timestamp::now().as_millisecond() - deleted).unwrap_or(0))
}
