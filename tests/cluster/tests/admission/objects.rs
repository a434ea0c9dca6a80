//! Objects that the operator makes, and those of others.

use promarchive_cluster::Cluster;
use serde_json::{Value, json};

use crate::receivers;
use crate::requests::{Name, Requests, assert_answer};

const NAMED: &str = "promarchive's objects are named after their archive";
const CHANGED: &str = "may change and delete only objects that belong to the archive in their name";
const LABELS: &str = "objects must have the label app.kubernetes.io/managed-by=promarchive-operator";
const OWNED: &str = "objects must have the archive in their name as their only owner";
const FINALIZERS: &str = "must not add or remove finalizers of its objects";
const FOREIGN_LABELS: &str = "may set only its own labels on its objects, and must not change labels of others";
const ANNOTATIONS: &str = "may set only its own annotations on its objects, and must not change annotations of others";
const SERVICE: &str = "Services must have type ClusterIP without external addresses, and select port 9201";
const ACCOUNT: &str = "ServiceAccounts must not give their pods a token";
const NETWORK: &str = "NetworkPolicies must select only the receiver of their archive";
const IMMUTABLE: &str = "promarchive must not make a Secret or a ConfigMap immutable";
const MAP: &str = "ConfigMaps may contain only receiver.yaml and tokens";
const CLAIM: &str = "claims may request storage of a class";
const SECRET: &str = "the Secret promarchive-remote-write must have type Opaque";
const MONITOR: &str = "PodMonitors must select only the receiver of their archive";
const DEPLOYMENT: &str = "Deployments must run one receiver";

/// What the receiver's pods are found by.
pub(crate) fn selector(archive: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "promarchive", "app.kubernetes.io/component": "receiver",
        "app.kubernetes.io/instance": archive,
    })
}

pub(crate) fn labels(archive: &str) -> Value {
    let mut labels = selector(archive);
    labels["app.kubernetes.io/managed-by"] = json!("promarchive-operator");
    labels
}

/// The objects of an archive in the namespace `monitoring`, as crates/operator/src/archive/build makes them.
fn objects(archive: &str, uid: &str) -> Vec<Value> {
    let receiver = format!("{archive}-receiver");
    let pods = json!({"matchLabels": selector(archive)});
    let from = json!([{
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team"}},
        "podSelector": {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In", "values": ["prometheus"]}]},
    }]);
    let endpoint = json!({
        "port": "receiver", "path": "/metrics", "scheme": "https",
        "tlsConfig": {
            "ca": {"secret": {"name": "promarchive-remote-write", "key": format!("monitoring.{archive}.ca.crt")}},
            "serverName": format!("{archive}-receiver.monitoring.svc"),
        },
    });
    let bodies = [
        ("v1", "ServiceAccount", receiver.clone(), json!({"automountServiceAccountToken": false})),
        (
            "v1",
            "Service",
            receiver.clone(),
            json!({"spec": {
                "type": "ClusterIP", "selector": selector(archive),
                "ports": [{"name": "receiver", "port": 9201, "targetPort": "receiver", "protocol": "TCP"}],
            }}),
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            receiver.clone(),
            json!({"spec": {
                "podSelector": pods, "policyTypes": ["Ingress"],
                "ingress": [{"from": from, "ports": [{"port": 9201, "protocol": "TCP"}]}],
            }}),
        ),
        (
            "v1",
            "PersistentVolumeClaim",
            format!("{archive}-archive"),
            json!({"spec": {
                "accessModes": ["ReadWriteOncePod"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}},
            }}),
        ),
        ("v1", "ConfigMap", receiver.clone(), json!({"data": {"receiver.yaml": "a: b", "tokens": ""}})),
        (
            "v1",
            "ConfigMap",
            format!("{archive}-remote-write"),
            json!({"data": {"prometheus.monitoring.k8s.yaml": "remoteWrite: []"}}),
        ),
        ("apps/v1", "Deployment", receiver.clone(), receivers::deployment(archive)),
        (
            "monitoring.coreos.com/v1",
            "PodMonitor",
            receiver,
            json!({"spec": {"selector": pods, "podMetricsEndpoints": [endpoint]}}),
        ),
    ];
    let made = bodies.into_iter().map(|(version, kind, name, mut object)| {
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        let mut labels = labels(archive);
        // What all components of an archive share.
        if kind == "PersistentVolumeClaim" || name.ends_with("-remote-write") {
            labels.as_object_mut().unwrap().remove("app.kubernetes.io/component");
        }
        object["metadata"] = json!({
            "name": name, "namespace": "monitoring", "labels": labels,
            "annotations": {"promarchive.dev/applied": "0123456789abcdef"},
        });
        if kind != "PersistentVolumeClaim" {
            object["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive", "name": archive, "uid": uid,
                "controller": true, "blockOwnerDeletion": false,
            }]);
        }
        object
    });
    made.collect()
}

