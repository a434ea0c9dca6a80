//! Tokens and certificates that are changed, and nobody notices.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::Case;
use crate::place::{Place, foreign, named};
use crate::suite::{Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[("rotation::of_everything_that_an_archive_has", of_everything_that_an_archive_has)];

/// What the Secret holds under this key of the archive `lab`; empty if there is none.
fn held(place: &Place, key: &str) -> String {
    let secret = place.suite.api.get("secrets", &place.namespace, "promarchive-remote-write").unwrap_or_default();
    let value = &secret["data"][format!("{}.lab.{key}", place.namespace)];
    let bytes: ByteString = serde_json::from_value(value.clone()).unwrap_or_default();
    String::from_utf8(bytes.0).unwrap()
}

fn certificates(place: &Place) -> usize {
    held(place, "ca.crt").matches("BEGIN CERTIFICATE").count()
}

fn of_everything_that_an_archive_has(suite: &Suite) {
    let place = Place::new(suite, "rotation");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    let entry = place.entry("main", "lab");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    let keys = ["ca.crt", "tls.crt", "operator.token", "main.p.token"];
    let [ca, tls, operator, token] = keys.map(|key| held(&place, key));
    let since = || {
        let status = place.status("lab");
        let mut all = status["conditions"].as_array().unwrap().iter();
        all.find(|one| one["type"] == "ReceiverAvailable").unwrap()["lastTransitionTime"].clone()
    };
    let available = since();
    let ask = json!({"promarchive.dev/rotate-tokens": "now", "promarchive.dev/rotate-certificates": "now"});
    suite.api.merge("metricsarchives", "rotation", "lab", json!({"metadata": {"annotations": ask}})).unwrap();

    eventually("new tokens, and a second certificate", 60, || {
        let is_new = held(&place, "operator.token") != operator && held(&place, "main.p.token") != token;
        if is_new && certificates(&place) == 2 { Ok(()) } else { Err(place.secret_keys().join(" ")) }
    });
    assert_eq!(held(&place, "operator.next.token"), "");
    assert!(held(&place, "ca.crt").starts_with(&ca), "the present one goes first");
    always("the receiver's certificate stays until every sender knows the next one", 3, || {
        if held(&place, "tls.crt") == tls { Ok(()) } else { Err("it changed".to_owned()) }
    });
    // The time in which it reaches every pod.
    let key = "rotation.lab.ca.next.since";
    const LONG_AGO: &str = "2020-01-01T00:00:00Z";
    let before = json!({"data": {key: ByteString(LONG_AGO.as_bytes().to_vec())}});
    eventually("a certificate of the new authority, which is the only one", 90, || {
        // The operator may be writing the time of just now, for a sender whose Secret it has not seen yet.
        if held(&place, "tls.crt") == tls && held(&place, "ca.next.since") != LONG_AGO {
            suite.api.merge("secrets", "rotation", "promarchive-remote-write", before.clone()).unwrap();
        }
        match (certificates(&place), held(&place, "tls.crt") != tls, held(&place, "ca.crt") != ca) {
            (1, true, true) => Ok(()),
            other => Err(format!("{other:?} {}", place.status("lab"))),
        }
    });
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    assert_eq!(since(), available, "the operator has reached the receiver all the time");
    assert_eq!(place.entry("main", "lab"), entry);
    // The time is the test's own now, so it stays.
    let of_a_change = |at: &String| (at.contains(".next.") && at != key) || at.contains(".former.");
    assert_eq!(place.secret_keys().into_iter().find(of_a_change), None);
    let events = suite.api.list("events", "rotation", "");
    let told: Vec<&Value> = events.iter().filter(|event| event["reason"] == "NewAuthority").collect();
    assert!(!told.is_empty(), "{events:?}");
}
