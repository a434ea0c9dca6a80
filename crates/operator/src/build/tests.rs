use super::*;
use crate::entry::ArchiveName;
use crate::validate::validate;

fn archive(spec: Value) -> Archive {
    let archive = json!({
        "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive",
        "metadata": {"name": "lab", "namespace": "team", "uid": "u"}, "spec": spec,
    });
    validate(&serde_json::from_value(archive).unwrap()).unwrap()
}

fn objects(archive: &Archive) -> Vec<Desired> {
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
        operator_token: "t",
        sender_namespaces: &BTreeSet::from(["monitoring".to_owned()]),
        claim_size: Some("20Gi"),
        ipv6: false,
        pod_monitors: true,
        snippets: &BTreeMap::new(),
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
        promarchive_api::ReceiverConfig::from_yaml("receiver.yaml", data["receiver.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(config.listen.unwrap().port(), 9201);
    assert_eq!(config.label_columns.unwrap().names(), ["pod"]);
    assert_eq!(config.sender_label.unwrap().name(), "sender");
    assert_eq!(config.max_past.unwrap().to_string(), "30d");
    assert_eq!(config.unknown_tokens, Some(promarchive_api::UnknownTokens::Retry));
    assert!(data["tokens"].as_str().unwrap().lines().nth(1).unwrap().ends_with(" operate"));
}

#[test]
fn names_of_the_longest_archive_are_names() {
    let name = ArchiveName::new("n".repeat(63), "a".repeat(52));
    assert!(name.receiver().len() <= 63 && name.claim().len() <= 63 && name.secret_manager().len() <= 128);
}
