//! The reference pages of the custom resource say what the code says.
//!
//! `docs/reference/metricsarchive.md` is generated: `UPDATE_REFERENCE=1 cargo test -p promarchive-operator --test reference`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use kube::CustomResourceExt;
use promarchive_api::metrics_archive::{MetricsArchive, PrometheusState, Reason};
use serde_json::Value;

/// Kubernetes' own types, which have references of their own.
const FOREIGN: [&str; 7] = [
    "spec.receiver.networkPolicyPeers[]",
    "spec.receiver.resources",
    "spec.receiver.scheduling.affinity",
    "spec.receiver.scheduling.tolerations[]",
    "spec.prometheuses[].selector",
    "status.conditions[]",
    "status.prometheuses[]",
];

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name)
}

/// One row for each field under `schema`.
fn rows(path: &str, schema: &Value, rows: &mut String) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        let description = field["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let must = if required.contains(&name.as_str()) { "**required.** " } else { "" };
        let _ = writeln!(rows, "| `{path}` | {} | {must}{description} |", kind(field));
        let (inner, path) = match &field["items"] {
            Value::Null => (field, path),
            items => (items, format!("{path}[]")),
        };
        if !FOREIGN.contains(&path.as_str()) {
            self::rows(&path, inner, rows);
        }
    }
}

fn kind(field: &Value) -> String {
    let default = match &field["default"] {
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
        default => format!(", default `{}`", default.to_string().trim_matches('"')),
    };
    if let Some(words) = field["enum"].as_array() {
        let words: Vec<String> = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        return format!("{}{default}", words.join(" "));
    }
    format!("{}{default}", field["type"].as_str().unwrap_or("any"))
}

fn rules(schema: &Value, found: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        found.push(rule["message"].as_str().unwrap().to_owned());
    }
    let children = schema["properties"].as_object().into_iter().flat_map(|fields| fields.values());
    children.chain([&schema["items"]]).filter(|child| child.is_object()).for_each(|child| rules(child, found));
}

fn generated() -> String {
    let crd = serde_json::to_value(MetricsArchive::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut page = String::from(
        "# MetricsArchive\n\n\
         Group `promarchive.dev`, version `v1alpha1`, namespaced; short name `ma`. The same text, field by field: `kubectl explain ma.spec`.\n\
         This page is generated from the definition of the kind. The smallest archive:\n\n\
         ```yaml\n\
         apiVersion: promarchive.dev/v1alpha1\n\
         kind: MetricsArchive\n\
         metadata: {name: lab, namespace: monitoring}\n\
         spec:\n  storage: {persistentVolume: {size: 100Gi}}\n  prometheuses: [{id: all, selector: {}}]\n\
         ```\n\n## spec\n\n| field | type | what |\n|---|---|---|\n",
    );
    rows("spec", &schema["properties"]["spec"], &mut page);
    page.push_str("\n## Refused by the API server\n\nBesides wrong types, unknown words and lengths:\n\n");
    let mut found = Vec::new();
    rules(schema, &mut found);
    found.iter().for_each(|message| page.push_str(&format!("- {message}\n")));
    page.push_str("\n## status\n\nWhat the conditions and states mean: [status](status.md).\n\n| field | type | what |\n|---|---|---|\n");
    rows("status", &schema["properties"]["status"], &mut page);
    page
}

#[test]
fn the_page_of_the_kind_is_up_to_date() {
    let page = page("metricsarchive.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&page, generated()).unwrap();
    }
    assert_eq!(
        fs::read_to_string(page).unwrap_or_default(),
        generated(),
        "generate it anew, see the head of this test"
    );
}

#[test]
fn every_reason_and_state_is_explained() {
    let page = fs::read_to_string(page("status.md")).unwrap();
    let words = Reason::ALL.iter().map(|one| one.as_str()).chain(PrometheusState::ALL.iter().map(|one| one.as_str()));
    let missing: Vec<&str> = words.filter(|word| !page.contains(&format!("| `{word}` |"))).collect();
    assert_eq!(missing, [] as [&str; 0]);
}
