//! One look at one archive: dereference → validate → build → apply → configure the senders → status.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use promarchive_api::metrics_archive::{
    ConditionStatus, MetricsArchive, MetricsArchiveStatus, PrometheusKind, PrometheusState, Reason,
};
use time::OffsetDateTime;
use tracing::warn;

use crate::apply::{Applier, ApplyError};
use crate::build::{self, Inputs};
use crate::cache::{ReadError, Source, TooLong};
use crate::configure::Configured;
use crate::context::Context;
use crate::dereference::{Found, consents, dereference, is_ending, is_terminating};
use crate::entry::ArchiveName;
use crate::failpoint::{self, FailPoint};
use crate::guard::Standing;
use crate::kind::Kind;
use crate::metrics::{METRICS, ReconcileResult, Reconciled};
use crate::names::FINALIZER;
use crate::prometheus::Prometheus;
use crate::queue::{Haste, Next};
use crate::secrets::{Applied, Credentials};
use crate::status::{self, Faults, Finding, Findings, PrometheusFinding, Volume};
use crate::validate::{Archive, validate};
use crate::withdrawal::withdraw;
use crate::{claims, configure, removal, status_writer};

/// How often samples are looked for while all is well: reads only.
const STEADY: Duration = Duration::from_secs(30);
/// What did not get through is tried again.
const SOON: Duration = Duration::from_secs(1);
/// A deletion does not wait for ever.
const LONGEST_LIST: Duration = Duration::from_secs(300);
const LONG_LIST: Duration = Duration::from_secs(15);
const NEW_SECONDS: i64 = 60;
/// Reason of the Events about a change of the certificate authority.
const NEW_AUTHORITY: &str = "NewAuthority";
/// How often while something is on its way.
const MOVING: Duration = Duration::from_secs(2);

/// Reason of the Event when an admission policy is not in force.
const UNGUARDED: &str = "AdmissionPolicyMissing";

/// One look at `id`, and when to look again.
pub async fn reconcile(context: Arc<Context>, id: ArchiveName) -> Next {
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
        warn!(archive = %id, error = %crate::cache::chain(&error), "trying again");
        Next::Retry
    });
    let result = if next == Next::Retry { ReconcileResult::Retry } else { ReconcileResult::Ok };
    METRICS.reconciles.get_or_create(&Reconciled { result }).inc();
    next
}

