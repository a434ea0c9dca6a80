//! The pods of receivers: what runs in them, with what rights, and what they can read.

use serde_json::{Value, json};

use crate::objects::{labels, new, selector};
use crate::requests::{Name, Requests, assert_answer};

const NODE: &str = "must not set hostNetwork";
const VOLUMES: &str = "may mount only";
const ENVIRONMENT: &str = "receivers must not have environment variables";
const PRIVILEGES: &str = "must not have privileges and must not be able to gain any";
const ROOT: &str = "must not run as root";
const GROUP: &str = "an fsGroup only with the claim";
const CONTAINER: &str = "one container with the name receiver that runs /promarchive receive";
const PRIORITY: &str = "must not have a system priority class";
const NETWORK: &str = "must use container port 9201 without a host port";
const MOUNTS: &str = "must mount complete volumes";
const OWN_LABELS: &str = "receivers' pods must have the labels of their archive's receiver";
const LABELS: &str = "admissionPolicy.receiverPodLabels of the chart";
const ANNOTATIONS: &str = "admissionPolicy.receiverPodAnnotations of the chart";
const METADATA: &str = "receivers' pods may have only labels and annotations in their metadata";
const FIELDS: &str = "receivers' pods may have only fields that the operator sets";
const ACCOUNT: &str = "must use the ServiceAccount <archive>-receiver";

/// A receiver's Deployment in the namespace `monitoring`, as crates/operator/src/archive/build makes it, without its metadata.
pub(crate) fn deployment(archive: &str) -> Value {
    let receiver = format!("{archive}-receiver");
    let probe = |path: &str| {
        let get = json!({"path": path, "port": "receiver", "scheme": "HTTPS"});
        json!({"httpGet": get, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6})
    };
    let item = |what: &str| json!({"key": format!("monitoring.{archive}.{what}"), "path": what});
    let container = json!({
        "name": "receiver", "image": "ghcr.io/promarchive/promarchive:0.1.0", "imagePullPolicy": "IfNotPresent",
        "command": ["/promarchive"], "args": ["receive", "--config", "/etc/promarchive/receiver.yaml"],
        "ports": [{"name": "receiver", "containerPort": 9201, "protocol": "TCP"}],
        "resources": {"requests": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/promarchive"},
            {"name": "config", "mountPath": "/etc/promarchive", "readOnly": true},
            {"name": "tls", "mountPath": "/etc/promarchive-tls", "readOnly": true},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "livenessProbe": probe("/-/healthy"),
        "readinessProbe": probe("/-/ready"),
    });
    let pod = json!({
        "serviceAccountName": receiver, "automountServiceAccountToken": false, "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
            "fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch",
        },
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": format!("{archive}-archive")}},
            {"name": "config", "configMap": {"name": receiver}},
            {"name": "tls", "secret": {"secretName": "promarchive-remote-write", "items": [item("tls.crt"), item("tls.key")]}},
        ],
        "nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
    });
    json!({"spec": {
        "replicas": 1, "strategy": {"type": "Recreate"}, "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector(archive)},
        "template": {
            "metadata": {"labels": labels(archive), "annotations": {"promarchive.dev/config-hash": "0123"}},
            "spec": pod,
        },
    }})
}

pub(crate) fn denied(operator: &Requests) -> Result<(), String> {
    operator.apply(&with("/spec/containers/0/image", json!("evil")))
}

/// A receiver whose pod has a label or an annotation (`field`) with this key.
pub(crate) fn marked(operator: &Requests, field: &str, key: &str) -> Result<(), String> {
    operator.apply(&with(&format!("/metadata/{field}/{}", key.replace('/', "~1")), json!("a")))
}

/// A receiver with the field of its template at `pointer` set; `-` adds to a list.
fn with(pointer: &str, value: Value) -> Value {
    let mut deployment = new("Deployment");
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let field = field.replace("~1", "/");
    match deployment["spec"]["template"].pointer_mut(parent).unwrap() {
        Value::Array(items) if field == "-" => items.push(value),
        parent => parent[field.as_str()] = value,
    }
    deployment
}

