//! Entries in Prometheus objects: when they come, what is around them, and what undoes them.

use serde_json::{Value, json};

use crate::Case;
use crate::place::{CHANGE, PATIENCE, Place, foreign, named};
use crate::suite::{Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[
    ("patch::comes_at_once_while_the_receiver_is_on_its_way", comes_at_once_while_the_receiver_is_on_its_way),
    ("patch::goes_by_the_receiver_and_not_by_another_container", goes_by_the_receiver_and_not_by_another_container),
    ("patch::does_not_come_while_there_is_no_claim", does_not_come_while_there_is_no_claim),
    ("patch::entries_of_others_stay_in_order", entries_of_others_stay_in_order),
    ("patch::what_somebody_undoes_is_mended", what_somebody_undoes_is_mended),
    ("patch::a_new_object_is_patched", a_new_object_is_patched),
    ("patch::odd_objects_have_their_states", odd_objects_have_their_states),
    ("patch::an_object_that_is_chosen_twice", an_object_that_is_chosen_twice),
    ("patch::an_agent", an_agent),
    ("patch::openshift_is_left_alone", openshift_is_left_alone),
    ("patch::manual_patches_nothing", manual_patches_nothing),
    ("patch::settings_change_by_a_second_entry", settings_change_by_a_second_entry),
];

fn comes_at_once_while_the_receiver_is_on_its_way(suite: &Suite) {
    let place = Place::new(suite, "patch-early");
    suite.kubelet.down("patch-early");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    let entry = place.entry("main", "lab");
    // With everything that it names.
    let keys = place.secret_keys();
    for key in [&entry["authorization"]["credentials"]["key"], &entry["tlsConfig"]["ca"]["secret"]["key"]] {
        assert!(keys.iter().any(|one| key == one), "{key} is not in {keys:?}");
    }
    place.condition("lab", "ReceiverAvailable", "False", "PodNotReady");
    suite.kubelet.up("patch-early");
    for (type_, status, reason) in [
        ("PrometheusConfigured", "True", "Configured"),
        ("ReceiverAvailable", "True", "Available"),
        ("StorageReachable", "True", "Reachable"),
        ("Ready", "False", "WaitingForSamples"),
    ] {
        place.condition("lab", type_, status, reason);
    }
    // The entry stays when the receiver goes away.
    suite.kubelet.down("patch-early");
    place.condition("lab", "ReceiverAvailable", "False", "PodNotReady");
    assert_eq!(place.entries("main", "lab"), [entry]);
    suite.kubelet.up("patch-early");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
}

/// A pod is not ready while one of its containers ends again and again.
fn goes_by_the_receiver_and_not_by_another_container(suite: &Suite) {
    let place = Place::new(suite, "patch-beside");
    suite.cluster.inject_failing_container("patch-beside", "beside").unwrap();
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    let first = place.entry("main", "lab");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    place.condition("lab", "StorageReachable", "True", "Reachable");
    let deployment = suite.api.get("deployments", "patch-beside", "lab-receiver").unwrap();
    assert!(deployment["status"]["availableReplicas"].is_null(), "its pod is ready: {deployment}");
    let service = suite.api.get("services", "patch-beside", "lab-receiver").unwrap();
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true, "{service}");
    // A second entry, unlike the first, comes only if the receiver takes samples.
    let mut item = named("main");
    item["remoteWrite"] = json!({"exemplars": false});
    place.archive("lab", json!([item]));
    eventually("the second entry alone", PATIENCE, || match place.entries("main", "lab").as_slice() {
        [one] if *one != first => Ok(()),
        other => Err(format!("{other:?} {}", place.status("lab"))),
    });
    // And the receiver's own end is one.
    suite.kubelet.down("patch-beside");
    place.condition("lab", "ReceiverAvailable", "False", "PodNotReady");
    suite.kubelet.up("patch-beside");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
}

