//! One look at one archive: is it to be kept, to be removed, or left alone?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::DynamicObject;
use promarchive_api::metrics_archive::{MetricsArchive, MetricsArchiveStatus, Reason};
use tracing::warn;

use crate::archive::context::Context;
use crate::archive::keep::keep;
use crate::archive::status::{Finding, Findings};
use crate::archive::validate::{Archive, validate};
use crate::archive::withdrawal::withdraw;
use crate::archive::{LookError, removal, status_writer};
use crate::kubernetes::cache::{ReadError, Source, TooLong};
use crate::kubernetes::guard::Standing;
use crate::names::{ArchiveName, FINALIZER};
use crate::process::chain;
use crate::process::failpoint::{self, FailPoint};
use crate::process::metrics::{METRICS, ReconcileResult, Reconciled};
use crate::process::queue::{Haste, Next};
use crate::senders::prometheus::Prometheus;
use crate::senders::records::consents;

/// How often samples are looked for while all is well: reads only.
const STEADY: Duration = Duration::from_secs(30);
/// What did not get through is tried again.
const SOON: Duration = Duration::from_secs(1);
/// A deletion does not wait for ever.
const LONGEST_LIST: Duration = Duration::from_secs(300);
const LONG_LIST: Duration = Duration::from_secs(15);
/// How often while something is on its way.
const MOVING: Duration = Duration::from_secs(2);

/// Reason of the Event when an admission policy is not in force.
const UNGUARDED: &str = "AdmissionPolicyMissing";

/// One look at `id`, and when to look again.
pub(crate) async fn reconcile(context: Arc<Context>, id: ArchiveName) -> Next {
    let Some(object) = context.caches.get(Source::Archive, &id.namespace, &id.name) else {
        context.forget(&id);
        METRICS.readiness.forget(&id);
        return Next::Forget;
    };
    METRICS.readiness.know(&id);
    match context.guard.standing() {
        Standing::InForce => {}
        Standing::Unasked => return Next::After(SOON),
        Standing::Fault(fault) => {
            context.events.say_once(&object, UNGUARDED, fault).await;
            return Next::After(MOVING);
        }
    }
    let began = Instant::now();
    let looked = look(&context, &id, &object).await;
    METRICS.reconcile_seconds.observe(began.elapsed().as_secs_f64());
    let next = looked.unwrap_or_else(|error| {
        warn!(archive = %id, error = %chain(&error), "reconciliation failed; retrying");
        Next::Retry
    });
    let result = if next == Next::Retry { ReconcileResult::Retry } else { ReconcileResult::Ok };
    METRICS.reconciles.get_or_create(&Reconciled { result }).inc();
    next
}

async fn look(context: &Context, id: &ArchiveName, record: &DynamicObject) -> Result<Next, LookError> {
    let refused = withheld(context, id);
    let looked = withdraw_and_go_on(context, id, record).await;
    if !withheld(context, id).is_subset(&refused) {
        // Consent was taken back meanwhile. What was written since, such as a token, is to be taken out: now, and once more when the local
        // copies surely have it.
        context.withdrawals.ask(id.clone(), Haste::Soon);
        return looked.map(|next| if next == Next::Forget { next } else { Next::After(SOON) });
    }
    looked
}

/// The objects that do not consent, by uid.
fn withheld(context: &Context, archive: &ArchiveName) -> BTreeSet<String> {
    consents(&context.caches, archive).withheld.iter().map(Prometheus::uid).collect()
}

async fn withdraw_and_go_on(context: &Context, id: &ArchiveName, record: &DynamicObject) -> Result<Next, LookError> {
    // Before anything that ends a look early: who takes consent back need not wait for the archive to be in order.
    let withdrawn = withdraw(context, id, record).await;
    let is_long = context.caches.is_long(Source::Archive, &id.namespace, &id.name);
    let turn = is_long.then(|| context.long_looks.try_acquire());
    if matches!(turn, Some(Err(_))) {
        // It does not keep a worker from a short one while it waits.
        return Ok(if withdrawn { Next::After(SOON) } else { Next::Retry });
    }
    let next = match context.caches.read(Source::Archive, &id.namespace, &id.name).await {
        Ok(Some(object)) => go_on(context, id, &object, withdrawn).await?,
        // The watch is about to say so, too.
        Ok(None) => Next::Retry,
        Err(ReadError::TooLong(error)) => too_long(context, id, record, &error, withdrawn).await?,
        Err(ReadError::Request(source)) => return Err(LookError::Request { what: "read the archive", source }),
    };
    Ok(if withdrawn || next == Next::Forget { next } else { Next::Retry })
}

