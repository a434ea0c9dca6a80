//! A request that a policy must deny. It is a dry run: if it is let through, nothing is made or changed.

use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::Policy;
use crate::kubernetes::cache::{Caches, Source};
use crate::kubernetes::kind::Kind;
use crate::names::{
    ArchiveName, COMPONENT, Component, FIELD_MANAGER, INSTANCE, MANAGED_BY, NAME, patch_params, short_hash,
};
use crate::process::{chain, random};
use promarchive_api::metrics_archive::PrometheusKind;

/// What names begin with of what is asked for and never made.
const CHECK: &str = "promarchive-admission-check";

/// Another text each time. What is known beforehand could be there already; asking for it would then change nothing, which no
/// policy denies, and anybody could make the policies look as if they were not in force.
fn unforeseen() -> String {
    let mut bytes = [0; 16];
    random(&mut bytes).map_or_else(|_| "0".to_owned(), |()| short_hash(&bytes))
}

/// What the answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The policy has denied it.
    InForce,
    /// It was let through.
    Missing,
    /// Something else came first: what.
    Unknown(String),
}

/// A request that a policy must deny.
#[derive(Clone, Debug)]
pub struct Probe {
    policy: Policy,
    source: Source,
    namespace: String,
    name: String,
    patch: Patch<Value>,
}

impl Probe {
    /// A ConfigMap of a name that no archive's has.
    pub fn own_object(namespace: &str) -> Self {
        let name = format!("{CHECK}-{}", unforeseen());
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "labels": {MANAGED_BY: "promarchive-operator"}},
        });
        Self::apply(Policy::OwnObjects, Kind::ConfigMap, namespace, name, object)
    }

    /// A receiver with an image that is not the receivers'; the policy on own objects has nothing against it.
    pub fn receiver(namespace: &str) -> Self {
        let archive = format!("{CHECK}-{}", unforeseen());
        let name = ArchiveName::new(namespace, archive.as_str()).receiver();
        let selector = json!({NAME: "promarchive", COMPONENT: Component::Receiver.as_str(), INSTANCE: archive});
        let mut labels = selector.clone();
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(MANAGED_BY.to_owned(), json!("promarchive-operator"));
        }
        let owner = json!({
            "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive", "name": archive,
            "uid": "00000000-0000-0000-0000-000000000000",
        });
        let container = json!({"name": "receiver", "image": format!("{CHECK}.invalid/must-be-denied")});
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]},
            "spec": {
                "replicas": 0, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": selector},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        });
        Self::apply(Policy::Receivers, Kind::Deployment, namespace, name, object)
    }

    /// An annotation on an archive.
    pub fn archive(archive: &DynamicObject) -> Self {
        let namespace = archive.namespace().unwrap_or_default();
        Self::annotation(Policy::Archives, Source::Archive, namespace, archive.name_any())
    }

    /// An annotation on a Prometheus.
    pub fn prometheus(kind: PrometheusKind, namespace: &str, name: &str) -> Self {
        Self::annotation(Policy::Prometheuses, Source::Prometheus(kind), namespace.to_owned(), name.to_owned())
    }

    fn apply(policy: Policy, kind: Kind, namespace: &str, name: String, object: Value) -> Self {
        let source = Source::Child(kind);
        Self { policy, source, namespace: namespace.to_owned(), name, patch: Patch::Apply(object) }
    }

    fn annotation(policy: Policy, source: Source, namespace: String, name: String) -> Self {
        let patch = json!({"metadata": {"annotations": {format!("promarchive.dev/{CHECK}"): unforeseen()}}});
        Self { policy, source, namespace, name, patch: Patch::Merge(patch) }
    }

    /// Which policy must deny it.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Asks the API server.
    pub async fn ask(&self, caches: &Caches) -> Verdict {
        let params = match self.patch {
            Patch::Apply(_) => PatchParams::apply(FIELD_MANAGER),
            _ => patch_params(),
        };
        let named = (self.namespace.as_str(), self.name.as_str());
        let answer = caches.patch(self.source, named, &params.dry_run(), &self.patch).await;
        verdict(self.policy, answer.map(drop))
    }
}

/// What an answer to the probe of `policy` says.
fn verdict(policy: Policy, answer: kube::Result<()>) -> Verdict {
    match answer {
        Ok(()) => Verdict::Missing,
        Err(kube::Error::Api(status))
            if status.message.contains("ValidatingAdmissionPolicy") && status.message.contains(policy.message()) =>
        {
            Verdict::InForce
        }
        Err(error) => Verdict::Unknown(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn denied(message: &str) -> kube::Result<()> {
        Err(kube::Error::Api(Box::new(Status::failure(message, "Invalid").with_code(422))))
    }

    #[test]
    fn only_the_policy_itself_proves_that_it_is_in_force() {
        let message = "prometheuses.monitoring.coreos.com \"k8s\" is forbidden: ValidatingAdmissionPolicy 'x-prometheuses' with binding 'x' denied request: promarchive may change nothing in the metadata of a Prometheus";
        assert_eq!(verdict(Policy::Prometheuses, denied(message)), Verdict::InForce);
        assert_eq!(verdict(Policy::Prometheuses, Ok(())), Verdict::Missing);
        for other in [message.replace("ValidatingAdmissionPolicy", "admission webhook"), "quota".to_owned()] {
            assert!(matches!(verdict(Policy::Prometheuses, denied(&other)), Verdict::Unknown(_)), "{other}");
        }
        assert!(matches!(verdict(Policy::Archives, denied(message)), Verdict::Unknown(_)));
    }

    #[test]
    fn the_messages_are_those_of_the_charts_policies() {
        for (policy, text) in [
            (Policy::OwnObjects, include_str!("../../../../../charts/promarchive/templates/policies/own-objects.yaml")),
            (Policy::Receivers, include_str!("../../../../../charts/promarchive/templates/policies/receivers.yaml")),
            (Policy::Archives, include_str!("../../../../../charts/promarchive/templates/policies/archives.yaml")),
            (
                Policy::Prometheuses,
                include_str!("../../../../../charts/promarchive/templates/policies/prometheuses.yaml"),
            ),
        ] {
            assert!(text.contains(policy.message()), "{policy:?}");
            assert!(text.contains(&format!("\"name\" \"{}\"", policy.as_str())), "{policy:?}");
        }
    }
}
