//! A Prometheus or PrometheusAgent object, read with care: it is somebody else's, of whatever version.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::DynamicObject;
use promarchive_api::metrics_archive::PrometheusKind;
use serde_json::Value;

use crate::names::{ALLOW_ARCHIVES, FIELD_MANAGER, PrometheusName};

/// The selectors without which a Prometheus scrapes nothing.
const SELECTORS: [&str; 4] = ["serviceMonitorSelector", "podMonitorSelector", "probeSelector", "scrapeConfigSelector"];
const OPENSHIFT_NAMESPACES: [&str; 2] = ["openshift-monitoring", "openshift-user-workload-monitoring"];

/// A Prometheus or PrometheusAgent object.
#[derive(Clone, Debug)]
pub(crate) struct Prometheus {
    pub kind: PrometheusKind,
    pub namespace: String,
    pub name: String,
    object: Arc<DynamicObject>,
}

impl Prometheus {
    pub(crate) fn new(kind: PrometheusKind, object: Arc<DynamicObject>) -> Self {
        Self { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any(), object }
    }

    /// Its kind, namespace and name.
    pub(crate) fn full_name(&self) -> PrometheusName {
        PrometheusName { kind: self.kind, namespace: self.namespace.clone(), name: self.name.clone() }
    }

    pub(crate) fn uid(&self) -> String {
        self.object.uid().unwrap_or_default()
    }

    /// Its resource version, the lock of a patch.
    pub(crate) fn resource_version(&self) -> String {
        self.object.resource_version().unwrap_or_default()
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        self.object.labels()
    }

    pub(crate) fn spec(&self) -> &Value {
        self.object.data.get("spec").unwrap_or(&Value::Null)
    }

    /// `spec.remoteWrite`; none if it is absent.
    pub(crate) fn remote_write(&self) -> Option<&[Value]> {
        self.spec().get("remoteWrite")?.as_array().map(Vec::as_slice)
    }

    /// When the operator last wrote to the object, ms since 1970; 0 if it never did.
    pub(crate) fn written(&self) -> i64 {
        let ours = self.object.managed_fields().iter().filter(|field| field.manager.as_deref() == Some(FIELD_MANAGER));
        ours.filter_map(|field| Some(field.time.as_ref()?.0.as_millisecond())).max().unwrap_or(0)
    }

    /// `spec.scrapeInterval`.
    pub(crate) fn scrape_interval(&self) -> Option<&str> {
        self.spec().get("scrapeInterval")?.as_str()
    }

    /// Whether the Prometheus Operator is told to ignore changes.
    pub(crate) fn is_paused(&self) -> bool {
        self.spec().get("paused").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether its pods have the addresses of their nodes.
    pub(crate) fn is_on_host_network(&self) -> bool {
        self.spec().get("hostNetwork").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether it selects nothing, so that the Prometheus Operator may leave its configuration to somebody else.
    pub(crate) fn is_perhaps_unmanaged(&self) -> bool {
        SELECTORS.iter().all(|selector| self.spec().get(selector).is_none_or(Value::is_null))
            && self.spec().get("additionalScrapeConfigs").is_none_or(Value::is_null)
    }

    /// Whether it belongs to OpenShift's cluster monitoring, whose operator undoes every change.
    pub(crate) fn belongs_to_openshift(&self) -> bool {
        OPENSHIFT_NAMESPACES.contains(&self.namespace.as_str())
            || self.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == "cluster-monitoring-operator")
    }

    /// Whether it has been deleted and something holds it.
    pub(crate) fn is_deleting(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// Its annotation of consent.
    pub(crate) fn consent(&self) -> Option<&str> {
        self.object.annotations().get(ALLOW_ARCHIVES).map(String::as_str)
    }

    /// Whether it is a DaemonSet, whose pods keep nothing: what they have not sent when they end is gone.
    pub(crate) fn is_daemon_set(&self) -> bool {
        self.spec().get("mode").and_then(Value::as_str) == Some("DaemonSet")
    }
}
