use promarchive_api::ByteSize;
use serde_json::{Value, json};

use super::*;

fn archive(spec: Value) -> MetricsArchive {
    serde_json::from_value(json!({
        "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive",
        "metadata": {"name": "lab", "namespace": "team", "uid": "u"}, "spec": spec,
    }))
    .unwrap()
}

fn volume(size: &str) -> Value {
    json!({"persistentVolume": {"size": size}})
}

fn fault(spec: Value) -> String {
    validate(&archive(spec)).unwrap_err().to_string()
}

#[test]
fn defaults_follow_the_volume_and_the_memory() {
    let small = validate(&archive(json!({"storage": volume("8Gi")}))).unwrap();
    assert_eq!(small.receiver.wal_max_bytes, ByteSize(2 << 30));
    assert_eq!(small.receiver.memory_limit, ByteSize(1 << 30));
    let large =
        validate(&archive(json!({"storage": volume("1Ti"), "receiver": {"resources": {"limits": {"memory": "8Gi"}}}})))
            .unwrap();
    assert_eq!(large.receiver.wal_max_bytes, ByteSize(8 << 30));
    assert_eq!(large.receiver.memory_limit, ByteSize(4 << 30));
}

#[test]
fn a_selection_is_of_the_archives_own_namespace_unless_it_says_more() {
    let spec = json!({"storage": volume("8Gi"), "prometheuses": [
        {"id": "a", "name": "k8s"}, {"id": "b", "selector": {}, "namespaces": ["x", "y"]}]});
    let archive = validate(&archive(spec)).unwrap();
    assert_eq!(archive.selections[0].namespaces, ["team"]);
    assert_eq!(archive.selections[1].namespaces, ["x", "y"]);
    assert!(matches!(&archive.selections[1].target, Target::Labels(all) if all.selects_all()));
}

#[test]
fn what_is_wrong_is_named() {
    let with = |key: &str, value: Value| {
        let mut spec = json!({"storage": volume("8Gi")});
        spec[key] = value;
        spec
    };
    let existing = |name: &str| json!({"storage": {"persistentVolume": {"existingClaim": name}}});
    for (spec, wants) in [
        (json!({"storage": {}}), "spec.storage: no storage is set"),
        (json!({"storage": volume("big")}), "spec.storage.persistentVolume.size: invalid size \"big\""),
        (json!({"storage": {"persistentVolume": {"size": "1Gi", "existingClaim": "c"}}}), "exactly one of size"),
        (existing("../secrets/c"), "spec.storage.persistentVolume.existingClaim: invalid name"),
        (existing("c?watch=1"), "existingClaim: invalid name"),
        (existing("c."), "existingClaim: invalid name"),
        (existing(""), "existingClaim: invalid name"),
        (with("receiver", json!({"flushInterval": "2d"})), "spec.receiver.flushInterval: must be"),
        (with("receiver", json!({"walMaxBytes": "1Ki"})), "spec.receiver.walMaxBytes: must be"),
        (with("receiver", json!({"maxPast": "1h"})), "spec.receiver.maxPast: must be from 1d"),
        (with("receiver", json!({"senderLabel": "le"})), "spec.receiver.senderLabel: the label le is reserved"),
        (with("receiver", json!({"labelColumns": ["value"]})), "spec.receiver.labelColumns: label column \"value\""),
        (
            with("receiver", json!({"resources": {"limits": {"memory": "64Mi"}}})),
            "limits.memory: invalid memory limit \"64Mi\"",
        ),
        (with("prometheuses", json!([{"id": "a", "name": "x"}, {"id": "a", "name": "y"}])), "two items"),
        (with("prometheuses", json!([{"id": "a"}])), "spec.prometheuses[a]: set exactly one of"),
        (
            with("prometheuses", json!([{"id": "a", "name": "x", "drainTimeout": "2h"}])),
            "spec.prometheuses[a].drainTimeout",
        ),
        (
            with(
                "prometheuses",
                json!([{"id": "a", "selector": {"matchExpressions": [{"key": "k", "operator": "Near"}]}}]),
            ),
            "spec.prometheuses[a].selector",
        ),
    ] {
        let fault = fault(spec);
        assert!(fault.contains(wants), "{fault}\nwants {wants}");
    }
}
