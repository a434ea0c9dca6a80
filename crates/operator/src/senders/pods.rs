//! The pods of the senders of a namespace, as far as they are looked at.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod as KubernetesPod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::ListParams;
use promarchive_api::metrics_archive::PrometheusKind;
use serde::Deserialize;

use crate::kubernetes::cache::{Caches, owners};
use crate::names::PrometheusName;
use crate::senders::delivery::{Pod, is_controller_of};

/// Label that the Prometheus Operator puts on its pods: the name of the object.
const PROMETHEUS_LABEL: &str = "operator.prometheus.io/name";
const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Pods can be large, and anybody's can have that label.
const PODS_AT_A_TIME: u32 = 100;
/// Longest page of the list, in bytes: no pod has more than 3 MiB. A page is never in memory as a whole.
const LONGEST_PAGE: u64 = 300 << 20;
/// Addresses of a pod: one of each family, as Kubernetes allows.
const MOST_ADDRESSES: usize = 4;

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    metadata: Page,
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Default, Deserialize)]
struct Page {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default, deserialize_with = "owners")]
    owner_references: Vec<OwnerReference>,
    deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "operator.prometheus.io/name")]
    prometheus: Option<String>,
    #[serde(rename = "app.kubernetes.io/name")]
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Address>,
    container_statuses: Vec<Container>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(default)]
    ip: String,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    state: State,
}

#[derive(Default, Deserialize)]
struct State {
    running: Option<Running>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    started_at: Option<String>,
}

/// Adds the pods of every Prometheus of `namespace` to `all`.
pub(crate) async fn list(
    caches: &Caches,
    namespace: &str,
    all: &mut BTreeMap<PrometheusName, Vec<Pod>>,
) -> kube::Result<()> {
    let url = KubernetesPod::url_path(&(), Some(namespace));
    let selector = format!("{PROMETHEUS_LABEL},{NAME_LABEL} in (prometheus, prometheus-agent)");
    let mut params = ListParams::default().labels(&selector).limit(PODS_AT_A_TIME);
    loop {
        let listed = caches.requests.list_as::<Listed>(&url, &params, LONGEST_PAGE).await?;
        for item in listed.items.unwrap_or_default() {
            if let Some(of) = owner(namespace, &item.metadata) {
                all.entry(of).or_default().push(pod(item));
            }
        }
        match listed.metadata.next.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(()),
        }
    }
}

/// The Prometheus that a pod is of: by its labels, and by the controller that made it.
fn owner(namespace: &str, pod: &Metadata) -> Option<PrometheusName> {
    let kind = match pod.labels.name.as_deref()? {
        "prometheus" => PrometheusKind::Prometheus,
        "prometheus-agent" => PrometheusKind::PrometheusAgent,
        _ => return None,
    };
    let of = PrometheusName { kind, namespace: namespace.to_owned(), name: pod.labels.prometheus.clone()? };
    let mut controllers = pod
        .owner_references
        .iter()
        .filter(|owner| owner.controller == Some(true) && owner.api_version.starts_with("apps/"));
    controllers.any(|owner| is_controller_of(&of, &owner.kind, &owner.name)).then_some(of)
}

fn pod(Item { metadata, status }: Item) -> Pod {
    let addresses = status.pod_ips.into_iter().take(MOST_ADDRESSES).map(|address| address.ip).collect();
    let container = status.container_statuses.into_iter().find(|container| container.name == "prometheus");
    let started = container.and_then(|container| container.state.running?.started_at);
    let started = started.and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond);
    let ended = matches!(status.phase.as_str(), "Succeeded" | "Failed");
    Pod { name: metadata.name, addresses, started, terminating: ended || metadata.deletion_timestamp.is_some() }
}
