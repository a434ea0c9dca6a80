//! The receiver's Deployment.

#![allow(clippy::indexing_slicing, reason = "by name, into JSON objects that are made right here")]

use promarchive_api::metrics_archive::TlsMode;
use serde_json::{Value, json};

use super::component::COMPONENT;
use super::config::{CONFIG_DIR, DATA_DIR, TLS_DIR};
use crate::archive::build::inputs::Inputs;
use crate::archive::build::object::{Desired, Part, desired, labels, selector};
use crate::archive::validate::{Archive, Claim, Storage};
use crate::kubernetes::kind::Kind;
use crate::names::{CONFIG_HASH, RECEIVER_PORT, SECRET_NAME, short_hash};

/// More than the receiver's own grace of 25 s, in which it flushes.
const GRACE_SECONDS: u32 = 60;

pub(super) fn deployment(archive: &Archive, inputs: &Inputs<'_>, config: &str) -> Desired {
    let spec = json!({
        "replicas": 1,
        // The volume is for one pod: the old one must be gone before the new one can start.
        "strategy": {"type": "Recreate"},
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector(archive, COMPONENT)},
        "template": {
            "metadata": pod_metadata(archive, config),
            "spec": pod(archive, inputs),
        },
    });
    desired(archive, Part::of(COMPONENT), Kind::Deployment, archive.id.receiver(), json!({"spec": spec}))
}

/// What the archive asks for, and over that what is the operator's own.
fn pod_metadata(archive: &Archive, config: &str) -> Value {
    let pod = &archive.receiver.pod;
    // Of the configuration only: tokens and certificates are taken up by the running receiver.
    let mut annotations = json!(pod.annotations);
    annotations[CONFIG_HASH] = json!(short_hash(config.as_bytes()));
    json!({"labels": labels(archive, Part::Of(COMPONENT, &pod.labels)), "annotations": annotations})
}

fn pod(archive: &Archive, inputs: &Inputs<'_>) -> Value {
    let scheduling = &archive.receiver.scheduling;
    let mut security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    // It changes the group and the mode of every file in the volume. The files in a claim of somebody's are not ours to change.
    if let (Some(group), Storage::Volume(Claim::New { .. })) = (inputs.defaults.fs_group, &archive.storage) {
        security["fsGroup"] = json!(group);
        security["fsGroupChangePolicy"] = json!("OnRootMismatch");
    }
    let mut pod = json!({
        "serviceAccountName": archive.id.receiver(),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": security,
        "containers": [container(archive, inputs)],
        "volumes": volumes(archive),
    });
    if !scheduling.node_selector.is_empty() {
        pod["nodeSelector"] = json!(scheduling.node_selector);
    }
    if !scheduling.tolerations.is_empty() {
        pod["tolerations"] = json!(scheduling.tolerations);
    }
    if let Some(affinity) = &scheduling.affinity {
        pod["affinity"] = json!(affinity);
    }
    let asked = &archive.receiver.pod;
    if !asked.pull_secrets.is_empty() {
        let secrets: Vec<_> = asked.pull_secrets.iter().map(|name| json!({"name": name})).collect();
        pod["imagePullSecrets"] = json!(secrets);
    }
    if let Some(class) = &asked.priority_class {
        pod["priorityClassName"] = json!(class);
    }
    pod
}

fn container(archive: &Archive, inputs: &Inputs<'_>) -> Value {
    let tls = archive.receiver.tls == TlsMode::SelfSigned;
    let scheme = if tls { "HTTPS" } else { "HTTP" };
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "receiver", "scheme": scheme},
            "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures,
        })
    };
    let mut mounts = vec![
        json!({"name": "data", "mountPath": DATA_DIR}),
        json!({"name": "config", "mountPath": CONFIG_DIR, "readOnly": true}),
    ];
    if tls {
        mounts.push(json!({"name": "tls", "mountPath": TLS_DIR, "readOnly": true}));
    }
    json!({
        "name": "receiver",
        "image": inputs.defaults.image,
        "imagePullPolicy": inputs.defaults.pull_policy,
        "command": ["/promarchive"],
        "args": ["receive", "--config", format!("{CONFIG_DIR}/receiver.yaml")],
        "ports": [{"name": "receiver", "containerPort": RECEIVER_PORT, "protocol": "TCP"}],
        "resources": archive.receiver.resources,
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        // It answers this while it replays a long WAL, too.
        "livenessProbe": probe("/-/healthy", 10, 6),
        "readinessProbe": probe("/-/ready", 2, 2),
    })
}

fn volumes(archive: &Archive) -> Vec<Value> {
    let data = match &archive.storage {
        Storage::Volume(claim) => json!({"claimName": claim.name(&archive.id)}),
    };
    let mut volumes = vec![
        json!({"name": "data", "persistentVolumeClaim": data}),
        json!({"name": "config", "configMap": {"name": archive.id.receiver()}}),
    ];
    if archive.receiver.tls == TlsMode::SelfSigned {
        // Two keys of the Secret, not the tokens and keys of others in it.
        let items: Vec<Value> =
            ["tls.crt", "tls.key"].map(|what| json!({"key": archive.id.secret_key(what), "path": what})).into();
        volumes.push(json!({"name": "tls", "secret": {"secretName": SECRET_NAME, "items": items}}));
    }
    volumes
}
