//! The end of archives: in which order, how long it takes, and what stays.

use serde_json::{Value, json};

use crate::Case;
use crate::place::{Place, foreign, named};
use crate::suite::{Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[
    ("removal::entries_go_before_the_receiver", entries_go_before_the_receiver),
    ("removal::the_claim_goes_if_asked_for", the_claim_goes_if_asked_for),
    ("removal::a_kept_claim_stays", a_kept_claim_stays),
    ("removal::with_a_dead_receiver", with_a_dead_receiver),
    ("removal::of_a_namespace", of_a_namespace),
    ("removal::of_a_namespace_of_senders", of_a_namespace_of_senders),
    ("removal::of_an_archive_that_never_worked", of_an_archive_that_never_worked),
    ("removal::orphans_are_swept", orphans_are_swept),
];

/// From the end of the last look until an archive whose Prometheus has no pods is gone: the quiet time and some looks.
const LONGEST: u64 = 90;

fn entries_go_before_the_receiver(suite: &Suite) {
    let place = Place::new(suite, "removal-order");
    place.prometheus("main", Some(json!([foreign("a"), foreign("b")])));
    place.archive("lab", json!([named("main")]));
    place.entry("main", "lab");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    let claim = suite.api.get("persistentvolumeclaims", "removal-order", "lab-archive").unwrap();
    suite.api.delete("metricsarchives", "removal-order", "lab");
    place.no_entry("main", "lab");
    // The receiver is there for what the Prometheus still has. It may answer before its pod counts as ready.
    let deployment = suite.api.get("deployments", "removal-order", "lab-receiver");
    assert_eq!(deployment.unwrap()["status"]["updatedReplicas"], 1);
    place.condition("lab", "Ready", "False", "Deleting");
    place.gone("metricsarchives", "lab", LONGEST);
    assert_eq!(place.list("main"), [foreign("a"), foreign("b")]);
    assert_eq!(place.secret_keys(), [] as [String; 0]);
    for (plural, name) in [
        ("deployments", "lab-receiver"),
        ("services", "lab-receiver"),
        ("configmaps", "lab-receiver"),
        ("serviceaccounts", "lab-receiver"),
        ("networkpolicies", "lab-receiver"),
        ("podmonitors", "lab-receiver"),
    ] {
        place.gone(plural, name, 30);
    }
    // The data stays, and an archive of the same name takes it up.
    let kept = suite.api.get("persistentvolumeclaims", "removal-order", "lab-archive").unwrap();
    assert_eq!(
        (&kept["metadata"]["uid"], &kept["metadata"]["deletionTimestamp"]),
        (&claim["metadata"]["uid"], &Value::Null)
    );
    place.archive("lab", json!([named("main")]));
    place.entry("main", "lab");
    let kept = suite.api.get("persistentvolumeclaims", "removal-order", "lab-archive").unwrap();
    assert_eq!(kept["metadata"]["uid"], claim["metadata"]["uid"]);
}

fn the_claim_goes_if_asked_for(suite: &Suite) {
    let place = Place::new(suite, "removal-claim");
    place.claim("theirs", json!({"promarchive.dev/allow-archives": "removal-claim/existing"}));
    place.archive_with("made", json!({"deletionPolicy": "Delete"}));
    let existing = json!({"persistentVolume": {"existingClaim": "theirs"}});
    place.archive_with("existing", json!({"deletionPolicy": "Delete", "storage": existing}));
    for archive in ["made", "existing"] {
        place.condition(archive, "StorageReachable", "True", "Reachable");
        suite.api.delete("metricsarchives", "removal-claim", archive);
    }
    for archive in ["made", "existing"] {
        place.gone("metricsarchives", archive, LONGEST);
    }
    place.gone("persistentvolumeclaims", "made-archive", 60);
    let theirs = suite.api.get("persistentvolumeclaims", "removal-claim", "theirs").unwrap();
    assert_eq!(theirs["metadata"]["deletionTimestamp"], Value::Null);
}

/// A new archive of an old name uses the claim that was kept, and does not take it away with it.
fn a_kept_claim_stays(suite: &Suite) {
    let place = Place::new(suite, "removal-kept");
    let delete = json!({"deletionPolicy": "Delete"});
    let first = place.archive_with("lab", json!({}));
    place.condition("lab", "StorageReachable", "True", "Reachable");
    place.delete_archive("lab", LONGEST);
    place.archive_with("lab", delete.clone());
    place.condition("lab", "StorageReachable", "True", "Reachable");
    let noted = |name: &str| {
        let claim = suite.api.get("persistentvolumeclaims", "removal-kept", name).unwrap();
        claim["metadata"]["annotations"]["promarchive.dev/archive-uid"].clone()
    };
    assert_eq!(noted("lab-archive"), first["metadata"]["uid"]);
    place.delete_archive("lab", LONGEST);
    let kept = suite.api.get("persistentvolumeclaims", "removal-kept", "lab-archive").unwrap();
    assert_eq!(kept["metadata"]["deletionTimestamp"], Value::Null);
    eventually("an Event that says so", 30, || {
        let events = suite.api.list("events", "removal-kept", "");
        let said = |event: &Value| {
            event["reason"] == "ClaimKept"
                && event.to_string().contains("kubectl delete pvc lab-archive --namespace removal-kept")
        };
        if events.iter().any(said) { Ok(()) } else { Err(format!("{events:?}")) }
    });
    // Of a version that noted nothing: it is older than this archive, so it was kept.
    let forget = json!({"metadata": {"annotations": {"promarchive.dev/archive-uid": null}}});
    suite.api.merge("persistentvolumeclaims", "removal-kept", "lab-archive", forget).unwrap();
    place.archive_with("lab", delete);
    place.condition("lab", "StorageReachable", "True", "Reachable");
    assert_eq!(noted("lab-archive"), Value::Null);
    place.delete_archive("lab", LONGEST);
    let kept = suite.api.get("persistentvolumeclaims", "removal-kept", "lab-archive").unwrap();
    assert_eq!(kept["metadata"]["deletionTimestamp"], Value::Null);
}

fn with_a_dead_receiver(suite: &Suite) {
    let place = Place::new(suite, "removal-dead");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    place.entry("main", "lab");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    suite.kubelet.down("removal-dead");
    place.condition("lab", "ReceiverAvailable", "False", "PodNotReady");
    place.delete_archive("lab", 30);
    assert_eq!((place.list("main"), place.secret_keys()), (vec![foreign("a")], vec![]));
}

fn of_a_namespace(suite: &Suite) {
    let place = Place::new(suite, "removal-ns");
    let elsewhere = Place::new(suite, "removal-ns-else");
    elsewhere.consent(Some("removal-ns/*"));
    elsewhere.prometheus("main", Some(json!([foreign("a")])));
    place.prometheus("main", None);
    let item =
        json!({"id": "all", "name": "main", "namespaces": ["removal-ns", "removal-ns-else"], "drainTimeout": "5s"});
    place.archive("lab", json!([item]));
    place.entry("main", "lab");
    eventually("the entry elsewhere", 60, || match elsewhere.list("main").len() {
        2 => Ok(()),
        other => Err(format!("{other} entries")),
    });
    suite.api.delete("namespaces", "", "removal-ns");
    eventually("the namespace gone", 90, || match suite.api.get("namespaces", "", "removal-ns") {
        None => Ok(()),
        Some(found) => Err(format!("{} {}", found["status"], place.status("lab"))),
    });
    eventually("nothing of it elsewhere", 90, || match (elsewhere.list("main"), elsewhere.secret_keys()) {
        (list, keys) if list == [foreign("a")] && keys.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// The namespace that goes is not the archive's.
fn of_a_namespace_of_senders(suite: &Suite) {
    let place = Place::new(suite, "removal-home");
    let theirs = Place::new(suite, "removal-senders");
    theirs.consent(Some("removal-home/lab"));
    theirs.prometheus("main", None);
    place.prometheus("main", None);
    let item =
        json!({"id": "all", "selector": {}, "namespaces": ["removal-home", "removal-senders"], "drainTimeout": "5s"});
    place.archive("lab", json!([item]));
    place.entry("main", "lab");
    eventually("the entry there", 60, || theirs.list("main").pop().ok_or_else(|| "none".to_owned()));
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    suite.api.delete("namespaces", "", "removal-senders");
    eventually("the namespace gone", 60, || match suite.api.get("namespaces", "", "removal-senders") {
        None => Ok(()),
        Some(found) => Err(found["status"].to_string()),
    });
    eventually("one Prometheus in the status", 60, || match &place.status("lab") {
        status if status["matched"] == 1 && status["configured"] == 1 => Ok(()),
        status => Err(status.to_string()),
    });
    place.condition("lab", "PrometheusConfigured", "True", "Configured");
    // What is gone is no fault of the receiver.
    always("the receiver is available", 5, || {
        let status = place.status("lab");
        let mut all = status["conditions"].as_array().into_iter().flatten();
        match all.find(|one| one["type"] == "ReceiverAvailable") {
            Some(one) if one["status"] == "True" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn of_an_archive_that_never_worked(suite: &Suite) {
    let place = Place::new(suite, "removal-never");
    suite.kubelet.down("removal-never");
    place.prometheus("main", None);
    place.archive("lab", json!([named("main")]));
    place.condition("lab", "ReceiverAvailable", "False", "PodNotReady");
    place.delete_archive("lab", 30);
    // And one that is paused: to delete it is the last word.
    place.archive_with("paused", json!({"paused": true}));
    place.condition("paused", "Ready", "Unknown", "Paused");
    place.delete_archive("paused", 30);
}

/// Somebody took the finalizer off by hand.
fn orphans_are_swept(suite: &Suite) {
    let place = Place::new(suite, "removal-orphans");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    place.archive("stays", json!([named("main")]));
    place.entry("main", "lab");
    let stays = place.entry("main", "stays");
    // While the receiver takes samples, the deletion waits for them; long enough to be forced.
    suite.api.delete("metricsarchives", "removal-orphans", "lab");
    let _ = suite.api.merge("metricsarchives", "removal-orphans", "lab", json!({"metadata": {"finalizers": []}}));
    place.gone("metricsarchives", "lab", 10);
    // What somebody else calls so, for an archive that never was, is an orphan, too.
    let never = json!({"name": "promarchive/removal-orphans/never/00000000", "url": "https://never-receiver.removal-orphans.svc/"});
    let list = [place.list("main"), vec![never]].concat();
    place.set_list("main", json!(list));
    eventually("nothing of it left", 150, || {
        let keys = place.secret_keys();
        match place.list("main") {
            list if list == [foreign("a"), stays.clone()]
                && keys.iter().all(|key| key.starts_with("removal-orphans.stays.")) =>
            {
                Ok(())
            }
            list => Err(format!("{list:?} {keys:?}")),
        }
    });
    always("the other archive's keys stay", 1, || match place.secret_keys().len() {
        0 => Err("no keys".to_owned()),
        _ => Ok(()),
    });
}
