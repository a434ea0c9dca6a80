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
        .message("tls cannot be changed: every sender would have to begin anew; make a new archive"),
    validation = Rule::new("(has(self.labelColumns) ? self.labelColumns : ['']) == (has(oldSelf.labelColumns) ? oldSelf.labelColumns : [''])")
        .message("labelColumns cannot be changed: the tables have been made with them; make a new archive"),
    validation = Rule::new("oldSelf.hasValue() || !has(self.labelColumns) || self.labelColumns.all(name, !name.contains('.'))")
        .optional_old_self(true)
        .message("labelColumns: no name may have a dot, because DuckDB and ClickHouse cannot filter by such a column; leave it out, or let the Prometheus rename the label"),
    validation = Rule::new("oldSelf.hasValue() || !has(self.labelColumns) || self.labelColumns.all(name, !(name.lowerAscii() in ['nan_count', 'sum_compensation', 'min', 'max', 'first_timestamp', 'first', 'previous_timestamp', 'previous', 'last_timestamp', 'last', 'resets', 'reset_sum', 'start_resets', 'changes', 'first_start_timestamp', 'last_start_timestamp', 'stale_timestamp', 'label_map', 'samples', 'histograms']))")
        .optional_old_self(true)
        .message("labelColumns: a name is that of a column that the tables of downsampled samples need (min, max, first, last and others; see the reference of the tables); leave it out, or let the Prometheus rename the label"),
    validation = Rule::new("!has(self.priorityClassName) || !self.priorityClassName.startsWith('system-')")
        .message("priorityClassName must not be one of the system: name a class of your own"),
    validation = Rule::new("!has(self.networkPolicyPeers) || self.networkPolicyPeers.all(peer, has(peer.ipBlock) != (has(peer.podSelector) || has(peer.namespaceSelector)))")
        .message("networkPolicyPeers: an item has either ipBlock, or podSelector, namespaceSelector or both"),
    validation = Rule::new("!has(self.networkPolicyPeers) || size(self.networkPolicyPeers) == 0 || !has(self.networkPolicy) || self.networkPolicy != 'None'")
        .message("networkPolicyPeers are for networkPolicy Managed; with None everybody may connect"),
)]
pub struct ReceiverSpec {
    /// `SelfSigned`: the operator makes a certificate authority for this archive, and the senders get its certificate.
    /// `Disabled`: samples and tokens go over the network in clear text. Cannot be changed later.
    #[serde(default)]
    pub tls: TlsMode,

    /// Longest time from an acknowledged sample to its row in the tables, `100ms` to `1d`. Default: `5m`. Shorter means more, smaller files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(w|d|h|m|s|ms))+$"))]
    pub flush_interval: Option<String>,

    /// Most that the write-ahead log takes on the volume, such as `8Gi`, `64Mi` or more. Past it senders are asked to wait.
    /// Default: a quarter of `size`, at most `8Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]+([kKMGT]i?)?B?$"))]
    pub wal_max_bytes: Option<String>,

    /// Labels that become columns of their own in the tables, besides `labels`, which has all of them. Default:
    /// `namespace`, `pod`, `container`, `node`, `job`, `instance`. An empty list means none. Names with a dot, and
    /// names that the tables of downsampled samples need, are refused. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LabelColumns::MOST), inner(length(min = 1, max = LabelColumns::LONGEST_BYTES)))]
    pub label_columns: Option<Vec<String>>,

    /// A label that the receiver sets on every series to the name of its sender, such as `Prometheus/monitoring/k8s`; what the sender
    /// itself says under that name is replaced. Default: none, and any sender of the archive may write any series. Can be changed at any
    /// time, and is for new samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = SenderLabel::LONGEST_BYTES), regex(pattern = r"^[a-zA-Z][a-zA-Z0-9_]*$"))]
    pub sender_label: Option<String>,

    /// How old a sample may be when it comes, `1d` or more; older ones are refused, and their sender drops them. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(w|d|h|m|s|ms))+$"))]
    pub max_past: Option<String>,

    /// Requests and limits of the receiver's container. Default: requests of `100m` CPU and `512Mi` memory, a limit of `2Gi` memory.
    /// Half of the memory limit is the receiver's own budget, past which senders are asked to wait, so the limit must be `512Mi` or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// On which nodes the receiver runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,

    /// `Managed`: a NetworkPolicy lets only the chosen Prometheus pods, the operator and `networkPolicyPeers` reach the receiver.
    /// `None`: no policy is made.
    #[serde(default)]
    pub network_policy: NetworkPolicyMode,

    /// Who else may connect to the receiver, such as a Prometheus of another namespace that scrapes it. Each item is a peer as in
    /// `ingress.from` of a NetworkPolicy. Who writes still needs a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = in_pods::MOST_NETWORK_POLICY_PEERS))]
    pub network_policy_peers: Vec<NetworkPolicyPeer>,

    /// The PodMonitor by which a Prometheus scrapes the receiver's own metrics. It is made where the kind is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<PodMonitorSpec>,

    /// Labels and annotations of the receiver's pod, besides those of the operator. A change restarts the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_metadata: Option<PodMetadata>,

    /// Secrets of the archive's namespace with which the receiver's image is pulled. A change restarts the receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = in_pods::MOST_PULL_SECRETS), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<PullSecret>,

    /// Priority class of the receiver's pod. Those of the system (`system-…`) are refused. A change restarts the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// The PodMonitor of the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitorSpec {
    /// Labels by which a Prometheus selects the PodMonitor, such as `release: kube-prometheus-stack`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = in_pods::MOST_KEYS))]
    pub labels: BTreeMap<String, String>,
}

/// Labels and annotations of the receiver's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Labels, besides those that the operator sets: keys without a prefix, such as `team`, and `app.kubernetes.io/…`. Some labels make
    /// other programs change the pod, so the administrator of the cluster says which other keys are allowed:
    /// `admissionPolicy.receiverPodLabels` of the chart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = in_pods::MOST_KEYS))]
    pub labels: BTreeMap<String, String>,
    /// Annotations. Some of them make other programs change the pod, so the administrator of the cluster says which keys are allowed:
    /// `admissionPolicy.receiverPodAnnotations` of the chart. By default none is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = in_pods::MOST_KEYS))]
    pub annotations: BTreeMap<String, String>,
}

/// A Secret with which an image is pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Whether senders use TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum TlsMode {
    /// With a certificate authority of the archive's own.
    #[default]
    SelfSigned,
    /// Clear text.
    Disabled,
}

/// Whether the operator makes a NetworkPolicy for the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum NetworkPolicyMode {
    /// The chosen Prometheus pods and the operator may connect, nobody else.
    #[default]
    Managed,
    /// No policy.
    None,
}

/// On which nodes the receiver runs; the fields are those of a pod.
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
