//! What the operator says of an archive. Nothing in here changes while all is well.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PrometheusKind;

/// Status of an archive, written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricsArchiveStatus {
    /// Generation of the object that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `StorageReachable`, `ReceiverAvailable`, `PrometheusConfigured`, `Receiving` and `Ready`; `Reconciling` and `Stalled` are only present while they are true.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Number of selected Prometheus objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<i32>,
    /// Number of selected Prometheus objects that have the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured: Option<i32>,
    /// `configured` and `matched` for display: `2/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Claim that contains the tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// State of each Prometheus, those with a problem first; at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid"]))]
    pub prometheuses: Vec<PrometheusStatus>,
}

/// A condition, in the form of Kubernetes' own conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: ConditionType,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// Machine-readable reason, one word.
    pub reason: Reason,
    /// Human-readable message: what has happened, or what to do.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
    /// Time of the last change of `status`.
    pub last_transition_time: Time,
    /// Generation of the object that this condition describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Types of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ConditionType {
    /// The claim is bound, and the receiver can use the archive on it.
    StorageReachable,
    /// The receiver runs and accepts samples.
    ReceiverAvailable,
    /// Every selected Prometheus has its entry.
    PrometheusConfigured,
    /// Samples arrive from every selected Prometheus.
    Receiving,
    /// All conditions above that apply are true.
    Ready,
    /// The operator is working on a change.
    Reconciling,
    /// The operator cannot continue until somebody changes something.
    Stalled,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[expect(missing_docs, reason = "the words are Kubernetes'")]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

macro_rules! words {
    ($(#[$attribute:meta])* $name:ident { $($(#[doc = $doc:literal])* $word:ident,)* }) => {
        $(#[$attribute])*
        pub enum $name { $($(#[doc = $doc])* $word,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word),)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Why a condition is as it is: one word for programs. `docs/reference/status.md` has them all.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
    #[schemars(with = "String")]
    Reason {
        /// All is well.
        AllWell,
        /// The spec cannot be understood or contradicts itself.
        InvalidSpec,
        /// `spec.paused` is true.
        Paused,
        /// The object is being deleted.
        Deleting,
        /// The operator is at work.
        Progressing,
        /// The API server refused what the operator asked of it.
        RequestRefused,
        /// An object that the archive needs has a name that somebody else's object has.
        NameTaken,
        /// The claim is bound and the receiver reaches the archive.
        Reachable,
        /// The claim waits for a volume.
        ClaimPending,
        /// The claim does not exist.
        ClaimNotFound,
        /// The claim has lost its volume.
        ClaimLost,
        /// The claim was not made for the archive, and its annotation does not allow the archive.
        ClaimNotAllowed,
        /// The claim belongs to another archive.
        ClaimOfAnotherArchive,
        /// The claim was made for an earlier archive of the same name, so that it is not deleted with this one.
        ClaimKept,
        /// The receiver says that it cannot use the archive.
        ArchiveUnusable,
        /// The receiver runs.
        Available,
        /// The receiver's pod is not ready yet.
        PodNotReady,
        /// The receiver does not answer the operator.
        ReceiverNotAnswering,
        /// Every selected Prometheus has its entry.
        Configured,
        /// No Prometheus is selected at the moment.
        NoPrometheusSelected,
        /// A Prometheus that is named does not exist, or is in another namespace and does not consent.
        PrometheusNotFound,
        /// The Prometheus Operator's kind is not installed.
        KindNotInstalled,
        /// At least one Prometheus is not configured; `status.prometheuses` says why.
        NotConfigured,
        /// The receiver must be available before a Prometheus is configured.
        WaitingForReceiver,
        /// Samples arrive from every selected Prometheus.
        SamplesArriving,
        /// No sample has arrived yet.
        WaitingForSamples,
        /// Samples arrived, and stopped.
        SamplesOverdue,
        /// A removal gave up waiting for a sender; the message says which range may be missing.
        DrainIncomplete,
    }
}

words! {
    /// State of one Prometheus.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
    #[schemars(with = "String")]
    PrometheusState {
        /// Only in statuses that earlier versions wrote: nothing is said of a Prometheus that does not consent.
        NoConsent,
        /// The object belongs to OpenShift's cluster monitoring, which undoes every change.
        OwnedByOpenShift,
        /// The API server or an admission policy refuses the patch.
        PatchDenied,
        /// `spec.remoteWrite` has two entries of one name, with which Prometheus does not load its configuration.
        DuplicateNames,
        /// The entry is not pasted yet.
        NotPasted,
        /// It has the entry, but the Prometheus Operator is told to ignore changes (`spec.paused`).
        Paused,
        /// It has the entry, but selects nothing to scrape: the Prometheus Operator may not manage it.
        PerhapsUnmanaged,
        /// It has the entry, and its samples stopped arriving.
        Overdue,
        /// It has the entry; no sample has arrived yet.
        WaitingForSamples,
        /// The receiver must be available first.
        WaitingForReceiver,
        /// A changed entry is in; the old one goes out when nothing can be lost.
        Replacing,
        /// The entry goes out when nothing can be lost.
        Draining,
        /// It has the entry, and samples arrive.
        Receiving,
        /// Another item, or somebody's own entry, sends its samples here already; they arrive.
        ConfiguredByOthers,
        /// It is being deleted.
        Deleting,
    }
}

/// Status of one Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusStatus {
    /// UID of the Prometheus object.
    pub uid: String,
    /// Kind of the Prometheus object.
    pub kind: PrometheusKind,
    /// Namespace of the Prometheus object.
    pub namespace: String,
    /// Name of the Prometheus object.
    pub name: String,
    /// Name of the entry in `spec.remoteWrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// State of the entry and of its samples.
    pub state: PrometheusState,
    /// Human-readable message: what has happened, or what to do.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Time of the last change of `state`.
    pub since: Time,
}
