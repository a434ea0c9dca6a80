//! Objects of the Prometheus Operator: everything in them but the entries of the operator is somebody else's.

use promarchive_cluster::Cluster;
use serde_json::{Value, json};

use crate::entries::{entry, legacy};
use crate::requests::{Name, Requests, assert_answer};

const SPEC: &str = "only remoteWrite in the spec of a Prometheus";
const METADATA: &str = "nothing in the metadata of a Prometheus";
/// The finalizer that the operator puts on archives.
const OURS: &str = "promarchive.dev/archive";
const FOREIGN: &str = "entries of remoteWrite that are not its own";
const TWINS: &str = "two entries of remoteWrite must not have the same name";

/// One with entries of others around one of an earlier version, and one with nothing at all.
pub(crate) fn create(cluster: &Cluster) {
    for (kind, version) in [("Prometheus", "v1"), ("PrometheusAgent", "v1alpha1")] {
        let mut object = json!({
            "apiVersion": format!("monitoring.coreos.com/{version}"), "kind": kind,
            "metadata": {
                "name": "k8s", "namespace": "monitoring", "labels": {"team": "a"},
                "finalizers": ["example.org/theirs"],
            },
            "spec": {
                "replicas": 1, "serviceMonitorSelector": {},
                "remoteWrite": [
                    {"name": "theirs", "url": "http://theirs.example.org/write"},
                    legacy("11111111"),
                    {"url": "http://nameless.example.org/write"},
                    {"name": "promarchive/of-a-person", "url": "http://looks-like-ours.example.org/write"},
                ],
            },
        });
        cluster.apply(&object.to_string()).unwrap();
        object["metadata"] = json!({"name": "bare", "namespace": "monitoring"});
        object["spec"] = json!({});
        cluster.apply(&object.to_string()).unwrap();
    }
}

pub(crate) fn denied(operator: &Requests) -> Result<(), String> {
    operator.merge(("Prometheus", "monitoring", "k8s"), None, json!({"spec": {"replicas": 7}}))
}

/// What the operator may do with objects of `kind`, and what not.
pub(crate) fn check(operator: &Requests, kind: &str) {
    let (k8s, bare): (Name<'_>, Name<'_>) = ((kind, "monitoring", "k8s"), (kind, "monitoring", "bare"));
    for (case, patch, message) in allowed(kind).into_iter().chain(denied_changes(kind)) {
        assert_answer(case, &operator.patch(k8s, &patch), message);
    }
    let first = json!([{"op": "add", "path": "/spec/remoteWrite", "value": [entry(kind, "bare", "22222222")]}]);
    assert_answer("the first entry", &operator.patch(bare, &first), "");
    let first = json!([{"op": "add", "path": "/metadata/finalizers", "value": [OURS]}]);
    assert_answer("the first finalizer", &operator.patch(bare, &first), METADATA);
}

/// What only the policies forbid once somebody has granted the operator everything.
pub(crate) fn check_with_all_rights(operator: &Requests) {
    const ONLY: &str = "may only update Prometheus objects";
    let k8s = ("Prometheus", "monitoring", "k8s");
    assert_answer("delete", &operator.delete(k8s), ONLY);
    assert_answer("scale", &operator.merge(k8s, Some("scale"), json!({"spec": {"replicas": 3}})), ONLY);
    let new = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
        "metadata": {"name": "x", "namespace": "monitoring"}, "spec": {},
    });
    assert_answer("create", &operator.create(&new), ONLY);
}

type Case = (&'static str, Value, &'static str);