fn does_not_come_while_there_is_no_claim(suite: &Suite) {
    let place = Place::new(suite, "patch-waits");
    place.prometheus("main", Some(json!([foreign("a")])));
    let storage = json!({"persistentVolume": {"existingClaim": "theirs"}});
    place.archive_with("lab", json!({"prometheuses": [named("main")], "storage": storage}));
    place.state("lab", "main", "WaitingForReceiver");
    place.condition("lab", "StorageReachable", "False", "ClaimNotFound");
    place.condition("lab", "PrometheusConfigured", "False", "WaitingForReceiver");
    always("no entry", 3, || match place.entries("main", "lab") {
        entries if entries.is_empty() => Ok(()),
        entries => Err(format!("{entries:?}")),
    });
    place.claim("theirs", json!({"promarchive.dev/allow-archives": "patch-waits/lab"}));
    place.entry("main", "lab");
}

/// Names of the entries, ours as `lab`.
fn names(place: &Place, prometheus: &str) -> Vec<String> {
    let name = |entry: Value| match entry["name"].as_str() {
        Some(name) if name.starts_with("promarchive/") => name.split('/').nth(2).unwrap_or_default().to_owned(),
        Some(name) => name.to_owned(),
        None => "-".to_owned(),
    };
    place.list(prometheus).into_iter().map(name).collect()
}

#[track_caller]
fn names_become(place: &Place, prometheus: &str, expected: &[&str]) {
    eventually(&format!("{expected:?}"), 60, || {
        let names = names(place, prometheus);
        if names == expected { Ok(()) } else { Err(format!("{names:?}")) }
    });
}

fn entries_of_others_stay_in_order(suite: &Suite) {
    let place = Place::new(suite, "patch-others");
    let nameless = json!({"url": "https://nameless.example.org"});
    place.prometheus("main", Some(json!([foreign("a"), nameless, foreign("b")])));
    place.archive("lab", json!([named("main")]));
    let entry = place.entry("main", "lab");
    names_become(&place, "main", &["a", "-", "b", "lab"]);
    // Somebody inserts, reorders and adds while it is there.
    place.set_list("main", json!([foreign("c"), entry, foreign("b"), nameless, foreign("d"), foreign("a")]));
    always("the list is left alone", 3, || match names(&place, "main") {
        names if names == ["c", "lab", "b", "-", "d", "a"] => Ok(()),
        names => Err(format!("{names:?}")),
    });
    // Not chosen any more.
    place.archive("lab", json!([]));
    names_become(&place, "main", &["c", "b", "-", "d", "a"]);
    place.condition("lab", "Ready", "True", "NoPrometheusSelected");
}

fn what_somebody_undoes_is_mended(suite: &Suite) {
    let place = Place::new(suite, "patch-mended");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    let entry = place.entry("main", "lab");
    let changed = |pointer: &str, value: Value| {
        let mut entry = entry.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        entry.pointer_mut(parent).unwrap()[field] = value;
        entry
    };
    let without = |field: &str| {
        let mut entry = entry.clone();
        entry.as_object_mut().unwrap().remove(field);
        entry
    };
    for list in [
        json!([foreign("a")]),
        json!([]),
        Value::Null,
        json!([entry, foreign("a"), entry]),
        json!([changed("/url", json!("https://elsewhere.example.org/"))]),
        json!([foreign("a"), changed("/authorization/credentials/key", json!("other"))]),
        json!([changed("/remoteTimeout", json!("7s")), foreign("b")]),
        json!([changed("/enableHTTP2", json!(false))]),
        json!([without("tlsConfig")]),
        json!([without("headers"), foreign("a")]),
    ] {
        place.set_list("main", list.clone());
        eventually(&format!("mended after {list}"), 60, || match place.entries("main", "lab") {
            entries if entries == [entry.clone()] => Ok(()),
            entries => Err(format!("{entries:?}")),
        });
    }
}

fn a_new_object_is_patched(suite: &Suite) {
    let place = Place::new(suite, "patch-new");
    place.archive("lab", json!([named("main"), {"id": "some", "selector": {"matchLabels": {"team": "a"}}}]));
    place.condition("lab", "PrometheusConfigured", "False", "PrometheusNotFound");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    let first = place.prometheus("main", None);
    let entry = place.entry("main", "lab");
    suite.api.delete("prometheuses", &place.namespace, "main");
    place.condition("lab", "PrometheusConfigured", "False", "PrometheusNotFound");
    let second = place.prometheus("main", Some(json!([foreign("a")])));
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    // The same settings are the same entry, with the same key of the Secret.
    assert_eq!(place.entry("main", "lab"), entry);
    names_become(&place, "main", &["a", "lab"]);
    // By its labels: one comes, is chosen, and is not any more.
    place.prometheus("labelled", None);
    let label = |team: Value| {
        let patch = json!({"metadata": {"labels": {"team": team}}});
        suite.api.merge("prometheuses", &place.namespace, "labelled", patch).unwrap();
    };
    label(json!("a"));
    place.entry("labelled", "lab");
    label(json!("b"));
    place.no_entry("labelled", "lab");
    assert_eq!(place.entry("main", "lab"), entry);
}

