//! The kinds of objects that the operator makes.

use kube::api::ApiResource;

/// A kind of object that the operator makes, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ServiceAccount,
    Service,
    NetworkPolicy,
    PersistentVolumeClaim,
    ConfigMap,
    Deployment,
    PodMonitor,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ServiceAccount,
        Self::Service,
        Self::NetworkPolicy,
        Self::PersistentVolumeClaim,
        Self::ConfigMap,
        Self::Deployment,
        Self::PodMonitor,
    ];

    /// As the API server knows it.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::PersistentVolumeClaim => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
        };
        resource(group, version, kind, plural)
    }

    /// Whether the operator deletes objects of the kind. The others go with their archive.
    pub const fn is_deleted(self) -> bool {
        matches!(self, Self::NetworkPolicy | Self::PersistentVolumeClaim | Self::ConfigMap)
    }

    /// Whether the kind comes with a custom resource that may not be installed.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::PodMonitor)
    }
}

/// A kind as the API server knows it.
pub(crate) fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}
