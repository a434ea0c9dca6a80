//! What the operator made is kept as it should be; and when all is as it should be, nothing is written.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Case;
use crate::place::{PATIENCE, Place, foreign, named};
use crate::suite::{Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[
    ("drift::nothing_is_written_when_all_is_well", nothing_is_written_when_all_is_well),
    ("drift::what_is_changed_or_deleted_is_set_right", what_is_changed_or_deleted_is_set_right),
    ("drift::what_is_not_wanted_any_more_goes", what_is_not_wanted_any_more_goes),
    ("drift::what_cannot_be_set_right_is_not_tried_for_ever", what_cannot_be_set_right_is_not_tried_for_ever),
    ("drift::a_paused_archive_is_left_alone", a_paused_archive_is_left_alone),
];

fn nothing_is_written_when_all_is_well(suite: &Suite) {
    let seconds = std::env::var("PROMARCHIVE_STEADY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(45);
    let place = Place::new(suite, "drift-steady");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main"), {"id": "some", "selector": {"matchLabels": {"team": "a"}}}]));
    place.archive("idle", json!([]));
    place.entry("main", "lab");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    place.condition("lab", "PrometheusConfigured", "True", "Configured");
    place.condition("idle", "Ready", "True", "NoPrometheusSelected");
    // What was under way has come to rest.
    std::thread::sleep(Duration::from_secs(3));
    let before = suite.record.writes("drift-steady");
    assert!(!before.is_empty());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_secs(1));
    }
    let after = suite.record.writes("drift-steady");
    assert_eq!(after.get(before.len()..).unwrap_or_default(), [] as [String; 0]);
    // It was there, and looked.
    place.set_list("main", json!([foreign("a")]));
    place.entry("main", "lab");
}

/// Something that somebody changes: kind, name, the patch, and where it shows.
type Change = (&'static str, &'static str, Value, &'static str);

fn changes() -> Vec<Change> {
    let container = "/spec/template/spec/containers/0";
    vec![
        ("deployments", "lab-receiver", json!({"spec": {"replicas": 0}}), "/spec/replicas"),
        (
            "deployments",
            "lab-receiver",
            json!({"spec": {"template": {"spec": {"automountServiceAccountToken": true}}}}),
            "/spec/template/spec/automountServiceAccountToken",
        ),
        (
            "deployments",
            "lab-receiver",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "receiver", "image": "other"}]}}}}),
            container,
        ),
        (
            "deployments",
            "lab-receiver",
            json!({"metadata": {"labels": {"app.kubernetes.io/component": "x"}}}),
            "/metadata/labels",
        ),
        ("services", "lab-receiver", json!({"spec": {"ports": [{"name": "receiver", "port": 9999}]}}), "/spec/ports"),
        (
            "services",
            "lab-receiver",
            json!({"spec": {"selector": {"app.kubernetes.io/instance": "x"}}}),
            "/spec/selector",
        ),
        ("configmaps", "lab-receiver", json!({"data": {"tokens": "attacker 00 operate"}}), "/data"),
        ("configmaps", "lab-receiver", json!({"data": null}), "/data"),
        ("networkpolicies", "lab-receiver", json!({"spec": {"ingress": []}}), "/spec/ingress"),
        ("networkpolicies", "lab-receiver", json!({"spec": {"ingress": [{}]}}), "/spec/ingress"),
        (
            "serviceaccounts",
            "lab-receiver",
            json!({"automountServiceAccountToken": true}),
            "/automountServiceAccountToken",
        ),
        ("podmonitors", "lab-receiver", json!({"spec": {"podMetricsEndpoints": []}}), "/spec/podMetricsEndpoints"),
        ("secrets", "promarchive-remote-write", json!({"data": null}), "/metadata/labels"),
        (
            "secrets",
            "promarchive-remote-write",
            json!({"data": {"drift.lab.operator.token": "eA=="}}),
            "/metadata/labels",
        ),
    ]
}

