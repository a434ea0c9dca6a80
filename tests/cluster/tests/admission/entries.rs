//! The operator's entries in `spec.remoteWrite`: each sends to the archive that its name says, with the token for it, and only where
//! that archive may have what the Prometheus scrapes.

use promarchive_cluster::Cluster;
use serde_json::{Value, json};

use crate::requests::{Requests, assert_answer};

/// Two entries as the operator has written them since its first release.
const WRITTEN: [&str; 2] = [
    include_str!("../../../../crates/operator/src/senders/entry/golden/plain.json"),
    include_str!("../../../../crates/operator/src/senders/entry/golden/full.json"),
];

const SECRET: &str = "promarchive-remote-write";

/// What the name of a Prometheus must have for its key in the Secret to be over 253 bytes with `monitoring.lab.`.
const LONG: usize = 235;

/// An entry of the archive `monitoring/lab` in the object `prometheus`, with most of the fields that it can have.
pub(crate) fn entry(kind: &str, prometheus: &str, hash: &str) -> Value {
    let letter = if kind == "Prometheus" { "p" } else { "a" };
    let name = format!("promarchive/monitoring/lab/{hash}");
    json!({
        "name": name,
        "url": "https://lab-receiver.monitoring.svc:9201/api/v1/write",
        "messageVersion": "V2.0",
        "sendExemplars": true,
        "sendNativeHistograms": true,
        "headers": {"X-Promarchive-Entry": name},
        "authorization": {
            "type": "Bearer",
            "credentials": {"name": SECRET, "key": format!("monitoring.lab.{prometheus}.{letter}.token")},
        },
        "tlsConfig": {
            "ca": {"secret": {"name": SECRET, "key": "monitoring.lab.ca.crt"}},
            "serverName": "lab-receiver.monitoring.svc",
        },
        "writeRelabelConfigs": [{"sourceLabels": ["__name__"], "regex": "go_.*|(?i:x)[^\\d]\\pL{2,7}", "action": "drop"}],
        "queueConfig": {
            "capacity": 100_000, "minShards": 1, "maxShards": 200, "maxSamplesPerSend": 20_000, "batchSendDeadline": "5s",
            "retryOnRateLimit": true,
        },
    })
}

/// One that is there and could not be written now.
pub(crate) fn legacy(hash: &str) -> Value {
    json!({
        "name": format!("promarchive/monitoring/lab/{hash}"),
        "url": "https://lab-receiver.monitoring.svc:9201/api/v1/write",
        "remoteTimeout": "7s",
        "authorization": {"credentials": {"name": SECRET, "key": "monitoring.lab.token"}},
    })
}

/// What may be in the annotation of an object; the archive of every case is `team-a/lab`. As in crates/operator/src/senders/consent.rs.
const CONSENT: [&str; 4] = ["team-a/lab", "team-a/*", " x/y , team-a/lab ", "team-a/other,\tteam-a/*"];
const NO_CONSENT: [&str; 13] = [
    "",
    "*",
    "*/*",
    "*/lab",
    "team-a",
    "team-a/",
    "team-a/la",
    "team-a/lab2",
    "team-b/lab",
    "lab",
    "team-a/lab/x",
    "Team-A/lab",
    "team-a//lab",
];

fn prometheus(namespace: &str, name: &str, annotation: Option<&str>) -> Value {
    let mut object = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"remoteWrite": []},
    });
    if let Some(annotation) = annotation {
        object["metadata"]["annotations"] = json!({"promarchive.dev/allow-archives": annotation});
    }
    object
}

/// In the namespace `team`, one Prometheus for each text; and namespaces that consent.
pub(crate) fn create(cluster: &Cluster) {
    let mut objects = vec![prometheus("monitoring", &"x".repeat(LONG), None), prometheus("team", "silent", None)];
    let texts = CONSENT.iter().chain(&NO_CONSENT).enumerate();
    objects.extend(texts.map(|(index, text)| prometheus("team", &format!("c{index}"), Some(text))));
    for (name, text) in [("consents", "team-a/*"), ("consents-to-another", "team-a/other")] {
        objects.push(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "annotations": {"promarchive.dev/allow-archives": text}},
        }));
        objects.push(prometheus(name, "k8s", None));
    }
    let all: Vec<String> = objects.iter().map(ToString::to_string).collect();
    cluster.apply(&all.join("\n---\n")).unwrap();
}

