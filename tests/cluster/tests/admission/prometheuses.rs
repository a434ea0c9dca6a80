//! Objects of the Prometheus Operator.

use promarchive_cluster::Cluster;
use serde_json::{Value, json};

use crate::requests::{Requests, assert_answer};

/// kubectl's arguments and input of something that is denied.
pub(crate) const DENIED: (&[&str], &str) =
    (&["patch", "prometheus/k8s", "--type=merge", r#"--patch={"spec":{"replicas":7}}"#], "");

/// Two entries as the operator has written them since its first release.
const WRITTEN: [&str; 2] = [
    include_str!("../../../../crates/operator/src/entry/golden/plain.json"),
    include_str!("../../../../crates/operator/src/entry/golden/full.json"),
];

/// The operator's entry, with most of the fields that it can have.
fn entry(hash: &str) -> Value {
    json!({
        "name": format!("promarchive/monitoring/lab/{hash}"),
        "url": "https://lab-receiver.monitoring.svc:9201/api/v1/write",
        "messageVersion": "V2.0",
        "sendExemplars": true,
        "sendNativeHistograms": true,
        "headers": {"X-Promarchive-Entry": format!("promarchive/monitoring/lab/{hash}")},
        "authorization": {"credentials": {"name": "promarchive-remote-write", "key": "monitoring.lab.token"}},
        "tlsConfig": {"ca": {"secret": {"name": "promarchive-remote-write", "key": "monitoring.lab.ca"}}},
        "writeRelabelConfigs": [{"sourceLabels": ["__name__"], "regex": "go_.*", "action": "drop"}],
        "queueConfig": {"maxShards": 10},
    })
}

/// `entry` with the field at `pointer` set.
fn with(pointer: &str, value: Value) -> Value {
    let mut entry = entry("22222222");
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    entry.pointer_mut(parent).unwrap()[field] = value;
    entry
}

/// One with entries of others around ours, and one with nothing at all.
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
                    entry("11111111"),
                    {"url": "http://nameless.example.org/write"},
                ],
            },
        });
        cluster.apply(&object.to_string()).unwrap();
        object["metadata"] = json!({"name": "bare", "namespace": "monitoring"});
        object["spec"] = json!({});
        cluster.apply(&object.to_string()).unwrap();
    }
}

/// What the operator may do with objects of `kind`, and what not.
pub(crate) fn check(operator: &Requests, kind: &str) {
    let (k8s, bare) = (format!("{kind}/k8s"), format!("{kind}/bare"));
    for (case, patch) in allowed() {
        assert_answer(case, &operator.patch(&k8s, &patch), "");
    }
    for written in WRITTEN {
        let written: Value = serde_json::from_str(written).unwrap();
        let patch = json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": written}]);
        assert_answer("as written", &operator.patch(&k8s, &patch), "");
    }
    let first = json!([{"op": "add", "path": "/spec/remoteWrite", "value": [entry("22222222")]}]);
    assert_answer("the first entry", &operator.patch(&bare, &first), "");
    let first = json!([{"op": "add", "path": "/metadata/finalizers", "value": [OURS]}]);
    assert_answer("the first finalizer", &operator.patch(&bare, &first), METADATA);
    for (case, patch, message) in denied() {
        assert_answer(case, &operator.patch(&k8s, &patch), message);
    }
    for (case, entry, message) in denied_entries() {
        let patch = json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": entry}]);
        assert_answer(case, &operator.patch(&k8s, &patch), message);
    }
}

/// What only the policies forbid once somebody has granted the operator everything.
pub(crate) fn check_with_all_rights(operator: &Requests) {
    const ONLY: &str = "may only update Prometheus objects";
    assert_answer("delete", &operator.delete("prometheus/k8s"), ONLY);
    let scale =
        ["patch", "prometheus/k8s", "--subresource=scale", "--type=merge", r#"--patch={"spec":{"replicas":3}}"#];
    assert_answer("scale", &operator.run(&scale, ""), ONLY);
    let new =
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "metadata": {"name": "x"}, "spec": {}});
    assert_answer("create", &operator.apply(&new), ONLY);
}

fn allowed() -> Vec<(&'static str, Value)> {
    vec![
        ("add", json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": entry("22222222")}])),
        ("add between", json!([{"op": "add", "path": "/spec/remoteWrite/1", "value": entry("22222222")}])),
        ("replace", json!([{"op": "replace", "path": "/spec/remoteWrite/1", "value": entry("22222222")}])),
        ("remove", json!([{"op": "remove", "path": "/spec/remoteWrite/1"}])),
        (
            "clear text",
            json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": {
            "name": "promarchive/monitoring/lab/3", "url": "http://lab-receiver.monitoring.svc:9201/api/v1/write",
            "authorization": {"credentials": {"name": "promarchive-remote-write", "key": "x"}}}}]),
        ),
        ("nothing", json!([{"op": "test", "path": "/spec/replicas", "value": 1}])),
    ]
}

const SPEC: &str = "nothing in the spec of a Prometheus but remoteWrite";
const METADATA: &str = "nothing in the metadata of a Prometheus";
/// The finalizer that the operator puts on archives.
const OURS: &str = "promarchive.dev/archive";
const FOREIGN: &str = "entries of remoteWrite that are not its own";
const TWINS: &str = "two entries of remoteWrite must not have the same name";

