//! Everything that one look at an archive depends on, gathered. IO; decides nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod as KubernetesPod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use promarchive_api::Deliveries;
use promarchive_api::metrics_archive::{PrometheusKind, PrometheusState, TlsMode};
use serde_json::{Value, json};

use crate::apply::{belongs, is_controlled_by};
use crate::build;
use crate::cache::Source;
use crate::claims::{self, Contender, Refusal};
use crate::consent::Consents;
use crate::context::Context;
use crate::credentials::{Authority, OperatorToken};
use crate::delivery::{self, Pod, Receiving};
use crate::drift::difference;
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

/// Label that the Prometheus Operator puts on its pods: the name of the object.
const PROMETHEUS_LABEL: &str = "operator.prometheus.io/name";
/// Pods can be large, and anybody's can have that label.
const PODS_AT_A_TIME: u32 = 100;

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
    // An object of that name that is somebody else's says nothing, and gets no token.
    let child = |kind: Kind, name: &str| own_object(context, &archive.id, &archive.uid, kind, name);
    let consents = consents(context, &archive.id);
    let with_entry = consents.all().filter(|prometheus| senders::has_entry_of(prometheus, &archive.id));
    let with_entry = with_entry.map(Prometheus::full_name).collect();
    let refused = consents.withheld.iter().map(|prometheus| prometheus.full_name().sender()).collect();
    let senders = senders::senders(archive, &consents.given);
    let missing = senders::missing(archive, &consents.given);
    let service = child(Kind::Service, &archive.id.receiver());
    let deployment = child(Kind::Deployment, &archive.id.receiver());
    let endpoints = service.as_deref().map(|service| endpoints(context, archive, service)).unwrap_or_default();
    let tokens = child(Kind::ConfigMap, &archive.id.receiver());
    let available = deployment.as_deref().is_some_and(is_available);
    let (endpoint, answer) = ask(context, endpoints, available).await;
    let namespaces: BTreeSet<&str> = senders.iter().map(|sender| sender.prometheus.namespace.as_str()).collect();
    let mut pods = BTreeMap::new();
    for namespace in namespaces {
        list_pods(context, namespace, &mut pods).await?;
    }
    let claim = claim(context, archive).await?;
    Ok(Found {
        refusal: refusal(context, archive, object, claim.as_deref()).await?,
        claim,
        missing,
        deployment,
        service,
        tokens,
        senders,
        with_entry,
        refused,
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

/// Whether `namespace` is there and going.
pub fn is_terminating(context: &Context, namespace: &str) -> bool {
    let found = context.caches.get(Source::Namespace, "", namespace);
    found.is_some_and(|found| found.metadata.deletion_timestamp.is_some())
}

/// What every Prometheus says to `archive`.
pub fn consents(context: &Context, archive: &ArchiveName) -> Consents {
    Consents::of(archive, prometheuses(context), |namespace| {
        let namespace = context.caches.get(Source::Namespace, "", namespace)?;
        Some(namespace.annotations().get(ALLOW_ARCHIVES).cloned().unwrap_or_default())
    })
}

/// An object of the archive's own. One of that name that is somebody else's says nothing.
pub fn own_object(
    context: &Context,
    archive: &ArchiveName,
    uid: &str,
    kind: Kind,
    name: &str,
) -> Option<Arc<DynamicObject>> {
    let found = context.caches.get(Source::Child(kind), &archive.namespace, name);
    found.filter(|found| is_controlled_by(found, archive, uid))
}

/// How the receiver may be reached, what proves more first: while a token or the authority changes, the receiver may know the new one
/// already or not. The operator shows its token only to a Service that leads to the receiver's pods.
fn endpoints(context: &Context, archive: &Archive, service: &DynamicObject) -> Vec<Endpoint> {
    let spec = service.data.get("spec").unwrap_or(&Value::Null);
    if difference(&json!({"spec": build::service_spec(archive)}), &json!({ "spec": spec })).is_some() {
        return Vec::new();
    }
    let own = secrets::data(&context.caches, &archive.id.namespace);
    let address = service.data.pointer("/spec/clusterIP").and_then(Value::as_str);
    let address = address.and_then(|text| text.parse::<IpAddr>().ok());
    let (Some(address), Some(operator)) = (address, OperatorToken::read(&archive.id, &own)) else { return Vec::new() };
    let roots = match archive.receiver.tls {
        TlsMode::Disabled => vec![None],
        TlsMode::SelfSigned => {
            let authority = Authority::read(&archive.id, &own);
            authority.map(|authority| authority.roots()).unwrap_or_default().into_iter().map(Some).collect()
        }
    };
    let with = |ca: Option<String>, token: &str| Endpoint {
        archive: archive.id.clone(),
        address,
        ca,
        token: token.to_owned(),
    };
    let (Some(newest), Some(surest)) = (roots.first(), roots.last()) else { return Vec::new() };
    let mut all = vec![
        with(newest.clone(), operator.next.as_deref().unwrap_or(&operator.token)),
        with(surest.clone(), &operator.token),
    ];
    all.dedup();
    all
}

/// Asks the receiver, if it is `available`, by one of `endpoints` after the other until it answers.
async fn ask(
    context: &Context,
    endpoints: Vec<Endpoint>,
    available: bool,
) -> (Option<Endpoint>, Option<Result<Deliveries, ReceiverError>>) {
    if !available {
        return (endpoints.into_iter().next_back(), None);
    }
    let mut asked = (None, None);
    for endpoint in endpoints {
        let answer = context.receivers.deliveries(&endpoint).await;
        let is_good = answer.is_ok();
        asked = (Some(endpoint), Some(answer));
        if is_good {
            break;
        }
    }
    asked
}

/// The claim that the archive names, or that is made for it.
pub async fn claim(context: &Context, archive: &Archive) -> Result<Option<Arc<DynamicObject>>, LookError> {
    let kind = Kind::PersistentVolumeClaim;
    match &archive.claim {
        Claim::Existing(name) => read(context, kind, &archive.id.namespace, name).await,
        Claim::New { .. } => {
            let name = archive.id.claim();
            let found = match context.caches.get(Source::Child(kind), &archive.id.namespace, &name) {
                Some(found) => Some(found),
                None => read(context, kind, &archive.id.namespace, &name).await?,
            };
            Ok(found.filter(|found| belongs(found, kind, &archive.id, &archive.uid)))
        }
    }
}

/// Asks the API server: somebody else's object is not in the cache, and one of ours may be too new.
async fn read(
    context: &Context,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<DynamicObject>>, LookError> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &kind.resource());
    let found = api.get_opt(name).await.map_err(|source| LookError::Request { what: "read an object", source })?;
    Ok(found.map(Arc::new))
}

/// Why the receiver may not mount the claim. Whether a claim of the operator's own name is its own is judged when it is applied.
async fn refusal(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    claim: Option<&DynamicObject>,
) -> Result<Option<Refusal>, LookError> {
    let name = claims::named(object);
    let mut others = Vec::new();
    for other in context.caches.all(Source::Archive) {
        let (namespace, uid) = (&other.metadata.namespace, other.metadata.uid.as_ref());
        if namespace.as_ref() == Some(&archive.id.namespace)
            && uid != Some(&archive.uid)
            && claims::named(&other) == name
        {
            others.push(contender(context, &other).await?);
        }
    }
    Ok(match &archive.claim {
        Claim::New { .. } if others.is_empty() => None,
        Claim::New { .. } => claims::refusal_of_own(&contender(context, object).await?, &name, &others),
        Claim::Existing(name) => claims::refusal(&contender(context, object).await?, name, claim, &others),
    })
}

/// An archive as far as it has to do with the claim that it names. Its spec may be one that cannot be read.
async fn contender(context: &Context, object: &DynamicObject) -> Result<Contender, LookError> {
    let kind = Kind::Deployment;
    let id = ArchiveName::new(object.namespace().unwrap_or_default(), object.name_any());
    let deployment = match context.caches.get(Source::Child(kind), &id.namespace, &id.receiver()) {
        Some(deployment) => Some(deployment),
        None => read(context, kind, &id.namespace, &id.receiver()).await?,
    };
    let own = deployment.filter(|deployment| belongs(deployment, kind, &id, &object.uid().unwrap_or_default()));
    Ok(Contender {
        created: object.creation_timestamp().map(|time| time.0),
        mounted: own.as_deref().and_then(claims::mounted),
        claim: claims::named(object),
        archive: id,
    })
}

/// Adds the pods of every Prometheus of `namespace` to `all`.
async fn list_pods(
    context: &Context,
    namespace: &str,
    all: &mut BTreeMap<PrometheusName, Vec<Pod>>,
) -> Result<(), LookError> {
    let api: Api<KubernetesPod> = Api::namespaced(context.client.clone(), namespace);
    let mut params = ListParams::default().labels(PROMETHEUS_LABEL).limit(PODS_AT_A_TIME);
    loop {
        let list = api.list(&params).await;
        let list = list.map_err(|source| LookError::Request { what: "list the pods of a Prometheus", source })?;
        for object in &list.items {
            if let Some((of, pod)) = owner(namespace, object).zip(pod(object)) {
                all.entry(of).or_default().push(pod);
            }
        }
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(()),
        }
    }
}

/// The Prometheus that a pod is of: by its labels, and by the controller that made it.
fn owner(namespace: &str, pod: &KubernetesPod) -> Option<PrometheusName> {
    let label = |name: &str| pod.metadata.labels.as_ref()?.get(name).map(String::as_str);
    let kind = match label("app.kubernetes.io/name")? {
        "prometheus" => PrometheusKind::Prometheus,
        "prometheus-agent" => PrometheusKind::PrometheusAgent,
        _ => return None,
    };
    let of = PrometheusName { kind, namespace: namespace.to_owned(), name: label(PROMETHEUS_LABEL)?.to_owned() };
    let owners = pod.metadata.owner_references.iter().flatten();
    let mut controllers =
        owners.filter(|owner| owner.controller == Some(true) && owner.api_version.starts_with("apps/"));
    controllers.any(|owner| delivery::is_controller_of(&of, &owner.kind, &owner.name)).then_some(of)
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
