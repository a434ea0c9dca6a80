//! Makes everything of one archive as it should be. The steps, in this order:
//!
//! dereference (IO) → credentials (pure, then IO) → build (pure) → apply (IO) → configure (pure but for the patch) → status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use promarchive_api::metrics_archive::{ConditionStatus, PrometheusKind, PrometheusState};
use promarchive_api::tokens_file::TokenLine;
use time::OffsetDateTime;
use tracing::warn;

use crate::archive::apply::Applier;
use crate::archive::build::{self, Desired, Inputs};
use crate::archive::configure::{self, Configured, Prepared};
use crate::archive::context::Context;
use crate::archive::credentials::SecretData;
use crate::archive::dereference::{Found, dereference};
use crate::archive::secrets::{self, Applied, Credentials};
use crate::archive::status::{self, Faults, Finding, Findings, PrometheusFinding, Volume};
use crate::archive::validate::Archive;
use crate::archive::{LookError, claims, status_writer};
use crate::kubernetes::ApplyError;
use crate::kubernetes::cache::Source;
use crate::kubernetes::kind::Kind;
use crate::kubernetes::namespaces::{is_ending, is_terminating};
use crate::names::PrometheusName;
use crate::process::failpoint::{self, FailPoint};
use crate::process::queue::Next;

/// What a Secret has now is read again after this time.
const SOON: Duration = Duration::from_secs(1);
/// How often samples are looked for while all is well: reads only.
const STEADY: Duration = Duration::from_secs(30);
/// How often while something is on its way.
const MOVING: Duration = Duration::from_secs(2);
/// How long a new archive may wait for its volume without anything being wrong.
const NEW_SECONDS: i64 = 60;
/// Reason of the Events about a change of the certificate authority.
const NEW_AUTHORITY: &str = "NewAuthority";

/// One look at an archive that is valid and stays.
pub(crate) async fn keep(context: &Context, archive: &Archive, object: &DynamicObject) -> Result<Next, LookError> {
    let found = dereference(context, archive, object).await?;
    let stored = bring_credentials(context, archive, object, &found).await?;
    failpoint::reach(FailPoint::AfterSecrets);
    let mut faults = Faults(stored.faults);
    if faults.0.is_empty() {
        let desired = desired(context, archive, object, &found, &stored.tokens);
        faults.0.extend(Applier { context, archive: &archive.id, uid: &archive.uid }.apply(&desired).await);
    }
    for fault in &faults.0 {
        warn!(archive = %archive.id, %fault, "cannot apply an object of the archive");
    }
    failpoint::reach(FailPoint::AfterApply);
    let is_volume_coming = is_bound(&found) || (is_new(object) && found.claim.is_some());
    let prepared = Prepared {
        is_receiver_coming: found.refusal.is_none() && faults.0.is_empty() && is_volume_coming,
        without_secret: stored.without_secret,
    };
    let Configured { prometheuses, again } = configure::configure(context, archive, object, &found, &prepared).await;
    let findings = findings(context, archive, object, &found, &faults, prometheuses);
    failpoint::reach(FailPoint::BeforeStatus);
    status_writer::write(context, object, &findings).await?;
    let retry = stored.retry || faults.0.iter().any(ApplyError::is_retryable);
    Ok(match (retry, again || stored.changed) {
        (true, _) => Next::Retry,
        (_, true) => Next::After(SOON),
        _ => Next::After(pause(&findings)),
    })
}

/// What has to be in the receiver's tokens file.
struct Tokens {
    credentials: Credentials,
    /// Lines of senders that are leaving.
    carried: Vec<TokenLine>,
    /// Namespaces from which somebody sends.
    namespaces: BTreeSet<String>,
}

/// What became of the credentials.
struct Stored {
    tokens: Tokens,
    /// A Secret was changed.
    changed: bool,
    /// A Secret could not be written, and another try may help.
    retry: bool,
    /// Namespaces whose Secret could not be written.
    without_secret: BTreeSet<String>,
    /// Why the Secret of the archive's own namespace could not be written: without it, the receiver cannot run.
    faults: Vec<ApplyError>,
}

