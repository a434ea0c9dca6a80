//! How the receiver is reached, and by whom.

#![allow(clippy::indexing_slicing, reason = "by name, into JSON objects that are made right here")]

use promarchive_api::metrics_archive::{NetworkPolicyMode, TlsMode};
use serde_json::{Value, json};

use super::component::COMPONENT;
use crate::archive::build::inputs::Inputs;
use crate::archive::build::object::{Desired, Part, desired, selector};
use crate::archive::validate::Archive;
use crate::kubernetes::kind::Kind;
use crate::names::{RECEIVER_PORT, SECRET_NAME};

pub(super) fn service(archive: &Archive) -> Desired {
    let mut spec = leads_to_receiver(archive);
    spec["ipFamilyPolicy"] = json!("PreferDualStack");
    // A pod is ready only if all of its containers are. Another container must not keep writes from the receiver, which itself
    // answers 503 while it cannot take any.
    spec["publishNotReadyAddresses"] = json!(true);
    desired(archive, Part::of(COMPONENT), Kind::Service, archive.id.receiver(), json!({"spec": spec}))
}

/// What the spec of a Service must have so that it leads to the receiver's pods, and nowhere else.
pub fn leads_to_receiver(archive: &Archive) -> Value {
    json!({
        "type": "ClusterIP",
        "selector": selector(archive, COMPONENT),
        "ports": [{"name": "receiver", "port": RECEIVER_PORT, "targetPort": "receiver", "protocol": "TCP"}],
    })
}

/// Prometheus pods in the namespaces of the senders, the operator, and whom the archive names may connect. The receiver itself connects to nobody: it answers,
/// and writes to its volume.
pub(super) fn policy(archive: &Archive, inputs: &Inputs<'_>) -> Option<Desired> {
    if archive.receiver.network_policy == NetworkPolicyMode::None {
        return None;
    }
    let pods_of = |namespace: &str, labels: Value| {
        json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "podSelector": labels,
        })
    };
    let prometheus = json!({"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In", "values": ["prometheus", "prometheus-agent"]}]});
    let operator =
        json!({"matchLabels": {"app.kubernetes.io/name": "promarchive", "app.kubernetes.io/component": "operator"}});
    let mut from = vec![pods_of(&inputs.defaults.operator_namespace, operator)];
    from.extend(inputs.sender_namespaces.iter().map(|namespace| pods_of(namespace, prometheus.clone())));
    from.extend(archive.receiver.pod.peers.iter().map(|peer| json!(peer)));
    let spec = json!({
        "podSelector": {"matchLabels": selector(archive, COMPONENT)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": from, "ports": [{"port": RECEIVER_PORT, "protocol": "TCP"}]}],
        // Kubernetes leaves it out. It is here so that a rule which somebody adds is taken out.
        "egress": [],
    });
    Some(desired(archive, Part::of(COMPONENT), Kind::NetworkPolicy, archive.id.receiver(), json!({"spec": spec})))
}

/// So that the Prometheus that selects it scrapes the receiver's own metrics.
pub(super) fn pod_monitor(archive: &Archive) -> Desired {
    let mut endpoint = json!({"port": "receiver", "path": "/metrics", "scheme": "http"});
    if archive.receiver.tls == TlsMode::SelfSigned {
        endpoint["scheme"] = json!("https");
        endpoint["tlsConfig"] = json!({
            "ca": {"secret": {"name": SECRET_NAME, "key": archive.id.secret_key("ca.crt")}},
            "serverName": archive.id.host(),
        });
    }
    let spec = json!({"selector": {"matchLabels": selector(archive, COMPONENT)}, "podMetricsEndpoints": [endpoint]});
    desired(
        archive,
        Part::Of(COMPONENT, &archive.receiver.pod.monitor_labels),
        Kind::PodMonitor,
        archive.id.receiver(),
        json!({"spec": spec}),
    )
}