/// Whether an object belongs to no single component.
fn is_shared(object: &Value) -> bool {
    object["metadata"]["labels"].get("app.kubernetes.io/component").is_none()
}

/// One that is not stored: nobody looks whether its owner is there.
pub(crate) fn new(kind: &str) -> Value {
    objects("new", "1").into_iter().find(|object| object["kind"] == kind).unwrap()
}

fn name(object: &Value) -> Name<'_> {
    (object["kind"].as_str().unwrap(), "monitoring", object["metadata"]["name"].as_str().unwrap())
}

/// Those of the archive `lab`, whose uid is given; and the same of somebody else, without labels and owner.
pub(crate) fn create(cluster: &Cluster, uid: &str) {
    let theirs = objects("theirs", "1").into_iter().map(|mut object| {
        let name = object["metadata"]["name"].clone();
        object["metadata"] = json!({"name": name, "namespace": "monitoring"});
        object
    });
    // Those of the archive have labels and annotations of others, too, and a label of an earlier version of promarchive.
    let mut lab = objects("lab", uid);
    for object in &mut lab {
        let labels = [("example.com/theirs", "a"), ("app.kubernetes.io/part-of", "promarchive")];
        labels.into_iter().for_each(|(key, value)| object["metadata"]["labels"][key] = json!(value));
        object["metadata"]["annotations"]["example.com/theirs"] = json!("a");
        if object["kind"] == "Deployment" {
            object["spec"]["template"]["metadata"]["labels"]["example.com/theirs"] = json!("a");
            object["spec"]["template"]["metadata"]["annotations"]["example.com/theirs"] = json!("a");
        }
    }
    let mut all: Vec<String> = lab.into_iter().chain(theirs).map(|object| object.to_string()).collect();
    for (name, more) in [("theirs", json!({})), ("promarchive-remote-write", json!({"monitoring.lab.ca.crt": "a"}))] {
        let labels = json!({"app.kubernetes.io/managed-by": "promarchive-operator"});
        let mut metadata = json!({"name": name, "namespace": "monitoring", "labels": labels});
        metadata["labels"]["example.com/theirs"] = json!("a");
        metadata["annotations"] = json!({"example.com/theirs": "a"});
        all.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": more}).to_string());
    }
    cluster.apply(&all.join("\n---\n")).unwrap();
}

pub(crate) fn denied(operator: &Requests) -> Result<(), String> {
    let mut object = new("ConfigMap");
    object["metadata"]["name"] = json!("aws-auth");
    operator.apply(&object)
}

