//! Where the tables are kept.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Storage of the tables: set exactly one field.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.persistentVolume)").message("set persistentVolume, the storage of the tables"))]
pub struct Storage {
    /// A persistent volume for the tables and the write-ahead log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume: Option<PersistentVolume>,
}

/// A persistent volume, with a new claim or an existing claim.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.size) != has(self.existingClaim)")
        .message("set exactly one of size (for a new claim) and existingClaim"),
    validation = Rule::new("!has(self.existingClaim) || (!has(self.storageClassName) && !has(self.accessMode))")
        .message("storageClassName and accessMode are only valid for a new claim, not with existingClaim"),
    validation = Rule::new("has(self.existingClaim) == has(oldSelf.existingClaim) && (!has(self.existingClaim) || self.existingClaim == oldSelf.existingClaim)")
        .message("the claim of an archive cannot be changed: create a new archive"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot be changed: create a new archive"),
    validation = Rule::new("has(self.accessMode) == has(oldSelf.accessMode) && (!has(self.accessMode) || self.accessMode == oldSelf.accessMode)")
        .message("accessMode cannot be changed: create a new archive"),
    validation = Rule::new("!has(self.size) || !has(oldSelf.size) || !isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("size can only be increased"),
    validation = Rule::new("!has(self.size) || (isQuantity(self.size) && quantity(self.size).isGreaterThan(quantity('256Mi')))")
        .message("size must be a quantity of more than 256Mi, for example 100Gi"),
)]
pub struct PersistentVolume {
    /// Size of a new claim, for example `100Gi`. Can be increased later if the storage class allows expansion. A sample takes 0.6 to
    /// 2.6 bytes in the tables; it takes more if a flush has fewer samples. The write-ahead log takes up to `receiver.walMaxBytes` of
    /// the same volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub size: Option<String>,

    /// Storage class of a new claim. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// Access mode of a new claim. Default: `ReadWriteOncePod`, which prevents a second receiver from using the volume. Use
    /// `ReadWriteOnce` for drivers that do not support it (the receiver always locks its directory).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,

    /// Name of an existing claim in the same namespace. The claim must allow the archive with the annotation
    /// `promarchive.dev/allow-archives: <namespace>/<archive>`. The operator never deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub existing_claim: Option<String>,
}

/// Access mode of a new claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum AccessMode {
    /// Only one pod in the cluster can use the volume.
    #[default]
    ReadWriteOncePod,
    /// Only one node can use the volume.
    ReadWriteOnce,
}

impl AccessMode {
    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOncePod => "ReadWriteOncePod",
            Self::ReadWriteOnce => "ReadWriteOnce",
        }
    }
}