fn denied() -> Vec<(&'static str, Value, &'static str)> {
    let container = json!({"name": "evil", "image": "evil", "command": ["/evil"]});
    let theirs = json!({"name": "theirs", "url": "http://theirs.example.org/write"});
    let nameless = json!({"url": "http://nameless.example.org/write"});
    vec![
        ("containers", json!([{"op": "add", "path": "/spec/containers", "value": [container]}]), SPEC),
        ("replicas", json!([{"op": "replace", "path": "/spec/replicas", "value": 2}]), SPEC),
        ("a removed field", json!([{"op": "remove", "path": "/spec/serviceMonitorSelector"}]), SPEC),
        ("paused", json!([{"op": "add", "path": "/spec/paused", "value": true}]), SPEC),
        ("a label", json!([{"op": "replace", "path": "/metadata/labels/team", "value": "b"}]), METADATA),
        ("labels removed", json!([{"op": "remove", "path": "/metadata/labels"}]), METADATA),
        (
            "consent",
            json!([{"op": "add", "path": "/metadata/annotations",
            "value": {"promarchive.dev/allow-archives": "*/*"}}]),
            METADATA,
        ),
        (
            "an owner",
            json!([{"op": "add", "path": "/metadata/ownerReferences", "value": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}]),
            METADATA,
        ),
        ("their finalizer removed", json!([{"op": "remove", "path": "/metadata/finalizers/0"}]), METADATA),
        (
            "a finalizer of others",
            json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "example.org/x"}]),
            METADATA,
        ),
        ("a finalizer of ours", json!([{"op": "add", "path": "/metadata/finalizers/-", "value": OURS}]), METADATA),
        ("foreign removal", json!([{"op": "remove", "path": "/spec/remoteWrite/0"}]), FOREIGN),
        ("nameless removal", json!([{"op": "remove", "path": "/spec/remoteWrite/2"}]), FOREIGN),
        ("all removed", json!([{"op": "remove", "path": "/spec/remoteWrite"}]), FOREIGN),
        (
            "foreign change",
            json!([{"op": "replace", "path": "/spec/remoteWrite/0/url", "value": "http://x/"}]),
            FOREIGN,
        ),
        (
            "foreign renamed to ours",
            json!([{"op": "replace", "path": "/spec/remoteWrite/0/name",
            "value": "promarchive/x"}]),
            FOREIGN,
        ),
        (
            "foreign added",
            json!([{"op": "add", "path": "/spec/remoteWrite/-",
            "value": {"name": "x", "url": "https://x.y.svc/api/v1/write"}}]),
            FOREIGN,
        ),
        (
            "foreign order",
            json!([{"op": "replace", "path": "/spec/remoteWrite",
            "value": [nameless, entry("11111111"), theirs]}]),
            FOREIGN,
        ),
        (
            "our name twice",
            json!([
            {"op": "add", "path": "/spec/remoteWrite/-", "value": entry("22222222")},
            {"op": "add", "path": "/spec/remoteWrite/-", "value": entry("22222222")}]),
            TWINS,
        ),
        (
            "our name again",
            json!([{"op": "add", "path": "/spec/remoteWrite/-",
            "value": {"name": "promarchive/monitoring/lab/11111111", "url": "http://x.y.svc/api/v1/write"}}]),
            TWINS,
        ),
    ]
}

const FIELDS: &str = "no fields but those that the operator sets";
const URL: &str = "send to a receiver in the cluster";
const SECRET: &str = "no Secret but promarchive-remote-write";

fn denied_entries() -> Vec<(&'static str, Value, &'static str)> {
    let other = json!({"name": "other", "key": "x"});
    let ours = json!({"name": "promarchive-remote-write", "key": "x"});
    vec![
        ("basicAuth", with("/basicAuth", json!({"username": ours, "password": other})), FIELDS),
        ("bearerTokenFile", with("/bearerTokenFile", json!("/var/run/secrets/x")), FIELDS),
        ("proxyUrl", with("/proxyUrl", json!("http://evil")), FIELDS),
        ("another host", with("/url", json!("https://evil.example.org/api/v1/write")), URL),
        ("nearly a Service", with("/url", json!("https://a-receiver.b.svc.example.org:9201/api/v1/write")), URL),
        ("another Service", with("/url", json!("https://a.b.svc:9201/api/v1/write")), URL),
        ("user information", with("/url", json!("https://a-receiver.b.svc:9201@evil.b.svc:9201/api/v1/write")), URL),
        ("another path", with("/url", json!("https://a-receiver.b.svc:9201/api/v1/write?x=1")), URL),
        ("Secret of others", with("/authorization/credentials", other.clone()), SECRET),
        ("credentialsFile", with("/authorization", json!({"credentialsFile": "/var/run/secrets/x"})), SECRET),
        ("CA of others", with("/tlsConfig/ca/secret", other.clone()), SECRET),
        ("CA in a ConfigMap", with("/tlsConfig/ca", json!({"configMap": ours})), SECRET),
        ("certificate", with("/tlsConfig/cert", json!({"secret": ours})), SECRET),
        ("key", with("/tlsConfig/keySecret", other), SECRET),
        ("no verification", with("/tlsConfig/insecureSkipVerify", json!(true)), SECRET),
    ]
}

/// What the Job may do that runs before the operator is uninstalled.
pub(crate) fn check_removal(removal: &Requests) {
    let ours = json!([{"op": "remove", "path": "/spec/remoteWrite/1"}]);
    assert_answer("removal of ours", &removal.patch("prometheus/k8s", &ours), "");
    let theirs = json!([{"op": "remove", "path": "/spec/remoteWrite/0"}]);
    assert_answer("removal of theirs", &removal.patch("prometheus/k8s", &theirs), FOREIGN);
    let finalizer = json!([{"op": "remove", "path": "/metadata/finalizers/0"}]);
    assert_answer("removal of their finalizer", &removal.patch("prometheus/k8s", &finalizer), METADATA);
    assert_answer("another Deployment", &removal.delete("deployment/theirs"), "forbidden");
}