/// Own objects may be made, changed and deleted; those of others not.
pub(crate) fn check(operator: &Requests) {
    for object in objects("new", "1") {
        let kind = object["kind"].as_str().unwrap().to_owned();
        assert_answer(&kind, &operator.apply(&object), "");
        for (field, value, message) in denied_metadata(&kind, is_shared(&object)) {
            let mut object = object.clone();
            match value {
                Value::Null => drop(object["metadata"].as_object_mut().unwrap().remove(field)),
                value => object["metadata"][field] = value,
            }
            // The policy on receivers goes by the name, too, and either may be the one that answers.
            let either = if (kind.as_str(), field) == ("Deployment", "name") {
                "ServiceAccount <archive>-receiver"
            } else {
                message
            };
            match operator.apply(&object) {
                Err(error) if !message.is_empty() && error.contains(either) => {}
                answer => assert_answer(&format!("{kind} {field}"), &answer, message),
            }
        }
    }
    for object in objects("lab", "1") {
        let (kind, ..) = name(&object);
        let applied = json!({"metadata": {"annotations": {"promarchive.dev/applied": "other"}}});
        assert_answer(kind, &operator.merge(name(&object), None, applied), "");
        let given_away = json!({"metadata": {"labels": null}});
        assert_answer(kind, &operator.merge(name(&object), None, given_away), LABELS);
        labels_and_annotations_of_others(operator, name(&object));
        // As the operator does it, when it does not set a label any more that an earlier version has set.
        let former = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": null}}});
        assert_answer(kind, &operator.merge(name(&object), None, former), "");
    }
    labels_and_annotations_of_others(operator, ("Secret", "monitoring", "promarchive-remote-write"));
    // To take over somebody's object by adding labels and owner.
    for object in objects("theirs", "1") {
        assert_answer(&object["kind"].to_string(), &operator.apply(&object), CHANGED);
    }
    // The others go with their archive.
    let may_delete = ["ConfigMap", "PersistentVolumeClaim", "NetworkPolicy"];
    for (archive, message) in [("lab", ""), ("theirs", CHANGED)] {
        for object in objects(archive, "1") {
            let (kind, ..) = name(&object);
            let message = if may_delete.contains(&kind) { message } else { "cannot delete resource" };
            assert_answer(kind, &operator.delete(name(&object)), message);
        }
    }
    for (case, kind, pointer, value, message) in denied_fields() {
        let mut object = new(kind);
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = value;
        assert_answer(case, &operator.apply(&object), message);
    }
    let both = json!(["Ingress", "Egress"]);
    let mut closed = new("NetworkPolicy");
    closed["spec"]["policyTypes"] = both;
    assert_answer("nothing out", &operator.apply(&closed), "");
    in_namespaces_of_the_system(operator);
}

/// They are not added, changed or taken away. As it was found: Grafana loads a ConfigMap, and Argo CD reads a Secret, by its label.
fn labels_and_annotations_of_others(operator: &Requests, object: Name<'_>) {
    let ask = |field: &str, key: &str, value: Value| {
        let patch = json!({"metadata": {field: {key: value}}});
        (format!("{object:?} {field} {key}"), operator.merge(object, None, patch))
    };
    for (key, value) in [
        ("grafana_datasource", json!("1")),
        ("argocd.argoproj.io/secret-type", json!("cluster")),
        ("helm.sh/chart", json!("x")),
        ("app.kubernetes.io/part-of", json!("other")),
        ("promarchive.dev/x", json!("x")),
        ("example.com/theirs", json!("b")),
        ("example.com/theirs", Value::Null),
    ] {
        // A PodMonitor has the labels that its archive asks for.
        let message = if object.0 == "PodMonitor" { "" } else { FOREIGN_LABELS };
        let (case, answer) = ask("labels", key, value);
        assert_answer(&case, &answer, message);
        if !message.is_empty() {
            assert_answer(&case, &answer, &format!(": {key}"));
        }
    }
    for (key, value) in [
        ("reloader.stakater.com/auto", json!("true")),
        ("promarchive.dev/allow-archives", json!("team/*")),
        ("deployment.kubernetes.io/revision", json!("1000")),
        ("example.com/theirs", json!("b")),
        ("example.com/theirs", Value::Null),
    ] {
        let (case, answer) = ask("annotations", key, value);
        assert_answer(&case, &answer, ANNOTATIONS);
        assert_answer(&case, &answer, &format!(": {key}"));
    }
    // Of which archive object the claim is.
    let (case, answer) = ask("annotations", "promarchive.dev/archive-uid", json!("1"));
    assert_answer(&case, &answer, if object.0 == "PersistentVolumeClaim" { "" } else { ANNOTATIONS });
}

