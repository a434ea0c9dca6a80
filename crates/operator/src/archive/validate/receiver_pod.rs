//! What an archive may say of its receiver's pod, and of who else reaches it. Pure; a part of `validate`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer};
use promarchive_api::bounds::in_pods::{MOST_KEYS, MOST_NETWORK_POLICY_PEERS, MOST_PULL_SECRETS};
use promarchive_api::metrics_archive::{NetworkPolicyMode, ReceiverSpec};

use super::invalid::{Invalid, invalid, is_object_name};
use crate::names::OWN_LABELS;

const OWN_PREFIX: &str = "promarchive.dev/";
const LONGEST_NAME: usize = 63;
const LONGEST_PREFIX: usize = 253;
const LONGEST_ANNOTATION: usize = 4096;

/// Of the receiver's pod, and of who else reaches it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceiverPod {
    /// Labels of the pod, besides those of the operator.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pod, besides that of the operator.
    pub annotations: BTreeMap<String, String>,
    /// Secrets with which the image is pulled.
    pub pull_secrets: Vec<String>,
    /// Priority class.
    pub priority_class: Option<String>,
    /// Labels of the PodMonitor, besides those of the operator.
    pub monitor_labels: BTreeMap<String, String>,
    /// Who may connect besides the senders and the operator.
    pub peers: Vec<NetworkPolicyPeer>,
}

/// Checks what `given` says of them.
pub(super) fn receiver_pod(given: &ReceiverSpec) -> Result<ReceiverPod, Invalid> {
    let metadata = given.pod_metadata.clone().unwrap_or_default();
    let monitor = given.pod_monitor.clone().unwrap_or_default();
    let pull_secrets: Vec<_> = given.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect();
    labels("spec.receiver.podMetadata.labels", &metadata.labels)?;
    annotations("spec.receiver.podMetadata.annotations", &metadata.annotations)?;
    labels("spec.receiver.podMonitor.labels", &monitor.labels)?;
    if pull_secrets.len() > MOST_PULL_SECRETS || !pull_secrets.iter().all(|name| is_object_name(name)) {
        let fault =
            format!("must have at most {MOST_PULL_SECRETS} names of Secrets, with the characters a-z, 0-9, - and .");
        return Err(invalid("spec.receiver.imagePullSecrets", fault));
    }
    priority_class(given.priority_class_name.as_deref())?;
    peers(given)?;
    Ok(ReceiverPod {
        labels: metadata.labels,
        annotations: metadata.annotations,
        pull_secrets,
        priority_class: given.priority_class_name.clone(),
        monitor_labels: monitor.labels,
        peers: given.network_policy_peers.clone(),
    })
}

fn priority_class(name: Option<&str>) -> Result<(), Invalid> {
    let field = "spec.receiver.priorityClassName";
    match name {
        Some(name) if !is_object_name(name) => {
            Err(invalid(field, "invalid name of a PriorityClass; expected the characters a-z, 0-9, - and ."))
        }
        Some(name) if name.starts_with("system-") => {
            Err(invalid(field, "must not be a system class (system-...): use a class of your own"))
        }
        _ => Ok(()),
    }
}

/// Form, and the keys that are ours. Which other keys a pod may have is the administrator's word, in the admission policy on receivers: it knows
/// what a pod has had before, and a spec that was good once stays good.
fn labels(field: &str, labels: &BTreeMap<String, String>) -> Result<(), Invalid> {
    keys(field, labels)?;
    for (key, value) in labels {
        if OWN_LABELS.contains(&key.as_str()) {
            return Err(invalid(field, format!("{key} is a label that the operator sets: choose another key")));
        }
        if !(value.is_empty() || is_name(value)) {
            let fault = format!("the value of {key} must have at most 63 characters (A-Z, a-z, 0-9, -, _ and .)");
            return Err(invalid(field, fault));
        }
    }
    Ok(())
}

fn annotations(field: &str, annotations: &BTreeMap<String, String>) -> Result<(), Invalid> {
    keys(field, annotations)?;
    match annotations.iter().find(|(_, value)| value.len() > LONGEST_ANNOTATION) {
        Some((key, _)) => Err(invalid(field, format!("the value of {key} is longer than 4 KiB"))),
        None => Ok(()),
    }
}

