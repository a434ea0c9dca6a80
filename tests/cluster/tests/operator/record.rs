//! What happened: every version of every Prometheus, and every request.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::api::Api;
use crate::place::CHANGE;

const OPERATOR: &str = "system:serviceaccount:promarchive:promarchive-operator";

/// What happened since the start.
pub(crate) struct Record {
    versions: Mutex<BTreeMap<String, Vec<Value>>>,
    audit_log: PathBuf,
}

impl Record {
    pub(crate) fn start(api: &Api, audit_log: PathBuf) -> Arc<Self> {
        let record = Arc::new(Self { versions: Mutex::default(), audit_log });
        for kind in ["prometheuses", "prometheusagents"] {
            let record = record.clone();
            api.watch(kind, move |object| {
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                record.versions.lock().unwrap().entry(uid).or_default().push(object);
            });
        }
        record
    }

    /// Every version of the Prometheus objects of a namespace, each object's in order.
    pub(crate) fn versions(&self, namespace: &str) -> Vec<Vec<Value>> {
        let all = self.versions.lock().unwrap();
        let here = all.values().filter(|versions| versions.iter().all(|one| one["metadata"]["namespace"] == namespace));
        here.cloned().collect()
    }

    /// Requests of the operator that were answered, in order.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.audit_log).unwrap();
        // The last line may be half written.
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["user"]["username"] == OPERATOR && event["stage"] != "ResponseStarted").collect()
    }

    /// Requests of the operator by which it wrote something in a namespace, but for Leases: verb and object. A dry run writes nothing.
    pub(crate) fn writes(&self, namespace: &str) -> Vec<String> {
        let is_write = |event: &Value| {
            let verb = event["verb"].as_str().unwrap_or_default();
            let is_dry = event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All"));
            !matches!(verb, "get" | "list" | "watch") && event["objectRef"]["resource"] != "leases" && !is_dry
        };
        let here = self.requests().into_iter().filter(|event| event["objectRef"]["namespace"] == namespace);
        here.filter(is_write)
            .map(|event| format!("{} {} {}", event["verb"], event["requestURI"], event["responseStatus"]["code"]))
            .collect()
    }

    /// No version of any Prometheus had two entries of one name of ours, and the operator changed nothing of others.
    pub(crate) fn check(&self) {
        let all = self.versions.lock().unwrap();
        assert!(!all.is_empty(), "nothing was recorded");
        for versions in all.values() {
            let marks: Vec<_> = versions.iter().map(Version::of).collect();
            for (before, after) in marks.iter().zip(marks.iter().skip(1)) {
                assert!(
                    before.change != after.change || before.foreign == after.foreign,
                    "entries of others were changed: {before:#?} {after:#?}"
                );
                let twice = |version: &Version| version.twice.clone();
                // A test may put an entry there twice; the operator may not.
                assert!(
                    before.change != after.change || twice(after).is_none() || twice(before) == twice(after),
                    "{after:#?}"
                );
            }
        }
    }
}

/// Of one version of a Prometheus, what the operator must not change.
#[derive(Debug)]
struct Version {
    /// Changes with every change that a test makes.
    change: String,
    foreign: Vec<Value>,
    /// A name of ours that is there twice.
    twice: Option<String>,
}

impl Version {
    fn of(object: &Value) -> Self {
        let list = object["spec"]["remoteWrite"].as_array().cloned().unwrap_or_default();
        let (ours, foreign): (Vec<Value>, Vec<Value>) = list
            .into_iter()
            .partition(|entry| entry["name"].as_str().is_some_and(|name| name.starts_with("promarchive/")));
        let names: Vec<String> = ours.iter().map(|entry| entry["name"].to_string()).collect();
        let twice = names.iter().find(|name| names.iter().filter(|other| other == name).count() > 1).cloned();
        let annotation = object.pointer(&format!("/metadata/annotations/{CHANGE}"));
        Self { change: annotation.map(ToString::to_string).unwrap_or_default(), foreign, twice }
    }
}
