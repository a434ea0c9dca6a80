//! What the definition of the kind refuses, and what becomes of objects that it would refuse but an older one stored.

use promarchive_cluster::Cluster;
use serde_json::{Value, json};

use crate::Case;
use crate::place::{Place, foreign};
use crate::suite::{Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[
    ("schema::each_rule_refuses_and_lets_pass", each_rule_refuses_and_lets_pass),
    ("schema::what_an_older_one_stored_is_told_and_goes", what_an_older_one_stored_is_told_and_goes),
    ("schema::an_entry_past_the_limits_stays_until_its_settings_change", past_the_limits),
];

const STORED: &str = "schema-stored";
const PAST_LIMITS: &str = "schema-limits";

/// A rule's message, what a new archive's spec is merged with, and two patches of it: one is refused by this rule, one is not.
fn rules() -> Vec<(&'static str, Value, Value, Value)> {
    let volume = |fields: Value| json!({"storage": {"persistentVolume": fields}});
    let item = |fields: Value| {
        let mut item = json!({"id": "a", "name": "main"});
        fields.as_object().unwrap().iter().for_each(|(key, value)| item[key] = value.clone());
        json!({"prometheuses": [item]})
    };
    let columns = |columns: Value| json!({"receiver": {"labelColumns": columns}});
    let queue = |fields: Value| item(json!({"remoteWrite": {"queue": fields}}));
    vec![
        (
            "maxShards * (capacity + maxSamplesPerSend) must be at most 6000000",
            json!({}),
            queue(json!({"capacity": 100_000, "maxShards": 59})),
            queue(json!({"capacity": 100_000, "maxShards": 58})),
        ),
        (
            "maxShards * maxSamplesPerSend must be at most 1000000",
            json!({}),
            queue(json!({"maxSamplesPerSend": 20_000, "maxShards": 51})),
            queue(json!({"maxSamplesPerSend": 20_000})),
        ),
        (
            "batchSendDeadline must be from 100ms to 10s",
            json!({}),
            queue(json!({"batchSendDeadline": "10s1ms"})),
            queue(json!({"batchSendDeadline": "9s999ms"})),
        ),
        (
            "should match",
            json!({}),
            queue(json!({"batchSendDeadline": "5s5s"})),
            queue(json!({"batchSendDeadline": "100ms"})),
        ),
        (
            "less than or equal to 100000",
            json!({}),
            queue(json!({"capacity": 100_001, "maxShards": 1})),
            queue(json!({"capacity": 100_000, "maxShards": 1})),
        ),
        (
            "less than or equal to 200",
            json!({}),
            queue(json!({"maxShards": 1_000, "capacity": 1, "maxSamplesPerSend": 1})),
            queue(json!({"maxShards": 200, "capacity": 1, "maxSamplesPerSend": 1})),
        ),
        (
            "minShards must not be greater than maxShards",
            json!({}),
            item(json!({"remoteWrite": {"queue": {"minShards": 3, "maxShards": 2}}})),
            item(json!({"remoteWrite": {"queue": {"minShards": 2, "maxShards": 2}}})),
        ),
        (
            "set exactly one of name and selector",
            json!({}),
            item(json!({"selector": {}})),
            item(json!({"name": null, "selector": {}})),
        ),
        ("set exactly one of name and selector", json!({}), item(json!({"name": null})), item(json!({}))),
        (
            "priorityClassName must not be a system class",
            json!({}),
            json!({"receiver": {"priorityClassName": "system-node-critical"}}),
            json!({"receiver": {"priorityClassName": "archives"}}),
        ),
        (
            "networkPolicyPeers: each item must have either ipBlock",
            json!({}),
            json!({"receiver": {"networkPolicyPeers": [{}]}}),
            json!({"receiver": {"networkPolicyPeers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}}),
        ),
        (
            "networkPolicyPeers is only valid with networkPolicy Managed",
            json!({"receiver": {"networkPolicyPeers": [{"podSelector": {}}]}}),
            json!({"receiver": {"networkPolicy": "None"}}),
            json!({"receiver": {"networkPolicy": "None", "networkPolicyPeers": null}}),
        ),
        (
            "tls cannot be changed",
            json!({}),
            json!({"receiver": {"tls": "Disabled"}}),
            json!({"receiver": {"tls": "SelfSigned"}}),
        ),
        (
            "labelColumns cannot be changed",
            columns(json!(["job"])),
            columns(json!(["job", "pod"])),
            columns(json!(["job"])),
        ),
        ("labelColumns cannot be changed", json!({}), columns(json!([])), json!({"receiver": {"flushInterval": "1m"}})),
        (
            "set exactly one of size (for a new claim) and existingClaim",
            json!({}),
            volume(json!({"existingClaim": "c"})),
            volume(json!({"size": "2Gi"})),
        ),
        (
            "storageClassName and accessMode are only valid for a new claim",
            volume(json!({"size": null, "existingClaim": "c"})),
            volume(json!({"accessMode": "ReadWriteOnce"})),
            json!({"paused": true}),
        ),
        (
            "the claim of an archive cannot be changed",
            volume(json!({"size": null, "existingClaim": "c"})),
            volume(json!({"existingClaim": "d"})),
            volume(json!({"existingClaim": "c"})),
        ),
        (
            "storageClassName cannot be changed",
            volume(json!({"storageClassName": "x"})),
            volume(json!({"storageClassName": "y"})),
            volume(json!({"storageClassName": "x"})),
        ),
        (
            "accessMode cannot be changed",
            volume(json!({"accessMode": "ReadWriteOnce"})),
            volume(json!({"accessMode": "ReadWriteOncePod"})),
            volume(json!({"accessMode": "ReadWriteOnce"})),
        ),
        ("size can only be increased", json!({}), volume(json!({"size": "1000Mi"})), volume(json!({"size": "1.5Gi"}))),
        (
            "size must be a quantity of more than 256Mi",
            json!({}),
            volume(json!({"size": "much"})),
            volume(json!({"size": "1024Mi"})),
        ),
        (
            "set persistentVolume, the storage of the tables",
            json!({}),
            json!({"storage": {"persistentVolume": null}}),
            json!({"paused": false}),
        ),
        // Not rules, but fields that only know some values.
        ("Unsupported value", json!({}), json!({"deletionPolicy": "Maybe"}), json!({"deletionPolicy": "Delete"})),
        (
            "should match",
            json!({}),
            json!({"receiver": {"flushInterval": "soon"}}),
            json!({"receiver": {"flushInterval": "1m30s"}}),
        ),
        (
            "Too many",
            json!({}),
            json!({"prometheuses": (0..33).map(|n| json!({"id": format!("a{n}"), "name": "x"})).collect::<Vec<_>>()}),
            json!({"prometheuses": (0..32).map(|n| json!({"id": format!("a{n}"), "name": "x"})).collect::<Vec<_>>()}),
        ),
        (
            "Duplicate value",
            json!({}),
            json!({"prometheuses": [{"id": "a", "name": "x"}, {"id": "a", "name": "y"}]}),
            json!({"prometheuses": [{"id": "a", "name": "x"}, {"id": "b", "name": "x"}]}),
        ),
    ]
}

fn each_rule_refuses_and_lets_pass(suite: &Suite) {
    let place = Place::new(suite, "schema");
    suite.kubelet.down("schema");
    for (number, (message, first, refused, accepted)) in rules().into_iter().enumerate() {
        let name = format!("rule-{number}");
        // Paused, so that the operator has nothing to do with it.
        let body = json!({"spec": {"paused": true, "storage": {"persistentVolume": {"size": "1Gi"}}}});
        let mut archive = place.object("MetricsArchive", "promarchive.dev/v1alpha1", &name, body);
        merge(&mut archive["spec"], &first);
        suite.api.create(archive).unwrap();
        let change = |patch: Value| suite.api.merge("metricsarchives", "schema", &name, json!({"spec": patch}));
        let answer = change(refused.clone()).expect_err(&refused.to_string());
        assert!(answer.code == 422 && answer.message.contains(message), "{refused}: {answer:?}");
        change(accepted.clone()).unwrap_or_else(|answer| panic!("{accepted}: {answer:?}"));
    }
    for (column, message) in [
        ("k8s.pod.name", "a name must not contain a dot"),
        ("Last_Timestamp", "a column of the tables of downsampled samples"),
    ] {
        let spec = json!({"spec": {"paused": true, "storage": {"persistentVolume": {"size": "1Gi"}},
            "receiver": {"labelColumns": ["pod", column]}}});
        let made = suite.api.create(place.object("MetricsArchive", "promarchive.dev/v1alpha1", "bad-column", spec));
        let refused = made.unwrap_err();
        assert!(refused.code == 422 && refused.message.contains(message), "{refused:?}");
    }
    for (name, is_good) in [
        ("a".repeat(52), true),
        ("a".repeat(53), false),
        ("a.b".to_owned(), false),
        ("9a".to_owned(), false),
        ("a-9".to_owned(), true),
    ] {
        let body = json!({"spec": {"paused": true, "storage": {"persistentVolume": {"size": "1Gi"}}}});
        let made = suite.api.create(place.object("MetricsArchive", "promarchive.dev/v1alpha1", &name, body));
        assert_eq!(made.is_ok(), is_good, "{name}: {made:?}");
        if let Err(refused) = made {
            assert!(refused.message.contains("metadata.name must have at most 52 characters"), "{refused:?}");
        }
    }
}

/// RFC 7396, as far as it is needed here.
fn merge(target: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().unwrap() {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(key)),
            Value::Object(_) if target[key].is_object() => merge(&mut target[key], value),
            value => target[key] = value.clone(),
        }
    }
}

/// What nobody could store now: name, object without metadata, and what the operator says of it; nothing if it is right after all.
fn stored() -> Vec<(String, Value, &'static str)> {
    let volume = json!({"persistentVolume": {"size": "1Gi"}});
    let with = |key: &str, value: Value| {
        let mut spec = json!({"storage": volume});
        spec[key] = value;
        json!({"spec": spec})
    };
    let huge = "x".repeat(200_000);
    [
        ("no-spec", json!({}), "cannot be read"),
        ("text-spec", json!({"spec": "much"}), "cannot be read"),
        ("no-storage", json!({"spec": {}}), "storage"),
        ("no-volume", json!({"spec": {"storage": {}}}), "spec.storage: no storage is set"),
        (
            "both-claims",
            json!({"spec": {"storage": {"persistentVolume": {"size": "1Gi", "existingClaim": "c"}}}}),
            "exactly one of size",
        ),
        ("no-size", json!({"spec": {"storage": {"persistentVolume": {"size": "lots"}}}}), "invalid size \"lots\""),
        ("unknown-policy", with("deletionPolicy", json!("Maybe")), "Maybe"),
        ("unknown-tls", with("receiver", json!({"tls": "Plain"})), "Plain"),
        ("number-tls", with("receiver", json!({"tls": 7})), "cannot be read"),
        ("unknown-mode", with("prometheuses", json!([{"id": "a", "name": "x", "mode": "Auto"}])), "Auto"),
        ("map-of-items", with("prometheuses", json!({"a": "b"})), "cannot be read"),
        ("same-ids", with("prometheuses", json!([{"id": "a", "name": "x"}, {"id": "a", "name": "y"}])), "two items"),
        ("no-target", with("prometheuses", json!([{"id": "a"}])), "set exactly one of name and selector"),
        ("long-flush", with("receiver", json!({"flushInterval": "9999999999999999999999d"})), "flushInterval"),
        ("huge-interval", with("receiver", json!({"flushInterval": huge})), "flushInterval"),
        ("huge-id", with("prometheuses", json!([{"id": huge}])), "set exactly one of name and selector"),
        ("negative-wal", with("receiver", json!({"walMaxBytes": "-5Gi"})), "walMaxBytes"),
        ("wrong-column", with("receiver", json!({"labelColumns": ["value"]})), "label column \"value\""),
        ("wrong-sender-label", with("receiver", json!({"senderLabel": "le"})), "the label le is reserved"),
        ("short-past", with("receiver", json!({"maxPast": "1h"})), "spec.receiver.maxPast: must be from 1d"),
        // What a new archive cannot have, one of an earlier version may.
        ("dotted-column", with("receiver", json!({"labelColumns": ["k8s.pod.name"]})), ""),
        ("dotted.name", with("paused", json!(false)), "metadata.name"),
        (&"n".repeat(60), with("paused", json!(false)), "metadata.name"),
        // A status of somebody's is no spec.
        ("odd-status", json!({"spec": {"storage": volume}, "status": {"conditions": "x", "prometheuses": 7}}), ""),
    ]
    .into_iter()
    .map(|(name, body, fault)| (name.to_owned(), body, fault))
    .collect()
}

/// Stores it all under a definition that lets anything in. The real one is to be applied by the same manager afterwards.
pub(crate) fn store_what_is_wrong(cluster: &Cluster) {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({
        "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": anything},
    });
    let names = json!({"kind": "MetricsArchive", "plural": "metricsarchives", "singular": "metricsarchive"});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "metricsarchives.promarchive.dev"},
        "spec": {"group": "promarchive.dev", "names": names, "scope": "Namespaced", "versions": [version]},
    });
    cluster.apply(&definition.to_string()).unwrap();
    cluster
        .kubectl(["wait", "--for=condition=Established", "crd", "metricsarchives.promarchive.dev", "--timeout=60s"])
        .unwrap();
    for namespace in [STORED, PAST_LIMITS] {
        cluster.kubectl(["create", "namespace", namespace]).unwrap();
    }
    let item = |namespace: &str, name: &str, mut body: Value| {
        body["apiVersion"] = json!("promarchive.dev/v1alpha1");
        body["kind"] = json!("MetricsArchive");
        body["metadata"] = json!({"name": name, "namespace": namespace});
        body
    };
    let mut items: Vec<Value> = stored().into_iter().map(|(name, body, _)| item(STORED, &name, body)).collect();
    items.push(item(PAST_LIMITS, "lab", json!({"spec": past(10_000_000)})));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    cluster.kubectl_with_input(&["create", "--filename=-"], &list.to_string()).unwrap();
}