fn allowed(kind: &str) -> Vec<Case> {
    let new = entry(kind, "k8s", "22222222");
    vec![
        ("add", json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": new}]), ""),
        ("add between", json!([{"op": "add", "path": "/spec/remoteWrite/1", "value": new}]), ""),
        ("replace", json!([{"op": "replace", "path": "/spec/remoteWrite/1", "value": new}]), ""),
        ("remove", json!([{"op": "remove", "path": "/spec/remoteWrite/1"}]), ""),
        ("nothing", json!([{"op": "test", "path": "/spec/replicas", "value": 1}]), ""),
    ]
}

fn denied_changes(kind: &str) -> Vec<Case> {
    let container = json!({"name": "evil", "image": "evil", "command": ["/evil"]});
    let theirs = json!({"name": "theirs", "url": "http://theirs.example.org/write"});
    let nameless = json!({"url": "http://nameless.example.org/write"});
    let new = entry(kind, "k8s", "22222222");
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]);
    let elsewhere = json!({"name": "x", "url": "https://x.y.svc/api/v1/write"});
    vec![
        ("containers", json!([{"op": "add", "path": "/spec/containers", "value": [container]}]), SPEC),
        ("replicas", json!([{"op": "replace", "path": "/spec/replicas", "value": 2}]), SPEC),
        ("a removed field", json!([{"op": "remove", "path": "/spec/serviceMonitorSelector"}]), SPEC),
        ("paused", json!([{"op": "add", "path": "/spec/paused", "value": true}]), SPEC),
        ("a label", json!([{"op": "replace", "path": "/metadata/labels/team", "value": "b"}]), METADATA),
        ("labels removed", json!([{"op": "remove", "path": "/metadata/labels"}]), METADATA),
        (
            "consent",
            json!([{"op": "add", "path": "/metadata/annotations", "value": {"promarchive.dev/allow-archives": "*/*"}}]),
            METADATA,
        ),
        ("an owner", json!([{"op": "add", "path": "/metadata/ownerReferences", "value": owner}]), METADATA),
        ("their finalizer removed", json!([{"op": "remove", "path": "/metadata/finalizers/0"}]), METADATA),
        ("a finalizer", json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "example.org/x"}]), METADATA),
        ("a finalizer of ours", json!([{"op": "add", "path": "/metadata/finalizers/-", "value": OURS}]), METADATA),
        ("foreign removal", json!([{"op": "remove", "path": "/spec/remoteWrite/0"}]), FOREIGN),
        ("nameless removal", json!([{"op": "remove", "path": "/spec/remoteWrite/2"}]), FOREIGN),
        ("removal of what looks like ours", json!([{"op": "remove", "path": "/spec/remoteWrite/3"}]), FOREIGN),
        ("all removed", json!([{"op": "remove", "path": "/spec/remoteWrite"}]), FOREIGN),
        (
            "foreign change",
            json!([{"op": "replace", "path": "/spec/remoteWrite/0/url", "value": "http://x/"}]),
            FOREIGN,
        ),
        (
            "foreign renamed to ours",
            json!([{"op": "replace", "path": "/spec/remoteWrite/0/name", "value": "promarchive/monitoring/lab/00000000"}]),
            FOREIGN,
        ),
        ("foreign added", json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": elsewhere}]), FOREIGN),
        (
            "foreign order",
            json!([{"op": "replace", "path": "/spec/remoteWrite", "value": [nameless, legacy("11111111"), theirs]}]),
            FOREIGN,
        ),
        (
            "our name twice",
            json!([
                {"op": "add", "path": "/spec/remoteWrite/-", "value": new},
                {"op": "add", "path": "/spec/remoteWrite/-", "value": new},
            ]),
            TWINS,
        ),
        (
            "our name again",
            json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": entry(kind, "k8s", "11111111")}]),
            TWINS,
        ),
        (
            "an old entry again",
            json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": legacy("11111111")}]),
            TWINS,
        ),
    ]
}

/// What the Job may do that runs before the operator is uninstalled.
pub(crate) fn check_removal(removal: &Requests) {
    const ONLY: &str = "the removal Job may only remove entries";
    let k8s = ("Prometheus", "monitoring", "k8s");
    for (case, patch, message) in [
        ("removal of ours", json!([{"op": "remove", "path": "/spec/remoteWrite/1"}]), ""),
        ("removal of theirs", json!([{"op": "remove", "path": "/spec/remoteWrite/0"}]), FOREIGN),
        ("removal of their finalizer", json!([{"op": "remove", "path": "/metadata/finalizers/0"}]), METADATA),
        (
            "an entry",
            json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": entry("Prometheus", "k8s", "22222222")}]),
            ONLY,
        ),
        (
            "another entry in its place",
            json!([{"op": "replace", "path": "/spec/remoteWrite/1", "value": entry("Prometheus", "k8s", "22222222")}]),
            ONLY,
        ),
    ] {
        assert_answer(case, &removal.patch(k8s, &patch), message);
    }
    assert_answer("a Deployment", &removal.delete(("Deployment", "monitoring", "theirs-receiver")), "forbidden");
}
