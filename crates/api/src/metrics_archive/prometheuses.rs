//! Whose samples are kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RemoteWriteSettings;

/// Prometheus objects, by name or by their labels.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) != has(self.selector)").message("set exactly one of name and selector; an empty selector selects every object"))]
pub struct PrometheusSelection {
    /// Name of this item, unique in the list.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub id: String,

    /// Kind of the objects: `Prometheus` or `PrometheusAgent`.
    #[serde(default)]
    pub kind: PrometheusKind,

    /// Name of one object in each of `namespaces`. If an object does not exist, the archive is not Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,

    /// Label selector for the objects in `namespaces`. Objects may be added and removed; an archive that selects none is Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,

    /// Namespaces of the objects. Default: the namespace of the archive. Another namespace, or the object, must consent with the
    /// annotation `promarchive.dev/allow-archives: <namespace>/<archive>` (several separated by commas; `<namespace>/*` for every
    /// archive in a namespace).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub namespaces: Vec<String>,

    /// `Patch`: the operator adds its own entry to `spec.remoteWrite` of the objects and maintains it.
    /// `Manual`: the operator does not change the objects; you add the entry from the ConfigMap `<archive>-remote-write`.
    #[serde(default)]
    pub mode: Mode,

    /// How long a removal waits for a Prometheus that lags behind, `0s` to `1h`. Default: `2m`. Samples that it has not sent by then
    /// are not archived, and an Event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(w|d|h|m|s|ms))+$"))]
    pub drain_timeout: Option<String>,

    /// Settings of the entry in `spec.remoteWrite`.
    #[serde(default)]
    pub remote_write: RemoteWriteSettings,
}

/// A kind of the Prometheus Operator that has `remoteWrite`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum PrometheusKind {
    /// monitoring.coreos.com/v1.
    #[default]
    Prometheus,
    /// monitoring.coreos.com/v1alpha1.
    PrometheusAgent,
}

impl PrometheusKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Prometheus, Self::PrometheusAgent];

    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::PrometheusAgent => "PrometheusAgent",
        }
    }
}

/// Who writes the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Mode {
    /// The operator.
    #[default]
    Patch,
    /// A person, or what applies a person's manifests.
    Manual,
}