/// What these begin with: the API server refuses every change of them, even of the status.
const WITHOUT_STATUS: &[&str] = &["number-tls", "dotted.nam", "nnnnnnnnnn"];

#[track_caller]
fn told_by_event(place: &Place, name: &str, fault: &str) {
    eventually(&format!("an Event of {name}"), 30, || {
        let events = place.suite.api.list("events", STORED, "");
        let its = |event: &&Value| event["regarding"]["name"] == name && event["reason"] == "InvalidSpec";
        match events.iter().find(its).and_then(|event| event["note"].as_str()) {
            Some(note) if note.contains(fault) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn what_an_older_one_stored_is_told_and_goes(suite: &Suite) {
    let place = Place::new(suite, STORED);
    suite.kubelet.down(STORED);
    for (name, _, fault) in stored() {
        if fault.is_empty() {
            place.condition(&name, "ReceiverAvailable", "False", "PodNotReady");
            continue;
        }
        if WITHOUT_STATUS.contains(&name.get(..10).unwrap_or(&name)) {
            told_by_event(&place, &name, fault);
            continue;
        }
        let message = place.condition(&name, "Stalled", "True", "InvalidSpec");
        assert!(message.contains(fault), "{name}: {message}");
        assert!(message.len() < 2_000, "{name}: {}", message.len());
        assert_eq!(place.condition(&name, "Ready", "False", "InvalidSpec"), message);
    }
    // Nothing was made for them.
    let made = suite.api.list("deployments", STORED, "").len();
    let good = stored().iter().filter(|(.., fault)| fault.is_empty()).count();
    assert_eq!(made, good, "Deployments");
    for (name, ..) in stored() {
        suite.api.delete("metricsarchives", STORED, &name);
    }
    eventually("all gone", 60, || match suite.api.list("metricsarchives", STORED, "") {
        left if left.is_empty() => Ok(()),
        left => Err(left
            .iter()
            .map(|one| format!("{} {}", one["metadata"]["name"], one["metadata"]["finalizers"]))
            .collect()),
    });
}

/// A spec with a queue of this capacity.
fn past(capacity: i32) -> Value {
    let item =
        json!({"id": "main", "name": "main", "drainTimeout": "5s", "remoteWrite": {"queue": {"capacity": capacity}}});
    json!({"storage": {"persistentVolume": {"size": "1Gi"}}, "prometheuses": [item]})
}

/// An earlier version let anybody ask for 10 million samples a shard. What it wrote goes on until somebody changes it.
fn past_the_limits(suite: &Suite) {
    let place = Place::new(suite, PAST_LIMITS);
    let name = format!("promarchive/{PAST_LIMITS}/lab/0123abcd");
    let old = json!({
        "name": name, "url": format!("https://lab-receiver.{PAST_LIMITS}.svc:9201/api/v1/write"),
        "headers": {"X-Promarchive-Entry": name}, "queueConfig": {"capacity": 10_000_000},
    });
    place.prometheus("main", Some(json!([foreign("a"), old])));
    let message = place.state("lab", "main", "PatchDenied");
    let wants = "spec.prometheuses[main].remoteWrite.queue.capacity: 10000000 is greater than 100000, the maximum for";
    assert!(message.contains(wants), "{message}");
    place.condition("lab", "PrometheusConfigured", "False", "NotConfigured");
    always("the entry stays", 3, || match place.entries("main", "lab").as_slice() {
        [one] if one["queueConfig"]["capacity"] == 10_000_000 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    suite.api.merge("metricsarchives", PAST_LIMITS, "lab", json!({"spec": past(20_000)})).unwrap();
    eventually("the new entry alone", 60, || match place.entries("main", "lab").as_slice() {
        [one] if one["queueConfig"]["capacity"] == 20_000 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