/// Keys are names, perhaps with the name of a domain before them.
fn keys(field: &str, all: &BTreeMap<String, String>) -> Result<(), Invalid> {
    if all.len() > MOST_KEYS {
        return Err(invalid(field, format!("has more than {MOST_KEYS} keys")));
    }
    for key in all.keys() {
        let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
        if !is_name(name) || (key.contains('/') && !(is_object_name(prefix) && prefix.len() <= LONGEST_PREFIX)) {
            let shown: String = key.chars().take(LONGEST_NAME).collect();
            return Err(invalid(
                field,
                format!("invalid key \"{shown}\"; expected for example team or example.com/team"),
            ));
        }
        if key.starts_with(OWN_PREFIX) {
            return Err(invalid(field, format!("{key} is reserved for promarchive: choose another key")));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= LONGEST_NAME && bytes.iter().copied().all(is_inner) && is_end(bytes.first()) && is_end(bytes.last())
}

fn peers(given: &ReceiverSpec) -> Result<(), Invalid> {
    let (field, peers) = ("spec.receiver.networkPolicyPeers", &given.network_policy_peers);
    if !peers.is_empty() && given.network_policy == NetworkPolicyMode::None {
        return Err(invalid(
            field,
            "is only valid with networkPolicy Managed; with None, everyone can connect: remove one of the two fields",
        ));
    }
    if peers.len() > MOST_NETWORK_POLICY_PEERS {
        return Err(invalid(field, format!("has more than {MOST_NETWORK_POLICY_PEERS} items")));
    }
    for (at, peer) in peers.iter().enumerate() {
        let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
        match &peer.ip_block {
            Some(block) if !selects => addresses(&format!("{field}[{at}].ipBlock"), block)?,
            None if selects => {}
            _ => {
                let fault = "set either ipBlock, or podSelector, namespaceSelector or both";
                return Err(invalid(format!("{field}[{at}]"), fault));
            }
        }
    }
    Ok(())
}

fn addresses(field: &str, block: &IPBlock) -> Result<(), Invalid> {
    let all = std::iter::once(&block.cidr).chain(block.except.iter().flatten());
    for cidr in all {
        let parts =
            cidr.split_once('/').and_then(|(ip, bits)| Some((ip.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?)));
        let is_good = parts.is_some_and(|(ip, bits)| bits <= if ip.is_ipv4() { 32 } else { 128 });
        if !is_good {
            let shown: String = cidr.chars().take(LONGEST_NAME).collect();
            return Err(invalid(field, format!("invalid CIDR \"{shown}\"; expected for example 192.0.2.0/24")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value) -> Result<ReceiverPod, String> {
        receiver_pod(&serde_json::from_value(spec).unwrap()).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn what_a_company_wants_passes() {
        let pod = check(json!({
            "podMetadata": {
                "labels": {"team": "lab", "example.com/cost-center": "4711", "empty": ""},
                "annotations": {"example.com/contact": "lab@example.com, room 7"},
            },
            "podMonitor": {"labels": {"release": "kube-prometheus-stack"}},
            "imagePullSecrets": [{"name": "registry"}],
            "priorityClassName": "archives",
            "networkPolicyPeers": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}, "podSelector": {}},
                {"ipBlock": {"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]}},
            ],
        }))
        .unwrap();
        assert_eq!(pod.labels["example.com/cost-center"], "4711");
        assert_eq!(pod.pull_secrets, ["registry"]);
        assert_eq!(pod.peers.len(), 2);
        assert_eq!(check(json!({})).unwrap(), ReceiverPod::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let labels = |key: &str, value: &str| json!({"podMetadata": {"labels": {key: value}}});
        let long = "a".repeat(64);
        for (spec, wants) in [
            (
                labels("app.kubernetes.io/instance", "other"),
                "podMetadata.labels: app.kubernetes.io/instance is a label",
            ),
            (
                labels("app.kubernetes.io/managed-by", "me"),
                "app.kubernetes.io/managed-by is a label that the operator sets",
            ),
            (labels("promarchive.dev/x", "a"), "promarchive.dev/x is reserved for promarchive"),
            (labels("a b", "a"), "invalid key \"a b\""),
            (labels("/a", "a"), "invalid key \"/a\""),
            (labels("example.com/", "a"), "invalid key"),
            (labels(&long, "a"), "invalid key"),
            (labels("team", "a b"), "the value of team must have"),
            (labels("team", &long), "the value of team must have"),
            (
                json!({"podMonitor": {"labels": {"app.kubernetes.io/name": "x"}}}),
                "spec.receiver.podMonitor.labels: app",
            ),
            (
                json!({"podMetadata": {"annotations": {"promarchive.dev/config-hash": "x"}}}),
                "spec.receiver.podMetadata.annotations: promarchive.dev/config-hash is reserved",
            ),
            (json!({"podMetadata": {"annotations": {"a": "x".repeat(5000)}}}), "the value of a is longer than 4 KiB"),
            (json!({"imagePullSecrets": [{"name": "../x"}]}), "spec.receiver.imagePullSecrets: must have"),
            (json!({"priorityClassName": "system-node-critical"}), "priorityClassName: must not be a system class"),
            (json!({"priorityClassName": "a b"}), "spec.receiver.priorityClassName: invalid name"),
            (json!({"networkPolicyPeers": [{}]}), "networkPolicyPeers[0]: set either ipBlock"),
            (
                json!({"networkPolicyPeers": [{"podSelector": {}}, {"podSelector": {}, "ipBlock": {"cidr": "192.0.2.0/24"}}]}),
                "networkPolicyPeers[1]: set either ipBlock",
            ),
            (json!({"networkPolicyPeers": [{"ipBlock": {"cidr": "192.0.2.0"}}]}), "invalid CIDR \"192.0.2.0\""),
            (json!({"networkPolicyPeers": [{"ipBlock": {"cidr": "192.0.2.0/33"}}]}), "invalid CIDR"),
            (
                json!({"networkPolicy": "None", "networkPolicyPeers": [{"podSelector": {}}]}),
                "is only valid with networkPolicy Managed",
            ),
        ] {
            let fault = check(spec.clone()).unwrap_err();
            assert!(fault.contains(wants), "{spec}: {fault}\nwants {wants}");
        }
    }
}
