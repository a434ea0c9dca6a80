//! MetricsArchives: the operator holds them, and writes their status.

use promarchive_cluster::Cluster;
use serde_json::json;

use crate::requests::{Name, Requests, assert_answer};

const LAB: Name<'static> = ("MetricsArchive", "monitoring", "lab");
const HELD: Name<'static> = ("MetricsArchive", "monitoring", "held");
const OURS: &str = "promarchive.dev/archive";

const NOTHING: &str = "nothing of a MetricsArchive but its own finalizer and the status";
const FINALIZERS: &str = "only the finalizer promarchive.dev/archive of a MetricsArchive";

/// One that nobody holds, and one that the operator and somebody else hold. Gives the uid of the first.
pub(crate) fn create(cluster: &Cluster) -> String {
    let spec = json!({"storage": {"persistentVolume": {"size": "1Gi"}}});
    for (name, finalizers) in [("lab", json!([])), ("held", json!(["example.org/theirs", OURS]))] {
        let archive = json!({
            "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive", "spec": spec,
            "metadata": {"name": name, "namespace": "monitoring", "labels": {"team": "a"}, "finalizers": finalizers},
        });
        cluster.apply(&archive.to_string()).unwrap();
    }
    let uid = ["get", "metricsarchive", "lab", "--namespace=monitoring", "--output=jsonpath={.metadata.uid}"];
    cluster.kubectl(uid).unwrap()
}

pub(crate) fn denied(operator: &Requests) -> Result<(), String> {
    operator.merge(LAB, None, json!({"metadata": {"labels": {"team": "b"}}}))
}

pub(crate) fn check(operator: &Requests) {
    for (case, name, patch, message) in [
        ("hold", LAB, json!({"metadata": {"finalizers": [OURS]}}), ""),
        ("release", HELD, json!({"metadata": {"finalizers": ["example.org/theirs"]}}), ""),
        ("their finalizer", HELD, json!({"metadata": {"finalizers": [OURS]}}), FINALIZERS),
        ("all finalizers", HELD, json!({"metadata": {"finalizers": null}}), FINALIZERS),
        ("another finalizer", LAB, json!({"metadata": {"finalizers": ["promarchive.dev/other"]}}), FINALIZERS),
        ("spec", LAB, json!({"spec": {"paused": true}}), NOTHING),
        (
            "a Prometheus more",
            LAB,
            json!({"spec": {"prometheuses": [{"id": "x", "selector": {}, "namespaces": ["team"]}]}}),
            NOTHING,
        ),
        ("another claim", LAB, json!({"spec": {"storage": {"persistentVolume": {"size": "2Gi"}}}}), NOTHING),
        ("labels", LAB, json!({"metadata": {"labels": {"team": "b"}}}), NOTHING),
        ("annotations", LAB, json!({"metadata": {"annotations": {"promarchive.dev/rotate-tokens": "1"}}}), NOTHING),
        ("no labels", LAB, json!({"metadata": {"labels": null}}), NOTHING),
        (
            "an owner, with which the garbage collector takes it",
            LAB,
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}}),
            NOTHING,
        ),
    ] {
        assert_answer(case, &operator.merge(name, None, patch), message);
    }
    let status = json!({"status": {"summary": "1/1"}, "spec": {"paused": true}, "metadata": {"labels": {"team": "b"}}});
    assert_answer("status", &operator.merge(LAB, Some("status"), json!({"status": {"summary": "1/1"}})), "");
    // What is beside the status in such a request, the API server does not take.
    assert_answer("beside the status", &operator.merge(LAB, Some("status"), status), "");
    assert_answer("delete", &operator.delete(LAB), "cannot delete resource");
}

pub(crate) fn check_removal(removal: &Requests) {
    const ONLY: &str = "the removal Job may only remove finalizers";
    let release = json!({"metadata": {"finalizers": ["example.org/theirs"]}});
    assert_answer("release", &removal.merge(HELD, None, release), "");
    assert_answer("hold", &removal.merge(LAB, None, json!({"metadata": {"finalizers": [OURS]}})), ONLY);
    let theirs = json!({"metadata": {"finalizers": [OURS]}});
    assert_answer("their finalizer", &removal.merge(HELD, None, theirs), FINALIZERS);
    assert_answer("spec", &removal.merge(LAB, None, json!({"spec": {"paused": true}})), NOTHING);
}

/// What only the policies forbid once somebody has granted the operator everything.
pub(crate) fn check_with_all_rights(operator: &Requests) {
    const ONLY: &str = "may only update MetricsArchives";
    assert_answer("delete", &operator.delete(LAB), ONLY);
    let archive = json!({
        "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive",
        "metadata": {"name": "x", "namespace": "kube-system"},
        "spec": {"storage": {"persistentVolume": {"size": "1Gi"}}},
    });
    assert_answer("create", &operator.create(&archive), ONLY);
}