/// `entry` with the field at `pointer` set.
fn with(kind: &str, pointer: &str, value: Value) -> Value {
    let mut entry = entry(kind, "k8s", "22222222");
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    entry.pointer_mut(parent).unwrap()[field] = value;
    entry
}

fn without(kind: &str, field: &str) -> Value {
    let mut entry = entry(kind, "k8s", "22222222");
    entry.as_object_mut().unwrap().remove(field);
    entry
}

fn add(entry: &Value) -> Value {
    json!([{"op": "add", "path": "/spec/remoteWrite/-", "value": entry}])
}

pub(crate) fn check(operator: &Requests, kind: &str) {
    let k8s = (kind, "monitoring", "k8s");
    for (case, entry, message) in denied(kind) {
        assert_answer(case, &operator.patch(k8s, &add(&entry)), message);
    }
    for (case, entry) in allowed(kind) {
        assert_answer(case, &operator.patch(k8s, &add(&entry)), "");
    }
    if kind == "Prometheus" {
        for written in WRITTEN {
            let written: Value = serde_json::from_str(written).unwrap();
            assert_answer("as written", &operator.patch(k8s, &add(&written)), "");
        }
        long_names(operator);
    }
}

fn allowed(kind: &str) -> Vec<(&'static str, Value)> {
    let mut clear = without(kind, "tlsConfig");
    clear["url"] = json!("http://lab-receiver.monitoring.svc:9201/api/v1/write");
    vec![
        ("clear text", clear),
        ("a lowest version", with(kind, "/tlsConfig/minVersion", json!("TLS13"))),
        ("without rules", without(kind, "writeRelabelConfigs")),
        ("without a queue", without(kind, "queueConfig")),
        ("a rule without a regular expression", with(kind, "/writeRelabelConfigs", json!([{"action": "labeldrop"}]))),
        ("the largest rules", with(kind, "/writeRelabelConfigs", json!(vec![largest_rule(); 32]))),
        (
            "labels with other names",
            with(kind, "/writeRelabelConfigs", json!([vec![map("a_(.+)", "$1"); 3], vec![map("a", "b"); 29]].concat())),
        ),
    ]
}

/// One of the largest that the operator takes.
fn largest_rule() -> Value {
    let labels: Vec<String> = (0..32).map(|number| format!("l{number}")).collect();
    json!({
        "sourceLabels": labels, "separator": "-".repeat(16), "targetLabel": "t".repeat(128), "regex": "é".repeat(4_096),
        "replacement": "é".repeat(1_024),
    })
}

fn map(regex: &str, replacement: &str) -> Value {
    json!({"action": "labelmap", "regex": regex, "replacement": replacement})
}

const FIELDS: &str = "may have only fields that the operator sets";
const URL: &str = "must send to the receiver of the archive in its name";
const HEADER: &str = "only the header X-Promarchive-Entry";
const TOKEN: &str = "must use the token of this object for the archive in its name";
const AUTHORITY: &str = "must use the certificate authority of the archive in its name";
const NOT_ALLOWED: &str = "does not consent to the archive";
const QUEUE: &str = "at most 200 shards, a capacity of 100000 and 20000 samples per send";
const RULES: &str = "at most 32 relabelling rules";
const EXPRESSIONS: &str = "regular expressions in the relabelling rules of an entry of promarchive must be valid";
const SYNTAX: &str = "error parsing regexp";

