//! The pods of the senders of a namespace, as far as they are looked at.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod as KubernetesPod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use promarchive_api::metrics_archive::PrometheusKind;
use serde::Deserialize;

use crate::context::Context;
use crate::delivery::Pod;
use crate::entry::PrometheusName;
use crate::reconcile::LookError;

/// Label that the Prometheus Operator puts on its pods: the name of the object.
const PROMETHEUS_LABEL: &str = "operator.prometheus.io/name";
const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Longest list of pods that is read to its end, in bytes. A pod has about 10 KiB.
const LONGEST_LIST: u64 = 64 << 20;
/// Addresses of a pod: one of each family, as Kubernetes allows.
const MOST_ADDRESSES: usize = 4;

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    items: Option<Vec<Item>>,
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
pub(super) async fn list(
    context: &Context,
    namespace: &str,
    all: &mut BTreeMap<PrometheusName, Vec<Pod>>,
) -> Result<(), LookError> {
    let api: Api<KubernetesPod> = Api::namespaced(context.client.clone(), namespace);
    let selector = format!("{PROMETHEUS_LABEL},{NAME_LABEL} in (prometheus, prometheus-agent)");
    // From the API server's own cache: this is asked often.
    let params = ListParams::default().labels(&selector).match_any();
    let listed = context.caches.requests.list_as::<Listed>(api.resource_url(), &params, LONGEST_LIST).await;
    let listed = listed.map_err(|source| LookError::Request { what: "list the pods of a Prometheus", source })?;
    for item in listed.items.unwrap_or_default() {
        let kind = match item.metadata.labels.name.as_deref() {
            Some("prometheus") => PrometheusKind::Prometheus,
            Some("prometheus-agent") => PrometheusKind::PrometheusAgent,
            _ => continue,
        };
        if let Some(name) = item.metadata.labels.prometheus.clone() {
            let of = PrometheusName { kind, namespace: namespace.to_owned(), name };
            all.entry(of).or_default().push(pod(item));
        }
    }
    Ok(())
}

fn pod(Item { metadata, status }: Item) -> Pod {
    let addresses = status.pod_ips.into_iter().take(MOST_ADDRESSES).map(|address| address.ip).collect();
    let container = status.container_statuses.into_iter().find(|container| container.name == "prometheus");
    let started = container.and_then(|container| container.state.running?.started_at);
    let started = started.and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond);
    let ended = matches!(status.phase.as_str(), "Succeeded" | "Failed");
    Pod { name: metadata.name, addresses, started, terminating: ended || metadata.deletion_timestamp.is_some() }
}
