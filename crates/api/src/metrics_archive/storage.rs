//! Where the tables are kept.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the tables are kept: exactly one member.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.persistentVolume)").message("name where the tables go: persistentVolume"))]
pub struct Storage {
    /// A persistent volume, for the tables and the write-ahead log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume: Option<PersistentVolume>,
}

/// A persistent volume, by a claim that is made, or by one that exists.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.size) != has(self.existingClaim)")
        .message("give either size, for a new claim, or existingClaim"),
    validation = Rule::new("!has(self.existingClaim) || (!has(self.storageClassName) && !has(self.accessMode))")
        .message("storageClassName and accessMode are for a new claim; an existingClaim has its own"),
    validation = Rule::new("has(self.existingClaim) == has(oldSelf.existingClaim) && (!has(self.existingClaim) || self.existingClaim == oldSelf.existingClaim)")
        .message("the claim of an archive cannot be changed: make a new archive"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot be changed: make a new archive"),
    validation = Rule::new("has(self.accessMode) == has(oldSelf.accessMode) && (!has(self.accessMode) || self.accessMode == oldSelf.accessMode)")
        .message("accessMode cannot be changed: make a new archive"),
    validation = Rule::new("!has(self.size) || !has(oldSelf.size) || !isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("size can only grow"),
    validation = Rule::new("!has(self.size) || (isQuantity(self.size) && quantity(self.size).isGreaterThan(quantity('256Mi')))")
        .message("size must be a quantity of more than 256Mi, such as 100Gi"),
)]
pub struct PersistentVolume {
    /// Size of a new claim, such as `100Gi`. May grow later, if the storage class allows expansion.
    /// A sample takes 0.6 to 2.6 bytes in the tables, the more the fewer samples a flush has; the write-ahead log takes up to
    /// `receiver.walMaxBytes` of the same volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub size: Option<String>,

    /// Storage class of a new claim. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// Access mode of a new claim. Default: `ReadWriteOncePod`, with which no second receiver can ever have the volume;
    /// `ReadWriteOnce` is for drivers that do not know it (the receiver locks its directory in any case).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,

    /// Name of a claim in the same namespace that exists already. The claim allows it by the annotation
    /// `promarchive.dev/allow-archives: <namespace>/<archive>`. It is never deleted by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub existing_claim: Option<String>,
}

/// Access mode of a new claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum AccessMode {
    /// One pod of the whole cluster has the volume.
    #[default]
    ReadWriteOncePod,
    /// One node has the volume.
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