fn odd_objects_have_their_states(suite: &Suite) {
    let place = Place::new(suite, "patch-odd");
    place.prometheus_with("paused", None, json!({"paused": true}));
    let nothing = json!({"metadata": {}, "spec": {"scrapeInterval": "1s"}});
    suite.api.apply(place.object("Prometheus", "monitoring.coreos.com/v1", "unmanaged", nothing)).unwrap();
    place.prometheus_with("sharded", None, json!({"shards": 3, "replicas": 2}));
    place.prometheus("duplicates", Some(json!([foreign("a"), foreign("b"), foreign("a")])));
    place.archive("lab", json!(["paused", "unmanaged", "sharded", "duplicates"].map(named)));
    place.state("lab", "paused", "Paused");
    place.state("lab", "unmanaged", "PerhapsUnmanaged");
    place.state("lab", "sharded", "WaitingForSamples");
    place.state("lab", "duplicates", "DuplicateNames");
    for name in ["paused", "unmanaged", "sharded"] {
        place.entry(name, "lab");
    }
}

fn an_object_that_is_chosen_twice(suite: &Suite) {
    let place = Place::new(suite, "patch-twice");
    place.prometheus("main", None);
    let items = json!([
        {"id": "first", "name": "main", "remoteWrite": {"exemplars": false}, "drainTimeout": "5s"},
        {"id": "second", "selector": {}, "drainTimeout": "5s"},
    ]);
    place.archive("lab", items.clone());
    place.archive("lab-2", items);
    for archive in ["lab", "lab-2"] {
        // The first item counts.
        assert_eq!(place.entry("main", archive)["sendExemplars"], false);
    }
    // The end of one is nothing to the other, whose name begins in the same way.
    place.delete_archive("lab", 90);
    assert_eq!(names(&place, "main"), ["lab-2"]);
    let keys = place.secret_keys();
    assert!(!keys.is_empty() && keys.iter().all(|key| key.starts_with("patch-twice.lab-2.")), "{keys:?}");
}

fn an_agent(suite: &Suite) {
    let place = Place::new(suite, "patch-agent");
    for (name, mode) in [("main", "StatefulSet"), ("daemons", "DaemonSet")] {
        let spec = json!({"spec": {"scrapeInterval": "1s", "mode": mode, "podMonitorSelector": {}}});
        suite.api.apply(place.object("PrometheusAgent", "monitoring.coreos.com/v1alpha1", name, spec)).unwrap();
    }
    place.prometheus("main", None);
    let items = ["main", "daemons"].map(|name| json!({"id": name, "kind": "PrometheusAgent", "name": name}));
    place.archive("lab", json!(items));
    let message = place.state("lab", "daemons", "WaitingForSamples");
    assert!(message.contains("DaemonSet"), "{message}");
    let agent = suite.api.get("prometheusagents", "patch-agent", "main").unwrap();
    let key = &agent["spec"]["remoteWrite"][0]["authorization"]["credentials"]["key"];
    assert_eq!(key, "patch-agent.lab.main.a.token");
    // The Prometheus of the same name is not chosen.
    assert_eq!(place.list("main"), [] as [Value; 0]);
}

fn openshift_is_left_alone(suite: &Suite) {
    let place = Place::new(suite, "patch-openshift");
    let theirs = Place::new(suite, "openshift-monitoring");
    theirs.consent(Some("patch-openshift/lab"));
    theirs.prometheus("k8s", Some(json!([foreign("a")])));
    place.prometheus("cluster", None);
    let label = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "cluster-monitoring-operator"}}});
    suite.api.merge("prometheuses", "patch-openshift", "cluster", label).unwrap();
    place.prometheus("ours", None);
    let item = json!({"id": "k8s", "name": "k8s", "namespaces": ["openshift-monitoring"]});
    place.archive("lab", json!([item, named("cluster"), named("ours")]));
    place.entry("ours", "lab");
    for name in ["k8s", "cluster"] {
        let message = place.state("lab", name, "OwnedByOpenShift");
        assert!(message.contains("cluster-monitoring-config"), "{message}");
    }
    place.condition("lab", "PrometheusConfigured", "False", "NotConfigured");
    place.condition("lab", "Stalled", "True", "NotConfigured");
    assert_eq!((theirs.list("k8s"), place.list("cluster")), (vec![foreign("a")], vec![]));
}