/// Which pods the operator may ask for.
pub(crate) fn check(operator: &Requests) {
    let lab = ("Deployment", "monitoring", "lab-receiver");
    for (case, pointer, value, message) in denied_pods() {
        let deployment = with(pointer, value);
        assert_answer(case, &operator.apply(&deployment), message);
        let text = deployment["spec"]["template"].to_string().replace("new-", "lab-").replace(".new.", ".lab.");
        let text = text.replace("\"new\"", "\"lab\"");
        let template: Value = serde_json::from_str(&text).unwrap();
        let change = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
        assert_answer(case, &operator.patch(lab, &change), message);
    }
    for (case, pointer, value) in allowed_pods() {
        assert_answer(case, &operator.apply(&with(pointer, value)), "");
    }
    marks_of_earlier_versions(operator, lab);
    let none = json!([{"op": "replace", "path": "/spec/replicas", "value": 0}]);
    assert_answer("unchanged pods", &operator.patch(lab, &none), "");
    // Somebody's claim, without a group for its files.
    let mut existing = with("/spec/volumes/0/persistentVolumeClaim/claimName", json!("theirs"));
    existing["spec"]["template"]["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_answer("a claim of somebody's", &operator.apply(&existing), "");
    existing["spec"]["template"]["spec"]["securityContext"]["fsGroup"] = json!(65532);
    assert_answer("a claim of somebody's with a group", &operator.apply(&existing), GROUP);
}

/// A receiver keeps the labels and annotations that it was given when the policy was another one.
fn marks_of_earlier_versions(operator: &Requests, lab: Name<'_>) {
    let template = |metadata: Value| json!({"spec": {"template": {"metadata": metadata}}});
    let restarted = json!({"annotations": {"promarchive.dev/config-hash": "4567"}});
    assert_answer("another configuration", &operator.merge(lab, None, template(restarted)), "");
    for (field, message) in [("labels", LABELS), ("annotations", ANNOTATIONS)] {
        let gone = template(json!({field: {"example.com/theirs": null}}));
        assert_answer(field, &operator.merge(lab, None, gone), "");
        let other = template(json!({field: {"example.com/theirs": "b"}}));
        let answer = operator.merge(lab, None, other);
        assert_answer(field, &answer, message);
        assert_answer(field, &answer, ": example.com/theirs");
    }
}

fn allowed_pods() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("a priority", "/spec/priorityClassName", json!("archives")),
        ("a pull Secret", "/spec/imagePullSecrets", json!([{"name": "registry"}])),
        ("no probes", "/spec/containers/0/livenessProbe", Value::Null),
        ("a label more", "/metadata/labels/team", json!("a")),
        ("a label of a kind that everybody knows", "/metadata/labels/app.kubernetes.io~1part-of", json!("lab")),
    ]
}

