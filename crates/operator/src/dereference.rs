//! Everything that one look at an archive depends on, gathered. IO; decides nothing.

mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use promarchive_api::Deliveries;
use promarchive_api::metrics_archive::{PrometheusKind, PrometheusState, TlsMode};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use crate::apply::belongs;
use crate::cache::{ReadError, Source, chain};
use crate::context::Context;
use crate::credentials::{SecretData, SenderToken};
use crate::delivery::{self, Pod, Receiving};
use crate::entry::{ArchiveName, PrometheusName};
use crate::kind::Kind;
use crate::names::ALLOW_ARCHIVES;
use crate::prometheus::Prometheus;
use crate::receiver_client::{Endpoint, ReceiverError};
use crate::reconcile::LookError;
use crate::secrets;
use crate::senders::{self, Sender};
use crate::status::is_available;
use crate::validate::{Archive, Claim};

/// Prometheus objects of one archive that are looked at. Each of them has pods, so there are never that many.
const MOST_SENDERS: usize = 256;

/// Everything that one look at an archive depends on.
pub struct Found<'a> {
    /// The claim of the volume.
    pub claim: Option<Arc<DynamicObject>>,
    /// The receiver's Deployment.
    pub deployment: Option<Arc<DynamicObject>>,
    /// The receiver's Service.
    pub service: Option<Arc<DynamicObject>>,
    /// The receiver's ConfigMap.
    pub config: Option<Arc<DynamicObject>>,
    /// Every Prometheus that has to do with the archive.
    pub senders: Vec<Sender<'a>>,
    /// Pods of each.
    pub pods: BTreeMap<PrometheusName, Vec<Pod>>,
    /// Names that are asked for and not there.
    pub missing: Vec<String>,
    /// How the receiver is reached.
    pub endpoint: Option<Endpoint>,
    /// What the receiver answered; none if it was not asked.
    pub answer: Option<Result<Deliveries, ReceiverError>>,
    /// Whether the receiver will be there soon, as far as can be told: all its objects are applied, and its claim is bound or new.
    pub is_receiver_coming: bool,
    /// Namespaces whose Secret could not be written.
    pub without_secret: BTreeSet<String>,
    /// What was said of each Prometheus last time, and since when (ms since 1970), by uid.
    pub before: BTreeMap<String, (PrometheusState, i64)>,
    /// What lets so many Prometheus objects be in memory.
    _senders: Option<OwnedSemaphorePermit>,
}

impl Found<'_> {
    /// What the receiver said, if it did.
    pub fn deliveries(&self) -> Option<&Deliveries> {
        self.answer.as_ref()?.as_ref().ok()
    }

    /// Whether the receiver takes samples.
    pub fn is_receiver_ready(&self) -> bool {
        self.deliveries().is_some_and(|deliveries| deliveries.ready)
    }

    /// A sender in the receiver's answer, with its pods; none if the receiver did not answer. `name` is [`PrometheusName::sender`].
    pub fn delivered<'b>(&'b self, of: &PrometheusName, name: &'b str) -> Option<delivery::Sender<'b>> {
        Some(delivery::Sender { deliveries: self.deliveries()?, name, pods: self.pods_of(of) })
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
    let service = child(context, archive, Kind::Service, &archive.id.receiver()).await?;
    let deployment = child(context, archive, Kind::Deployment, &archive.id.receiver()).await?;
    let config = child(context, archive, Kind::ConfigMap, &archive.id.receiver()).await?;
    let endpoint = match service.as_deref() {
        Some(service) => endpoint(context, archive, service).await?,
        None => None,
    };
    let available = deployment.as_deref().is_some_and(is_available);
    let answer = match &endpoint {
        Some(endpoint) if available => Some(context.receivers.deliveries(endpoint).await),
        _ => None,
    };
    let records = prometheus_records(context);
    let mut missing = senders::missing(archive, &records);
    let chosen: Vec<_> = records.into_iter().filter(|one| concerns(context, archive, one)).collect();
    let namespaces: BTreeSet<String> = chosen.iter().take(MOST_SENDERS).map(|one| one.namespace.clone()).collect();
    let mut pods = BTreeMap::new();
    for namespace in namespaces {
        pods::list(context, &namespace, &mut pods).await?;
    }
    let few = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
    let room = context.senders(few).await;
    let mut all = Vec::new();
    for prometheus in &chosen {
        let name = format!("{} {}/{}", prometheus.kind.as_str(), prometheus.namespace, prometheus.name);
        if all.len() == MOST_SENDERS {
            missing.push(format!("{name} (there are more than {MOST_SENDERS})"));
            break;
        }
        match with_content(context, prometheus).await {
            Ok(found) => all.extend(found),
            Err(ReadError::TooLong(error)) => missing.push(format!("{name} ({error})")),
            Err(ReadError::Request(source)) => return Err(LookError::Request { what: "read a Prometheus", source }),
        }
    }
    Ok(Found {
        claim: claim(context, archive).await?,
        missing,
        deployment,
        service,
        config,
        senders: senders::senders(archive, &all, |namespace| consent(context, namespace)),
        pods,
        endpoint,
        answer,
        is_receiver_coming: false,
        without_secret: BTreeSet::new(),
        before: said_before(object),
        _senders: room,
    })
}

