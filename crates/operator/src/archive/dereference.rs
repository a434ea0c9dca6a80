//! Everything that one look at an archive depends on, gathered. IO; decides nothing.

mod ask;
mod volume;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ask::{Asked, ask_all, endpoints};
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use promarchive_api::Deliveries;
use promarchive_api::metrics_archive::{NetworkPolicyMode, PrometheusState};
use serde_json::Value;
pub(crate) use volume::claim;

use crate::archive::LookError;
use crate::archive::chosen::{self, Sender};
use crate::archive::claims::Refusal;
use crate::archive::context::Context;
use crate::archive::own::own_object;
use crate::archive::receiver_client::{Answer, Endpoint, ReceiverError};
use crate::archive::status::has_pod;
use crate::archive::validate::Archive;
use crate::kubernetes::cache::ReadError;
use crate::kubernetes::kind::Kind;
use crate::names::PrometheusName;
use crate::process::room::Held;
use crate::senders::delivery::{self, Pod, Receiving};
use crate::senders::prometheus::Prometheus;
use crate::senders::records::{consents, has_entry, with_content};

/// Prometheus objects of one archive that are looked at. Each of them has pods, so there are never that many.
const MOST_SENDERS: usize = 256;

/// Everything that one look at an archive depends on. Nothing in it changes afterwards.
pub(crate) struct Found<'a> {
    /// The claim of the volume.
    pub claim: Option<Arc<DynamicObject>>,
    /// Why the receiver may not mount it.
    pub refusal: Option<Refusal>,
    /// The receiver's Deployment.
    pub deployment: Option<Arc<DynamicObject>>,
    /// The receiver's Service.
    pub service: Option<Arc<DynamicObject>>,
    /// The ConfigMap with the receiver's tokens file.
    pub tokens: Option<Arc<DynamicObject>>,
    /// Every Prometheus that has to do with the archive, and consents.
    pub senders: Vec<Sender<'a>>,
    /// Every Prometheus with an entry of the archive's, whether it consents or not.
    pub with_entry: BTreeSet<PrometheusName>,
    /// Names as senders of every Prometheus that does not consent.
    pub refused: HashSet<String>,
    pub pods: BTreeMap<PrometheusName, Vec<Pod>>,
    /// What is asked for by name and not there, or does not consent, each as a message.
    pub missing: Vec<String>,
    /// How the receiver is reached: as it was last asked, if it was.
    pub endpoint: Option<Endpoint>,
    /// Whether a NetworkPolicy decides who reaches the receiver.
    pub has_network_policy: bool,
    /// What the receiver answered; none if it was not asked.
    answer: Option<Result<Answer, ReceiverError>>,
    /// What was said of each Prometheus last time, and since when (ms since 1970), by uid.
    pub before: BTreeMap<String, (PrometheusState, i64)>,
    /// What lets so many Prometheus objects be in memory.
    _senders: Option<Held>,
}

impl Found<'_> {
    /// What the receiver said, or why it did not; none if it was not asked.
    pub(crate) fn said(&self) -> Option<Result<&Deliveries, &ReceiverError>> {
        self.answer.as_ref().map(|answer| answer.as_ref().map(|answer| &answer.deliveries))
    }

    /// What the receiver said, if it takes samples. While it does not, that nothing comes tells nothing about the senders.
    pub(crate) fn deliveries(&self) -> Option<&Deliveries> {
        self.said()?.ok().filter(|deliveries| deliveries.ready)
    }

    /// How the receiver was reached when it answered, and took samples.
    pub(crate) fn answered(&self) -> Option<&Endpoint> {
        self.deliveries().and(self.endpoint.as_ref())
    }

    /// Whether the receiver takes samples.
    pub(crate) fn is_receiver_ready(&self) -> bool {
        self.deliveries().is_some()
    }

    /// A sender in the receiver's answer, with its pods; none if the receiver did not answer. `name` is [`PrometheusName::sender`].
    pub(crate) fn delivered(&self, of: &PrometheusName, name: &str) -> Option<delivery::Sender<'_>> {
        Some(delivery::Sender::new(self.deliveries()?, name, self.pods_of(of)))
    }

    /// What was said last time about its samples.
    pub(crate) fn judged_before(&self, prometheus: &Prometheus) -> Receiving {
        match self.before.get(&prometheus.uid()) {
            Some((
                PrometheusState::Receiving | PrometheusState::Replacing | PrometheusState::ConfiguredByOthers,
                _,
            )) => Receiving::Receiving,
            // Later than the last sample by the window; a receiver that restarted knows nothing better.
            Some((PrometheusState::Overdue, since)) => Receiving::Overdue { since: *since },
            _ => Receiving::WaitingForSamples,
        }
    }

    pub(crate) fn pods_of(&self, sender: &PrometheusName) -> &[Pod] {
        self.pods.get(sender).map(Vec::as_slice).unwrap_or_default()
    }
}