/// As it was found: configuration that decides who is an administrator, in kube-system.
fn in_namespaces_of_the_system(operator: &Requests) {
    for name in ["aws-auth", "coredns-custom", "extension-apiserver-authentication"] {
        let mut object = new("ConfigMap");
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!("kube-system");
        assert_answer(name, &operator.apply(&object), NAMED);
    }
    let coredns = json!({"metadata": {"labels": labels("new")}, "data": {"Corefile": "."}});
    let foreign = operator.merge(("ConfigMap", "kube-system", "kube-root-ca.crt"), None, coredns);
    assert_answer("what is there", &foreign, NAMED);
    assert_answer("deletion", &operator.delete(("ConfigMap", "kube-system", "kube-root-ca.crt")), NAMED);
}

fn denied_metadata(kind: &str, is_shared: bool) -> Vec<(&'static str, Value, &'static str)> {
    let owner =
        |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "name": name, "uid": "1"});
    let ours = owner("promarchive.dev/v1alpha1", "MetricsArchive", "new");
    let mut of_others = labels("new");
    of_others["app.kubernetes.io/managed-by"] = json!("Helm");
    let mut cases = vec![
        ("name", json!("new"), NAMED),
        ("name", json!("new-receiver-x"), NAMED),
        // There is no such component.
        ("name", json!("new-compactor"), NAMED),
        ("labels", Value::Null, LABELS),
        ("labels", of_others, LABELS),
        ("labels", labels("other"), LABELS),
        ("finalizers", json!(["example.org/x"]), FINALIZERS),
        ("ownerReferences", json!([ours, {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "2"}]), OWNED),
        ("ownerReferences", json!([owner("v1", "ConfigMap", "new")]), OWNED),
        ("ownerReferences", json!([owner("example.org/v1", "MetricsArchive", "new")]), OWNED),
        ("ownerReferences", json!([owner("promarchive.dev/v1alpha1", "MetricsArchive", "other")]), OWNED),
    ];
    if kind != "PersistentVolumeClaim" {
        cases.push(("ownerReferences", Value::Null, OWNED));
    }
    // Others load what has these, or give it rights.
    cases.push(("annotations", json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}), ANNOTATIONS));
    let mut more = labels("new");
    more["grafana_datasource"] = json!("1");
    let mut of_another_component = labels("new");
    of_another_component["app.kubernetes.io/component"] = json!("operator");
    // What all components share says none.
    let message = if is_shared { FOREIGN_LABELS } else { LABELS };
    cases.push(("labels", of_another_component, message));
    cases.push(("labels", more, if kind == "PodMonitor" { "" } else { FOREIGN_LABELS }));
    cases
}

type Field = (&'static str, &'static str, &'static str, Value, &'static str);