fn denied(kind: &str) -> Vec<(&'static str, Value, &'static str)> {
    let other = json!({"name": "other", "key": "x"});
    let ours = json!({"name": SECRET, "key": "monitoring.lab.ca.crt"});
    let url = |url: &str| with(kind, "/url", json!(url));
    let token = |key: &str| with(kind, "/authorization/credentials/key", json!(key));
    let rule = |regex: &str| with(kind, "/writeRelabelConfigs", json!([{"action": "drop", "regex": regex}]));
    let larger = |field: &str, value: Value| {
        let mut rule = largest_rule();
        rule[field] = value;
        with(kind, "/writeRelabelConfigs", json!([rule]))
    };
    let maps = |rule: Value| with(kind, "/writeRelabelConfigs", json!(vec![rule; 4]));
    // As it was found: a Prometheus got an entry with any URL of the cluster.
    let mut elsewhere = entry(kind, "k8s", "22222222");
    elsewhere["url"] = json!("https://thief-receiver.evil.svc:9201/api/v1/write");
    vec![
        ("another archive's Service", elsewhere, URL),
        ("another namespace's Service", url("https://lab-receiver.evil.svc:9201/api/v1/write"), URL),
        ("another host", url("https://evil.example.org/api/v1/write"), URL),
        ("nearly a Service", url("https://lab-receiver.monitoring.svc.example.org:9201/api/v1/write"), URL),
        ("user information", url("https://lab-receiver.monitoring.svc:9201@evil.b.svc:9201/api/v1/write"), URL),
        ("another path", url("https://lab-receiver.monitoring.svc:9201/api/v1/write?x=1"), URL),
        ("another port", url("https://lab-receiver.monitoring.svc:443/api/v1/write"), URL),
        ("clear text with an authority", url("http://lab-receiver.monitoring.svc:9201/api/v1/write"), URL),
        ("no authority", without(kind, "tlsConfig"), URL),
        ("basicAuth", with(kind, "/basicAuth", json!({"username": ours, "password": other})), FIELDS),
        ("bearerTokenFile", with(kind, "/bearerTokenFile", json!("/var/run/secrets/x")), FIELDS),
        ("proxyUrl", with(kind, "/proxyUrl", json!("http://evil")), FIELDS),
        ("remoteTimeout", with(kind, "/remoteTimeout", json!("1h")), FIELDS),
        ("another header", with(kind, "/headers/X-Scope-OrgID", json!("x")), HEADER),
        (
            "another entry's header",
            with(kind, "/headers/X-Promarchive-Entry", json!("promarchive/a/b/22222222")),
            HEADER,
        ),
        ("no header", without(kind, "headers"), HEADER),
        ("no token", without(kind, "authorization"), TOKEN),
        ("another scheme", with(kind, "/authorization/type", json!("Basic")), TOKEN),
        ("Secret of others", with(kind, "/authorization/credentials", other.clone()), TOKEN),
        ("credentialsFile", with(kind, "/authorization", json!({"credentialsFile": "/var/run/secrets/x"})), TOKEN),
        ("token of another archive", token("monitoring.other.k8s.p.token"), TOKEN),
        ("token of another namespace's archive", token("team.lab.k8s.p.token"), TOKEN),
        ("token of another Prometheus", token("monitoring.lab.other.p.token"), TOKEN),
        (
            "token of another kind",
            token(if kind == "Prometheus" { "monitoring.lab.k8s.a.token" } else { "monitoring.lab.k8s.p.token" }),
            TOKEN,
        ),
        ("the operator's token", token("monitoring.lab.operator.token"), TOKEN),
        ("the private key", token("monitoring.lab.tls.key"), TOKEN),
        ("CA of others", with(kind, "/tlsConfig/ca/secret", other.clone()), AUTHORITY),
        ("CA of another archive", with(kind, "/tlsConfig/ca/secret/key", json!("team.lab.ca.crt")), AUTHORITY),
        ("CA in a ConfigMap", with(kind, "/tlsConfig/ca", json!({"configMap": ours})), AUTHORITY),
        ("no CA", with(kind, "/tlsConfig", json!({"serverName": "lab-receiver.monitoring.svc"})), AUTHORITY),
        ("another name in the certificate", with(kind, "/tlsConfig/serverName", json!("evil")), AUTHORITY),
        ("certificate", with(kind, "/tlsConfig/cert", json!({"secret": ours})), AUTHORITY),
        ("key", with(kind, "/tlsConfig/keySecret", other), AUTHORITY),
        ("no verification", with(kind, "/tlsConfig/insecureSkipVerify", json!(true)), AUTHORITY),
        ("old versions", with(kind, "/tlsConfig/minVersion", json!("TLS10")), AUTHORITY),
        ("capacity", with(kind, "/queueConfig/capacity", json!(10_000_000)), QUEUE),
        ("shards", with(kind, "/queueConfig/maxShards", json!(1_000)), QUEUE),
        ("least shards", with(kind, "/queueConfig/minShards", json!(1_000)), QUEUE),
        ("samples a send", with(kind, "/queueConfig/maxSamplesPerSend", json!(1_000_000)), QUEUE),
        ("another field of the queue", with(kind, "/queueConfig/maxBackoff", json!("1d")), QUEUE),
        ("many rules", with(kind, "/writeRelabelConfigs", json!(vec![json!({"action": "drop"}); 33])), RULES),
        ("many labels", larger("sourceLabels", json!(vec!["a"; 33])), RULES),
        ("a long separator", larger("separator", json!("-".repeat(17))), RULES),
        ("a long name", larger("targetLabel", json!("a".repeat(129))), RULES),
        ("a long text", larger("replacement", json!("a".repeat(1_025))), RULES),
        ("a long expression", larger("regex", json!("a".repeat(4_097))), EXPRESSIONS),
        // As it was found: each doubles the labels.
        ("labels over and over", maps(map("(.+)", "a_${1}")), RULES),
        ("the same, with another name of the action", maps(json!({"action": "LabelMap", "regex": "(.+)"})), RULES),
        ("the same, all to one name", maps(map("(.+)", "a")), RULES),
        ("the same, without an expression", maps(json!({"action": "labelmap", "replacement": "a"})), RULES),
        ("repetition of a repetition", rule(".**"), SYNTAX),
        ("a group's name", rule("(?P<a.b>up)"), SYNTAX),
        ("a property", rule("\\p{Alphabetic}+"), SYNTAX),
        ("out of the group", rule("a)(b))("), SYNTAX),
    ]
}

