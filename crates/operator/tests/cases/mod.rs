//! The cases of `plan.json`, for the test of `plan` and for a real API server alike.

use promarchive_api::metrics_archive::{PrometheusKind, RemoteWriteSettings, TlsMode};
use promarchive_operator::names::{ArchiveName, PrometheusName};
use promarchive_operator::senders::entry::{Capabilities, Entry, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct File {
    archive: Name,
    prometheus: Name,
    entries: Map<String, Value>,
    cases: Vec<Raw>,
}

#[derive(Deserialize)]
struct Name {
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    name: String,
    found: Option<Vec<Value>>,
    wanted: Option<String>,
    may_retire: Vec<String>,
    expected: Option<Vec<Value>>,
    state: String,
    duplicate_names: Vec<String>,
}

/// One list, what is wanted of it, and what it becomes.
pub(crate) struct Case {
    /// What it is about.
    pub(crate) name: String,
    /// `spec.remoteWrite`; `None` if there is none.
    pub(crate) found: Option<Vec<Value>>,
    pub(crate) wanted: Option<Entry>,
    /// Names of the entries that may retire.
    pub(crate) may_retire: Vec<String>,
    /// The list afterwards.
    pub(crate) expected: Option<Vec<Value>>,
    /// The variant of [`State`] afterwards.
    pub(crate) state: String,
    /// Names that others have twice.
    pub(crate) duplicate_names: Vec<String>,
}

/// All cases, the archive that they are about, and the Prometheus.
pub(crate) fn all() -> (ArchiveName, PrometheusName, Vec<Case>) {
    let file: File = serde_json::from_str(include_str!("plan.json")).unwrap();
    let archive = ArchiveName { namespace: file.archive.namespace, name: file.archive.name };
    let prometheus = PrometheusName {
        kind: PrometheusKind::Prometheus,
        namespace: file.prometheus.namespace,
        name: file.prometheus.name,
    };
    let list =
        |list: Option<Vec<Value>>| list.map(|list| list.iter().map(|item| resolve(item, &file.entries)).collect());
    let name_of = |entry: &String| file.entries[entry]["name"].as_str().unwrap().to_owned();
    let cases = file.cases.into_iter().map(|raw| Case {
        found: list(raw.found),
        expected: list(raw.expected),
        wanted: raw.wanted.map(|wanted| build(&archive, &prometheus, &wanted, &file.entries[&wanted])),
        may_retire: raw.may_retire.iter().map(name_of).collect(),
        name: raw.name,
        state: raw.state,
        duplicate_names: raw.duplicate_names,
    });
    let cases = cases.collect();
    (archive, prometheus, cases)
}

/// The variant's name.
pub(crate) fn word(state: &State) -> &'static str {
    match state {
        State::Absent => "Absent",
        State::Configured => "Configured",
        State::Replacing(_) => "Replacing",
        State::Draining(_) => "Draining",
        State::ConfiguredByOthers => "ConfiguredByOthers",
    }
}

/// The entry is built from settings, and must come out as it is in the file.
fn build(archive: &ArchiveName, prometheus: &PrometheusName, name: &str, expected: &Value) -> Entry {
    let settings = RemoteWriteSettings {
        exemplars: name != "old",
        native_histograms: name != "older",
        ..RemoteWriteSettings::default()
    };
    let capabilities = Capabilities::of(prometheus.kind, &json!({}), None);
    let entry = Entry::new(archive, TlsMode::SelfSigned, &settings, prometheus, &capabilities).unwrap();
    assert_eq!(entry.value(), expected, "{name}");
    entry
}

fn resolve(item: &Value, entries: &Map<String, Value>) -> Value {
    match item {
        Value::String(name) => entries[name].clone(),
        Value::Object(fields) if fields.contains_key("like") => {
            let mut entry = entries[fields["like"].as_str().unwrap()].clone();
            json_patch::merge(&mut entry, &fields["but"]);
            entry
        }
        other => other.clone(),
    }
}
