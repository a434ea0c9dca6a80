//! Everything that one look at an archive depends on, gathered. IO; decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod as KubernetesPod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams};
use promarchive_api::Deliveries;
use promarchive_api::metrics_archive::{PrometheusKind, PrometheusState, TlsMode};
use serde_json::Value;

use crate::apply::belongs;
use crate::cache::Source;
use crate::context::Context;
use crate::credentials::SenderToken;
use crate::delivery::{self, Pod, Receiving};
use crate::entry::PrometheusName;
use crate::kind::Kind;
use crate::names::ALLOW_ARCHIVES;
use crate::prometheus::Prometheus;
use crate::receiver_client::{Endpoint, ReceiverError};
use crate::reconcile::LookError;
use crate::secrets;
use crate::senders::{self, Sender};
use crate::status::is_available;
use crate::validate::{Archive, Claim};

/// Label that the Prometheus Operator puts on its pods: the name of the object.
const PROMETHEUS_LABEL: &str = "operator.prometheus.io/name";

/// Everything that one look at an archive depends on.
pub struct Found<'a> {
    /// The claim of the volume.
    pub claim: Option<Arc<DynamicObject>>,
    /// The receiver's Deployment.
    pub deployment: Option<Arc<DynamicObject>>,
    /// The receiver's Service.
    pub service: Option<Arc<DynamicObject>>,
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
    let caches = &context.caches;
    // An object of that name that is somebody else's says nothing, and gets no token.
    let child = |kind: Kind, name: &str| {
        let found = caches.get(Source::Child(kind), &archive.id.namespace, name);
        found.filter(|found| belongs(found, kind, &archive.id, &archive.uid))
    };
    let all = prometheuses(context);
    let senders = senders::senders(archive, &all, |namespace| consent(context, namespace));
    let service = child(Kind::Service, &archive.id.receiver());
    let deployment = child(Kind::Deployment, &archive.id.receiver());
    let endpoint = service.as_deref().and_then(|service| endpoint(context, archive, service));
    let available = deployment.as_deref().is_some_and(is_available);
    let answer = match &endpoint {
        Some(endpoint) if available => Some(context.receivers.deliveries(endpoint).await),
        _ => None,
    };
    let namespaces: BTreeSet<&str> = senders.iter().map(|sender| sender.prometheus.namespace.as_str()).collect();
    let mut pods = BTreeMap::new();
    for namespace in namespaces {
        list_pods(context, namespace, &mut pods).await?;
    }
    Ok(Found {
        claim: claim(context, archive).await?,
        missing: senders::missing(archive, &all),
        deployment,
        service,
        senders,
        pods,
        endpoint,
        answer,
        is_receiver_coming: false,
        without_secret: BTreeSet::new(),
        before: said_before(object),
    })
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

/// Every Prometheus and PrometheusAgent within the operator's scope.
pub fn prometheuses(context: &Context) -> Vec<Prometheus> {
    let of = |kind: PrometheusKind| {
        let objects = context.caches.all(Source::Prometheus(kind));
        objects.into_iter().map(move |object| Prometheus::new(kind, object))
    };
    PrometheusKind::ALL.into_iter().flat_map(of).collect()
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

fn endpoint(context: &Context, archive: &Archive, service: &DynamicObject) -> Option<Endpoint> {
    let address = service.data.pointer("/spec/clusterIP")?.as_str()?.parse().ok()?;
    let own = secrets::data(&context.caches, &archive.id.namespace);
    let token = SenderToken::read(&own, &archive.id.secret_key("operator"))?.token;
    let ca = match archive.receiver.tls {
        TlsMode::Disabled => None,
        TlsMode::SelfSigned => Some(String::from_utf8(own.get(&archive.id.secret_key("ca.crt"))?.clone()).ok()?),
    };
    Some(Endpoint { archive: archive.id.clone(), address, ca, token })
}

async fn claim(context: &Context, archive: &Archive) -> Result<Option<Arc<DynamicObject>>, LookError> {
    let kind = Kind::PersistentVolumeClaim;
    let name = match &archive.claim {
        Claim::New { .. } => {
            return Ok(context.caches.get(Source::Child(kind), &archive.id.namespace, &archive.id.claim()));
        }
        Claim::Existing(name) => name,
    };
    // Somebody else's, without our label: not in the cache.
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &archive.id.namespace, &kind.resource());
    let found = api.get_opt(name).await;
    found.map(|claim| claim.map(Arc::new)).map_err(|source| LookError::Request { what: "read the claim", source })
}

/// Adds the pods of every Prometheus of `namespace` to `all`.
async fn list_pods(
    context: &Context,
    namespace: &str,
    all: &mut BTreeMap<PrometheusName, Vec<Pod>>,
) -> Result<(), LookError> {
    let api: Api<KubernetesPod> = Api::namespaced(context.client.clone(), namespace);
    // From the API server's own cache: this is asked often.
    let list = api.list(&ListParams::default().labels(PROMETHEUS_LABEL).match_any()).await;
    let list = list.map_err(|source| LookError::Request { what: "list the pods of a Prometheus", source })?;
    for object in &list.items {
        let label = |name: &str| object.metadata.labels.as_ref()?.get(name).map(String::as_str);
        let kind = match label("app.kubernetes.io/name") {
            Some("prometheus") => PrometheusKind::Prometheus,
            Some("prometheus-agent") => PrometheusKind::PrometheusAgent,
            _ => continue,
        };
        if let (Some(name), Some(pod)) = (label(PROMETHEUS_LABEL), pod(object)) {
            let of = PrometheusName { kind, namespace: namespace.to_owned(), name: name.to_owned() };
            all.entry(of).or_default().push(pod);
        }
    }
    Ok(())
}

fn pod(pod: &KubernetesPod) -> Option<Pod> {
    let status = serde_json::to_value(pod.status.as_ref()?).ok()?;
    let list =
        |field: &str| status.get(field).and_then(Value::as_array).into_iter().flatten().cloned().collect::<Vec<_>>();
    let addresses = list("podIPs").iter().filter_map(|ip| ip["ip"].as_str().map(ToOwned::to_owned)).collect();
    let container = list("containerStatuses").into_iter().find(|container| container["name"] == "prometheus");
    let started = container.as_ref().and_then(|container| container.pointer("/state/running/startedAt")?.as_str());
    let started = started.and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond);
    let ended = matches!(status.get("phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    Some(Pod {
        name: pod.metadata.name.clone()?,
        addresses,
        started,
        terminating: ended || pod.metadata.deletion_timestamp.is_some(),
    })
}