/// An object of the archive. One of that name that is somebody else's says nothing, and gets no token.
async fn child(
    context: &Context,
    archive: &Archive,
    kind: Kind,
    name: &str,
) -> Result<Option<Arc<DynamicObject>>, LookError> {
    let (source, namespace) = (Source::Child(kind), archive.id.namespace.as_str());
    let is_ours = |found: &DynamicObject| belongs(found, kind, &archive.id, &archive.uid);
    if context.caches.get(source, namespace, name).is_some_and(|record| !is_ours(&record)) {
        return Ok(None);
    }
    match context.caches.read(source, namespace, name).await {
        Ok(found) => Ok(found.filter(|found| is_ours(found))),
        // Nothing that we made is so long; it is about to be set right.
        Err(ReadError::TooLong(_)) => Ok(None),
        Err(ReadError::Request(source)) => Err(LookError::Request { what: "read an object of the archive", source }),
    }
}

/// Whether `archive` chooses this Prometheus, or has an entry in it.
fn concerns(context: &Context, archive: &Archive, record: &Prometheus) -> bool {
    archive.selections.iter().any(|selection| senders::chooses(selection, record))
        || context.caches.is_mentioned(Source::Prometheus(record.kind), &record.namespace, &record.name, &archive.id)
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

/// With its spec; none if it is not there any more.
pub async fn with_content(context: &Context, record: &Prometheus) -> Result<Option<Prometheus>, ReadError> {
    let Prometheus { kind, namespace, name, .. } = record;
    let found = context.caches.read(Source::Prometheus(*kind), namespace, name).await?;
    Ok(found.map(|object| Prometheus::new(*kind, object)))
}

/// Every Prometheus with an entry of an archive that `is_meant`, with its spec. One that cannot be read is left for the next time.
pub async fn prometheuses_with_entry(context: &Context, is_meant: impl Fn(&ArchiveName) -> bool) -> Vec<Prometheus> {
    let mut all = Vec::new();
    for kind in PrometheusKind::ALL {
        for (record, archives) in context.caches.mentions(Source::Prometheus(kind)) {
            if !archives.iter().any(&is_meant) {
                continue;
            }
            let record = Prometheus::new(kind, record);
            match with_content(context, &record).await {
                Ok(found) => all.extend(found),
                Err(error) => {
                    let (namespace, name) = (&record.namespace, &record.name);
                    warn!(namespace, name, error = %chain(&error), "a Prometheus cannot be read; trying again");
                }
            }
        }
    }
    all
}

/// Whether nothing new can be made in `namespace`, because it is gone or going. Not known of namespaces that are not watched.
pub fn is_ending(context: &Context, namespace: &str) -> bool {
    let watched = context.scope.contains(namespace);
    let found = context.caches.get(Source::Namespace, "", namespace);
    watched && found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())
}

fn consent(context: &Context, namespace: &str) -> Option<String> {
    let namespace = context.caches.get(Source::Namespace, "", namespace)?;
    namespace.metadata.annotations.as_ref()?.get(ALLOW_ARCHIVES).cloned()
}

async fn endpoint(
    context: &Context,
    archive: &Archive,
    service: &DynamicObject,
) -> Result<Option<Endpoint>, LookError> {
    let own = secrets::data(&context.caches, &archive.id.namespace).await?;
    Ok(endpoint_with(archive, service, &own))
}

fn endpoint_with(archive: &Archive, service: &DynamicObject, own: &SecretData) -> Option<Endpoint> {
    let address = service.data.pointer("/spec/clusterIP")?.as_str()?.parse().ok()?;
    let token = SenderToken::read(own, &archive.id.secret_key("operator"))?.token;
    let ca = match archive.receiver.tls {
        TlsMode::Disabled => None,
        TlsMode::SelfSigned => Some(String::from_utf8(own.get(&archive.id.secret_key("ca.crt"))?.clone()).ok()?),
    };
    Some(Endpoint { archive: archive.id.clone(), address, ca, token })
}

async fn claim(context: &Context, archive: &Archive) -> Result<Option<Arc<DynamicObject>>, LookError> {
    let source = Source::Child(Kind::PersistentVolumeClaim);
    let found = match &archive.claim {
        Claim::New { .. } => context.caches.read(source, &archive.id.namespace, &archive.id.claim()).await,
        // Somebody else's, without our label: not in the cache.
        Claim::Existing(name) => context.caches.read_now(source, &archive.id.namespace, name).await,
    };
    match found {
        Ok(found) => Ok(found),
        Err(ReadError::TooLong(_)) => Ok(None),
        Err(ReadError::Request(source)) => Err(LookError::Request { what: "read the claim", source }),
    }
}
