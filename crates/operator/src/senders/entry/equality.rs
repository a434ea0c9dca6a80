//! Whether an entry that was found is the one that was written.
//!
//! Between the two stand the API server, which adds the CRD's default of `action` and drops nulls, and clients that read and write
//! the whole object through Go's types: these write empty objects for some fields that are not set. Only such fields are set
//! aside: an empty `metadataConfig` for example switches metadata off, and an empty `separator` is not the default.

use serde_json::{Map, Value};

/// Whether both say the same to Prometheus.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    normalised(one) == normalised(other)
}

fn normalised(entry: &Value) -> Value {
    let mut entry = without_nulls(entry);
    if let Value::Object(entry) = &mut entry {
        if let Some(Value::Object(tls)) = entry.get_mut("tlsConfig") {
            remove_if_empty(tls, &["ca", "cert"]);
        }
        if let Some(Value::Array(rules)) = entry.get_mut("writeRelabelConfigs") {
            rules.iter_mut().filter_map(Value::as_object_mut).for_each(normalise_rule);
        }
        remove_if_empty(entry, &["headers", "queueConfig", "tlsConfig", "writeRelabelConfigs"]);
    }
    entry
}

/// The CRD knows each action in two spellings (`labelDrop`); the Prometheus Operator writes it in lower case.
fn normalise_rule(rule: &mut Map<String, Value>) {
    remove_if_empty(rule, &["sourceLabels"]);
    let action = rule.get("action").and_then(Value::as_str).unwrap_or("replace").to_ascii_lowercase();
    rule.insert("action".to_owned(), action.into());
}

fn remove_if_empty(fields: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        let empty = match fields.get(*name) {
            Some(Value::Object(inner)) => inner.is_empty(),
            Some(Value::Array(inner)) => inner.is_empty(),
            _ => false,
        };
        if empty {
            fields.remove(*name);
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_servers_and_clients_add_is_set_aside_and_nothing_else() {
        let ours = json!({
            "name": "a",
            "tlsConfig": {"ca": {"secret": {"name": "s", "key": "k"}}},
            "writeRelabelConfigs": [{"targetLabel": "x", "separator": ""}],
        });
        for (pointer, value, same) in [
            ("/writeRelabelConfigs/0/action", json!("replace"), true),
            ("/writeRelabelConfigs/0/action", json!("Replace"), true),
            ("/writeRelabelConfigs/0/action", json!("keep"), false),
            ("/writeRelabelConfigs/0/sourceLabels", json!([]), true),
            ("/writeRelabelConfigs/0/separator", json!(";"), false),
            ("/writeRelabelConfigs/0/replacement", json!(""), false),
            ("/tlsConfig/cert", json!({}), true),
            ("/tlsConfig/insecureSkipVerify", json!(true), false),
            ("/headers", json!({}), true),
            ("/headers", json!(null), true),
            ("/headers", json!({"X": "y"}), false),
            ("/queueConfig", json!({}), true),
            ("/queueConfig", json!({"sampleAgeLimit": "1m"}), false),
            ("/metadataConfig", json!({}), false),
            ("/sigv4", json!({}), false),
            ("/name", json!("b"), false),
        ] {
            let mut found = ours.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            found.pointer_mut(parent).unwrap()[field] = value.clone();
            assert_eq!(is_same(&ours, &found), same, "{pointer} {value}");
        }
    }

    #[test]
    fn anything_can_be_compared() {
        let ours = json!({"name": "a"});
        for found in [json!(null), json!(1), json!([]), json!("a"), json!({"name": {}}), json!({"tlsConfig": []})] {
            assert!(!is_same(&ours, &found), "{found}");
        }
    }
}