async fn go_on(
    context: &Context,
    id: &ArchiveName,
    object: &DynamicObject,
    withdrawn: bool,
) -> Result<Next, LookError> {
    let generation = object.metadata.generation;
    let deleting = object.metadata.deletion_timestamp.is_some();
    // Somebody may have stored anything: read it with care, one object at a time.
    let parsed: Result<MetricsArchive, _> = object.clone().try_parse();
    let valid = match &parsed {
        Ok(archive) => validate(archive).map_err(|invalid| invalid.to_string()),
        Err(error) => Err(format!("the object cannot be read: {error}")),
    };
    let valid = match valid {
        Ok(valid) => valid,
        Err(_) if deleting => {
            let archive = removal::unreadable(context, id, object).await?;
            return removal::remove(context, &archive, object, withdrawn).await;
        }
        Err(fault) => {
            let found = Findings::only(generation, Finding::bad(Reason::InvalidSpec, fault));
            status_writer::write(context, object, &found).await?;
            return Ok(Next::After(STEADY));
        }
    };
    let unseen = unseen(context, &valid);
    if unseen.is_empty() {
        context.unlisted.end(id);
    } else if !deleting || context.unlisted.begin(id.clone()) < LONGEST_LIST {
        return wait_for_lists(context, id, object, &unseen).await;
    }
    if !deleting && parsed.is_ok_and(|archive| archive.spec.paused) {
        let paused = Finding::unknown(
            Reason::Paused,
            "spec.paused is true: the operator changes nothing; the receiver continues to run",
        );
        status_writer::write(context, object, &Findings::only(generation, paused)).await?;
        return Ok(Next::After(STEADY));
    }
    if deleting {
        return removal::remove(context, &valid, object, withdrawn).await;
    }
    if !object.finalizers().iter().any(|name| name == FINALIZER) {
        removal::hold(context, object).await?;
        failpoint::reach(FailPoint::AfterHold);
    }
    keep(context, &valid, object).await
}

/// Kinds of which not everything is known that concerns the archive.
fn unseen(context: &Context, archive: &Archive) -> Vec<Source> {
    let chosen = archive.selections.iter().flat_map(|selection| &selection.namespaces);
    let namespaces = chosen.chain([&archive.id.namespace]).collect();
    context.caches.unseen_within(&namespaces, |kind| archive.asks_for(kind))
}

/// What was said of an archive.
#[derive(serde::Deserialize)]
struct Said {
    status: Option<MetricsArchiveStatus>,
}

/// An archive whose content is too long is one that nobody can read.
async fn too_long(
    context: &Context,
    id: &ArchiveName,
    record: &DynamicObject,
    error: &TooLong,
    withdrawn: bool,
) -> Result<Next, LookError> {
    if record.metadata.deletion_timestamp.is_some() {
        let archive = removal::unreadable(context, id, record).await?;
        return removal::remove(context, &archive, record, withdrawn).await;
    }
    let said = context.caches.requests.get_as::<Said>(Source::Archive, &id.namespace, &id.name).await;
    let said = said.map_err(|source| LookError::Request { what: "read the status", source })?;
    // Else the same would be written at every look.
    let data = serde_json::json!({"status": said.and_then(|said| said.status)});
    let record = DynamicObject { data, ..record.clone() };
    let found = Findings::only(record.metadata.generation, Finding::bad(Reason::InvalidSpec, error.to_string()));
    status_writer::write(context, &record, &found).await?;
    Ok(Next::After(STEADY))
}

/// What has not been listed must not be taken for absent. Said in the status when it takes longer than usual.
async fn wait_for_lists(
    context: &Context,
    id: &ArchiveName,
    object: &DynamicObject,
    unseen: &[Source],
) -> Result<Next, LookError> {
    if context.unlisted.begin(id.clone()) > LONG_LIST {
        let text = format!("waiting until the API server lists {unseen:?}; see the operator's log for the reason");
        let found = Findings::only(object.metadata.generation, Finding::bad(Reason::Progressing, text));
        status_writer::write(context, object, &found).await?;
    }
    Ok(Next::After(SOON))
}
