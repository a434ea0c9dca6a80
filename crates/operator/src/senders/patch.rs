//! The patch of `spec.remoteWrite`, under the resource version that was read.

use std::sync::Arc;
use std::time::Duration;

use kube::api::Patch;
use tracing::{info, warn};

use crate::kubernetes::cache::{Caches, ReadError, Source};
use crate::kubernetes::guard::Guard;
use crate::names::{ArchiveName, patch_params};
use crate::process::failpoint::{self, FailPoint};
use crate::process::metrics::METRICS;
use crate::process::{Since, chain};
use crate::senders::entry::{self, Operation, Plan};
use crate::senders::prometheus::Prometheus;
use crate::senders::records::is_withheld;

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
pub(crate) enum Outcome {
    /// The list is as planned, or its object is gone.
    Done,
    /// It did not get through; it may the next time.
    Again,
    /// The API server does not want it: why.
    Refused(String),
}

/// Patches `spec.remoteWrite`, and remembers what was refused.
pub(crate) struct Patcher {
    caches: Caches,
    guard: Arc<Guard>,
    /// Patches that were denied, by archive and uid of the Prometheus, and why.
    denied: Since<Key, String>,
    /// Prometheus objects that consent, of which the API server does not know it yet.
    unknown_consent: Since<Key>,
}

/// An archive, and the uid of a Prometheus.
type Key = (ArchiveName, String);

/// What comes after an answer of the API server.
enum Step {
    /// That was all.
    End(Outcome),
    /// Somebody else was first: plan once more, with the object as it is now.
    Once(Box<Prometheus>),
}

impl Patcher {
    /// Nothing is remembered yet.
    pub(crate) fn new(caches: Caches, guard: Arc<Guard>) -> Self {
        Self { caches, guard, denied: Since::default(), unknown_consent: Since::default() }
    }

    /// Forgets an archive that is gone.
    pub(crate) fn forget(&self, archive: &ArchiveName) {
        self.denied.forget(|(of, _)| of == archive);
        self.unknown_consent.forget(|(of, _)| of == archive);
    }

    /// That a patch was refused is no reason to wait with another one.
    pub(crate) fn forget_refusal(&self, archive: &ArchiveName, prometheus: &Prometheus) {
        self.denied.end(&(archive.clone(), prometheus.uid()));
    }