fn denied_fields() -> Vec<Field> {
    let theirs = json!({"name": "theirs", "key": "a"});
    let endpoint = "/spec/podMetricsEndpoints/0";
    let at = |field: &str| -> &'static str { format!("{endpoint}/{field}").leak() };
    vec![
        ("a load balancer", "Service", "/spec/type", json!("LoadBalancer"), SERVICE),
        ("a port of nodes", "Service", "/spec/type", json!("NodePort"), SERVICE),
        ("an external address", "Service", "/spec/externalIPs", json!(["203.0.113.9"]), SERVICE),
        ("other pods", "Service", "/spec/selector", json!({"app": "database"}), SERVICE),
        (
            "the receivers of all",
            "Service",
            "/spec/selector",
            json!({"app.kubernetes.io/name": "promarchive"}),
            SERVICE,
        ),
        ("no pods", "Service", "/spec/selector", Value::Null, SERVICE),
        ("another port", "Service", "/spec/ports/0/port", json!(443), SERVICE),
        ("another port of the pod", "Service", "/spec/ports/0/targetPort", json!(22), SERVICE),
        ("a token", "ServiceAccount", "/automountServiceAccountToken", json!(true), ACCOUNT),
        ("a token by default", "ServiceAccount", "/automountServiceAccountToken", Value::Null, ACCOUNT),
        ("a Secret", "ServiceAccount", "/secrets", json!([{"name": "theirs"}]), ACCOUNT),
        ("a pull Secret", "ServiceAccount", "/imagePullSecrets", json!([{"name": "theirs"}]), ACCOUNT),
        // As it was found: everything in the namespace was opened.
        ("all pods", "NetworkPolicy", "/spec/podSelector", json!({}), NETWORK),
        ("other pods", "NetworkPolicy", "/spec/podSelector/matchLabels", json!({"app": "database"}), NETWORK),
        (
            "what is not a receiver",
            "NetworkPolicy",
            "/spec/podSelector/matchExpressions",
            json!([{"key": "a", "operator": "DoesNotExist"}]),
            NETWORK,
        ),
        ("out to everywhere", "NetworkPolicy", "/spec/egress", json!([{}]), NETWORK),
        ("only out", "NetworkPolicy", "/spec/policyTypes", json!(["Egress"]), NETWORK),
        ("for ever", "ConfigMap", "/immutable", json!(true), IMMUTABLE),
        ("another file", "ConfigMap", "/data/Corefile", json!("."), MAP),
        ("bytes", "ConfigMap", "/binaryData", json!({"Corefile": "YQ=="}), MAP),
        // As it was found: a claim that is bound to the volume of somebody else.
        ("a volume", "PersistentVolumeClaim", "/spec/volumeName", json!("theirs"), CLAIM),
        ("volumes by label", "PersistentVolumeClaim", "/spec/selector", json!({"matchLabels": {"a": "b"}}), CLAIM),
        (
            "a copy",
            "PersistentVolumeClaim",
            "/spec/dataSource",
            json!({"kind": "PersistentVolumeClaim", "name": "theirs"}),
            CLAIM,
        ),
        (
            "a snapshot",
            "PersistentVolumeClaim",
            "/spec/dataSourceRef",
            json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "theirs"}),
            CLAIM,
        ),
        // As it was found: a Prometheus that selects it sends any Secret of the namespace to any host.
        ("a proxy", "PodMonitor", at("proxyUrl"), json!("http://evil.example.org"), MONITOR),
        ("a Secret", "PodMonitor", at("authorization"), json!({"credentials": theirs}), MONITOR),
        ("basicAuth", "PodMonitor", at("basicAuth"), json!({"username": theirs, "password": theirs}), MONITOR),
        ("bearerTokenSecret", "PodMonitor", at("bearerTokenSecret"), theirs.clone(), MONITOR),
        (
            "oauth2",
            "PodMonitor",
            at("oauth2"),
            json!({
            "clientId": {"secret": theirs}, "clientSecret": theirs, "tokenUrl": "http://evil.example.org"}),
            MONITOR,
        ),
        ("parameters", "PodMonitor", at("params"), json!({"a": ["b"]}), MONITOR),
        (
            "other addresses",
            "PodMonitor",
            at("relabelings"),
            json!([{"targetLabel": "__address__", "replacement": "x"}]),
            MONITOR,
        ),
        (
            "other names",
            "PodMonitor",
            at("metricRelabelings"),
            json!([{"targetLabel": "__name__", "replacement": "up"}]),
            MONITOR,
        ),
        ("another path", "PodMonitor", at("path"), json!("/-/flush"), MONITOR),
        ("another port", "PodMonitor", at("port"), json!("other"), MONITOR),
        ("a CA of others", "PodMonitor", at("tlsConfig/ca/secret"), theirs.clone(), MONITOR),
        ("a CA of another archive", "PodMonitor", at("tlsConfig/ca/secret/key"), json!("team.lab.ca.crt"), MONITOR),
        ("a certificate", "PodMonitor", at("tlsConfig/cert"), json!({"secret": theirs}), MONITOR),
        ("no verification", "PodMonitor", at("tlsConfig/insecureSkipVerify"), json!(true), MONITOR),
        ("another host", "PodMonitor", at("tlsConfig/serverName"), json!("evil"), MONITOR),
        ("other namespaces", "PodMonitor", "/spec/namespaceSelector", json!({"any": true}), MONITOR),
        ("other pods", "PodMonitor", "/spec/selector", json!({"matchLabels": {"app": "database"}}), MONITOR),
        ("all pods", "PodMonitor", "/spec/selector", json!({}), MONITOR),
        ("a limit", "PodMonitor", "/spec/sampleLimit", json!(1), MONITOR),
        ("many receivers", "Deployment", "/spec/replicas", json!(50), DEPLOYMENT),
        ("two at a time", "Deployment", "/spec/strategy", json!({"type": "RollingUpdate"}), DEPLOYMENT),
        (
            "pods of others",
            "Deployment",
            "/spec/selector/matchLabels",
            json!({"app.kubernetes.io/name": "promarchive"}),
            DEPLOYMENT,
        ),
    ]
}