pub(crate) async fn dereference<'a>(
    context: &Context,
    archive: &'a Archive,
    object: &DynamicObject,
) -> Result<Found<'a>, LookError> {
    let child = async |kind: Kind| own_object(context, &archive.id, &archive.uid, kind, &archive.id.receiver()).await;
    let (service, deployment, tokens) =
        (child(Kind::Service).await?, child(Kind::Deployment).await?, child(Kind::ConfigMap).await?);
    let endpoints = match service.as_deref() {
        Some(service) => endpoints(context, archive, service).await?,
        None => Vec::new(),
    };
    let may_answer = deployment.as_deref().is_some_and(has_pod);
    let consents = consents(&context.caches, &archive.id);
    let with_entry = consents.all().filter(|record| has_entry(&context.caches, &archive.id, record));
    let with_entry = with_entry.map(Prometheus::full_name).collect();
    let refused = consents.withheld.iter().map(|record| record.full_name().sender()).collect();
    let mut missing = chosen::missing(archive, &consents.given);
    let chosen = choose(context, archive, consents.given);
    let namespaces: BTreeSet<&str> = chosen.iter().take(MOST_SENDERS).map(|one| one.namespace.as_str()).collect();
    let Asked { endpoint, answer, pods } = ask_all(context, &archive.id, &endpoints, may_answer, &namespaces).await?;
    let claim = claim(context, archive).await?;
    let refusal = volume::refusal(context, archive, object, claim.as_deref()).await?;
    let many = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
    let room = context.senders(&archive.id.namespace, many).await;
    let senders = chosen::senders(archive, &contents(context, &chosen, &mut missing).await?);
    Ok(Found {
        claim,
        refusal,
        missing,
        deployment,
        service,
        tokens,
        senders,
        with_entry,
        refused,
        pods,
        has_network_policy: archive.receiver.network_policy != NetworkPolicyMode::None,
        endpoint,
        answer,
        before: said_before(object),
        _senders: room,
    })
}

/// Of those that consent, the ones that `archive` has to do with: first those with an entry, which must never be forgotten.
fn choose(context: &Context, archive: &Archive, consenting: Vec<Prometheus>) -> Vec<Prometheus> {
    let (mut chosen, others): (Vec<_>, Vec<_>) =
        consenting.into_iter().partition(|record| has_entry(&context.caches, &archive.id, record));
    let is_chosen = |record: &Prometheus| archive.selections.iter().any(|selection| chosen::chooses(selection, record));
    chosen.extend(others.into_iter().filter(is_chosen));
    chosen
}

/// The same with their specs. What cannot be looked at is noted in `missing`, as a message.
async fn contents(
    context: &Context,
    chosen: &[Prometheus],
    missing: &mut Vec<String>,
) -> Result<Vec<Prometheus>, LookError> {
    let mut all = Vec::new();
    for record in chosen {
        let name = record.full_name();
        if all.len() == MOST_SENDERS {
            missing
                .push(format!("{name} is not included: an archive can have at most {MOST_SENDERS} Prometheus objects"));
            break;
        }
        match with_content(&context.caches, record).await {
            Ok(found) => all.extend(found),
            Err(ReadError::TooLong(error)) => missing.push(format!("{name} is not included: {error}")),
            Err(ReadError::Request(source)) => return Err(LookError::Request { what: "read a Prometheus", source }),
        }
    }
    Ok(all)
}

fn said_before(object: &DynamicObject) -> BTreeMap<String, (PrometheusState, i64)> {
    let all = object.data.pointer("/status/prometheuses").and_then(Value::as_array).into_iter().flatten();
    let said = |one: &Value| {
        let state = serde_json::from_value(one["state"].clone()).ok()?;
        let since: Timestamp = one["since"].as_str()?.parse().ok()?;
        Some((one["uid"].as_str()?.to_owned(), (state, since.as_millisecond())))
    };
    all.filter_map(said).collect()
}