/// Makes what is missing of tokens and certificates, and brings them into the Secrets.
async fn bring_credentials(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    found: &Found<'_>,
) -> Result<Stored, LookError> {
    let id = &archive.id;
    let carried = configure::carried(found);
    let leaving = configure::leaving(&carried);
    let senders: BTreeSet<_> = found.senders.iter().map(configure::name_of).collect();
    let now = OffsetDateTime::now_utc();
    let stored = secrets::stored(&context.caches, archive, &senders, &leaving, now).await?;
    let (mut credentials, dropped) = next_credentials(context, archive, found, &carried, &stored, now)?;
    let Applied { changed, unwritten } = credentials.apply(context, id, &found.with_entry).await;
    for (namespace, error) in &unwritten {
        warn!(archive = %id, namespace, %error, "cannot write the Secret");
    }
    let retry = unwritten.iter().any(|(_, error)| error.is_retryable());
    let mut without_secret: BTreeSet<_> = unwritten.iter().map(|(namespace, _)| namespace.clone()).collect();
    credentials.restore(id, &without_secret, &stored);
    without_secret.extend(dropped.into_iter().map(|sender| sender.namespace));
    let own = unwritten.into_iter().filter(|(namespace, _)| *namespace == id.namespace);
    let faults: Vec<_> = own.map(|(_, error)| error).collect();
    if let Some(news) = credentials.news(id, &stored).filter(|_| faults.is_empty()) {
        context.events.write(object, false, NEW_AUTHORITY, "Rotate", news.to_owned()).await;
    }
    // Who sends, and who may still be sending; the Secret of a namespace that ends may be gone before its pods.
    let mut namespaces: BTreeSet<_> =
        credentials.senders.keys().chain(&senders).map(|sender| sender.namespace.clone()).collect();
    let leaving = leaving.into_iter().map(|sender| sender.namespace);
    namespaces.extend(leaving.filter(|namespace| is_terminating(&context.caches, namespace)));
    let tokens = Tokens { credentials, carried, namespaces };
    Ok(Stored { tokens, changed, retry, without_secret, faults })
}

/// The credentials that are wanted, and the senders that get none although they should: nothing new can be made in a namespace that ends.
fn next_credentials(
    context: &Context,
    archive: &Archive,
    found: &Found<'_>,
    carried: &[TokenLine],
    stored: &BTreeMap<String, SecretData>,
    now: OffsetDateTime,
) -> Result<(Credentials, BTreeSet<PrometheusName>), LookError> {
    let entitled = found.senders.iter().filter(|sender| sender.is_entitled()).map(configure::name_of).collect();
    let kept = configure::kept(&archive.id, found, &entitled, carried, stored);
    // What is there holds to its end.
    let (entitled, dropped): (BTreeSet<_>, BTreeSet<_>) = entitled.into_iter().partition(|sender| {
        let has_token =
            stored.get(&sender.namespace).is_some_and(|data| data.contains_key(&sender.token_key(&archive.id)));
        has_token || !is_ending(&context.caches, &sender.namespace)
    });
    let is_retired = |sender: &PrometheusName, token: &_| configure::is_retired(found, sender, token);
    let next = Credentials::next(archive, &entitled, kept, stored, is_retired, found.answered(), now)?;
    Ok((next, dropped))
}

/// The archive's objects as they should be.
fn desired(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    found: &Found<'_>,
    tokens: &Tokens,
) -> Vec<Desired> {
    let Tokens { credentials, carried, namespaces } = tokens;
    let senders = credentials.senders.iter().map(|(name, token)| (name.sender(), token.clone())).collect();
    let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let made_for = claims::made_for(found.claim.as_deref(), &archive.uid, created);
    let inputs = Inputs {
        defaults: &context.defaults,
        senders: &senders,
        carried,
        operator_tokens: &credentials.operator.accepted(),
        sender_namespaces: namespaces,
        claim_size: found.claim.as_deref().and_then(claim_size),
        claim_made_for: made_for.as_deref(),
        may_mount: found.refusal.is_none(),
        ipv6: found.service.as_deref().is_some_and(is_ipv6),
        pod_monitors: context.caches.definition(Source::Child(Kind::PodMonitor)).is_some(),
        snippets: &configure::snippets(context, archive, found),
    };
    build::build(archive, &inputs)
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