/// One Secret, by name, with server-side apply; no other one, not even to read.
pub(crate) fn check_secrets(operator: &Requests) {
    const OTHERS: &str = "forbidden";
    let secret = |namespace: &str, name: &str, data: Value| {
        let labels = json!({"app.kubernetes.io/managed-by": "promarchive-operator"});
        let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "stringData": data})
    };
    let ours = |namespace: &str, keys: &[&str]| {
        let data = keys.iter().map(|key| ((*key).to_owned(), json!("x"))).collect::<serde_json::Map<_, _>>();
        secret(namespace, "promarchive-remote-write", data.into())
    };
    let own =
        ["ca.crt", "ca.key", "tls.crt", "tls.key", "tls.renew", "operator.token"].map(|key| format!("team.lab.{key}"));
    let foreign =
        ["ca.crt", "k8s.p.token", "k8s.p.previous", "a.b.a.rotation"].map(|key| format!("monitoring.lab.{key}"));
    let all: Vec<&str> = own.iter().chain(&foreign).map(String::as_str).collect();
    let mut without_label = ours("team", &all);
    without_label["metadata"]["labels"] = Value::Null;
    let mut of_another_type = ours("team", &[]);
    of_another_type["type"] = json!("example.org/x");
    let mut immutable = ours("team", &all);
    immutable["immutable"] = json!(true);
    let mut owned = ours("team", &all);
    owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]);
    let mut read_by_argo_cd = ours("team", &all);
    read_by_argo_cd["metadata"]["labels"]["argocd.argoproj.io/secret-type"] = json!("cluster");
    let mut copied = ours("team", &all);
    copied["metadata"]["annotations"] = json!({"replicator.v1.mittwald.de/replicate-to": "*"});
    let long = secret("team", "promarchive-remote-write", json!({"team.lab.k8s.p.rotation": "x".repeat(20_000)}));
    for (case, secret, message) in [
        ("our Secret", ours("team", &all), ""),
        ("beside what is there", ours("monitoring", &["monitoring.lab.k8s.p.token"]), ""),
        ("in kube-system, what a sender there needs", ours("kube-system", &["monitoring.lab.k8s.p.token"]), ""),
        ("in kube-system, anything", ours("kube-system", &["config.yaml"]), SECRET),
        ("a key of no archive", ours("team", &["a"]), SECRET),
        ("a key of nobody", ours("team", &["team.lab."]), SECRET),
        ("a private key elsewhere", ours("team", &["monitoring.lab.tls.key"]), SECRET),
        ("a long value", long, SECRET),
        // As it was found: the tokens in it could not be changed any more.
        ("for ever", immutable, IMMUTABLE),
        ("another type", of_another_type, SECRET),
        ("an owner", owned, OWNED),
        ("without the label", without_label, LABELS),
        ("a label by which Argo CD reads it", read_by_argo_cd, FOREIGN_LABELS),
        ("an annotation by which it is copied", copied, ANNOTATIONS),
        ("another Secret", secret("team", "other", json!({})), OTHERS),
    ] {
        assert_answer(case, &operator.apply(&secret), message);
    }
    assert_answer("deleting theirs", &operator.delete(("Secret", "monitoring", "theirs")), OTHERS);
    assert_answer("deleting ours", &operator.delete(("Secret", "monitoring", "promarchive-remote-write")), "");
}
