//! An archive whose form is right.

use kube::core::Selector;
use promarchive_api::metrics_archive::{
    AccessMode, DeletionPolicy, Mode, NetworkPolicyMode, PrometheusKind, RemoteWriteSettings, Scheduling, TlsMode,
};
use promarchive_api::{ByteSize, LabelColumns, SenderLabel, Timespan, bounds::in_pods};
use serde_json::Value;

use super::receiver_pod::ReceiverPod;
use crate::names::ArchiveName;

/// An archive that can be built.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Namespace and name.
    pub id: ArchiveName,
    /// Its uid.
    pub uid: String,
    /// Where its tables go.
    pub storage: Storage,
    /// Its receiver.
    pub receiver: Receiver,
    /// Whose samples it keeps.
    pub selections: Vec<Selection>,
    /// What becomes of a claim that was made.
    pub deletion_policy: DeletionPolicy,
    /// Value of the annotation that asks for new tokens.
    pub rotation: String,
    /// Value of the annotation that asks for a new certificate authority.
    pub new_authority: String,
}

impl Archive {
    /// Whether it chooses objects of `kind`, be there any or not.
    pub fn asks_for(&self, kind: PrometheusKind) -> bool {
        self.selections.iter().any(|selection| selection.kind == kind)
    }
}

/// Where tables are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In a volume.
    Volume(Claim),
}

/// The claim of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A claim of somebody's.
    Existing(String),
    /// A claim that the operator makes.
    New {
        /// As written.
        size: String,
        /// Storage class, or the cluster's default.
        storage_class: Option<String>,
        /// How many may have it.
        access_mode: AccessMode,
    },
}

impl Claim {
    /// Its name, for `archive`.
    pub fn name(&self, archive: &ArchiveName) -> String {
        match self {
            Self::Existing(name) => name.clone(),
            Self::New { .. } => archive.claim(),
        }
    }
}

/// The receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Whether senders use TLS.
    pub tls: TlsMode,
    /// None: the receiver's default.
    pub flush_interval: Option<Timespan>,
    /// Budget of the WAL.
    pub wal_max_bytes: ByteSize,
    /// None: the receiver's default.
    pub label_columns: Option<LabelColumns>,
    /// Label that names the sender.
    pub sender_label: Option<SenderLabel>,
    /// How old samples may be; none: as old as can be.
    pub max_past: Option<Timespan>,
    /// Of the container.
    pub resources: Value,
    /// The receiver's own budget of memory.
    pub memory_limit: ByteSize,
    /// On which nodes.
    pub scheduling: Scheduling,
    /// Whether a NetworkPolicy is made.
    pub network_policy: NetworkPolicyMode,
    /// What its pod has besides, and who else reaches it.
    pub pod: ReceiverPod,
}

impl Receiver {
    /// With every default, of an archive whose spec cannot be read.
    pub fn unknown(tls: TlsMode) -> Self {
        Self {
            tls,
            flush_interval: None,
            wal_max_bytes: in_pods::WAL_MAX_BYTES.or_default(None),
            label_columns: None,
            sender_label: None,
            max_past: None,
            resources: Value::Null,
            memory_limit: in_pods::CONTAINER_MEMORY.least,
            scheduling: Scheduling::default(),
            network_policy: NetworkPolicyMode::None,
            pod: ReceiverPod::default(),
        }
    }
}

/// Some Prometheus objects.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Name of the item.
    pub id: String,
    /// Their kind.
    pub kind: PrometheusKind,
    /// Which of them.
    pub target: Target,
    /// Where.
    pub namespaces: Vec<String>,
    /// Who writes the entry.
    pub mode: Mode,
    /// How long a removal waits.
    pub drain_timeout: Timespan,
    /// Settings of the entry.
    pub remote_write: RemoteWriteSettings,
}

/// By what objects are chosen.
#[derive(Clone, Debug)]
pub enum Target {
    /// One name.
    Name(String),
    /// Labels.
    Labels(Selector),
}