/// A name with which the key would be too long is replaced by its hash.
fn long_names(operator: &Requests) {
    let long = "x".repeat(LONG);
    let name = ("Prometheus", "monitoring", long.as_str());
    let mut new = entry("Prometheus", "k8s", "22222222");
    for (key, message) in [
        (format!("monitoring.lab._{}.p.token", "0".repeat(32)), ""),
        (format!("monitoring.lab._{}.p.token", "0".repeat(31)), TOKEN),
        (format!("monitoring.lab.{}.p.token", "0".repeat(33)), TOKEN),
        (format!("monitoring.other._{}.p.token", "0".repeat(30)), TOKEN),
    ] {
        new["authorization"]["credentials"]["key"] = json!(key);
        assert_answer(&key, &operator.patch(name, &add(&new)), message);
    }
    // And a name with which the header would be.
    let (namespace, archive) = ("n".repeat(63), "a".repeat(52));
    let host = format!("{archive}-receiver.{namespace}.svc");
    new["name"] = json!(format!("promarchive/{namespace}/{archive}/22222222"));
    new["url"] = json!(format!("https://{host}:9201/api/v1/write"));
    new["tlsConfig"]["serverName"] = json!(host);
    new["tlsConfig"]["ca"]["secret"]["key"] = json!(format!("{namespace}.{archive}.ca.crt"));
    new["authorization"]["credentials"]["key"] = json!(format!("{namespace}.{archive}.c0.p.token"));
    new["headers"] = json!({"X-Promarchive-Entry": "promarchive/22222222"});
    // It gets as far as the question whether there is consent.
    assert_answer("the longest names", &operator.patch(("Prometheus", "team", "c0"), &add(&new)), NOT_ALLOWED);
}

/// An archive of another namespace gets only what it is allowed to have.
pub(crate) fn check_consent(operator: &Requests) {
    let of = |prometheus: &str| {
        let text = entry("Prometheus", prometheus, "22222222").to_string().replace("monitoring", "team-a");
        add(&serde_json::from_str(&text).unwrap())
    };
    let texts = CONSENT.iter().map(|text| (text, "")).chain(NO_CONSENT.iter().map(|text| (text, NOT_ALLOWED)));
    for (index, (text, message)) in texts.enumerate() {
        let name = format!("c{index}");
        assert_answer(text, &operator.patch(("Prometheus", "team", &name), &of(&name)), message);
    }
    assert_answer("no annotation", &operator.patch(("Prometheus", "team", "silent"), &of("silent")), NOT_ALLOWED);
    assert_answer("namespace", &operator.patch(("Prometheus", "consents", "k8s"), &of("k8s")), "");
    let other = ("Prometheus", "consents-to-another", "k8s");
    assert_answer("namespace, another archive", &operator.patch(other, &of("k8s")), NOT_ALLOWED);
}
