//! Names, labels and annotations of the objects that belong to an archive.

use kube::core::params::PatchParams;
use promarchive_api::metrics_archive::PrometheusKind;

use crate::entry::{ArchiveName, PrometheusName};

/// Manager of all fields that the operator writes, but for the Secret, where each archive has its own.
pub const FIELD_MANAGER: &str = "promarchive-operator";
/// What the operator waits for before a deleted archive may go.
pub const FINALIZER: &str = "promarchive.dev/archive";
/// Consent of a Prometheus object or its namespace, and of a claim that the operator did not make.
pub const ALLOW_ARCHIVES: &str = "promarchive.dev/allow-archives";
/// A new value of this annotation of an archive makes new tokens for all its senders and for the operator itself.
pub const ROTATE_TOKENS: &str = "promarchive.dev/rotate-tokens";
/// A new value of this annotation of an archive makes a new certificate authority for it.
pub const ROTATE_CERTIFICATES: &str = "promarchive.dev/rotate-certificates";
/// Uid of the archive object that a claim was made for. An archive of the same name that comes later is another one.
pub const ARCHIVE_UID: &str = "promarchive.dev/archive-uid";
/// Hash of what the operator last applied.
pub const APPLIED: &str = "promarchive.dev/applied";
/// Makes the pod begin anew when its configuration changes.
pub const CONFIG_HASH: &str = "promarchive.dev/config-hash";
/// Label of everything that the operator makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label with the archive's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";

/// Of every patch that is no server-side apply.
pub fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

impl ArchiveName {
    /// Of these.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Deployment, Service, ServiceAccount, ConfigMap, NetworkPolicy and PodMonitor.
    pub fn receiver(&self) -> String {
        format!("{}-receiver", self.name)
    }

    /// The claim that the operator makes.
    pub fn claim(&self) -> String {
        format!("{}-archive", self.name)
    }

    /// The ConfigMap with the entry to paste in mode Manual.
    pub fn snippet(&self) -> String {
        format!("{}-remote-write", self.name)
    }

    /// Manager of the archive's fields in a Secret that other archives have fields in too. At most 128 characters.
    pub fn secret_manager(&self) -> String {
        format!("promarchive/{}/{}", self.namespace, self.name)
    }

    /// What the archive's keys in a Secret begin with; neither namespaces nor archives have dots in their names.
    pub fn secret_prefix(&self) -> String {
        format!("{}.{}.", self.namespace, self.name)
    }

    /// The archive's key `what` in a Secret.
    pub fn secret_key(&self, what: &str) -> String {
        format!("{}{what}", self.secret_prefix())
    }
}

impl PrometheusName {
    /// The Prometheus that [`Self::sender`] names; none if the name was too long to be told from its hash.
    pub fn parse_sender(text: &str) -> Option<Self> {
        if !Self::is_sender(text) {
            return None;
        }
        let mut parts = text.splitn(3, '/');
        let kind = parts.next()?;
        let kind = PrometheusKind::ALL.into_iter().find(|one| one.as_str() == kind)?;
        let (namespace, name) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        (!name.starts_with('_')).then_some(Self { kind, namespace, name })
    }

    /// What its keys for `archive` in a Secret begin with: [`Self::token_key`] without its last part.
    pub fn secret_key(&self, archive: &ArchiveName) -> String {
        let key = self.token_key(archive);
        key.strip_suffix(".token").map(ToOwned::to_owned).unwrap_or(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_found_again_by_its_name() {
        let name =
            PrometheusName { kind: PrometheusKind::PrometheusAgent, namespace: "n".to_owned(), name: "a.b".to_owned() };
        assert_eq!(PrometheusName::parse_sender(&name.sender()), Some(name));
        let long =
            PrometheusName { kind: PrometheusKind::Prometheus, namespace: "n".to_owned(), name: "x".repeat(200) };
        assert!(PrometheusName::is_sender(&long.sender()));
        assert_eq!(PrometheusName::parse_sender(&long.sender()), None);
        assert_eq!(PrometheusName::parse_sender("operator"), None);
        for wrong in [
            "Thanos/n/x",
            "Prometheus/n",
            "Prometheus//x",
            "Prometheus/N/x",
            "Prometheus/n/x/y",
            "Prometheus/n/_x",
            "Prometheus/n/x y",
            "Prometheus/n/",
        ] {
            assert_eq!(PrometheusName::parse_sender(wrong), None, "{wrong}");
        }
        let long = format!("Prometheus/n/{}", "x".repeat(200));
        assert!(!PrometheusName::is_sender(&long));
    }
}
