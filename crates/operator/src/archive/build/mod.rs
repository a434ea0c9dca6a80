//! From a valid archive to the objects that it needs. Pure: the same input gives the same bytes.

#![allow(clippy::indexing_slicing, reason = "by name, into JSON objects that are made right here")]

mod claim;
mod config;
mod deployment;
mod network;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::archive::credentials::{SenderToken, TokenLine};
use crate::archive::validate::{Archive, Claim};
use crate::kubernetes::kind::Kind;
use crate::names::{APPLIED, INSTANCE, MANAGED_BY, short_hash};

pub use claim::store;
pub use network::leads_to_receiver;

/// What the operator was told about all receivers.
#[derive(Clone, Debug)]
pub struct ReceiverDefaults {
    /// Image of the receiver.
    pub image: String,
    /// When the kubelet pulls it.
    pub pull_policy: String,
    /// Group that owns the volume's files; none where the platform chooses it.
    pub fs_group: Option<i64>,
    /// Namespace of the operator itself, which must reach every receiver.
    pub operator_namespace: String,
}

/// What the objects depend on besides the archive.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// About all receivers.
    pub defaults: &'a ReceiverDefaults,
    /// Tokens by the sender's name.
    pub senders: &'a BTreeMap<String, SenderToken>,
    /// Lines of the tokens file of senders that are leaving.
    pub carried: &'a [TokenLine],
    /// The tokens that the operator itself may show.
    pub operator_tokens: &'a [&'a str],
    /// Namespaces of the senders.
    pub sender_namespaces: &'a BTreeSet<String>,
    /// The size that the claim has already; it never shrinks.
    pub claim_size: Option<&'a str>,
    /// Uid of the archive that the claim was or is made for, if it is known.
    pub claim_made_for: Option<&'a str>,
    /// Whether the receiver may mount the claim. If not, neither claim nor Deployment is made or changed.
    pub may_mount: bool,
    /// Whether the Service has an IPv6 address.
    pub ipv6: bool,
    /// Whether PodMonitors are known to the cluster.
    pub pod_monitors: bool,
    /// Entries to paste, by the name of the Prometheus, for mode Manual.
    pub snippets: &'a BTreeMap<String, String>,
}

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// All of it, for a server-side apply.
    pub object: Value,
}

/// All objects of `archive` in its own namespace but the Secret, as far as they may be made, in the order in which they are applied.
pub fn build(archive: &Archive, inputs: &Inputs<'_>) -> Vec<Desired> {
    let mut objects = vec![service_account(archive), network::service(archive)];
    objects.extend(network::policy(archive, inputs));
    if let (Claim::New { .. }, true) = (&archive.claim, inputs.may_mount) {
        objects.push(claim::claim(archive, inputs));
    }
    let config = config::receiver(archive, inputs);
    objects.push(config::config_map(archive, inputs, &config));
    if !inputs.snippets.is_empty() {
        objects.push(config::snippets(archive, inputs));
    }
    if inputs.may_mount {
        objects.push(deployment::deployment(archive, inputs, &config));
    }
    if inputs.pod_monitors {
        objects.push(network::pod_monitor(archive));
    }
    objects
}

fn service_account(archive: &Archive) -> Desired {
    let body = json!({"automountServiceAccountToken": false});
    desired(archive, Kind::ServiceAccount, archive.id.receiver(), body)
}

/// Labels by which the receiver's pods are found. Never changed: a Deployment's selector cannot be.
fn selector(archive: &Archive) -> Value {
    json!({
        "app.kubernetes.io/name": "promarchive",
        "app.kubernetes.io/component": "receiver",
        INSTANCE: archive.id.name,
    })
}

fn labels(archive: &Archive) -> Value {
    let mut labels = selector(archive);
    labels[MANAGED_BY] = json!("promarchive-operator");
    labels
}

/// With labels that the archive asks for; those of the operator stand above them.
fn labels_with(archive: &Archive, asked: &BTreeMap<String, String>) -> Value {
    let mut all = json!(asked);
    if let (Value::Object(all), Value::Object(own)) = (&mut all, labels(archive)) {
        all.extend(own);
    }
    all
}

/// An object of the archive: what `body` says, with name, labels, owner and the hash of all of it.
fn desired(archive: &Archive, kind: Kind, name: String, body: Value) -> Desired {
    let resource = kind.resource();
    let mut object = body;
    object["apiVersion"] = json!(resource.api_version);
    object["kind"] = json!(resource.kind);
    let asked = match kind {
        Kind::PodMonitor => &archive.receiver.pod.monitor_labels,
        _ => &BTreeMap::new(),
    };
    let labels = labels_with(archive, asked);
    object["metadata"] = json!({"name": name, "namespace": archive.id.namespace, "labels": labels});
    // The claim outlives the archive, or is deleted by name.
    if kind != Kind::PersistentVolumeClaim {
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "promarchive.dev/v1alpha1",
            "kind": "MetricsArchive",
            "name": archive.id.name,
            "uid": archive.uid,
            "controller": true,
            "blockOwnerDeletion": false,
        }]);
    }
    let hash = short_hash(object.to_string().as_bytes());
    object["metadata"]["annotations"] = json!({APPLIED: hash});
    Desired { kind, name, object }
}

#[cfg(test)]
mod tests;
