//! The custom resource `MetricsArchive`, group `promarchive.dev`, version `v1alpha1`.
//!
//! Doc comments of fields are what `kubectl explain` prints; `config/crd` is generated from these types.
//! Limits on lists and strings keep the cost of the CEL rules within what the API server accepts.

#![allow(unreachable_pub, reason = "KubeSchema writes public types of its own")]

mod prometheuses;
mod queue;
mod receiver;
mod remote_write;
mod status;
mod storage;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use prometheuses::{Mode, PrometheusKind, PrometheusSelection};
pub use queue::{Queue, QueueLimits};
pub use receiver::{NetworkPolicyMode, PodMetadata, PodMonitorSpec, PullSecret, ReceiverSpec, Scheduling, TlsMode};
pub use remote_write::{MessageVersion, RelabelAction, RelabelRule, RemoteWriteSettings};
pub use status::{
    Condition, ConditionStatus, ConditionType, MetricsArchiveStatus, PrometheusState, PrometheusStatus, Reason,
};
pub use storage::{AccessMode, PersistentVolume, Storage};

/// API group of the custom resources, and prefix of the annotations and labels.
pub const GROUP: &str = "promarchive.dev";

/// Stores every sample of the selected Prometheus objects as Delta Lake tables of Parquet files.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "promarchive.dev",
    version = "v1alpha1",
    kind = "MetricsArchive",
    plural = "metricsarchives",
    singular = "metricsarchive",
    shortname = "ma",
    category = "promarchive",
    namespaced,
    status = "MetricsArchiveStatus",
    derive = "PartialEq",
    doc = "Stores every sample of the selected Prometheus objects, exactly as sent, as Delta Lake tables of Parquet files.",
    validation = Rule::new("self.metadata.name.size() <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must have at most 52 characters (a-z, 0-9 and -) and start with a letter, because a Service has this name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether everything in the spec is in effect"),
    printcolumn(name = "Receiving", type_ = "string", json_path = ".status.conditions[?(@.type=='Receiving')].status",
        description = "Whether samples arrive from every selected Prometheus"),
    printcolumn(name = "Prometheus", type_ = "string", json_path = ".status.summary",
        description = "Configured Prometheus objects / selected Prometheus objects"),
    printcolumn(name = "Store", type_ = "string", json_path = ".status.store",
        description = "Where the tables are"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1, description = "What has happened, or what to do"),
)]
#[serde(rename_all = "camelCase")]
pub struct MetricsArchiveSpec {
    /// Storage of the tables: exactly one kind. It cannot be changed later.
    pub storage: Storage,

    /// Settings of the receiver.
    #[serde(default)]
    pub receiver: ReceiverSpec,

    /// Prometheus and PrometheusAgent objects of the Prometheus Operator whose samples are archived.
    /// If several items select the same object, the first of them is used.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub prometheuses: Vec<PrometheusSelection>,

    /// What happens to the data when this object is deleted. `Retain` keeps the claim and its data.
    /// `Delete` deletes the claim, unless it is an `existingClaim` or belonged to an earlier archive of the same name.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// If true, the operator changes nothing for this archive. The receiver continues to receive samples.
    #[serde(default)]
    pub paused: bool,
}

/// What happens to the data when the archive object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
pub enum DeletionPolicy {
    /// The claim and its data stay.
    #[default]
    Retain,
    /// The claim is deleted. The reclaim policy of the volume decides what happens to the volume.
    Delete,
}

#[cfg(test)]
mod tests;
