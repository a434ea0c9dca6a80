//! What is found about storage, receiver, entries and samples.

use kube::api::DynamicObject;
use promarchive_api::metrics_archive::{PrometheusState, Reason};
use promarchive_api::{Deliveries, STARTING, STOPPING};
use serde_json::Value;

use super::{Finding, PrometheusFinding};
use crate::archive::claims::Refusal;
use crate::archive::receiver_client::ReceiverError;
use crate::archive::validate::{Archive, Claim, Storage};
use crate::kubernetes::ApplyError;
use crate::names::{ALLOW_ARCHIVES, ArchiveName};

/// What the receiver answered; none if it was not asked, because it has no pod.
pub(super) type Answer<'a> = Option<Result<&'a Deliveries, &'a ReceiverError>>;

/// What went wrong when objects were applied.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub Vec<ApplyError>);

impl Faults {
    /// The first fault that only a person can mend; else the first.
    fn worst(&self) -> Option<Finding> {
        let error = self.0.iter().find(|error| !error.is_retryable()).or(self.0.first())?;
        let reason = match error {
            ApplyError::NameTaken { .. } => Reason::NameTaken,
            _ if error.is_retryable() => Reason::Progressing,
            _ => Reason::RequestRefused,
        };
        Some(Finding::bad(reason, error.to_string()))
    }
}

/// What was found about the volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volume<'a> {
    pub claim: Option<&'a DynamicObject>,
    /// Why the receiver may not mount it.
    pub refusal: Option<&'a Refusal>,
    /// Whether the receiver's Deployment mounts it already.
    pub is_mounted: bool,
}

impl Volume<'_> {
    /// Nothing but a person's consent makes it one that may be mounted.
    fn refused(&self, id: &ArchiveName, name: &str) -> Option<Finding> {
        let goes_on = if self.is_mounted { "; the receiver that already mounts it continues unchanged" } else { "" };
        Some(match self.refusal? {
            Refusal::Absent => return None,
            Refusal::NotAllowed => Finding::bad(
                Reason::ClaimNotAllowed,
                format!(
                    "the claim \"{name}\" was not created for this archive and does not allow it{goes_on}. To allow \
                     the receiver to write to its volume, run: kubectl annotate --overwrite pvc {name} --namespace {} \
                     {ALLOW_ARCHIVES}={id}",
                    id.namespace
                ),
            ),
            Refusal::OfArchive(other) => Finding::bad(
                Reason::ClaimOfAnotherArchive,
                format!(
                    "the claim \"{name}\" belongs to the archive \"{other}\"{goes_on}: delete that archive first, or \
                     create this archive again with another claim or another name"
                ),
            ),
        })
    }
}

/// The claim is bound, and the receiver reaches the archive in it.
pub(crate) fn storage(archive: &Archive, volume: Volume<'_>, answer: Answer<'_>) -> Finding {
    let claim = volume.claim;
    let Storage::Volume(wanted) = &archive.storage;
    let name = wanted.name(&archive.id);
    if let Some(refused) = volume.refused(&archive.id, &name) {
        return refused;
    }
    let phase = claim.and_then(|claim| claim.data.pointer("/status/phase")).and_then(Value::as_str);
    match (claim, phase) {
        (None, _) => match wanted {
            Claim::Existing(_) => Finding::bad(
                Reason::ClaimNotFound,
                format!("the claim \"{name}\" does not exist in this namespace: create it"),
            ),
            Claim::New { .. } => Finding::bad(Reason::ClaimPending, format!("the claim \"{name}\" is being created")),
        },
        (Some(_), Some("Lost")) => {
            Finding::bad(Reason::ClaimLost, format!("the claim \"{name}\" has lost its volume: restore the volume"))
        }
        (Some(_), Some("Bound")) => reached(&name, answer),
        (Some(claim), _) => {
            let class =
                claim.data.pointer("/spec/storageClassName").and_then(Value::as_str).unwrap_or("the default class");
            Finding::bad(
                Reason::ClaimPending,
                format!(
                    "the claim \"{name}\" (storage class: {class}) is waiting for a volume; run `kubectl describe pvc \
                     {name}` for the reason"
                ),
            )
        }
    }
}

fn reached(name: &str, answer: Answer<'_>) -> Finding {
    match answer {
        Some(Ok(Deliveries { ready: true, .. })) => {
            Finding::good(Reason::Reachable, format!("the tables are on the claim \"{name}\""))
        }
        Some(Ok(Deliveries { reason: Some(reason), .. })) if ![STARTING, STOPPING].contains(&reason.as_str()) => {
            Finding::bad(Reason::ArchiveUnusable, format!("the receiver reports: {reason}"))
        }
        _ => Finding::unknown(
            Reason::Progressing,
            format!("the claim \"{name}\" is bound; the receiver has not reported yet whether it can use it"),
        ),
    }
}

