//! What an earlier version has left in a cluster is taken up: `tests/fixtures/*/cluster`, one folder for each version that was
//! ever on main, with the chart as Helm rendered it, and the objects of archives in every state that lasts.
//!
//! The cluster of all cases is such a cluster, upgraded in place: definitions and objects are stored before the present ones
//! are applied. To make the folder of a new version:
//! `UPDATE_FIXTURES=<folder> cargo test -p promarchive-cluster --test operator -- upgrade`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use promarchive_cluster::Cluster;
use serde_json::{Map, Value, json};

use crate::Case;
use crate::api::Api;
use crate::place::{PATIENCE, Place, controller, foreign, named};
use crate::suite::{ROOT, Suite, eventually};

pub(crate) const CASES: &[Case] = &[
    ("upgrade::what_earlier_versions_left_is_taken_up", what_earlier_versions_left_is_taken_up),
    ("upgrade::the_folder_of_this_version_is_made_if_asked_for", |suite| {
        if let Some(folder) = asked_for() {
            make(suite, &folder);
        }
    }),
];

/// In the order in which they are stored: a child's owner goes before it.
const KEPT: [&str; 13] = [
    "namespaces",
    "metricsarchives",
    "secrets",
    "serviceaccounts",
    "configmaps",
    "services",
    "networkpolicies",
    "persistentvolumeclaims",
    "podmonitors",
    "deployments",
    "pods",
    "prometheuses",
    "prometheusagents",
];

/// Kinds of which only what the operator made is kept.
const CHILDREN: std::ops::Range<usize> = 2..10;

/// An annotation of what was stored; nobody owns it.
const STORED: &str = "test-stored";
/// What the operator has made.
const MADE: &str = "app.kubernetes.io/managed-by=promarchive-operator";

fn asked_for() -> Option<String> {
    std::env::var("UPDATE_FIXTURES").ok()
}

fn fixtures() -> PathBuf {
    PathBuf::from(ROOT).join("tests/fixtures")
}

/// Versions with a folder, oldest first.
fn versions() -> Vec<String> {
    let folders = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap());
    let with_cluster = folders.filter(|folder| folder.path().join("cluster").is_dir());
    let mut names: Vec<String> = with_cluster.map(|folder| folder.file_name().into_string().unwrap()).collect();
    names.retain(|name| asked_for().as_ref() != Some(name));
    names.sort_by_key(|name| name.parse::<u32>().unwrap());
    names
}