/// The look could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The API server did not do what was asked.
    #[error("{what}")]
    Request {
        /// What was asked.
        what: &'static str,
        /// Why not.
        source: kube::Error,
    },
    /// A Secret could not be read.
    #[error(transparent)]
    Secret(#[from] crate::secrets::SecretError),
    /// No certificate or token could be made.
    #[error(transparent)]
    Credentials(#[from] crate::secrets::CredentialsError),
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
    consents(context, archive).withheld.iter().map(Prometheus::uid).collect()
}

async fn withdraw_and_go_on(context: &Context, id: &ArchiveName, record: &DynamicObject) -> Result<Next, LookError> {
    // Before anything that ends a look early: who takes consent back need not wait for the archive to be in order.
    let withdrawn = withdraw(context, id, record).await;
    let is_long = context.caches.is_long(Source::Archive, &id.namespace, &id.name);
    let turn = is_long.then(|| context.long_looks.try_acquire());
    if matches!(turn, Some(Err(_))) {
        // It does not keep a place from a short one while it waits.
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
    let unseen = context.caches.unseen_by(&valid);
    if unseen.is_empty() {
        context.unlisted.end(id);
    } else if !deleting || context.unlisted.begin(id.clone()) < LONGEST_LIST {
        return wait_for_lists(context, id, object, &unseen).await;
    }
    if !deleting && parsed.is_ok_and(|archive| archive.spec.paused) {
        let paused =
            Finding::unknown(Reason::Paused, "spec.paused is true: the operator changes nothing; the receiver goes on");
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
        let text = format!("waiting until the API server lists {unseen:?}; the operator's log says why it does not");
        let found = Findings::only(object.metadata.generation, Finding::bad(Reason::Progressing, text));
        status_writer::write(context, object, &found).await?;
    }
    Ok(Next::After(SOON))
}

/// Makes everything as it should be.
async fn keep(context: &Context, archive: &Archive, object: &DynamicObject) -> Result<Next, LookError> {
    let mut found = dereference(context, archive, object).await?;
    let senders: BTreeSet<_> = found.senders.iter().map(configure::name_of).collect();
    let entitled = found.senders.iter().filter(|sender| sender.is_entitled()).map(configure::name_of).collect();
    let carried = configure::carried(&found);
    let now = OffsetDateTime::now_utc();
    let leaving = configure::leaving(&carried);
    let stored = crate::secrets::stored(context, archive, &senders, &leaving, now).await?;
    let kept = configure::kept(&archive.id, &found, &entitled, &carried, &stored);
    // Nothing new can be made in a namespace that ends; what is there holds to its end.
    let (entitled, dropped): (BTreeSet<_>, BTreeSet<_>) = entitled.into_iter().partition(|sender| {
        let has_token =
            stored.get(&sender.namespace).is_some_and(|data| data.contains_key(&sender.token_key(&archive.id)));
        has_token || !is_ending(context, &sender.namespace)
    });
    let mut credentials = Credentials::next(
        archive,
        &entitled,
        kept,
        &stored,
        |sender, token| configure::is_retired(&found, sender, token),
        found.answered(),
        now,
    )?;
    let Applied { changed, unwritten } = credentials.apply(context, &archive.id, &found.with_entry).await;
    for (namespace, error) in &unwritten {
        warn!(archive = %archive.id, namespace, %error, "the Secret could not be written");
    }
    let retry = unwritten.iter().any(|(_, error)| error.is_retryable());
    found.without_secret = unwritten.iter().map(|(namespace, _)| namespace.clone()).collect();
    credentials.restore(&archive.id, &found.without_secret, &stored);
    found.without_secret.extend(dropped.into_iter().map(|sender| sender.namespace));
    // The Secrets of senders are their namespaces' matter; without its own, the receiver cannot run.
    let own = unwritten.into_iter().filter(|(namespace, _)| *namespace == archive.id.namespace);
    let mut faults = Faults(own.map(|(_, error)| error).collect());
    if let Some(news) = credentials.news(&archive.id, &stored).filter(|_| faults.0.is_empty()) {
        context.events.write(object, false, NEW_AUTHORITY, "Rotate", news.to_owned()).await;
    }
    failpoint::reach(FailPoint::AfterSecrets);
    let snippets = configure::snippets(context, archive, &found);
    let tokens = credentials.senders.iter().map(|(name, token)| (name.sender(), token.clone())).collect();
    let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let made_for = claims::made_for(found.claim.as_deref(), &archive.uid, created);
    // Who sends, and who may still be sending; the Secret of a namespace that ends may be gone before its pods.
    let mut reach: BTreeSet<_> =
        credentials.senders.keys().chain(&senders).map(|sender| sender.namespace.clone()).collect();
    let leaving = leaving.into_iter().map(|sender| sender.namespace);
    reach.extend(leaving.filter(|namespace| is_terminating(context, namespace)));
    let inputs = Inputs {
        defaults: &context.defaults,
        senders: &tokens,
        carried: &carried,
        operator_tokens: &credentials.operator.accepted(),
        sender_namespaces: &reach,
        claim_size: found.claim.as_deref().and_then(claim_size),
        claim_made_for: made_for.as_deref(),
        may_mount: found.refusal.is_none(),
        ipv6: found.service.as_deref().is_some_and(is_ipv6),
        pod_monitors: context.caches.definition(Source::Child(Kind::PodMonitor)).is_some(),
        snippets: &snippets,
    };
    let desired = build::build(archive, &inputs);
    if faults.0.is_empty() {
        faults.0.extend(Applier { context, archive: &archive.id, uid: &archive.uid }.apply(&desired).await);
    }
    for fault in &faults.0 {
        warn!(archive = %archive.id, %fault, "could not be applied");
    }
    failpoint::reach(FailPoint::AfterApply);
    let is_refused = found.refusal.is_some();
    found.is_receiver_coming =
        !is_refused && faults.0.is_empty() && (is_bound(&found) || (is_new(object) && found.claim.is_some()));
    let Configured { prometheuses, again } = configure::configure(context, archive, object, &found).await;
    let findings = findings(context, archive, object, &found, &faults, prometheuses);
    failpoint::reach(FailPoint::BeforeStatus);
    status_writer::write(context, object, &findings).await?;
    let retry = retry || faults.0.iter().any(ApplyError::is_retryable);
    Ok(match (retry, again || changed) {
        (true, _) => Next::Retry,
        // What a Secret has now is read anew.
        (_, true) => Next::After(SOON),
        _ => Next::After(pause(&findings)),
    })
}

fn findings(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    found: &Found<'_>,
    faults: &Faults,
    prometheuses: Vec<PrometheusFinding>,
) -> Findings {
    let is_absent = |kind: &PrometheusKind| {
        archive.asks_for(*kind) && context.caches.definition(Source::Prometheus(*kind)).is_none()
    };
    let absent: Vec<&str> = PrometheusKind::ALL.into_iter().filter(is_absent).map(PrometheusKind::as_str).collect();
    let answer = found.said();
    let volume = Volume {
        claim: found.claim.as_deref(),
        refusal: found.refusal.as_ref(),
        is_mounted: found.deployment.as_deref().is_some_and(|deployment| claims::mounted(deployment).is_some()),
    };
    let storage = status::storage(archive, volume, answer);
    Findings {
        generation: object.metadata.generation,
        blocked: None,
        receiver: status::receiver(&archive.id, found.deployment.as_deref(), volume, &storage, faults, answer),
        storage,
        configured: status::configured(&prometheuses, &found.missing, &absent),
        receiving: status::receiving(&prometheuses, answer),
        store: Some(build::store(archive)),
        prometheuses,
    }
}

/// Often while something comes by itself, rarely while nothing does, or only a person can bring it.
fn pause(findings: &Findings) -> Duration {
    let is_moving = |one: &PrometheusFinding| {
        use PrometheusState as State;
        matches!(one.state, State::WaitingForReceiver | State::WaitingForSamples | State::Replacing | State::Draining)
    };
    let is_coming =
        |finding: &Finding| finding.status != ConditionStatus::True && !status::is_permanent(finding.reason);
    let moving =
        is_coming(&findings.receiver) || is_coming(&findings.storage) || findings.prometheuses.iter().any(is_moving);
    if moving { MOVING } else { STEADY }
}

fn is_bound(found: &Found<'_>) -> bool {
    let phase = found.claim.as_deref().and_then(|claim| claim.data.pointer("/status/phase"));
    phase.is_some_and(|phase| phase == "Bound")
}

/// So new that a volume may still be on its way without anything being wrong.
fn is_new(object: &DynamicObject) -> bool {
    let made = object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    Timestamp::now().as_second() - made < NEW_SECONDS
}

fn claim_size(claim: &DynamicObject) -> Option<&str> {
    claim.data.pointer("/spec/resources/requests/storage")?.as_str()
}

/// Whether one of the addresses of the Service is of IPv6: the receiver then listens on both families.
fn is_ipv6(service: &DynamicObject) -> bool {
    let all = service.data.pointer("/spec/clusterIPs").and_then(|addresses| addresses.as_array());
    let first = service.data.pointer("/spec/clusterIP");
    let texts = all.into_iter().flatten().chain(first).filter_map(|address| address.as_str());
    texts.into_iter().any(|address| address.contains(':'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_with_an_address_of_ipv6_in_any_place_asks_for_both_families() {
        let service = |spec| DynamicObject { types: None, metadata: Default::default(), data: json!({ "spec": spec }) };
        for (spec, wanted) in [
            (json!({"clusterIP": "10.0.0.1"}), false),
            (json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}), false),
            (json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}), true),
            (json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}), true),
            (json!({}), false),
        ] {
            assert_eq!(is_ipv6(&service(spec.clone())), wanted, "{spec}");
        }
    }
}
