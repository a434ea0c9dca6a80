//! The table of crates/operator/tests/cases/plan.json against a real API server.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::Case;
use crate::place::{CHANGE, PATIENCE, Place, change};
use crate::suite::{ROOT, Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[("plan::each_case_comes_out_as_it_says", each_case_comes_out_as_it_says)];

/// Some entries may go and others not: only marks of samples tell them apart, and there are none here.
const NEEDS_MARKS: &[&str] = &["of two old ones one may retire", "none is wanted, and one of two may go"];
/// Steps between, which the next look takes further by itself, because nothing delivers here.
const GOES_FURTHER: &[&str] = &[
    "other settings are wanted, though the old entry might retire: the new one must be there first",
    "somebody changed the new one while the old one waits: it begins anew, so the old one stays",
];

fn each_case_comes_out_as_it_says(suite: &Suite) {
    let text = std::fs::read_to_string(format!("{ROOT}/crates/operator/tests/cases/plan.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    // The names in the file are part of the entries.
    let place = Place::new(suite, file["archive"]["namespace"].as_str().unwrap());
    place.archive("lab", json!([]));
    place.condition("lab", "Ready", "True", "NoPrometheusSelected");
    let cases = file["cases"].as_array().unwrap();
    let names: BTreeSet<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    for skipped in NEEDS_MARKS.iter().chain(GOES_FURTHER) {
        assert!(names.contains(skipped), "{skipped}");
    }
    let entries = file["entries"].as_object().unwrap();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        if !NEEDS_MARKS.contains(&name) && !GOES_FURTHER.contains(&name) {
            replay(&place, case, entries);
        }
    }
}

fn replay(place: &Place, case: &Value, entries: &Map<String, Value>) {
    let api = &place.suite.api;
    let name = &case["name"];
    // Where others have a name twice there is a plan, but the operator waits until they have mended it.
    let is_refused = case["duplicateNames"] != json!([]);
    let expected = resolve(&case[if is_refused { "found" } else { "expected" }], entries);
    let found = resolve(&case["found"], entries);
    // Whatever was there before.
    api.delete("prometheuses", &place.namespace, "main");
    place.gone("prometheuses", "main", PATIENCE);
    // A pod that runs and has delivered nothing holds every entry; without one all may go.
    match case["mayRetire"].as_array().unwrap().is_empty() {
        true => place.silent_pod("main"),
        false => place.no_pod("main"),
    }
    let items = match case["wanted"].as_str() {
        None => json!([]),
        Some(wanted) => {
            let settings = json!({"exemplars": wanted != "old", "nativeHistograms": wanted != "older"});
            json!([{"id": "main", "name": "main", "remoteWrite": settings}])
        }
    };
    place.archive("lab", items);
    // The operator must not see the object before its wish is the new one.
    let (status, reason) = match case["wanted"].is_null() {
        true => ("Unknown", "NoPrometheusSelected"),
        false => ("False", "PrometheusNotFound"),
    };
    place.condition("lab", "PrometheusConfigured", status, reason);
    let mut spec = json!({"scrapeInterval": "1s", "serviceMonitorSelector": {}});
    if !found.is_null() {
        spec["remoteWrite"] = found;
    }
    let body = json!({"metadata": {"annotations": {CHANGE: change()}}, "spec": spec});
    api.create(place.object("Prometheus", "monitoring.coreos.com/v1", "main", body)).unwrap();
    let expected = || expected.as_array().cloned().unwrap_or_default();
    let is_reached = || match place.list("main") {
        list if list == expected() => Ok(()),
        list => Err(format!("{name}: {list:#?}\ninstead of {:#?}", expected())),
    };
    eventually("the list", 20, is_reached);
    always("the list stays", 0.5, is_reached);
}

/// As the cases of crates/operator/tests/cases do it.
fn resolve(list: &Value, entries: &Map<String, Value>) -> Value {
    let Some(items) = list.as_array() else { return Value::Null };
    let item = |item: &Value| match item {
        Value::String(name) => entries[name].clone(),
        Value::Object(fields) if fields.contains_key("like") => {
            let mut entry = entries[fields["like"].as_str().unwrap()].clone();
            merge(&mut entry, &fields["but"]);
            entry
        }
        other => other.clone(),
    };
    items.iter().map(item).collect()
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(key)),
            value => merge(&mut target[key], value),
        }
    }
}