fn what_is_changed_or_deleted_is_set_right(suite: &Suite) {
    let place = Place::new(suite, "drift");
    place.prometheus("main", None);
    place.archive("lab", json!([named("main")]));
    place.entry("main", "lab");
    for (plural, name, patch, pointer) in changes() {
        let at = || suite.api.get(plural, "drift", name).and_then(|found| found.pointer(pointer).cloned());
        let before = at();
        suite.api.merge(plural, "drift", name, patch.clone()).unwrap();
        eventually(&format!("{plural} set right after {patch}"), PATIENCE, || match at() {
            found if found == before => Ok(()),
            found => Err(format!("{found:?} instead of {before:?}")),
        });
    }
    for (plural, name, ..) in changes() {
        let uid = suite.api.get(plural, "drift", name).unwrap()["metadata"]["uid"].clone();
        suite.api.delete(plural, "drift", name);
        eventually(&format!("{plural} made anew"), PATIENCE, || match suite.api.get(plural, "drift", name) {
            Some(found) if found["metadata"]["uid"] != uid => Ok(()),
            found => Err(format!("{found:?}")),
        });
    }
    // What the entry names is in the Secret again.
    let entry = place.entry("main", "lab");
    eventually("the keys of the Secret", PATIENCE, || {
        let keys = place.secret_keys();
        let wanted = [&entry["authorization"]["credentials"]["key"], &entry["tlsConfig"]["ca"]["secret"]["key"]];
        let all = wanted.iter().all(|key| keys.iter().any(|one| *key == one));
        if all { Ok(()) } else { Err(format!("{keys:?}")) }
    });
    // The receiver holds its old key until its pod is made anew; a kubelet renews it in the running pod.
    let pods = suite.api.list("pods", "drift", "app.kubernetes.io/component=receiver");
    pods.iter().for_each(|pod| suite.api.delete("pods", "drift", pod["metadata"]["name"].as_str().unwrap()));
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    assert!(suite.api.get("persistentvolumeclaims", "drift", "lab-archive").is_some());
}

fn what_is_not_wanted_any_more_goes(suite: &Suite) {
    let place = Place::new(suite, "drift-unwanted");
    place.prometheus("main", None);
    let mut item = named("main");
    item["mode"] = json!("Manual");
    place.archive("lab", json!([item]));
    place.state("lab", "main", "NotPasted");
    assert!(suite.api.get("configmaps", "drift-unwanted", "lab-remote-write").is_some());
    place.archive_with("lab", json!({"prometheuses": [named("main")], "receiver": {"networkPolicy": "None"}}));
    place.gone("configmaps", "lab-remote-write", PATIENCE);
    place.gone("networkpolicies", "lab-receiver", PATIENCE);
    place.entry("main", "lab");
    place.archive("lab", json!([named("main")]));
    eventually("the policy is back", PATIENCE, || {
        suite.api.get("networkpolicies", "drift-unwanted", "lab-receiver").ok_or_else(|| "none".to_owned())
    });
}

/// Server-side apply takes nothing out that others own.
fn what_cannot_be_set_right_is_not_tried_for_ever(suite: &Suite) {
    let place = Place::new(suite, "drift-sidecar");
    place.archive("lab", json!([]));
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let sidecar = json!({"name": "theirs", "image": suite.receiver_image, "securityContext": security});
    let pod = json!({"containers": [sidecar]});
    let apply = place.object("Deployment", "apps/v1", "lab-receiver", json!({"spec": {"template": {"spec": pod}}}));
    suite.api.apply(apply).unwrap();
    // The pod with the sidecar is another one, and the status tells of both.
    eventually("the new pod is there alone", PATIENCE, || {
        let deployment = suite.api.get("deployments", "drift-sidecar", "lab-receiver").ok_or("no Deployment")?;
        let (wanted, status) = (&deployment["metadata"]["generation"], &deployment["status"]);
        let counts = ["replicas", "updatedReplicas"].map(|count| status[count] == 1);
        let is_there = status["observedGeneration"] == *wanted && counts == [true; 2];
        is_there.then_some(()).ok_or_else(|| format!("{status}"))
    });
    // What the status tells of the change takes a while on a busy machine. Then it is quiet.
    eventually("the Deployment is left alone", 90, || {
        let before = suite.record.writes("drift-sidecar").len();
        std::thread::sleep(Duration::from_secs(10));
        let writes = suite.record.writes("drift-sidecar");
        let more = writes.get(before..).unwrap_or_default();
        if more.len() <= 5 { Ok(()) } else { Err(format!("{more:#?}")) }
    });
    place.condition("lab", "ReceiverAvailable", "True", "Available");
}

fn a_paused_archive_is_left_alone(suite: &Suite) {
    let place = Place::new(suite, "drift-paused");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    let entry = place.entry("main", "lab");
    place.archive_with("lab", json!({"prometheuses": [named("main")], "paused": true}));
    place.condition("lab", "Ready", "Unknown", "Paused");
    place.set_list("main", json!([foreign("a")]));
    suite.api.delete("networkpolicies", "drift-paused", "lab-receiver");
    always("nothing is done", 4, || {
        match (place.list("main"), suite.api.get("networkpolicies", "drift-paused", "lab-receiver")) {
            (list, None) if list == [foreign("a")] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    place.archive("lab", json!([named("main")]));
    assert_eq!(place.entry("main", "lab"), entry);
}
