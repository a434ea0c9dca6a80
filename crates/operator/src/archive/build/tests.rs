use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::archive::validate::validate;
use crate::kubernetes::kind::Kind;
use crate::names::{APPLIED, ArchiveName, COMPONENT, CONFIG_HASH};

fn archive(spec: Value) -> Archive {
    let archive = json!({
        "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive",
        "metadata": {"name": "lab", "namespace": "team", "uid": "u"}, "spec": spec,
    });
    validate(&serde_json::from_value(archive).unwrap()).unwrap()
}

fn objects(archive: &Archive) -> Vec<Desired> {
    objects_if(archive, true, Some("u"))
}

fn objects_if(archive: &Archive, may_mount: bool, claim_made_for: Option<&str>) -> Vec<Desired> {
    let defaults = ReceiverDefaults {
        image: "promarchive:test".to_owned(),
        pull_policy: "Never".to_owned(),
        fs_group: Some(65532),
        operator_namespace: "promarchive".to_owned(),
    };
    let inputs = Inputs {
        defaults: &defaults,
        senders: &BTreeMap::new(),
        carried: &[],
        operator_tokens: &["t"],
        sender_namespaces: &BTreeSet::from(["monitoring".to_owned()]),
        claim_size: Some("20Gi"),
        claim_made_for,
        may_mount,
        ipv6: false,
        pod_monitors: true,
        snippets: &BTreeMap::from([("prometheus.team.k8s.yaml".to_owned(), "remoteWrite: []".to_owned())]),
    };
    build(archive, &inputs)
}

fn of(kind: Kind, objects: &[Desired]) -> Value {
    objects.iter().find(|object| object.kind == kind).unwrap().object.clone()
}

#[test]
fn the_same_archive_gives_the_same_bytes_and_another_one_gives_another_hash() {
    let one = archive(json!({"storage": {"persistentVolume": {"size": "10Gi"}}}));
    assert_eq!(objects(&one), objects(&one));
    let other =
        archive(json!({"storage": {"persistentVolume": {"size": "10Gi"}}, "receiver": {"flushInterval": "1m"}}));
    let hash = |archive: &Archive, kind| of(kind, &objects(archive))["metadata"]["annotations"][APPLIED].clone();
    assert_ne!(hash(&one, Kind::Deployment), hash(&other, Kind::Deployment));
    let named =
        archive(json!({"storage": {"persistentVolume": {"size": "10Gi"}}, "receiver": {"senderLabel": "sender"}}));
    assert_ne!(hash(&one, Kind::Deployment), hash(&named, Kind::Deployment), "its receiver starts anew");
    assert_eq!(hash(&one, Kind::Service), hash(&other, Kind::Service));
}

#[test]
fn everything_is_owned_but_the_claim() {
    let objects = objects(&archive(json!({"storage": {"persistentVolume": {"size": "10Gi"}}})));
    for Desired { kind, object, .. } in &objects {
        let owned = object["metadata"]["ownerReferences"][0]["uid"] == "u";
        assert_eq!(owned, *kind != Kind::PersistentVolumeClaim, "{kind:?}");
        // A foreground deletion must not take the receiver away while it drains.
        assert!(!owned || object["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] == false);
    }
    assert_eq!(
        of(Kind::PersistentVolumeClaim, &objects)["spec"]["resources"]["requests"]["storage"],
        "20Gi",
        "a claim never shrinks"
    );
}

#[test]
fn the_pod_passes_the_restricted_level_and_sees_two_keys_of_the_secret() {
    let objects = objects(&archive(json!({"storage": {"persistentVolume": {"existingClaim": "mine"}}})));
    assert!(objects.iter().all(|object| object.kind != Kind::PersistentVolumeClaim));
    let pod = of(Kind::Deployment, &objects)["spec"]["template"]["spec"].clone();
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert!(pod["securityContext"].get("runAsUser").is_none(), "OpenShift chooses the user");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["capabilities"]["drop"][0], "ALL");
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], "mine");
    let items: Vec<&str> = pod["volumes"][2]["secret"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["key"].as_str().unwrap())
        .collect();
    assert_eq!(items, ["team.lab.tls.crt", "team.lab.tls.key"]);
}

