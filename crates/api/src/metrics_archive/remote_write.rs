//! Settings of the entry in `spec.remoteWrite`; fields and units are those of the Prometheus Operator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Queue;

/// Settings of the entry in `spec.remoteWrite`. For a change, the operator adds a second entry and then removes the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteWriteSettings {
    /// Remote write protocol. `Auto`: `V2.0` if `spec.version` of the Prometheus is 3.4 or newer, otherwise `V1.0`, also if
    /// `spec.version` is not set. Only `V2.0` supports start timestamps and histograms with custom buckets. With versions 2.54 to 3.3,
    /// `V2.0` restarts the Prometheus pods.
    pub message_version: MessageVersion,

    /// Whether exemplars are sent. Prometheus must store them.
    pub exemplars: bool,

    /// Whether native histograms are sent. Prometheus must scrape them.
    pub native_histograms: bool,

    /// Relabelling rules before sending, for example to archive only some metrics. Default: none, so everything is archived.
    /// All text in the rules of one entry can have at most 32 KiB.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub write_relabel_configs: Vec<RelabelRule>,

    /// Settings of the sending queue. Default: those of the Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
}

impl Default for RemoteWriteSettings {
    fn default() -> Self {
        Self {
            message_version: MessageVersion::Auto,
            exemplars: true,
            native_histograms: true,
            write_relabel_configs: Vec::new(),
            queue: None,
        }
    }
}

/// Remote write protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum MessageVersion {
    /// The newest version that needs no restart of the Prometheus.
    #[default]
    Auto,
    /// Remote write 1.0.
    #[serde(rename = "V1.0")]
    V1,
    /// Remote write 2.0, in Prometheus 2.54 or newer.
    #[serde(rename = "V2.0")]
    V2,
}

/// One relabelling rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RelabelRule {
    /// Action of the rule. Default: `replace`.
    pub action: RelabelAction,
    /// Labels whose values are joined and matched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    pub source_labels: Vec<String>,
    /// Separator between the joined values. Default: `;`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub separator: Option<String>,
    /// Regular expression, anchored. It must be in the part of RE2 that every Prometheus version reads in the same way. Default: `(.*)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub regex: Option<String>,
    /// Label that the rule writes; for `replace`, also a template such as `${1}_total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub target_label: Option<String>,
    /// Value that the rule writes. Default: `$1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub replacement: Option<String>,
    /// Divisor of the hash, for `hashmod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub modulus: Option<i64>,
}

/// Action of a relabelling rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(missing_docs, reason = "the words are Prometheus's")]
pub enum RelabelAction {
    #[default]
    Replace,
    Keep,
    Drop,
    Hashmod,
    Labelmap,
    Labeldrop,
    Labelkeep,
    Lowercase,
    Uppercase,
    Keepequal,
    Dropequal,
}
