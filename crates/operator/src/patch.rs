//! The patch of `spec.remoteWrite`, under the resource version that was read.

use std::sync::Arc;
use std::time::Duration;

use kube::api::Patch;
use tracing::{info, warn};

use crate::cache::{ReadError, Source, chain};
use crate::context::Context;
use crate::dereference::is_withheld;
use crate::entry::{self, ArchiveName, Operation, Plan};
use crate::failpoint::{self, FailPoint};
use crate::metrics::METRICS;
use crate::names::patch_params;
use crate::prometheus::Prometheus;

/// A refused patch is not tried again before.
const AFTER_REFUSAL: Duration = Duration::from_secs(120);
/// What the admission policy says when it knows of no consent. Its copy of a Namespace may be behind the operator's.
const NO_CONSENT: &str = "does not consent to the archive";
/// The longest time that it is.
const CONSENT_ARRIVES: Duration = Duration::from_secs(30);
/// Somebody else may be first so often, one after the other.
const TRIES: u32 = 4;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The list is as planned, or its object is gone.
    Done,
    /// It did not get through; it may the next time.
    Again,
    /// The API server does not want it: why.
    Refused(String),
}

/// Plans and patches, and does both again when somebody else was first. `plan` is asked about the object as it is then.
pub async fn patch(
    context: &Context,
    archive: &ArchiveName,
    prometheus: &Prometheus,
    points: [FailPoint; 2],
    plan: impl Fn(&Prometheus) -> Plan,
) -> Outcome {
    let key = (archive.clone(), prometheus.uid());
    let mut now = prometheus.clone();
    for _ in 0..TRIES {
        let planned = plan(&now);
        if planned.operations.is_empty() {
            return Outcome::Done;
        }
        let adds = planned.operations.iter().any(|operation| !matches!(operation, Operation::Remove(_)));
        if adds && is_withheld(context, archive, &now) {
            // Consent was taken back while this look was under way.
            return Outcome::Again;
        }
        if let Some(before) = context.denied.said_within(&key, AFTER_REFUSAL) {
            return Outcome::Refused(before);
        }
        if let Err(unguarded) = context.guard.allows_patch(&context.caches, &now).await {
            return Outcome::Refused(unguarded);
        }
        failpoint::reach(points[0]);
        match send(context, archive, &now, &planned).await {
            Ok(written) => {
                failpoint::reach(points[1]);
                METRICS.patches.inc();
                let before = written.map(|written| plan(&written).operations).unwrap_or_default();
                // What the entry is now and was not asked to be: a definition that does not know a field drops it without an error.
                let is_pruned = before.iter().any(|operation| matches!(operation, Operation::Replace(..)));
                if !is_pruned {
                    context.denied.end(&key);
                    context.unknown_consent.end(&key);
                    return Outcome::Done;
                }
                return refuse(context, key, "the API server dropped fields of the entry: update the CustomResourceDefinitions of the Prometheus Operator".to_owned());
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return Outcome::Done,
            // A position that is not in the list any more is a 422, before the resource version is compared.
            Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {
                match read(context, prometheus).await {
                    Ok(Some(read)) if status.code == 422 && read.resource_version() == now.resource_version() => {
                        if status.message.contains(NO_CONSENT)
                            && context.unknown_consent.begin(key.clone()) < CONSENT_ARRIVES
                        {
                            return Outcome::Again;
                        }
                        let text = format!("the API server refuses the change: {}", status.message);
                        return refuse(context, key, text);
                    }
                    Ok(Some(read)) => now = read,
                    Ok(None) => return Outcome::Done,
                    Err(error) => {
                        warn!(%archive, error = %chain(&error), "a Prometheus cannot be read; trying again");
                        return Outcome::Again;
                    }
                }
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 400..=499) && status.code != 429 => {
                let text = format!("the API server refuses the change: {}", status.message);
                return refuse(context, key, text);
            }
            Err(error) => {
                warn!(%archive, error = %chain(&error), "the patch of spec.remoteWrite failed; trying again");
                return Outcome::Again;
            }
        }
    }
    Outcome::Again
}

fn refuse(context: &Context, key: (ArchiveName, String), text: String) -> Outcome {
    warn!(archive = %key.0, text, "the patch of spec.remoteWrite is refused; trying again in {} s", AFTER_REFUSAL.as_secs());
    METRICS.patches_refused.inc();
    context.denied.renew(key, text.clone());
    Outcome::Refused(text)
}

async fn read(context: &Context, prometheus: &Prometheus) -> Result<Option<Prometheus>, ReadError> {
    let Prometheus { kind, namespace, name, .. } = prometheus;
    let found = context.caches.read_now(Source::Prometheus(*kind), namespace, name).await?;
    // One of the same name that is another object is not ours to patch now.
    let same = found.filter(|found| found.metadata.uid.as_deref() == Some(&prometheus.uid()));
    Ok(same.map(|found| Prometheus::new(*kind, found)))
}

/// Gives the object as it is then; none if it is too long to be looked at.
async fn send(
    context: &Context,
    archive: &ArchiveName,
    prometheus: &Prometheus,
    plan: &Plan,
) -> kube::Result<Option<Prometheus>> {
    let Prometheus { kind, namespace, name, .. } = prometheus;
    let operations = entry::json_patch(plan, &prometheus.resource_version(), prometheus.remote_write().is_none());
    let operations: json_patch::Patch = serde_json::from_value(operations.into()).map_err(kube::Error::SerdeError)?;
    let patch = Patch::<()>::Json(operations);
    let answer = context
        .caches
        .patch(Source::Prometheus(*kind), (namespace.as_str(), name.as_str()), &patch_params(), &patch)
        .await?;
    let changes: Vec<String> = plan.operations.iter().map(summary).collect();
    info!(%archive, kind = kind.as_str(), namespace, name, ?changes, "patched spec.remoteWrite");
    Ok(answer.ok().map(|object| Prometheus::new(*kind, Arc::new(object))))
}

fn summary(operation: &Operation) -> String {
    match operation {
        Operation::Add(value) => {
            format!("add {}", value.get("name").and_then(|name| name.as_str()).unwrap_or_default())
        }
        Operation::Replace(at, _) => format!("replace [{at}]"),
        Operation::Remove(at) => format!("remove [{at}]"),
    }
}