fn manual_patches_nothing(suite: &Suite) {
    let place = Place::new(suite, "patch-manual");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([{"id": "main", "name": "main", "mode": "Manual", "drainTimeout": "5s"}]));
    place.state("lab", "main", "NotPasted");
    let snippet = eventually("the entry to paste", 60, || {
        let map = suite.api.get("configmaps", "patch-manual", "lab-remote-write").ok_or("no ConfigMap")?;
        map["data"]["prometheus.patch-manual.main.yaml"].as_str().map(ToOwned::to_owned).ok_or(map.to_string())
    });
    assert_eq!(names(&place, "main"), ["a"]);
    // A person pastes it, as kubectl would.
    let field = |name: &str| {
        let line = snippet.lines().find(|line| line.trim_start_matches(['-', ' ']).starts_with(&format!("{name}:")));
        line.unwrap().split_once(": ").unwrap().1.to_owned()
    };
    let patch =
        snippet.lines().filter(|line| !line.starts_with('#')).map(|line| format!("  {line}\n")).collect::<String>();
    let patch = format!("metadata: {{annotations: {{{CHANGE}: pasted}}}}\nspec:\n{patch}");
    suite
        .cluster
        .kubectl(["patch", "prometheus", "main", "--namespace=patch-manual", "--type=merge", "--patch", &patch])
        .unwrap();
    place.state("lab", "main", "WaitingForSamples");
    let pasted = place.list("main");
    assert_eq!(pasted[0]["url"], field("url"));
    let key = pasted[0]["authorization"]["credentials"]["key"].as_str().unwrap().to_owned();
    assert!(place.secret_keys().contains(&key), "{key} is not in {:?}", place.secret_keys());
    // It is theirs: it stays when the archive goes, with its keys, without which the Prometheus Operator stops.
    place.delete_archive("lab", 90);
    assert_eq!(place.list("main"), pasted);
    assert!(place.secret_keys().contains(&key), "{key} is not in {:?}", place.secret_keys());
    place.gone("configmaps", "lab-remote-write", 60);
}

fn settings_change_by_a_second_entry(suite: &Suite) {
    let place = Place::new(suite, "patch-settings");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    let first = place.entry("main", "lab");
    let mut item = named("main");
    item["remoteWrite"] = json!({"exemplars": false});
    place.archive("lab", json!([item]));
    let second = eventually("the second entry alone", 60, || match place.entries("main", "lab").as_slice() {
        [one] if *one != first => Ok(one.clone()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!((&second["url"], &second["sendExemplars"]), (&first["url"], &json!(false)));
    // Never without one, and never one that was changed in its place.
    let lists = suite.record.versions("patch-settings").remove(0);
    let ours = |version: &Value| {
        let list = version["spec"]["remoteWrite"].as_array().cloned().unwrap_or_default();
        list.into_iter().filter(|entry| entry["name"] != "a").collect::<Vec<_>>()
    };
    let seen: Vec<Vec<Value>> = lists.iter().map(ours).skip_while(Vec::is_empty).collect();
    assert!(seen.contains(&vec![first.clone(), second.clone()]), "{seen:#?}");
    assert!(seen.iter().all(|list| list.contains(&first) || list.contains(&second)), "{seen:#?}");
    // Refused settings patch nothing.
    let mut item = named("main");
    item["remoteWrite"] = json!({"writeRelabelConfigs": [{"action": "hashmod", "targetLabel": "x"}]});
    place.archive("lab", json!([item]));
    let message = place.state("lab", "main", "PatchDenied");
    assert!(message.contains("writeRelabelConfigs[0]: modulus is missing"), "{message}");
    assert_eq!(place.entries("main", "lab"), [second]);
}
