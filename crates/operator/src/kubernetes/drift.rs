//! Whether an object in the cluster is as it should be, and what to change if a server-side apply does not get it there.
//!
//! What we ask for must be there; what the API server or others added beside it may be, too, but for lists and for the
//! maps in [`EXACT`], where one more key means something else. Sizes and amounts are compared by what they mean, because the
//! API server writes some of them in another way.

use serde_json::{Map, Value};

use crate::kubernetes::quantity;

/// Maps in which nothing may be beside what we ask for.
const EXACT: [&str; 3] = ["spec.selector", "spec.podSelector.matchLabels", "data"];

/// The first place where `live` is not as `desired` asks; none if everything is.
pub(crate) fn difference(desired: &Value, live: &Value) -> Option<String> {
    find(desired, live, String::new())
}

fn find(desired: &Value, live: &Value, path: String) -> Option<String> {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            let wanted = desired.iter().find_map(|(key, wanted)| {
                let path = below(&path, key);
                match live.get(key) {
                    Some(found) => find(wanted, found, path),
                    // Kubernetes leaves out what is empty.
                    None if is_empty(wanted) => None,
                    None => Some(path),
                }
            });
            wanted.or_else(|| added(desired, live, &path).next().map(|key| below(&path, key)))
        }
        (Value::Array(desired), Value::Array(live)) if desired.len() == live.len() => {
            let pairs = desired.iter().zip(live).enumerate();
            pairs.map(|(at, (wanted, found))| find(wanted, found, format!("{path}[{at}]"))).find_map(|found| found)
        }
        _ if desired == live || is_same_amount(desired, live, &path) => None,
        _ => Some(path),
    }
}

/// Keys that somebody added where nothing may be added.
fn added<'a>(
    desired: &'a Map<String, Value>,
    live: &'a Map<String, Value>,
    path: &str,
) -> impl Iterator<Item = &'a String> {
    let exact = EXACT.contains(&path);
    live.keys().filter(move |key| exact && !desired.contains_key(*key))
}

/// A merge patch (RFC 7386) that makes `live` as `desired` asks: lists as a whole, keys that were added to null. For what a
/// server-side apply cannot take away, because somebody else owns it.
pub(crate) fn correction(desired: &Value, live: &Value) -> Value {
    correct(desired, live, String::new())
}

fn correct(desired: &Value, live: &Value, path: String) -> Value {
    let (Value::Object(desired), Value::Object(live)) = (desired, live) else { return desired.clone() };
    let mut patch: Map<String, Value> = added(desired, live, &path).map(|key| (key.clone(), Value::Null)).collect();
    for (key, wanted) in desired {
        let path = below(&path, key);
        let found = live.get(key).unwrap_or(&Value::Null);
        if find(wanted, found, path.clone()).is_some() && !(is_empty(wanted) && found.is_null()) {
            patch.insert(key.clone(), correct(wanted, found, path));
        }
    }
    Value::Object(patch)
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

fn is_same_amount(desired: &Value, live: &Value, path: &str) -> bool {
    let is_amount = path.contains(".requests.") || path.contains(".limits.");
    let amount = |value: &Value| value.as_str().and_then(quantity::thousandths);
    is_amount && amount(desired).is_some() && amount(desired) == amount(live)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_added_is_no_drift() {
        let desired = json!({"spec": {"ports": [{"port": 1}], "selector": {"a": "b"}, "none": []}});
        let live = json!({"spec": {"ports": [{"port": 1, "nodePort": 7}], "selector": {"a": "b"}, "clusterIP": "x"}, "status": {}});
        assert_eq!(difference(&desired, &live), None);
    }

    #[test]
    fn what_was_changed_or_taken_out_is_named() {
        let desired = json!({"spec": {"containers": [{"image": "a", "args": ["x", "y"]}]}});
        for (live, place) in [
            (json!({}), "spec"),
            (json!({"spec": {"containers": []}}), "spec.containers"),
            (json!({"spec": {"containers": [{"image": "b", "args": ["x", "y"]}]}}), "spec.containers[0].image"),
            (json!({"spec": {"containers": [{"image": "a", "args": ["y", "x"]}]}}), "spec.containers[0].args[0]"),
        ] {
            assert_eq!(difference(&desired, &live).as_deref(), Some(place));
        }
    }

    #[test]
    fn a_key_more_in_a_selector_is_drift_and_is_taken_out() {
        let desired = json!({"spec": {"selector": {"a": "b"}, "ports": [{"name": "x", "port": 1}]}, "metadata": {"labels": {"l": "1"}}});
        let live = json!({"spec": {"selector": {"a": "b", "app": "theirs"}, "ports": [{"name": "x", "port": 2}], "clusterIP": "i"},
            "metadata": {"labels": {"l": "1", "more": "2"}}});
        assert_eq!(difference(&desired, &live).as_deref(), Some("spec.ports[0].port"));
        let patch = correction(&desired, &live);
        assert_eq!(patch, json!({"spec": {"selector": {"app": null}, "ports": [{"name": "x", "port": 1}]}}));
        let mut mended = live;
        json_patch::merge(&mut mended, &patch);
        assert_eq!(difference(&desired, &mended), None);
    }

    #[test]
    fn amounts_are_compared_by_what_they_mean_and_nothing_else_is() {
        let with = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        assert_eq!(difference(&with("0.5"), &with("500m")), None);
        assert_eq!(difference(&with("1"), &with("500m")).as_deref(), Some("resources.requests.cpu"));
        assert!(difference(&json!({"args": "1000m"}), &json!({"args": "1"})).is_some());
    }
}