type Case = (&'static str, &'static str, Value, &'static str);

fn denied_pods() -> Vec<Case> {
    let mut all = denied_rights();
    all.extend(denied_programs());
    all.extend(denied_files());
    all
}

fn denied_rights() -> Vec<Case> {
    let security = "/spec/securityContext";
    let of_pod = |field: &str| -> &'static str { format!("{security}/{field}").leak() };
    let of_container = |field: &str| -> &'static str { format!("/spec/containers/0/securityContext/{field}").leak() };
    vec![
        ("token", "/spec/automountServiceAccountToken", json!(true), "must not have a token"),
        ("token by default", "/spec/automountServiceAccountToken", Value::Null, "must not have a token"),
        ("account", "/spec/serviceAccountName", json!("admin"), ACCOUNT),
        ("another receiver's account", "/spec/serviceAccountName", json!("other-receiver"), ACCOUNT),
        ("default account", "/spec/serviceAccountName", Value::Null, ACCOUNT),
        ("network", "/spec/hostNetwork", json!(true), NODE),
        ("processes", "/spec/hostPID", json!(true), NODE),
        ("memory", "/spec/hostIPC", json!(true), NODE),
        ("node", "/spec/nodeName", json!("control-plane"), NODE),
        ("shared processes", "/spec/shareProcessNamespace", json!(true), NODE),
        ("priority", "/spec/priorityClassName", json!("system-node-critical"), PRIORITY),
        ("a port of the node", "/spec/containers/0/ports/0/hostPort", json!(9201), NETWORK),
        ("another port", "/spec/containers/0/ports/-", json!({"containerPort": 22}), NETWORK),
        ("root", of_pod("runAsUser"), json!(0), ROOT),
        ("root's group", of_pod("runAsGroup"), json!(0), ROOT),
        ("perhaps root", of_pod("runAsNonRoot"), json!(false), ROOT),
        ("perhaps root by default", of_pod("runAsNonRoot"), Value::Null, ROOT),
        ("unconfined", of_pod("seccompProfile"), json!({"type": "Unconfined"}), ROOT),
        ("unconfined by default", of_pod("seccompProfile"), Value::Null, ROOT),
        ("unconfined by AppArmor", of_pod("appArmorProfile"), json!({"type": "Unconfined"}), ROOT),
        ("a type of SELinux", of_pod("seLinuxOptions"), json!({"type": "spc_t"}), ROOT),
        ("kernel parameters", of_pod("sysctls"), json!([{"name": "net.core.somaxconn", "value": "1"}]), ROOT),
        ("more groups", of_pod("supplementalGroups"), json!([0]), ROOT),
        ("files of root's group", of_pod("fsGroup"), json!(0), GROUP),
        ("privileged", "/spec/containers/0/securityContext", json!({"privileged": true}), PRIVILEGES),
        ("escalation", of_container("allowPrivilegeEscalation"), Value::Null, PRIVILEGES),
        ("a file system to write to", of_container("readOnlyRootFilesystem"), json!(false), PRIVILEGES),
        ("capability", of_container("capabilities/add"), json!(["NET_ADMIN"]), PRIVILEGES),
        ("capabilities", of_container("capabilities"), json!({"drop": ["NET_RAW"]}), PRIVILEGES),
        ("root in the container", of_container("runAsUser"), json!(0), PRIVILEGES),
        ("unconfined in the container", of_container("seccompProfile"), json!({"type": "Unconfined"}), PRIVILEGES),
        ("a type of SELinux in the container", of_container("seLinuxOptions"), json!({"type": "spc_t"}), PRIVILEGES),
        ("no context", "/spec/containers/0/securityContext", Value::Null, PRIVILEGES),
        ("labels", "/metadata/labels/app.kubernetes.io~1instance", json!("other"), "does not match"),
        ("another manager", "/metadata/labels/app.kubernetes.io~1managed-by", json!("Helm"), OWN_LABELS),
        ("no manager", "/metadata/labels/app.kubernetes.io~1managed-by", Value::Null, OWN_LABELS),
        ("an injected container", "/metadata/annotations/sidecar.istio.io~1inject", json!("true"), ANNOTATIONS),
        (
            "an annotation that nobody has allowed",
            "/metadata/annotations/example.com~1contact",
            json!("a"),
            ": example.com/contact",
        ),
        // As it was found.
        ("a name of its own", "/metadata/name", json!("x"), METADATA),
        ("the beginning of a name", "/metadata/generateName", json!("x"), METADATA),
        ("a finalizer", "/metadata/finalizers", json!(["example.org/x"]), METADATA),
        (
            "an owner",
            "/metadata/ownerReferences",
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]),
            METADATA,
        ),
        // Controllers act on them: they add containers, or give tokens for clouds.
        ("a container by a label", "/metadata/labels/sidecar.istio.io~1inject", json!("true"), LABELS),
        ("a mesh", "/metadata/labels/istio.io~1rev", json!("x"), ": istio.io/rev"),
        ("an identity of Azure", "/metadata/labels/azure.workload.identity~1use", json!("true"), LABELS),
        ("an older identity of Azure", "/metadata/labels/aadpodidbinding", json!("admin"), ": aadpodidbinding"),
        ("an agent", "/metadata/labels/admission.datadoghq.com~1enabled", json!("true"), LABELS),
        ("what Kubernetes sets", "/metadata/labels/pod-template-hash", json!("x"), LABELS),
        ("what Kubernetes reads", "/metadata/labels/pod-security.kubernetes.io~1enforce", json!("x"), LABELS),
        ("a label that nobody has allowed", "/metadata/labels/example.com~1team", json!("a"), LABELS),
        ("a label of promarchive's", "/metadata/labels/promarchive.dev~1x", json!("a"), LABELS),
        ("a label of ours", "/metadata/labels/app.kubernetes.io~1component", json!("operator"), "does not match"),
        ("names", "/spec/hostAliases", json!([{"ip": "203.0.113.9", "hostnames": ["x"]}]), FIELDS),
        ("another resolver", "/spec/dnsPolicy", json!("Default"), FIELDS),
        ("another scheduler", "/spec/schedulerName", json!("evil"), FIELDS),
        ("another runtime", "/spec/runtimeClassName", json!("evil"), FIELDS),
    ]
}

