//! Labels that an archive asks for, of its receiver's pod and its PodMonitor: the admission policy says which.

use serde_json::{Value, json};

use crate::Case;
use crate::place::{PATIENCE, Place};
use crate::suite::{Suite, eventually};

pub(crate) const CASES: &[Case] = &[
    ("labels::what_is_not_allowed_is_refused_by_name", what_is_not_allowed_is_refused_by_name),
    ("labels::what_an_earlier_version_has_set_stays", what_an_earlier_version_has_set_stays),
    ("labels::those_of_a_pod_monitor_are_kept", those_of_a_pod_monitor_are_kept),
];

fn archive(place: &Place, labels: &Value) {
    let monitor = json!({"labels": {"release": "stack", "monitoring.example.com/team": "lab"}});
    let receiver = json!({"podMetadata": {"labels": labels}, "podMonitor": monitor});
    place.archive_with("lab", json!({"prometheuses": [], "receiver": receiver}));
}

fn what_is_not_allowed_is_refused_by_name(suite: &Suite) {
    let place = Place::new(suite, "labels");
    let good = json!({"team": "lab", "app.kubernetes.io/part-of": "lab"});
    let mut labels = good.clone();
    labels["sidecar.istio.io/inject"] = json!("true");
    archive(&place, &labels);
    let message = place.condition("lab", "ReceiverAvailable", "False", "RequestRefused");
    for part in
        ["allow them: sidecar.istio.io/inject", "receiver.podMetadata.labels", "admissionPolicy.receiverPodLabels"]
    {
        assert!(message.contains(part), "{message}");
    }
    assert!(suite.api.get("deployments", "labels", "lab-receiver").is_none());
    archive(&place, &good);
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    assert_eq!(pod_labels(&place)["team"], "lab");
}

/// Of the pods that the Deployment of the archive makes.
fn pod_labels(place: &Place) -> Value {
    let deployment = place.suite.api.get("deployments", &place.namespace, "lab-receiver").unwrap();
    deployment["spec"]["template"]["metadata"]["labels"].clone()
}

/// It could be set before the policy asked for the administrator's word.
fn what_an_earlier_version_has_set_stays(suite: &Suite) {
    let place = Place::new(suite, "labels-earlier");
    archive(&place, &json!({}));
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    let applied = || {
        let deployment = suite.api.get("deployments", "labels-earlier", "lab-receiver").unwrap();
        deployment["metadata"]["annotations"]["promarchive.dev/applied"].clone()
    };
    let before = applied();
    let labels = json!({"example.com/earlier": "a"});
    let template = json!({"spec": {"template": {"metadata": {"labels": labels}}}});
    suite.api.merge("deployments", "labels-earlier", "lab-receiver", template).unwrap();
    archive(&place, &labels);
    eventually("the operator changes the Deployment", PATIENCE, || match applied() {
        same if same == before => Err(place.status("lab").to_string()),
        _ => Ok(()),
    });
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    assert_eq!(pod_labels(&place)["example.com/earlier"], "a");
}

/// Written once, and again when somebody changes them.
fn those_of_a_pod_monitor_are_kept(suite: &Suite) {
    let place = Place::new(suite, "labels-monitor");
    archive(&place, &json!({}));
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    let writes = || {
        let all = suite.record.writes("labels-monitor");
        all.into_iter().filter(|write| write.contains("/podmonitors/")).collect::<Vec<_>>()
    };
    assert_eq!(writes().len(), 1, "{:#?}", writes());
    let other = json!({"metadata": {"labels": {"release": "other", "monitoring.example.com/team": null}}});
    suite.api.merge("podmonitors", "labels-monitor", "lab-receiver", other).unwrap();
    eventually("the labels that the archive asks for", PATIENCE, || {
        let labels =
            suite.api.get("podmonitors", "labels-monitor", "lab-receiver").unwrap()["metadata"]["labels"].clone();
        match labels["release"] == "stack" && labels["monitoring.example.com/team"] == "lab" {
            true => Ok(()),
            false => Err(labels.to_string()),
        }
    });
}
