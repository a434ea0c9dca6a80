//! How samples are received and written.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::in_pods;
use crate::{LabelColumns, SenderLabel};

/// How samples are received and written.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.tls == oldSelf.tls")
        .message("tls cannot be changed, because every sender would have to start again: create a new archive"),
    validation = Rule::new("(has(self.labelColumns) ? self.labelColumns : ['']) == (has(oldSelf.labelColumns) ? oldSelf.labelColumns : [''])")
        .message("labelColumns cannot be changed, because the tables were created with them: create a new archive"),
    validation = Rule::new("oldSelf.hasValue() || !has(self.labelColumns) || self.labelColumns.all(name, !name.contains('.'))")
        .optional_old_self(true)
        .message("labelColumns: a name must not contain a dot, because DuckDB and ClickHouse cannot filter by such a column: remove the name, or rename the label in Prometheus"),
    validation = Rule::new("oldSelf.hasValue() || !has(self.labelColumns) || self.labelColumns.all(name, !(name.lowerAscii() in ['nan_count', 'sum_compensation', 'min', 'max', 'first_timestamp', 'first', 'previous_timestamp', 'previous', 'last_timestamp', 'last', 'resets', 'reset_sum', 'start_resets', 'changes', 'first_start_timestamp', 'last_start_timestamp', 'stale_timestamp', 'label_map', 'samples', 'histograms']))")
        .optional_old_self(true)
        .message("labelColumns: a name must not be a column of the tables of downsampled samples (min, max, first, last and others; see the reference of the tables): remove the name, or rename the label in Prometheus"),
    validation = Rule::new("!has(self.priorityClassName) || !self.priorityClassName.startsWith('system-')")
        .message("priorityClassName must not be a system class (system-...): use a class of your own"),
    validation = Rule::new("!has(self.networkPolicyPeers) || self.networkPolicyPeers.all(peer, has(peer.ipBlock) != (has(peer.podSelector) || has(peer.namespaceSelector)))")
        .message("networkPolicyPeers: each item must have either ipBlock, or podSelector, namespaceSelector or both"),
    validation = Rule::new("!has(self.networkPolicyPeers) || size(self.networkPolicyPeers) == 0 || !has(self.networkPolicy) || self.networkPolicy != 'None'")
        .message("networkPolicyPeers is only valid with networkPolicy Managed; with None, everyone can connect"),
)]
pub struct ReceiverSpec {
    /// `SelfSigned`: the operator creates a certificate authority for this archive, and the senders get its certificate.
    /// `Disabled`: samples and tokens are sent in clear text. Cannot be changed later.
    #[serde(default)]
    pub tls: TlsMode,

    /// Longest time from an acknowledged sample to its row in the tables, `100ms` to `1d`. Default: `5m`. Shorter means more, smaller files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(w|d|h|m|s|ms))+$"))]
    pub flush_interval: Option<String>,

    /// Maximum size of the write-ahead log on the volume, for example `8Gi`; at least `64Mi`. Above it, senders get 503 and retry.
    /// Default: a quarter of `size`, at most `8Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]+([kKMGT]i?)?B?$"))]
    pub wal_max_bytes: Option<String>,

    /// Labels that get their own columns in the tables, in addition to the column `labels`, which contains all labels. Default:
    /// `namespace`, `pod`, `container`, `node`, `job`, `instance`. An empty list means none. Names with a dot, and names of columns
    /// of the tables of downsampled samples, are refused. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LabelColumns::MOST), inner(length(min = 1, max = LabelColumns::LONGEST_BYTES)))]
    pub label_columns: Option<Vec<String>>,

    /// A label that the receiver sets on every series to the name of its sender, for example `Prometheus/monitoring/k8s`. It replaces
    /// a label of the same name that the sender sends. Default: none, so every sender of the archive may write any series. Can be
    /// changed at any time; a change applies to new samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = SenderLabel::LONGEST_BYTES), regex(pattern = r"^[a-zA-Z][a-zA-Z0-9_]*$"))]
    pub sender_label: Option<String>,

    /// How old a sample may be when it arrives, at least `1d`. Older samples are refused, and their sender drops them. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(w|d|h|m|s|ms))+$"))]
    pub max_past: Option<String>,

    /// Requests and limits of the receiver's container. Default: requests of `100m` CPU and `512Mi` memory, a limit of `2Gi` memory.
    /// Half of the memory limit is the budget of the receiver, so the limit must be at least `512Mi`. Above the budget, senders get 503
    /// and retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// Scheduling of the receiver's pod on nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,

    /// `Managed`: a NetworkPolicy allows only the pods of the selected Prometheus objects, the operator and `networkPolicyPeers` to
    /// connect to the receiver. `None`: the operator creates no policy.
    #[serde(default)]
    pub network_policy: NetworkPolicyMode,

    /// Other peers that may connect to the receiver, for example a Prometheus in another namespace that scrapes it. Each item is a
    /// peer as in `ingress.from` of a NetworkPolicy. Writing still needs a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = in_pods::MOST_NETWORK_POLICY_PEERS))]
    pub network_policy_peers: Vec<NetworkPolicyPeer>,

    /// The PodMonitor for the receiver's own metrics. The operator creates it if the kind PodMonitor is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<PodMonitorSpec>,

    /// Labels and annotations of the receiver's pod, in addition to those of the operator. A change restarts the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_metadata: Option<PodMetadata>,

    /// Secrets in the archive's namespace for pulling the receiver's image. A change restarts the receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = in_pods::MOST_PULL_SECRETS), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<PullSecret>,

    /// Priority class of the receiver's pod. System classes (`system-…`) are refused. A change restarts the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// The PodMonitor of the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitorSpec {
    /// Labels with which a Prometheus selects the PodMonitor, for example `release: kube-prometheus-stack`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = in_pods::MOST_KEYS))]
    pub labels: BTreeMap<String, String>,
}

/// Labels and annotations of the receiver's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Labels, in addition to those that the operator sets: keys without a prefix, for example `team`, and `app.kubernetes.io/…`. Some
    /// labels make other programs change the pod, so the cluster administrator allows other keys in
    /// `admissionPolicy.receiverPodLabels` of the chart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = in_pods::MOST_KEYS))]
    pub labels: BTreeMap<String, String>,
    /// Annotations. Some annotations make other programs change the pod, so the cluster administrator allows keys in
    /// `admissionPolicy.receiverPodAnnotations` of the chart. By default, no key is allowed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = in_pods::MOST_KEYS))]
    pub annotations: BTreeMap<String, String>,
}

/// A Secret for pulling an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Whether senders use TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum TlsMode {
    /// TLS with the archive's own certificate authority.
    #[default]
    SelfSigned,
    /// Clear text.
    Disabled,
}

/// Whether the operator creates a NetworkPolicy for the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum NetworkPolicyMode {
    /// Only the pods of the selected Prometheus objects and the operator may connect.
    #[default]
    Managed,
    /// No policy.
    None,
}

/// Scheduling of the receiver's pod on nodes; the fields are the same as in a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Scheduling {
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = in_pods::MOST_KEYS))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the receiver tolerates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Affinity of the receiver's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
}
