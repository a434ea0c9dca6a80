//! Everything that one look at an archive depends on, gathered. IO; decides nothing.

mod ask;
mod pods;
mod volume;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ask::{Asked, ask_all, endpoints};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use promarchive_api::Deliveries;
use promarchive_api::metrics_archive::{NetworkPolicyMode, PrometheusKind, PrometheusState};
use serde_json::Value;
use tracing::warn;
pub use volume::claim;

use crate::apply::is_controlled_by;
use crate::cache::{ReadError, Source, chain};
use crate::claims::Refusal;
use crate::consent::Consents;
use crate::context::Context;
use crate::delivery::{self, Pod, Receiving};
use crate::entry::{ArchiveName, PrometheusName};
use crate::kind::Kind;
use crate::names::ALLOW_ARCHIVES;
use crate::prometheus::Prometheus;
use crate::receiver_client::{Answer, Endpoint, ReceiverError};
use crate::reconcile::LookError;
use crate::room::Held;
use crate::senders::{self, Sender};
use crate::status::is_available;
use crate::validate::Archive;

/// Prometheus objects of one archive that are looked at. Each of them has pods, so there are never that many.
const MOST_SENDERS: usize = 256;

/// Everything that one look at an archive depends on.
pub struct Found<'a> {
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
    /// Pods of each.
    pub pods: BTreeMap<PrometheusName, Vec<Pod>>,
    /// What is asked for by name and not there, or does not consent, each as a message.
    pub missing: Vec<String>,
    /// How the receiver is reached: as it was last asked, if it was.
    pub endpoint: Option<Endpoint>,
    /// Whether a NetworkPolicy decides who reaches the receiver.
    pub has_network_policy: bool,
    /// What the receiver answered; none if it was not asked.
    answer: Option<Result<Answer, ReceiverError>>,
    /// Whether the receiver will be there soon, as far as can be told: all its objects are applied, and its claim is bound or new.
    pub is_receiver_coming: bool,
    /// Namespaces whose Secret could not be written.
    pub without_secret: BTreeSet<String>,
    /// What was said of each Prometheus last time, and since when (ms since 1970), by uid.
    pub before: BTreeMap<String, (PrometheusState, i64)>,
    /// What lets so many Prometheus objects be in memory.
    _senders: Option<Held>,
}

impl Found<'_> {
    /// What the receiver said, or why it did not; none if it was not asked.
    pub fn said(&self) -> Option<Result<&Deliveries, &ReceiverError>> {
        self.answer.as_ref().map(|answer| answer.as_ref().map(|answer| &answer.deliveries))
    }

    /// What the receiver said, if it did.
    pub fn deliveries(&self) -> Option<&Deliveries> {
        self.said()?.ok()
    }

    /// How the receiver was reached when it answered.
    pub fn answered(&self) -> Option<&Endpoint> {
        self.deliveries().and(self.endpoint.as_ref())
    }

    /// Whether the receiver takes samples.
    pub fn is_receiver_ready(&self) -> bool {
        self.deliveries().is_some_and(|deliveries| deliveries.ready)
    }

    /// A sender in the receiver's answer, with its pods; none if the receiver did not answer. `name` is [`PrometheusName::sender`].
    pub fn delivered(&self, of: &PrometheusName, name: &str) -> Option<delivery::Sender<'_>> {
        Some(delivery::Sender::new(self.deliveries()?, name, self.pods_of(of)))
    }

    /// What was said last time about its samples.
    pub fn judged_before(&self, prometheus: &Prometheus) -> Receiving {
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

    /// Pods of a sender.
    pub fn pods_of(&self, sender: &PrometheusName) -> &[Pod] {
        self.pods.get(sender).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Gathers it.
pub async fn dereference<'a>(
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
    let available = deployment.as_deref().is_some_and(is_available);
    let consents = consents(context, &archive.id);
    let with_entry = consents.all().filter(|record| has_entry(context, &archive.id, record));
    let with_entry = with_entry.map(Prometheus::full_name).collect();
    let refused = consents.withheld.iter().map(|record| record.full_name().sender()).collect();
    let mut missing = senders::missing(archive, &consents.given);
    let chosen = chosen(context, archive, consents.given);
    let namespaces: BTreeSet<&str> = chosen.iter().take(MOST_SENDERS).map(|one| one.namespace.as_str()).collect();
    let Asked { endpoint, answer, pods } = ask_all(context, &archive.id, &endpoints, available, &namespaces).await?;
    let claim = claim(context, archive).await?;
    let refusal = volume::refusal(context, archive, object, claim.as_deref()).await?;
    let many = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
    let room = context.senders(&archive.id.namespace, many).await;
    let senders = senders::senders(archive, &contents(context, &chosen, &mut missing).await?);
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
        is_receiver_coming: false,
        without_secret: BTreeSet::new(),
        before: said_before(object),
        _senders: room,
    })
}

