//! A namespace of a case's own, and what is made and read in it.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::api::Api;
use crate::suite::{Suite, eventually};

/// The annotation of a Prometheus with the number of the last change that a test made.
pub(crate) const CHANGE: &str = "test-change";
/// Long enough for everything that takes seconds, on a machine that has much to do.
pub(crate) const PATIENCE: u64 = 60;

/// A namespace of a case's own.
pub(crate) struct Place<'a> {
    pub(crate) suite: &'a Suite,
    pub(crate) namespace: String,
}

/// An item of `spec.prometheuses` for one object of this name.
pub(crate) fn named(name: &str) -> Value {
    json!({"id": name, "name": name, "drainTimeout": "5s"})
}

/// An entry of somebody's own.
pub(crate) fn foreign(name: &str) -> Value {
    json!({"name": name, "url": format!("https://{name}.example.org/write")})
}

impl<'a> Place<'a> {
    pub(crate) fn new(suite: &'a Suite, namespace: &str) -> Self {
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        suite.api.apply(made).unwrap();
        // No pod is made in a namespace without it.
        eventually("the ServiceAccount default", PATIENCE, || {
            suite.api.get("serviceaccounts", namespace, "default").ok_or_else(|| "none".to_owned())
        });
        Self { suite, namespace: namespace.to_owned() }
    }

    /// Makes an archive, or changes the one that is there.
    pub(crate) fn archive(&self, name: &str, prometheuses: Value) -> Value {
        self.archive_with(name, json!({"prometheuses": prometheuses}))
    }