fn denied_programs() -> Vec<Case> {
    let container = new("Deployment")["spec"]["template"]["spec"]["containers"][0].clone();
    let with_image = |name: &str, image: Option<&str>| {
        let mut other = container.clone();
        other["name"] = json!(name);
        if let Some(image) = image {
            other["image"] = json!(image);
        }
        other["ports"] = Value::Null;
        other["livenessProbe"] = Value::Null;
        other["readinessProbe"] = Value::Null;
        other
    };
    let probe = "/spec/containers/0/livenessProbe";
    let of_probe = |field: &str| -> &'static str { format!("{probe}/{field}").leak() };
    let hook = json!({"preStop": {"httpGet": {"host": "evil.example.org", "port": 80}}});
    vec![
        ("image", "/spec/containers/0/image", json!("evil"), "run the receivers' image"),
        ("init image", "/spec/initContainers", json!([with_image("first", Some("evil"))]), "run the receivers' image"),
        ("a container before it", "/spec/initContainers", json!([with_image("first", None)]), CONTAINER),
        ("a container beside it", "/spec/containers/-", with_image("second", None), CONTAINER),
        ("another name", "/spec/containers/0/name", json!("other"), CONTAINER),
        ("another program", "/spec/containers/0/command", json!(["/promarchive-operator"]), CONTAINER),
        ("the image's program", "/spec/containers/0/command", Value::Null, CONTAINER),
        (
            "other arguments",
            "/spec/containers/0/args",
            json!(["receive", "--archive", "/var/lib/promarchive"]),
            CONTAINER,
        ),
        ("no arguments", "/spec/containers/0/args", Value::Null, CONTAINER),
        ("envFrom", "/spec/containers/0/envFrom", json!([{"secretRef": {"name": "theirs"}}]), ENVIRONMENT),
        (
            "env",
            "/spec/containers/0/env",
            json!([{"name": "x", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "a"}}}]),
            ENVIRONMENT,
        ),
        (
            "a library from the claim",
            "/spec/containers/0/env",
            json!([{"name": "LD_PRELOAD", "value": "/var/lib/promarchive/evil.so"}]),
            ENVIRONMENT,
        ),
        ("a probe of another host", of_probe("httpGet/host"), json!("evil.example.org"), NETWORK),
        ("a probe with a header", of_probe("httpGet/httpHeaders"), json!([{"name": "a", "value": "b"}]), NETWORK),
        ("a probe that flushes", of_probe("httpGet/path"), json!("/-/flush"), NETWORK),
        ("a probe of another port", of_probe("httpGet/port"), json!(22), NETWORK),
        ("a probe that runs something", probe, json!({"exec": {"command": ["/promarchive"]}}), NETWORK),
        ("a probe of TCP", "/spec/containers/0/startupProbe", json!({"tcpSocket": {"port": 22}}), NETWORK),
        ("a hook", "/spec/containers/0/lifecycle", hook, FIELDS),
        (
            "another place for last words",
            "/spec/containers/0/terminationMessagePath",
            json!("/etc/promarchive/tokens"),
            FIELDS,
        ),
        ("a terminal", "/spec/containers/0/tty", json!(true), FIELDS),
    ]
}

fn denied_files() -> Vec<Case> {
    let token = json!({"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]}});
    let mount = "/spec/containers/0/volumeMounts/0";
    let of_mount = |field: &str| -> &'static str { format!("{mount}/{field}").leak() };
    vec![
        ("host path", "/spec/volumes/-", json!({"name": "x", "hostPath": {"path": "/"}}), VOLUMES),
        ("Secret", "/spec/volumes/-", json!({"name": "x", "secret": {"secretName": "theirs"}}), VOLUMES),
        ("Secret in place of ours", "/spec/volumes/2/secret/secretName", json!("theirs"), VOLUMES),
        ("all of our Secret", "/spec/volumes/2/secret/items", Value::Null, VOLUMES),
        ("another archive's key", "/spec/volumes/2/secret/items/0/key", json!("team.lab.tls.key"), VOLUMES),
        ("the authority's key", "/spec/volumes/2/secret/items/0/key", json!("monitoring.new.ca.key"), VOLUMES),
        ("projected token", "/spec/volumes/-", token, VOLUMES),
        ("an image", "/spec/volumes/-", json!({"name": "x", "image": {"reference": "evil"}}), VOLUMES),
        ("another ConfigMap", "/spec/volumes/1/configMap/name", json!("theirs"), VOLUMES),
        (
            "a second claim",
            "/spec/volumes/-",
            json!({"name": "x", "persistentVolumeClaim": {"claimName": "x"}}),
            VOLUMES,
        ),
        ("an empty directory", "/spec/volumes/-", json!({"name": "x", "emptyDir": {}}), VOLUMES),
        ("another directory", of_mount("mountPath"), json!("/promarchive"), MOUNTS),
        ("a part", of_mount("subPath"), json!("a"), MOUNTS),
        ("a part by an expression", of_mount("subPathExpr"), json!("$(A)"), MOUNTS),
        ("mounts for the node", of_mount("mountPropagation"), json!("HostToContainer"), MOUNTS),
    ]
}
