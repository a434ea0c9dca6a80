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
use crate::dereference::{Found, dereference, is_ending};
use crate::entry::ArchiveName;
use crate::failpoint::{self, FailPoint};
use crate::kind::Kind;
use crate::metrics::{Look, LookResult, METRICS};
use crate::names::FINALIZER;
use crate::queue::Next;
use crate::secrets::Credentials;
use crate::senders::Sender;
use crate::status::{self, Faults, Finding, Findings, PrometheusFinding};
use crate::validate::{Archive, validate};
use crate::{configure, removal, status_writer};

/// How often samples are looked for while all is well: reads only.
const STEADY: Duration = Duration::from_secs(30);
/// What did not get through is tried again.
const SOON: Duration = Duration::from_secs(1);
/// A deletion does not wait for ever.
const LONGEST_LIST: Duration = Duration::from_secs(300);
const LONG_LIST: Duration = Duration::from_secs(15);
const NEW_SECONDS: i64 = 60;
/// How often while something is on its way.
const MOVING: Duration = Duration::from_secs(2);

/// One look at `id`, and when to look again.
pub async fn reconcile(context: Arc<Context>, id: ArchiveName) -> Next {
    let Some(object) = context.caches.get(Source::Archive, &id.namespace, &id.name) else {
        context.forget(&id);
        return Next::Forget;
    };
    let is_long = context.caches.is_long(Source::Archive, &id.namespace, &id.name);
    let turn = is_long.then(|| context.long_looks.try_acquire());
    if matches!(turn, Some(Err(_))) {
        // It does not keep a place from a short one while it waits.
        return Next::After(SOON);
    }
    let began = Instant::now();
    let looked = match context.caches.read(Source::Archive, &id.namespace, &id.name).await {
        Ok(Some(object)) => look(&context, &id, &object).await,
        // The watch is about to say so, too.
        Ok(None) => Ok(Next::Retry),
        Err(ReadError::TooLong(error)) => too_long(&context, &id, &object, &error).await,
        Err(ReadError::Request(source)) => Err(LookError::Request { what: "read the archive", source }),
    };
    METRICS.look_seconds.observe(began.elapsed().as_secs_f64());
    let next = looked.unwrap_or_else(|error| {
        warn!(archive = %id, error = %crate::cache::chain(&error), "trying again");
        Next::Retry
    });
    let result = if next == Next::Retry { LookResult::Retry } else { LookResult::Ok };
    METRICS.looks.get_or_create(&Look { result }).inc();
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

async fn look(context: &Context, id: &ArchiveName, object: &DynamicObject) -> Result<Next, LookError> {
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
            return removal::remove(context, &archive, object).await;
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
        return removal::remove(context, &valid, object).await;
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
) -> Result<Next, LookError> {
    if record.metadata.deletion_timestamp.is_some() {
        let archive = removal::unreadable(context, id, record).await?;
        return removal::remove(context, &archive, record).await;
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
    let entitled = found.senders.iter().filter(|sender| Sender::is_entitled(sender)).map(configure::name_of).collect();
    let with_entry = found.senders.iter().map(configure::name_of).collect();
    let leaving = configure::still_delivering(&found, &entitled);
    let senders: BTreeSet<_> = entitled.iter().chain(&leaving).cloned().collect();
    let stored = crate::secrets::stored(context, archive, &senders).await?;
    // Nothing new can be made in a namespace that ends; what is there holds to its end.
    let (senders, dropped): (BTreeSet<_>, BTreeSet<_>) = senders.into_iter().partition(|sender| {
        let has_token =
            stored.get(&sender.namespace).is_some_and(|data| data.contains_key(&sender.token_key(&archive.id)));
        has_token || !is_ending(context, &sender.namespace)
    });
    let mut credentials = Credentials::next(
        archive,
        &senders,
        |namespace| stored.get(namespace).cloned().unwrap_or_default(),
        |sender, token| configure::is_retired(&found, sender, token),
        OffsetDateTime::now_utc(),
    )?;
    let unwritten = credentials.apply(&context.client, &context.caches, &archive.id, &with_entry).await;
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
    failpoint::reach(FailPoint::AfterSecrets);
    let snippets = configure::snippets(context, archive, &found);
    let tokens = credentials.senders.iter().map(|(name, token)| (name.sender(), token.clone())).collect();
    let carried = configure::carried(&found);
    // Who sends, and who may still be sending.
    let reach = credentials.senders.keys().chain(&leaving).map(|sender| sender.namespace.clone()).collect();
    let inputs = Inputs {
        defaults: &context.defaults,
        senders: &tokens,
        carried: &carried,
        operator_token: &credentials.operator_token,
        sender_namespaces: &reach,
        claim_size: found.claim.as_deref().and_then(claim_size),
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
    found.is_receiver_coming = faults.0.is_empty() && (is_bound(&found) || (is_new(object) && found.claim.is_some()));
    let Configured { prometheuses, again } = configure::configure(context, archive, object, &found).await;
    let findings = findings(context, archive, object, &found, &faults, prometheuses);
    failpoint::reach(FailPoint::BeforeStatus);
    status_writer::write(context, object, &findings).await?;
    let retry = retry || faults.0.iter().any(ApplyError::is_retryable);
    Ok(match (retry, again) {
        (true, _) => Next::Retry,
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
    let answer = found.answer.as_ref();
    Findings {
        generation: object.metadata.generation,
        blocked: None,
        storage: status::storage(archive, found.claim.as_deref(), answer),
        receiver: status::receiver(&archive.id, found.deployment.as_deref(), faults, answer),
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

fn is_ipv6(service: &DynamicObject) -> bool {
    service
        .data
        .pointer("/spec/clusterIP")
        .and_then(|address| address.as_str())
        .is_some_and(|address| address.contains(':'))
}