fn objects(version: &str) -> Map<String, Value> {
    let text = fs::read_to_string(fixtures().join(version).join("cluster/objects.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The namespaces of a version's objects: that of the archives, of a team that consents, and of an archive that is being deleted.
fn namespaces(version: &str) -> [String; 3] {
    ["home", "team", "end"].map(|part| format!("upgrade-{version}-{part}"))
}

/// Makes the cluster one of earlier versions: their definitions, roles and policies, and what their operators left.
pub(crate) fn store_what_earlier_versions_left(cluster: &Cluster, api: &Api) {
    for version in versions() {
        if api.get("namespaces", "", "promarchive").is_none() {
            cluster.kubectl(["create", "namespace", "promarchive"]).unwrap();
        }
        let rendered = fixtures().join(&version).join("cluster/chart/templates/rendered.yaml");
        let file = format!("--filename={}", rendered.display());
        cluster.kubectl(["apply", "--server-side", "--namespace=promarchive", &file]).unwrap();
        cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).unwrap();
        let objects = objects(&version);
        let mut uids = Vec::new();
        for plural in KEPT {
            for object in objects[plural].as_array().unwrap() {
                uids.extend(store(api, plural, object, &uids));
            }
        }
        let [home, _, end] = namespaces(&version);
        controller(api, &home, "changing");
        api.delete("metricsarchives", &end, "leaving");
    }
}

/// Stores one object with its status, and with the managers of its fields; its old uid and the one that it has now.
fn store(api: &Api, plural: &str, object: &Value, uids: &[(String, String)]) -> Option<(String, String)> {
    let text = uids.iter().fold(object.to_string(), |text, (old, new)| text.replace(old, new));
    let mut object: Value = serde_json::from_str(&text).unwrap();
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let mut take = |pointer: &str, field: &str| match pointer {
        "" => object.as_object_mut().unwrap().remove(field),
        _ => object.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(field),
    };
    let (uid, status) = (take("/metadata", "uid"), take("", "status"));
    let managers = take("/metadata", "managedFields");
    object["metadata"]["annotations"][STORED] = json!("yes");
    // A pod is refused until its namespace has a ServiceAccount.
    let made = eventually(&format!("{plural} {namespace}/{name}"), PATIENCE, || {
        api.create(object.clone()).map_err(|refused| format!("{refused:?}"))
    });
    if let Some(status) = status {
        api.merge_status(plural, &namespace, &name, json!({"status": status})).unwrap();
    }
    // The last, because every write before it has made the test a manager, too.
    if let Some(managers) = managers {
        api.merge(plural, &namespace, &name, json!({"metadata": {"managedFields": managers}})).unwrap();
    }
    Some((uid?.as_str()?.to_owned(), made["metadata"]["uid"].as_str()?.to_owned()))
}

fn what_earlier_versions_left_is_taken_up(suite: &Suite) {
    assert!(asked_for().is_some() || !versions().is_empty(), "no folder has a cluster");
    for version in versions() {
        let objects = objects(&version);
        let [home, team, end] = namespaces(&version).map(|namespace| Place::new(suite, &namespace));
        for archive in objects["metricsarchives"].as_array().unwrap() {
            could_be_made_now(suite, archive);
        }
        // The operator has had its look at each of them: what somebody takes away is there again.
        for (place, name) in [(&home, "lab"), (&home, "changing"), (&home, "manual"), (&team, "full")] {
            suite.api.delete("serviceaccounts", &place.namespace, &format!("{name}-receiver"));
            eventually(&format!("a new ServiceAccount of {name}"), PATIENCE, || {
                let found = suite.api.get("serviceaccounts", &place.namespace, &format!("{name}-receiver"));
                found.map(drop).ok_or_else(|| place.status(name).to_string())
            });
            place.condition(name, "ReceiverAvailable", "True", "Available");
        }
        place_is_as_it_was(&home, &objects);
        place_is_as_it_was(&team, &objects);
        the_work_goes_on(&home, &team, &end);
    }
}

/// A spec that was good once still is, also for who writes it anew.
fn could_be_made_now(suite: &Suite, archive: &Value) {
    let metadata = &archive["metadata"];
    let copy = json!({
        "apiVersion": archive["apiVersion"], "kind": archive["kind"], "spec": archive["spec"],
        "metadata": {"namespace": metadata["namespace"], "name": format!("{}-copy", metadata["name"].as_str().unwrap())},
    });
    let arguments = ["create", "--dry-run=server", "--validate=strict", "--filename=-"];
    suite.cluster.kubectl_with_input(&arguments, &copy.to_string()).unwrap();
}

/// Nothing was lost, doubled, renamed, or made anew.
fn place_is_as_it_was(place: &Place, objects: &Map<String, Value>) {
    let api = &place.suite.api;
    let before = |plural: &str| {
        let all = objects[plural].as_array().unwrap().iter();
        all.filter(|object| object["metadata"]["namespace"] == place.namespace.as_str()).collect::<Vec<_>>()
    };
    for plural in ["prometheuses", "prometheusagents"] {
        for object in before(plural) {
            let name = object["metadata"]["name"].as_str().unwrap();
            let found = api.get(plural, &place.namespace, name).unwrap();
            assert_eq!(found["spec"], object["spec"], "{plural} {}/{name}", place.namespace);
        }
    }
    for object in before("secrets") {
        let found = api.get("secrets", &place.namespace, "promarchive-remote-write").unwrap();
        for (key, value) in object["data"].as_object().unwrap() {
            // The receiver's certificate is renewed when it is old.
            if !key.contains(".tls.") {
                assert_eq!(found["data"][key], *value, "{key}");
            }
        }
        // And then it is noted when the authority is due.
        let mut keys = found["data"].as_object().unwrap().keys().filter(|key| !key.ends_with(".ca.renew"));
        assert!(keys.all(|key| object["data"].get(key).is_some()), "{:?}", found["data"].as_object().unwrap().keys());
    }
    for object in before("configmaps").into_iter().filter(|object| object["data"]["tokens"].is_string()) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let found = api.get("configmaps", &place.namespace, name).unwrap();
        // Earlier versions wrote no role for senders.
        let with_role =
            |line: &str| if line.split(' ').count() == 2 { format!("{line} write") } else { line.to_owned() };
        let lines = |object: &Value| -> BTreeSet<String> {
            let lines = object["data"]["tokens"].as_str().unwrap().lines().filter(|line| !line.starts_with('#'));
            lines.map(with_role).collect()
        };
        assert_eq!(lines(&found), lines(object), "the tokens of {name} in {}", place.namespace);
    }
    for plural in &KEPT[CHILDREN] {
        let names = |all: Vec<&Value>| -> BTreeSet<String> {
            all.into_iter().map(|object| object["metadata"]["name"].to_string()).collect()
        };
        let found = api.list(plural, &place.namespace, MADE);
        assert_eq!(names(found.iter().collect()), names(before(plural)), "{plural} in {}", place.namespace);
        let is_stored = |object: &Value| object["metadata"]["annotations"][STORED] == "yes";
        assert!(*plural == "serviceaccounts" || found.iter().all(is_stored), "{plural} were made anew: {found:#?}");
    }
}

/// What was under way comes to its end, and what is asked for now is done.
fn the_work_goes_on(home: &Place, team: &Place, end: &Place) {
    end.gone("metricsarchives", "leaving", 120);
    assert_eq!(end.list("main"), [foreign("a"), foreign("b")]);
    let api = &home.suite.api;
    assert!(api.get("persistentvolumeclaims", &end.namespace, "leaving-archive").is_some());

    // It waited for a pod, which is not there any more.
    assert_eq!(home.entries("changing", "changing").len(), 2);
    let (old, new) = (home.entries("changing", "changing").remove(0), home.entries("changing", "changing").remove(1));
    api.merge("statefulsets", &home.namespace, "prometheus-changing", json!({"spec": {"replicas": 0}})).unwrap();
    assert_eq!(home.entry("changing", "changing"), new);
    assert_ne!(old, new);

    let paused = home.list("paused");
    api.merge("metricsarchives", &home.namespace, "paused", json!({"spec": {"paused": false}})).unwrap();
    home.condition("paused", "PrometheusConfigured", "True", "Configured");
    assert_eq!(home.list("paused"), paused);

    let pasted = home.list("git");
    for (place, archive) in [(home, "lab"), (home, "changing"), (home, "manual"), (home, "paused"), (team, "full")] {
        place.delete_archive(archive, 120);
    }
    for name in ["main", "changing", "paused"] {
        assert_eq!(home.list(name), [foreign("a"), foreign("b")], "{name}");
    }
    assert_eq!((home.list("git"), team.list("main")), (pasted, vec![foreign("a"), foreign("b")]));
}

/// Brings archives into every state that lasts, and keeps all of it in the folder `version`.
fn make(suite: &Suite, version: &str) {
    let [home, team, end] = namespaces(version).map(|namespace| Place::new(suite, &namespace));
    let both = || Some(json!([foreign("a"), foreign("b")]));
    for (place, name) in [(&home, "main"), (&home, "changing"), (&home, "paused"), (&team, "main"), (&end, "main")] {
        place.prometheus(name, both());
    }
    home.prometheus("git", Some(json!([foreign("a")])));
    let agent = json!({"spec": {"scrapeInterval": "1s", "podMonitorSelector": {}}});
    suite.api.apply(team.object("PrometheusAgent", "monitoring.coreos.com/v1alpha1", "agent", agent)).unwrap();
    team.consent(Some(&format!("{}/lab", home.namespace)));

    let lab = json!({"id": "team", "selector": {}, "namespaces": [team.namespace], "drainTimeout": "5s"});
    home.archive("lab", json!([named("main"), lab]));
    home.archive("changing", json!([named("changing")]));
    home.archive("paused", json!([named("paused")]));
    home.archive("manual", json!([{"id": "git", "name": "git", "mode": "Manual", "drainTimeout": "5s"}]));
    team.archive_with("full", full());
    end.archive("leaving", json!([{"id": "main", "name": "main", "drainTimeout": "10m"}]));
    for (place, prometheus, archive) in [
        (&home, "main", "lab"),
        (&home, "changing", "changing"),
        (&home, "paused", "paused"),
        (&end, "main", "leaving"),
    ] {
        place.entry(prometheus, archive);
    }
    team.state("full", "agent", "WaitingForSamples");
    home.state("lab", "main", "WaitingForSamples");
    eventually("the team's entry", PATIENCE, || match team.list("main").len() {
        3 => Ok(()),
        _ => Err(home.status("lab").to_string()),
    });
    for (place, archive) in [(&home, "lab"), (&home, "changing"), (&home, "manual"), (&home, "paused"), (&team, "full")]
    {
        place.condition(archive, "ReceiverAvailable", "True", "Available");
    }
    settings_are_changing(&home);
    home.archive_with("paused", json!({"prometheuses": [named("paused")], "paused": true}));
    home.condition("paused", "Ready", "Unknown", "Paused");
    home.state("manual", "git", "NotPasted");
    suite.kubelet.down(&end.namespace);
    end.condition("leaving", "ReceiverAvailable", "False", "PodNotReady");
    suite.api.delete("metricsarchives", &end.namespace, "leaving");
    end.condition("leaving", "Ready", "False", "Deleting");
    keep(suite, version, &[&home, &team, &end]);
}

/// A pod that has not begun keeps the old entry where it is.
fn settings_are_changing(home: &Place) {
    let labels = json!({"operator.prometheus.io/name": "changing", "app.kubernetes.io/name": "prometheus"});
    let spec = json!({"containers": [{"name": "prometheus", "image": "prometheus"}]});
    let pod = json!({"metadata": {"labels": labels}, "spec": spec});
    home.suite.api.create(home.object("Pod", "v1", "prometheus-changing-0", pod)).unwrap();
    controller(&home.suite.api, &home.namespace, "changing");
    let mut item = named("changing");
    item["remoteWrite"] = json!({"exemplars": false});
    home.archive("changing", json!([item]));
    eventually("two entries", PATIENCE, || match home.entries("changing", "changing") {
        two if two.len() == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Every field that there is but `existingClaim` and `storageClassName`, for which a volume would have to be made.
fn full() -> Value {
    let rules = json!([
        {"action": "drop", "sourceLabels": ["__name__", "job"], "separator": "/", "regex": "go_.*/x"},
        {"action": "hashmod", "sourceLabels": ["instance"], "targetLabel": "__tmp", "modulus": 7},
        {"action": "replace", "sourceLabels": ["a"], "regex": "(.*)", "targetLabel": "b", "replacement": "$1"},
    ]);
    let queue = json!({
        "capacity": 20_000, "minShards": 1, "maxShards": 5, "maxSamplesPerSend": 2_000, "batchSendDeadline": "3s",
    });
    let settings = json!({
        "messageVersion": "V1.0", "exemplars": false, "nativeHistograms": false, "writeRelabelConfigs": rules,
        "queue": queue,
    });
    let term = json!({"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]});
    let affinity =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
    json!({
        "storage": {"persistentVolume": {"size": "2Gi", "accessMode": "ReadWriteOnce"}},
        "receiver": {
            "tls": "Disabled", "flushInterval": "1m30s", "walMaxBytes": "128Mi", "labelColumns": ["namespace", "pod"],
            "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "1Gi"}},
            "scheduling": {
                "nodeSelector": {"disk": "fast"}, "affinity": affinity,
                "tolerations": [{"key": "archives", "operator": "Exists", "effect": "NoSchedule"}],
            },
            "networkPolicy": "None",
        },
        "prometheuses": [
            {"id": "agents", "kind": "PrometheusAgent", "mode": "Patch", "drainTimeout": "5s", "remoteWrite": settings,
                "selector": {"matchExpressions": [{"key": "not-archived", "operator": "DoesNotExist"}]}},
        ],
        "deletionPolicy": "Delete",
        "paused": false,
    })
}

fn keep(suite: &Suite, version: &str, places: &[&Place]) {
    let mut all = Map::new();
    for (at, plural) in KEPT.into_iter().enumerate() {
        let labels = if CHILDREN.contains(&at) { MADE } else { "" };
        let objects: Vec<Value> = places
            .iter()
            .flat_map(|place| match plural {
                "namespaces" => suite.api.get(plural, "", &place.namespace).into_iter().collect(),
                _ => suite.api.list_typed(plural, &place.namespace, labels),
            })
            .filter(|object| plural != "pods" || object["metadata"]["name"] == "prometheus-changing-0")
            .map(|object| without_what_is_of_this_cluster(plural, object))
            .collect();
        assert!(!objects.is_empty(), "no {plural}");
        all.insert(plural.to_owned(), Value::Array(objects));
    }
    let folder = fixtures().join(version).join("cluster");
    fs::create_dir_all(folder.join("chart/templates")).unwrap();
    fs::write(folder.join("objects.json"), an_object_a_line(&all)).unwrap();
    let chart = format!("apiVersion: v2\nname: promarchive\nversion: 0.0.{version}\n");
    fs::write(folder.join("chart/Chart.yaml"), chart).unwrap();
    let mut helm = suite.cluster.command("helm");
    helm.args([
        "template",
        "promarchive",
        &format!("{ROOT}/charts/promarchive"),
        "--namespace=promarchive",
        "--no-hooks",
    ]);
    let output = helm.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(folder.join("chart/templates/rendered.yaml"), output.stdout).unwrap();
}

fn an_object_a_line(all: &Map<String, Value>) -> String {
    let lines = |objects: &Value| {
        let lines: Vec<String> = objects.as_array().unwrap().iter().map(Value::to_string).collect();
        lines.join(",\n")
    };
    let kinds: Vec<String> =
        all.iter().map(|(kind, objects)| format!("\"{kind}\": [\n{}\n]", lines(objects))).collect();
    format!("{{{}}}\n", kinds.join(",\n"))
}

/// What the API server and its controllers set; another cluster sets it anew.
fn without_what_is_of_this_cluster(plural: &str, mut object: Value) -> Value {
    let strip = |object: &mut Value, pointer: &str, fields: &[&str]| {
        if let Some(Value::Object(map)) = object.pointer_mut(pointer) {
            map.retain(|key, _| !fields.contains(&key.as_str()));
        }
    };
    let metadata =
        ["resourceVersion", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"];
    strip(&mut object, "/metadata", &metadata);
    let is_theirs = |manager: &Value| {
        manager["manager"].as_str().is_some_and(|name| name == "test" || name.starts_with("promarchive"))
    };
    if let Some(Value::Array(managers)) = object.pointer_mut("/metadata/managedFields") {
        managers.retain(is_theirs);
    }
    if plural == "metricsarchives" {
        return object;
    }
    strip(&mut object, "", &["status"]);
    strip(&mut object, "/metadata", &["uid", "finalizers"]);
    strip(
        &mut object,
        "/spec",
        &["volumeName", "clusterIP", "clusterIPs", "finalizers", "serviceAccount", "serviceAccountName"],
    );
    if plural == "persistentvolumeclaims" {
        let annotations = ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"];
        strip(&mut object, "/metadata/annotations", &annotations);
    }
    if plural == "pods" {
        strip(&mut object, "/metadata", &["ownerReferences"]);
        strip(&mut object, "/spec", &["volumes", "tolerations"]);
        strip(&mut object, "/spec/containers/0", &["volumeMounts"]);
    }
    object
}
