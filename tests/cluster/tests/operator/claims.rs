//! Claims that the operator did not make: who may mount them, and what becomes of their files.

use serde_json::{Value, json};

use crate::Case;
use crate::place::{Place, foreign, named};
use crate::suite::{Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[
    ("claims::a_claim_of_somebodys_is_mounted_when_it_allows_it", a_claim_of_somebodys_is_mounted_when_it_allows_it),
    ("claims::the_claim_of_another_archive_is_refused", the_claim_of_another_archive_is_refused),
    ("claims::what_mounts_a_claim_already_goes_on_unchanged", what_mounts_a_claim_already_goes_on_unchanged),
    ("claims::a_claim_that_has_the_name_by_chance_is_not_mounted", a_claim_that_has_the_name_by_chance_is_not_mounted),
];

fn existing(claim: &str) -> Value {
    json!({"storage": {"persistentVolume": {"existingClaim": claim}}})
}

/// Another look than the next one, which comes within half a minute.
fn look(place: &Place, archive: &str) {
    let patch = json!({"metadata": {"annotations": {"test-look": crate::place::change()}}});
    place.suite.api.merge("metricsarchives", &place.namespace, archive, patch).unwrap();
}

fn allow(place: &Place, claim: &str, archives: Option<&str>) {
    let patch = json!({"metadata": {"annotations": {"promarchive.dev/allow-archives": archives}}});
    place.suite.api.merge("persistentvolumeclaims", &place.namespace, claim, patch).unwrap();
}

#[track_caller]
fn no_receiver(place: &Place, archive: &str) {
    always("there is no receiver", 3, || match place.receiver_pod(archive) {
        Value::Null => Ok(()),
        pod => Err(pod.to_string()),
    });
}

fn a_claim_of_somebodys_is_mounted_when_it_allows_it(suite: &Suite) {
    let place = Place::new(suite, "claims-consent");
    place.claim("database", json!({"promarchive.dev/allow-archives": "claims-consent/other"}));
    place.prometheus("main", Some(json!([foreign("a")])));
    let mut spec = existing("database");
    spec["prometheuses"] = json!([named("main")]);
    place.archive_with("lab", spec);
    let message = place.condition("lab", "StorageReachable", "False", "ClaimNotAllowed");
    for type_ in ["ReceiverAvailable", "Ready"] {
        place.condition("lab", type_, "False", "ClaimNotAllowed");
    }
    place.condition("lab", "Stalled", "True", "ClaimNotAllowed");
    no_receiver(&place, "lab");
    assert_eq!(place.list("main"), [foreign("a")]);
    // What the message says is all that it takes.
    let command = message.split("kubectl ").nth(1).unwrap();
    assert!(command.starts_with("annotate --overwrite pvc database "), "{message}");
    suite.cluster.kubectl(command.split_whitespace()).unwrap();
    look(&place, "lab");
    place.condition("lab", "StorageReachable", "True", "Reachable");
    place.entry("main", "lab");
    let pod = place.receiver_pod("lab");
    assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], "database");
    // Its files keep their group.
    assert_eq!(pod["securityContext"]["fsGroup"], Value::Null);
}

fn the_claim_of_another_archive_is_refused(suite: &Suite) {
    let place = Place::new(suite, "claims-others");
    place.archive_with("made", json!({}));
    place.claim("shared", json!({"promarchive.dev/allow-archives": "claims-others/*"}));
    place.archive_with("first", existing("shared"));
    for archive in ["made", "first"] {
        place.condition(archive, "StorageReachable", "True", "Reachable");
    }
    allow(&place, "made-archive", Some("claims-others/*"));
    for (archive, claim, of) in [("second", "shared", "first"), ("third", "made-archive", "made")] {
        place.archive_with(archive, existing(claim));
        let message = place.condition(archive, "Ready", "False", "ClaimOfAnotherArchive");
        assert!(message.contains(&format!("belongs to the archive \"{of}\"")), "{message}");
        no_receiver(&place, archive);
    }
    // It is nobody's when that archive is gone, and its data stays where it is.
    place.delete_archive("made", 60);
    look(&place, "third");
    place.condition("third", "StorageReachable", "True", "Reachable");
    // Whoever uses it then keeps it when an archive of the old name comes again.
    place.archive_with("made", json!({}));
    let message = place.condition("made", "Ready", "False", "ClaimOfAnotherArchive");
    assert!(message.contains("belongs to the archive \"third\""), "{message}");
    place.condition("third", "StorageReachable", "True", "Reachable");
}

/// Makes a Deployment one of an earlier version, which asked for the group. The field is the operator's own.
fn with_a_group(place: &Place, name: &str) {
    let mut object = place.suite.api.get("deployments", &place.namespace, name).unwrap();
    for field in ["managedFields", "resourceVersion"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object["spec"]["template"]["spec"]["securityContext"]["fsGroup"] = json!(65532);
    let arguments =
        ["apply", "--server-side", "--force-conflicts", "--field-manager=promarchive-operator", "--filename=-"];
    place.suite.cluster.kubectl_with_input(&arguments, &object.to_string()).unwrap();
}

/// As an earlier version has left it, which asked nobody; or with a consent that was taken back.
fn what_mounts_a_claim_already_goes_on_unchanged(suite: &Suite) {
    let place = Place::new(suite, "claims-before");
    place.prometheus("main", None);
    place.claim("old", json!({"promarchive.dev/allow-archives": "claims-before/lab"}));
    let mut spec = existing("old");
    spec["prometheuses"] = json!([named("main")]);
    place.archive_with("lab", spec.clone());
    place.condition("lab", "StorageReachable", "True", "Reachable");
    let entry = place.entry("main", "lab");
    allow(&place, "old", None);
    with_a_group(&place, "lab-receiver");
    // Something that would be changed, too.
    spec["receiver"] = json!({"flushInterval": "1m"});
    place.archive_with("lab", spec);
    let message = place.condition("lab", "Ready", "False", "ClaimNotAllowed");
    assert!(message.contains("continues unchanged"), "{message}");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    always("the Deployment stays as it is", 3, || {
        let found = suite.api.get("deployments", "claims-before", "lab-receiver").unwrap();
        let group = &found["spec"]["template"]["spec"]["securityContext"]["fsGroup"];
        if *group == 65532 { Ok(()) } else { Err(found["spec"].to_string()) }
    });
    assert_eq!(place.entry("main", "lab"), entry);
    allow(&place, "old", Some("claims-before/lab"));
    look(&place, "lab");
    place.condition("lab", "StorageReachable", "True", "Reachable");
    eventually(
        "a Deployment without the group",
        60,
        || match &place.receiver_pod("lab")["securityContext"]["fsGroup"] {
            Value::Null => Ok(()),
            group => Err(group.to_string()),
        },
    );
    // What is stopped by hand stays stopped.
    allow(&place, "old", None);
    suite.api.delete("deployments", "claims-before", "lab-receiver");
    place.gone("deployments", "lab-receiver", 60);
    look(&place, "lab");
    place.condition("lab", "ReceiverAvailable", "False", "ClaimNotAllowed");
    no_receiver(&place, "lab");
}

fn a_claim_that_has_the_name_by_chance_is_not_mounted(suite: &Suite) {
    let place = Place::new(suite, "claims-name");
    place.claim("lab-archive", json!({}));
    place.archive_with("lab", json!({}));
    place.condition("lab", "Ready", "False", "NameTaken");
    no_receiver(&place, "lab");
}
