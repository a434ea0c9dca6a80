//! Another container in pods, as whoever injects containers puts it there: the pods' Deployment knows nothing of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// An admission policy counts a moment after it was made.
const PATIENCE: Duration = Duration::from_secs(60);
/// Name of the policy, and of the container.
const NAME: &str = "ends-at-once";

impl Cluster {
    /// From now on every new pod of a receiver in `namespace` has another container, of `image`, which ends at once, again and again.
    pub fn inject_failing_container(&self, namespace: &str, image: &str) -> Result<()> {
        let patch = format!(
            r#"[JSONPatch{{op: "add", path: "/spec/containers/-", value: Object.spec.containers{{
                name: "{NAME}", image: "{image}", imagePullPolicy: "IfNotPresent", command: ["/promarchive", "no-such-command"],
                securityContext: Object.spec.containers.securityContext{{
                    allowPrivilegeEscalation: false,
                    capabilities: Object.spec.containers.securityContext.capabilities{{drop: ["ALL"]}}
                }}
            }}}}]"#
        );
        let name = format!("{NAME}.{namespace}");
        let policy = json!({
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": {"matchLabels": {"app.kubernetes.io/component": "receiver"}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
                ],
            },
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        });
        let object = |kind: &str, spec: Value| {
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec,
            })
        };
        let objects = [
            object("MutatingAdmissionPolicy", policy),
            object("MutatingAdmissionPolicyBinding", json!({"policyName": name})),
        ];
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
        self.wait_for("the policy that injects a container", PATIENCE, || self.is_injected(namespace, image))
    }

    /// Whether a pod would get the other container.
    fn is_injected(&self, namespace: &str, image: &str) -> Result<()> {
        let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": NAME, "namespace": namespace, "labels": {"app.kubernetes.io/component": "receiver"}},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "receiver", "image": image, "securityContext": restricted}],
            },
        });
        let arguments = ["create", "--dry-run=server", "--output=jsonpath={.spec.containers[*].name}", "--filename=-"];
        let names = self.kubectl_with_input(&arguments, &pod.to_string())?;
        if names.split_whitespace().any(|name| name == NAME) { Ok(()) } else { Err(Error::Unusable(names)) }
    }
}