/// The receiver takes samples, by its own answer: its pod is not ready while another container of it is not. `storage`: what was
/// found about its volume.
pub(crate) fn receiver(
    id: &ArchiveName,
    deployment: Option<&DynamicObject>,
    volume: Volume<'_>,
    storage: &Finding,
    faults: &Faults,
    answer: Answer<'_>,
) -> Finding {
    if let Some(fault) = faults.worst() {
        return fault;
    }
    let name = id.receiver();
    if deployment.is_none() && volume.refusal.is_some() {
        let text = "the receiver is created when it may mount its claim: see the condition StorageReachable";
        return Finding::bad(storage.reason, text);
    }
    let Some(deployment) = deployment else {
        return Finding::bad(Reason::Progressing, format!("the Deployment \"{name}\" is being created"));
    };
    match answer {
        Some(Ok(Deliveries { ready: true, .. })) => {
            Finding::good(Reason::Available, format!("the receiver \"{name}\" responds"))
        }
        Some(Ok(Deliveries { reason, .. })) => {
            let reason = reason.as_deref().unwrap_or("no reason given");
            Finding::bad(Reason::PodNotReady, format!("the receiver \"{name}\" is not ready: {reason}"))
        }
        _ if !is_available(deployment) => Finding::bad(
            Reason::PodNotReady,
            format!(
                "the Deployment \"{name}\" has no ready pod; run `kubectl describe deployment {name}` and see the \
                 events of the pod for the reason"
            ),
        ),
        Some(Err(error)) => Finding::bad(
            Reason::ReceiverNotAnswering,
            format!("{error}. Check whether a NetworkPolicy blocks the operator from the receiver"),
        ),
        None => Finding::bad(Reason::Progressing, format!("the receiver \"{name}\" has not been checked yet")),
    }
}

/// Whether a Deployment has a pod of its newest template whose containers are all ready.
fn is_available(deployment: &DynamicObject) -> bool {
    has_newest(deployment, "/status/availableReplicas")
}

/// Whether a Deployment has a pod of its newest template, ready or not.
pub(crate) fn has_pod(deployment: &DynamicObject) -> bool {
    has_newest(deployment, "/status/updatedReplicas")
}

/// Whether there are such pods, in a status of the newest template.
fn has_newest(deployment: &DynamicObject, replicas: &str) -> bool {
    let status = |path: &str| deployment.data.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    status(replicas) > 0 && status("/status/observedGeneration") >= deployment.metadata.generation.unwrap_or(0)
}

/// Whether the entry, or somebody's own, is in the object.
pub(super) fn has_entry(state: PrometheusState) -> bool {
    use PrometheusState as State;
    match state {
        State::Paused
        | State::PerhapsUnmanaged
        | State::Overdue
        | State::WaitingForSamples
        | State::Replacing
        | State::Receiving
        | State::ConfiguredByOthers => true,
        State::NoConsent
        | State::OwnedByOpenShift
        | State::PatchDenied
        | State::DuplicateNames
        | State::NotPasted
        | State::WaitingForReceiver
        | State::Draining
        | State::Deleting => false,
    }
}

/// Every chosen Prometheus has its entry. `missing`: what is asked for by name and not there; `absent`: kinds that are not installed.
pub(crate) fn configured(all: &[PrometheusFinding], missing: &[String], absent: &[&str]) -> Finding {
    let chosen: Vec<_> = all.iter().filter(|one| !super::is_leaving(one.state)).collect();
    if let Some(kind) = absent.first() {
        return Finding::bad(
            Reason::KindNotInstalled,
            format!(
                "the kind {kind} is not installed in this cluster: install the Prometheus Operator; the archive then \
                 continues by itself"
            ),
        );
    }
    if let Some(text) = missing.first() {
        return Finding::bad(Reason::PrometheusNotFound, text.clone());
    }
    if chosen.is_empty() {
        return Finding::unknown(
            Reason::NoPrometheusSelected,
            "no Prometheus matches spec.prometheuses at the moment; a new Prometheus is configured immediately. A \
             Prometheus in another namespace must consent",
        );
    }
    let mut without: Vec<_> = chosen.iter().filter(|one| !has_entry(one.state)).collect();
    without.sort_by_key(|one| one.state);
    match without.first() {
        None => Finding::good(Reason::Configured, "every selected Prometheus has its entry in spec.remoteWrite"),
        Some(one) if without.iter().all(|one| one.state == PrometheusState::WaitingForReceiver) => Finding::bad(
            Reason::WaitingForReceiver,
            format!(
                "{} of {} get their entries when the receiver is available, including {} {}/{}",
                without.len(),
                chosen.len(),
                one.kind.as_str(),
                one.namespace,
                one.name
            ),
        ),
        Some(one) => Finding::bad(
            Reason::NotConfigured,
            format!(
                "{} of {} are not configured. {} {}/{}: {}",
                without.len(),
                chosen.len(),
                one.kind.as_str(),
                one.namespace,
                one.name,
                one.message
            ),
        ),
    }
}

/// Samples arrive from every chosen Prometheus.
pub(crate) fn receiving(all: &[PrometheusFinding], answer: Answer<'_>) -> Finding {
    let chosen: Vec<_> = all.iter().filter(|one| !super::is_leaving(one.state)).collect();
    if chosen.is_empty() {
        return Finding::unknown(Reason::NoPrometheusSelected, "no Prometheus is selected at the moment");
    }
    if !matches!(answer, Some(Ok(Deliveries { ready: true, .. }))) {
        return Finding::unknown(
            Reason::ReceiverNotAnswering,
            "the receiver does not report which samples arrive. Prometheus keeps unsent samples for about 2 hours",
        );
    }
    let arrives = |one: &&&PrometheusFinding| {
        matches!(
            one.state,
            PrometheusState::Receiving | PrometheusState::Replacing | PrometheusState::ConfiguredByOthers
        )
    };
    let mut silent: Vec<_> = chosen.iter().filter(|one| !arrives(one)).collect();
    silent.sort_by_key(|one| (one.state != PrometheusState::Overdue, one.state));
    let Some(one) = silent.first() else {
        return Finding::good(Reason::SamplesArriving, "samples arrive from every selected Prometheus");
    };
    let reason = if one.state == PrometheusState::Overdue { Reason::SamplesOverdue } else { Reason::WaitingForSamples };
    Finding::bad(
        reason,
        format!(
            "no samples arrive from {} of {}. {} {}/{}: {}",
            silent.len(),
            chosen.len(),
            one.kind.as_str(),
            one.namespace,
            one.name,
            one.message
        ),
    )
}
