//! What is watched, and how.

use kube::api::ApiResource;
use promarchive_api::metrics_archive::PrometheusKind;

use crate::kubernetes::kind::{Kind, resource};
use crate::names::{MANAGED_BY, SECRET_NAME};

/// What an object is to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A MetricsArchive.
    Archive,
    /// Something that the operator made.
    Child(Kind),
    /// A Prometheus or PrometheusAgent.
    Prometheus(PrometheusKind),
    /// The Secret of a namespace.
    Secret,
    /// A namespace.
    Namespace,
    /// A definition of a kind of the Prometheus Operator.
    Definition,
}

/// How a kind is watched.
pub(super) struct Watched {
    pub(super) resource: ApiResource,
    pub(super) labels: Option<String>,
    pub(super) fields: Option<String>,
    /// Name of the definition that must be there first.
    pub(super) definition: Option<String>,
}

impl Source {
    /// Everything that the operator looks at.
    pub fn all() -> Vec<Self> {
        let mut all = Self::entries_and_finalizers();
        all.extend([Self::Secret, Self::Namespace]);
        all.extend(Kind::ALL.map(Self::Child));
        all
    }

    /// Where the operator leaves something in objects that are not its own.
    pub fn entries_and_finalizers() -> Vec<Self> {
        let mut some = vec![Self::Definition, Self::Archive];
        some.extend(PrometheusKind::ALL.map(Self::Prometheus));
        some
    }

    pub(super) fn watched(self) -> Watched {
        let resource = self.resource();
        let (labels, fields) = match self {
            Self::Child(_) => (Some(format!("{MANAGED_BY}=promarchive-operator")), None),
            Self::Secret => (None, Some(format!("metadata.name={SECRET_NAME}"))),
            _ => (None, None),
        };
        let optional = matches!(self, Self::Prometheus(_)) || matches!(self, Self::Child(kind) if kind.is_optional());
        let definition = optional.then(|| format!("{}.{}", resource.plural, resource.group));
        Watched { resource, labels, fields, definition }
    }

    /// As the API server knows it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Archive => resource("promarchive.dev", "v1alpha1", "MetricsArchive", "metricsarchives"),
            Self::Child(kind) => kind.resource(),
            Self::Prometheus(PrometheusKind::Prometheus) => {
                resource("monitoring.coreos.com", "v1", "Prometheus", "prometheuses")
            }
            Self::Prometheus(PrometheusKind::PrometheusAgent) => {
                resource("monitoring.coreos.com", "v1alpha1", "PrometheusAgent", "prometheusagents")
            }
            Self::Secret => resource("", "v1", "Secret", "secrets"),
            Self::Namespace => resource("", "v1", "Namespace", "namespaces"),
            Self::Definition => {
                resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
            }
        }
    }
}