#[test]
fn the_receivers_configuration_is_one_that_it_reads() {
    let objects = objects(&archive(json!({"storage": {"persistentVolume": {"size": "10Gi"}}, "receiver": {
            "labelColumns": ["pod"], "senderLabel": "sender", "maxPast": "30d"}})));
    let data = of(Kind::ConfigMap, &objects)["data"].clone();
    let config =
        promarchive_api::Configuration::from_yaml("receiver.yaml", data["receiver.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(config.receive.listen.unwrap().port(), 9201);
    assert_eq!(config.archive.label_columns.unwrap().names(), ["pod"]);
    assert_eq!(config.receive.sender_label.unwrap().name(), "sender");
    assert_eq!(config.receive.max_past.unwrap().to_string(), "30d");
    assert_eq!(config.receive.unknown_tokens, Some(promarchive_api::UnknownTokens::Retry));
    assert!(data["tokens"].as_str().unwrap().lines().nth(1).unwrap().ends_with(" operate"));
}

#[test]
fn names_of_the_longest_archive_are_names() {
    let name = ArchiveName::new("n".repeat(63), "a".repeat(52));
    assert!(name.receiver().len() <= 63 && name.claim().len() <= 63 && name.secret_manager().len() <= 128);
}

#[test]
fn a_claim_of_somebodys_is_mounted_only_if_it_may_be_and_its_files_keep_their_group() {
    let made = archive(json!({"storage": {"persistentVolume": {"size": "10Gi"}}}));
    let existing = archive(json!({"storage": {"persistentVolume": {"existingClaim": "mine"}}}));
    let security =
        |archive| of(Kind::Deployment, &objects(archive))["spec"]["template"]["spec"]["securityContext"].clone();
    assert_eq!(
        (&security(&made)["fsGroup"], &security(&made)["fsGroupChangePolicy"]),
        (&json!(65532), &json!("OnRootMismatch"))
    );
    for field in ["fsGroup", "fsGroupChangePolicy", "supplementalGroups"] {
        assert_eq!(security(&existing).get(field), None, "{field}");
    }
    let kinds: Vec<Kind> = objects_if(&existing, false, None).iter().map(|object| object.kind).collect();
    assert!(!kinds.contains(&Kind::Deployment) && kinds.contains(&Kind::Service), "{kinds:?}");
}

#[test]
fn a_claim_says_which_archive_it_was_made_for() {
    let archive = archive(json!({"storage": {"persistentVolume": {"size": "10Gi"}}}));
    let annotations = |of_uid| {
        of(Kind::PersistentVolumeClaim, &objects_if(&archive, true, of_uid))["metadata"]["annotations"].clone()
    };
    assert_eq!(annotations(Some("before"))[crate::names::ARCHIVE_UID], "before");
    assert_eq!(annotations(None).get(crate::names::ARCHIVE_UID), None);
    assert_eq!(annotations(Some("u"))[APPLIED], annotations(None)[APPLIED]);
}

#[test]
fn a_receiver_connects_to_nobody() {
    let policy = of(Kind::NetworkPolicy, &objects(&archive(json!({"storage": {"persistentVolume": {"size": "1Gi"}}}))));
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["spec"]["egress"], json!([]), "no rule: nothing is allowed");
    // What somebody adds is drift, and what Kubernetes leaves out is none.
    let mut live = policy.clone();
    live["spec"].as_object_mut().unwrap().remove("egress");
    assert_eq!(crate::kubernetes::drift::difference(&policy, &live), None);
    live["spec"]["egress"] = json!([{}]);
    assert_eq!(crate::kubernetes::drift::difference(&policy, &live).as_deref(), Some("spec.egress"));
}

#[test]
fn what_an_archive_asks_of_its_pod_stands_below_what_is_the_operators() {
    let volume = json!({"persistentVolume": {"size": "1Gi"}});
    let peer = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "scrapers"}}});
    let plain = objects(&archive(json!({"storage": volume})));
    let asked = objects(&archive(json!({"storage": volume, "receiver": {
        "podMetadata": {"labels": {"team": "lab"}, "annotations": {"example.com/contact": "lab"}},
        "podMonitor": {"labels": {"release": "stack"}},
        "imagePullSecrets": [{"name": "registry"}], "priorityClassName": "archives",
        "networkPolicyPeers": [peer],
    }})));
    let template = |all: &[Desired]| of(Kind::Deployment, all)["spec"]["template"].clone();
    let (before, after) = (template(&plain), template(&asked));
    let labels = after["metadata"]["labels"].as_object().unwrap();
    assert_eq!(labels["team"], "lab");
    for (key, value) in before["metadata"]["labels"].as_object().unwrap() {
        assert_eq!(&labels[key], value, "{key}");
    }
    assert_eq!(after["metadata"]["annotations"]["example.com/contact"], "lab");
    assert_eq!(after["metadata"]["annotations"][CONFIG_HASH], before["metadata"]["annotations"][CONFIG_HASH]);
    assert_eq!(after["spec"]["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(after["spec"]["priorityClassName"], "archives");
    // The pod alone; what it is selected by stays as it was made.
    assert_eq!(of(Kind::Deployment, &asked)["spec"]["selector"], of(Kind::Deployment, &plain)["spec"]["selector"]);
    let monitor = of(Kind::PodMonitor, &asked);
    assert_eq!(monitor["metadata"]["labels"]["release"], "stack");
    assert_eq!(monitor["spec"], of(Kind::PodMonitor, &plain)["spec"]);
    for kind in [Kind::Service, Kind::ConfigMap, Kind::Deployment] {
        assert_eq!(of(kind, &asked)["metadata"]["labels"].get("release"), None, "{kind:?}");
    }
    let from = |all: &[Desired]| of(Kind::NetworkPolicy, all)["spec"]["ingress"][0]["from"].as_array().unwrap().clone();
    assert_eq!(from(&asked), [from(&plain), vec![peer]].concat());
}

#[test]
fn every_object_says_which_component_it_is_of_and_what_is_shared_says_none() {
    for Desired { kind, name, object } in &objects(&archive(json!({"storage": {"persistentVolume": {"size": "1Gi"}}})))
    {
        let component = match name.as_str() {
            "lab-receiver" => json!("receiver"),
            "lab-archive" | "lab-remote-write" => Value::Null,
            _ => panic!("{kind:?} {name}"),
        };
        assert_eq!(object["metadata"]["labels"][COMPONENT], component, "{kind:?} {name}");
    }
}

#[test]
fn the_receivers_pods_are_selected_by_what_they_were_always_selected_by() {
    let objects = objects(&archive(json!({"storage": {"persistentVolume": {"size": "1Gi"}}})));
    // A Deployment's selector cannot be changed, and nothing else may lead to the pods of another component.
    let selector = json!({
        "app.kubernetes.io/name": "promarchive", "app.kubernetes.io/component": "receiver", "app.kubernetes.io/instance": "lab",
    });
    for (kind, path) in [
        (Kind::Deployment, "/spec/selector/matchLabels"),
        (Kind::Service, "/spec/selector"),
        (Kind::NetworkPolicy, "/spec/podSelector/matchLabels"),
        (Kind::PodMonitor, "/spec/selector/matchLabels"),
    ] {
        assert_eq!(of(kind, &objects).pointer(path), Some(&selector), "{kind:?}");
    }
    let labels = of(Kind::Deployment, &objects)["spec"]["template"]["metadata"]["labels"].clone();
    for (key, value) in selector.as_object().unwrap() {
        assert_eq!(&labels[key], value, "{key}");
    }
}