    /// The same, with these fields in its spec.
    pub(crate) fn archive_with(&self, name: &str, more: Value) -> Value {
        let mut spec = json!({"storage": {"persistentVolume": {"size": "1Gi"}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        self.suite
            .api
            .apply(self.object("MetricsArchive", "promarchive.dev/v1alpha1", name, json!({"spec": spec})))
            .unwrap()
    }

    /// An object of this place.
    pub(crate) fn object(&self, kind: &str, version: &str, name: &str, body: Value) -> Value {
        let mut object = body;
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(self.namespace);
        object
    }

    /// A Prometheus with this list, or with none. It scrapes often, so that waits are short.
    pub(crate) fn prometheus(&self, name: &str, list: Option<Value>) -> Value {
        self.prometheus_with(name, list, json!({}))
    }

    /// The same, with these fields in its spec.
    pub(crate) fn prometheus_with(&self, name: &str, list: Option<Value>, more: Value) -> Value {
        let mut spec = json!({"scrapeInterval": "1s", "serviceMonitorSelector": {}});
        if let Some(list) = list {
            spec["remoteWrite"] = list;
        }
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let body = json!({"metadata": {"annotations": {CHANGE: change()}}, "spec": spec});
        self.suite.api.apply(self.object("Prometheus", "monitoring.coreos.com/v1", name, body)).unwrap()
    }

    /// Replaces the whole list.
    pub(crate) fn set_list(&self, name: &str, list: Value) {
        let patch = json!({"metadata": {"annotations": {CHANGE: change()}}, "spec": {"remoteWrite": list}});
        self.suite.api.merge("prometheuses", &self.namespace, name, patch).unwrap();
    }

    /// `spec.remoteWrite` as it is now.
    pub(crate) fn list(&self, name: &str) -> Vec<Value> {
        let found = self.suite.api.get("prometheuses", &self.namespace, name);
        found.and_then(|found| found["spec"]["remoteWrite"].as_array().cloned()).unwrap_or_default()
    }

    /// The archive's own entries in a Prometheus.
    pub(crate) fn entries(&self, name: &str, archive: &str) -> Vec<Value> {
        let prefix = format!("promarchive/{}/{archive}/", self.namespace);
        let is_its = |entry: &Value| entry["name"].as_str().is_some_and(|name| name.starts_with(&prefix));
        self.list(name).into_iter().filter(is_its).collect()
    }

    /// Waits until the archive has exactly one entry, which is given.
    #[track_caller]
    pub(crate) fn entry(&self, name: &str, archive: &str) -> Value {
        eventually(&format!("an entry of {archive} in {}/{name}", self.namespace), PATIENCE, || {
            match self.entries(name, archive).as_slice() {
                [one] => Ok(one.clone()),
                other => Err(format!("{other:?}; {}", self.status(archive))),
            }
        })
    }

    /// Waits until the archive has none.
    #[track_caller]
    pub(crate) fn no_entry(&self, name: &str, archive: &str) {
        eventually(&format!("no entry of {archive} in {}/{name}", self.namespace), PATIENCE, || {
            let entries = self.entries(name, archive);
            if entries.is_empty() { Ok(()) } else { Err(format!("{entries:?}; {}", self.status(archive))) }
        });
    }

    /// The archive's status; null if there is none.
    pub(crate) fn status(&self, archive: &str) -> Value {
        self.suite
            .api
            .get("metricsarchives", &self.namespace, archive)
            .map(|found| found["status"].clone())
            .unwrap_or_default()
    }

    /// Waits until a condition has this status and reason; gives its message.
    #[track_caller]
    pub(crate) fn condition(&self, archive: &str, type_: &str, status: &str, reason: &str) -> String {
        let what = format!("{type_}={status} {reason} of {}/{archive}", self.namespace);
        eventually(&what, PATIENCE, || {
            let found = self.status(archive);
            let mut all = found["conditions"].as_array().into_iter().flatten();
            match all.find(|one| one["type"] == type_) {
                Some(one) if one["status"] == status && one["reason"] == reason => {
                    Ok(one["message"].as_str().unwrap_or_default().to_owned())
                }
                other => Err(format!("{other:?} in {found}")),
            }
        })
    }

    /// Waits until a Prometheus of this name has this state in the archive's status; gives the message.
    #[track_caller]
    pub(crate) fn state(&self, archive: &str, name: &str, state: &str) -> String {
        let what = format!("{state} of {name} in {}/{archive}", self.namespace);
        eventually(&what, PATIENCE, || {
            let found = self.status(archive);
            let mut all = found["prometheuses"].as_array().into_iter().flatten();
            match all.find(|one| one["name"] == name) {
                Some(one) if one["state"] == state => Ok(one["message"].as_str().unwrap_or_default().to_owned()),
                _ => Err(found.to_string()),
            }
        })
    }

    /// A pod of a Prometheus that runs and sends nothing.
    pub(crate) fn silent_pod(&self, prometheus: &str) {
        controller(&self.suite.api, &self.namespace, prometheus);
        self.runs(&format!("prometheus-{prometheus}-0"));
    }

    /// The Prometheus has no pod any more, if it had one.
    pub(crate) fn no_pod(&self, prometheus: &str) {
        let name = format!("prometheus-{prometheus}");
        if self.suite.api.get("statefulsets", &self.namespace, &name).is_some() {
            let none = json!({"spec": {"replicas": 0}});
            self.suite.api.merge("statefulsets", &self.namespace, &name, none).unwrap();
            self.gone("pods", &format!("{name}-0"), PATIENCE);
        }
    }

    /// Says that the container of this pod runs.
    pub(crate) fn runs(&self, pod: &str) {
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let container = json!({"name": "prometheus", "image": "x", "imageID": "", "ready": true, "restartCount": 0, "state": running});
        let status = json!({"status": {"phase": "Running", "podIP": "198.51.100.7", "podIPs": [{"ip": "198.51.100.7"}], "containerStatuses": [container]}});
        self.suite.api.merge_status("pods", &self.namespace, pod, status).unwrap();
    }

    /// Keys in the Secret of this namespace.
    pub(crate) fn secret_keys(&self) -> Vec<String> {
        let secret = self.suite.api.get("secrets", &self.namespace, "promarchive-remote-write").unwrap_or_default();
        secret["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    /// Lets archives of elsewhere have the samples of this namespace; none takes the consent back.
    pub(crate) fn consent(&self, archives: Option<&str>) {
        let patch = json!({"metadata": {"annotations": {"promarchive.dev/allow-archives": archives}}});
        self.suite.api.merge("namespaces", "", &self.namespace, patch).unwrap();
    }

    /// A claim of somebody's own, with these annotations.
    pub(crate) fn claim(&self, name: &str, annotations: Value) -> Value {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let claim = json!({"metadata": {"annotations": annotations}, "spec": spec});
        self.suite.api.apply(self.object("PersistentVolumeClaim", "v1", name, claim)).unwrap()
    }

    /// The spec of the pods of a receiver; null if there is no Deployment.
    pub(crate) fn receiver_pod(&self, archive: &str) -> Value {
        let found = self.suite.api.get("deployments", &self.namespace, &format!("{archive}-receiver"));
        found.map(|found| found["spec"]["template"]["spec"].clone()).unwrap_or_default()
    }

    /// Waits until something is gone.
    #[track_caller]
    pub(crate) fn gone(&self, plural: &str, name: &str, seconds: u64) {
        eventually(&format!("{plural} {}/{name} gone", self.namespace), seconds, || {
            match self.suite.api.get(plural, &self.namespace, name) {
                None => Ok(()),
                Some(found) => Err(format!("{} {}", found["metadata"], found["status"])),
            }
        });
    }

    /// Deletes an archive and waits until it is gone.
    #[track_caller]
    pub(crate) fn delete_archive(&self, name: &str, seconds: u64) {
        self.suite.api.delete("metricsarchives", &self.namespace, name);
        self.gone("metricsarchives", name, seconds);
    }
}

/// Makes the controller of a Prometheus' pods, as the Prometheus Operator does; the pod does not begin by itself. A pod that is there
/// under its name is taken over.
pub(crate) fn controller(api: &Api, namespace: &str, prometheus: &str) {
    let name = format!("prometheus-{prometheus}");
    let labels = json!({"operator.prometheus.io/name": prometheus, "app.kubernetes.io/name": "prometheus"});
    let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "prometheus", "image": "x"}]}});
    let spec = json!({
        "serviceName": "x", "replicas": 1, "selector": {"matchLabels": labels}, "template": pod,
        "updateStrategy": {"type": "OnDelete"},
    });
    let metadata = json!({"name": name, "namespace": namespace});
    api.apply(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec})).unwrap();
    eventually(&format!("the pod of {namespace}/{name}"), PATIENCE, || {
        let pod = api.get("pods", namespace, &format!("{name}-0")).unwrap_or_default();
        match &pod["metadata"]["ownerReferences"][0]["name"] {
            owner if *owner == name.as_str() => Ok(()),
            _ => Err(pod.to_string()),
        }
    });
}

/// A number that no change before has had.
pub(crate) fn change() -> String {
    static CHANGES: AtomicU32 = AtomicU32::new(0);
    CHANGES.fetch_add(1, Ordering::Relaxed).to_string()
}