/// Of those that consent, the ones that `archive` has to do with: first those with an entry, which must never be forgotten.
fn chosen(context: &Context, archive: &Archive, consenting: Vec<Prometheus>) -> Vec<Prometheus> {
    let (mut chosen, others): (Vec<_>, Vec<_>) =
        consenting.into_iter().partition(|record| has_entry(context, &archive.id, record));
    let is_chosen =
        |record: &Prometheus| archive.selections.iter().any(|selection| senders::chooses(selection, record));
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
            missing.push(format!("{name} is left out: an archive has {MOST_SENDERS} Prometheus objects at most"));
            break;
        }
        match with_content(context, record).await {
            Ok(found) => all.extend(found),
            Err(ReadError::TooLong(error)) => missing.push(format!("{name} is left out: {error}")),
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

/// Every Prometheus and PrometheusAgent within the operator's scope, without its spec.
pub fn prometheus_records(context: &Context) -> Vec<Prometheus> {
    let of = |kind: PrometheusKind| {
        let objects = context.caches.all(Source::Prometheus(kind));
        objects.into_iter().map(move |object| Prometheus::new(kind, object))
    };
    PrometheusKind::ALL.into_iter().flat_map(of).collect()
}

/// Whether an entry of `archive` is in a Prometheus whose spec is not needed for that.
pub fn has_entry(context: &Context, archive: &ArchiveName, record: &Prometheus) -> bool {
    context.caches.is_mentioned(Source::Prometheus(record.kind), &record.namespace, &record.name, archive)
}

/// Every Prometheus with an entry of an archive that `is_meant`, without its spec.
pub fn records_with_entry(context: &Context, is_meant: impl Fn(&ArchiveName) -> bool) -> Vec<Prometheus> {
    let of = |kind: PrometheusKind| {
        let objects = context.caches.mentions(Source::Prometheus(kind), &is_meant);
        objects.into_iter().map(move |(object, _)| Prometheus::new(kind, object))
    };
    PrometheusKind::ALL.into_iter().flat_map(of).collect()
}

/// With its spec; none if it is not there any more.
pub async fn with_content(context: &Context, record: &Prometheus) -> Result<Option<Prometheus>, ReadError> {
    let Prometheus { kind, namespace, name, .. } = record;
    let found = context.caches.read(Source::Prometheus(*kind), namespace, name).await?;
    Ok(found.map(|object| Prometheus::new(*kind, object)))
}

/// The same; none, too, if it cannot be read. That is left for the next time.
pub async fn with_content_now(context: &Context, record: &Prometheus) -> Option<Prometheus> {
    with_content(context, record).await.unwrap_or_else(|error| {
        let (namespace, name) = (&record.namespace, &record.name);
        warn!(namespace, name, error = %chain(&error), "a Prometheus cannot be read; trying again");
        None
    })
}

/// Whether nothing new can be made in `namespace`, because it is gone or going. Not known of namespaces that are not watched.
pub fn is_ending(context: &Context, namespace: &str) -> bool {
    let watched = context.scope.contains(namespace);
    let found = context.caches.get(Source::Namespace, "", namespace);
    watched && found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())
}

/// Whether `namespace` is there and going.
pub fn is_terminating(context: &Context, namespace: &str) -> bool {
    let found = context.caches.get(Source::Namespace, "", namespace);
    found.is_some_and(|found| found.metadata.deletion_timestamp.is_some())
}

/// What every Prometheus says to `archive`. Specs are not needed for it, and not there.
pub fn consents(context: &Context, archive: &ArchiveName) -> Consents {
    consents_of(context, archive, prometheus_records(context))
}

/// Whether `prometheus` does not consent, as far as is known now: a look may be older than that.
pub fn is_withheld(context: &Context, archive: &ArchiveName, prometheus: &Prometheus) -> bool {
    let Prometheus { kind, namespace, name, .. } = prometheus;
    let known = context.caches.get(Source::Prometheus(*kind), namespace, name);
    let known = known.map(|object| Prometheus::new(*kind, object));
    !consents_of(context, archive, [known.unwrap_or_else(|| prometheus.clone())]).withheld.is_empty()
}

fn consents_of(context: &Context, archive: &ArchiveName, all: impl IntoIterator<Item = Prometheus>) -> Consents {
    Consents::of(archive, all, |namespace| {
        let namespace = context.caches.get(Source::Namespace, "", namespace)?;
        Some(namespace.annotations().get(ALLOW_ARCHIVES).cloned().unwrap_or_default())
    })
}

/// An object of the archive's own. One of that name that is somebody else's says nothing.
pub async fn own_object(
    context: &Context,
    archive: &ArchiveName,
    uid: &str,
    kind: Kind,
    name: &str,
) -> Result<Option<Arc<DynamicObject>>, LookError> {
    let source = Source::Child(kind);
    let is_its = |found: &DynamicObject| is_controlled_by(found, archive, uid);
    if context.caches.get(source, &archive.namespace, name).is_some_and(|record| !is_its(&record)) {
        return Ok(None);
    }
    match context.caches.read(source, &archive.namespace, name).await {
        Ok(found) => Ok(found.filter(|found| is_its(found))),
        // Nothing that the operator makes is so long; it is about to be set right.
        Err(ReadError::TooLong(_)) => Ok(None),
        Err(ReadError::Request(source)) => Err(LookError::Request { what: "read an object of the archive", source }),
    }
}