    /// Plans and patches, and does both again when somebody else was first. `plan` is asked about the object as it is then.
    pub(crate) async fn patch(
        &self,
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
            if let Some(outcome) = self.obstacle(&key, &now, &planned).await {
                return outcome;
            }
            failpoint::reach(points[0]);
            let step = match self.send(archive, &now, &planned).await {
                Ok(written) => {
                    failpoint::reach(points[1]);
                    METRICS.patches.inc();
                    Step::End(self.written(&key, written.map(|written| plan(&written)).as_ref()))
                }
                Err(error) => self.refused(&key, &now, error).await,
            };
            match step {
                Step::End(outcome) => return outcome,
                Step::Once(read) => now = *read,
            }
        }
        Outcome::Again
    }

    /// Takes every entry of `archive` out of `prometheus`. Whether that is done.
    pub(crate) async fn take_out(&self, archive: &ArchiveName, prometheus: &Prometheus) -> bool {
        let points = [FailPoint::BeforeRemoval, FailPoint::AfterRemoval];
        let plan = |now: &Prometheus| {
            entry::plan(now.remote_write().unwrap_or_default(), archive, &now.namespace, None, |_| true)
        };
        self.patch(archive, prometheus, points, plan).await == Outcome::Done
    }

    /// Why nothing is to be sent.
    async fn obstacle(&self, key: &Key, now: &Prometheus, planned: &Plan) -> Option<Outcome> {
        let adds = planned.operations.iter().any(|operation| !matches!(operation, Operation::Remove(_)));
        if adds && is_withheld(&self.caches, &key.0, now) {
            // Consent was taken back while this look was under way.
            return Some(Outcome::Again);
        }
        if let Some(before) = self.denied.said_within(key, AFTER_REFUSAL) {
            return Some(Outcome::Refused(before));
        }
        let Prometheus { kind, namespace, name, .. } = now;
        self.guard.allows_patch(&self.caches, *kind, namespace, name).await.err().map(Outcome::Refused)
    }

    /// `missing`: what would have to be done next.
    fn written(&self, key: &Key, missing: Option<&Plan>) -> Outcome {
        // What the entry is now and was not asked to be: a definition that does not know a field drops it without an error.
        let is_pruned = missing
            .is_some_and(|plan| plan.operations.iter().any(|operation| matches!(operation, Operation::Replace(..))));
        if is_pruned {
            let text = "the API server dropped fields of the entry: update the CustomResourceDefinitions of the Prometheus \
                 Operator";
            return self.refuse(key, text.to_owned());
        }
        self.denied.end(key);
        self.unknown_consent.end(key);
        Outcome::Done
    }

    async fn refused(&self, key: &Key, now: &Prometheus, error: kube::Error) -> Step {
        let kube::Error::Api(status) = error else {
            warn!(archive = %key.0, error = %chain(&error), "the patch of spec.remoteWrite failed; retrying");
            return Step::End(Outcome::Again);
        };
        let text = || format!("the API server refuses the change: {}", status.message);
        Step::End(match status.code {
            404 => Outcome::Done,
            // A position that is not in the list any more is a 422, before the resource version is compared.
            409 | 422 => match self.read(now).await {
                Ok(Some(read)) if status.code == 422 && read.resource_version() == now.resource_version() => {
                    let is_new = status.message.contains(NO_CONSENT)
                        && self.unknown_consent.begin(key.clone()) < CONSENT_ARRIVES;
                    if is_new { Outcome::Again } else { self.refuse(key, text()) }
                }
                Ok(Some(read)) => return Step::Once(Box::new(read)),
                Ok(None) => Outcome::Done,
                Err(error) => {
                    warn!(archive = %key.0, error = %chain(&error), "cannot read a Prometheus; retrying");
                    Outcome::Again
                }
            },
            400..=428 | 430..=499 => self.refuse(key, text()),
            _ => {
                warn!(archive = %key.0, error = %status.message, "the patch of spec.remoteWrite failed; retrying");
                Outcome::Again
            }
        })
    }

    fn refuse(&self, key: &Key, text: String) -> Outcome {
        warn!(archive = %key.0, text, "the API server refused the patch of spec.remoteWrite; retrying in {} s", AFTER_REFUSAL.as_secs());
        METRICS.patches_refused.inc();
        self.denied.renew(key.clone(), text.clone());
        Outcome::Refused(text)
    }

    async fn read(&self, prometheus: &Prometheus) -> Result<Option<Prometheus>, ReadError> {
        let Prometheus { kind, namespace, name, .. } = prometheus;
        let found = self.caches.read_now(Source::Prometheus(*kind), namespace, name).await?;
        // One of the same name that is another object is not ours to patch now.
        let same = found.filter(|found| found.metadata.uid.as_deref() == Some(&prometheus.uid()));
        Ok(same.map(|found| Prometheus::new(*kind, found)))
    }

    /// Gives the object as it is then; none if it is too long to be looked at.
    async fn send(
        &self,
        archive: &ArchiveName,
        prometheus: &Prometheus,
        plan: &Plan,
    ) -> kube::Result<Option<Prometheus>> {
        let Prometheus { kind, namespace, name, .. } = prometheus;
        let operations = entry::json_patch(plan, &prometheus.resource_version(), prometheus.remote_write().is_none());
        let operations: json_patch::Patch =
            serde_json::from_value(operations.into()).map_err(kube::Error::SerdeError)?;
        let (source, named) = (Source::Prometheus(*kind), (namespace.as_str(), name.as_str()));
        let answer = self.caches.patch(source, named, &patch_params(), &Patch::<()>::Json(operations)).await?;
        let changes: Vec<String> = plan.operations.iter().map(summary).collect();
        info!(%archive, kind = kind.as_str(), namespace, name, ?changes, "patched spec.remoteWrite");
        Ok(answer.ok().map(|object| Prometheus::new(*kind, Arc::new(object))))
    }
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
