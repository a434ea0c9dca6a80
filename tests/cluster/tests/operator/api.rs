//! Requests to the API server, as its administrator.

use std::path::Path;

use kube::api::{
    Api as Typed, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use kube::{Client, Config};
use promarchive_cluster::Cluster;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The manager of fields that tests write.
const MANAGER: &str = "test";

/// Plural, group, version and kind of everything that is asked for here.
const KINDS: [(&str, &str, &str, &str); 23] = [
    ("namespaces", "", "v1", "Namespace"),
    ("pods", "", "v1", "Pod"),
    ("secrets", "", "v1", "Secret"),
    ("configmaps", "", "v1", "ConfigMap"),
    ("services", "", "v1", "Service"),
    ("serviceaccounts", "", "v1", "ServiceAccount"),
    ("persistentvolumes", "", "v1", "PersistentVolume"),
    ("persistentvolumeclaims", "", "v1", "PersistentVolumeClaim"),
    ("deployments", "apps", "v1", "Deployment"),
    ("networkpolicies", "networking.k8s.io", "v1", "NetworkPolicy"),
    ("leases", "coordination.k8s.io", "v1", "Lease"),
    ("events", "events.k8s.io", "v1", "Event"),
    ("roles", "rbac.authorization.k8s.io", "v1", "Role"),
    ("rolebindings", "rbac.authorization.k8s.io", "v1", "RoleBinding"),
    ("clusterroles", "rbac.authorization.k8s.io", "v1", "ClusterRole"),
    ("clusterrolebindings", "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
    ("customresourcedefinitions", "apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    ("prometheuses", "monitoring.coreos.com", "v1", "Prometheus"),
    ("prometheusagents", "monitoring.coreos.com", "v1alpha1", "PrometheusAgent"),
    ("podmonitors", "monitoring.coreos.com", "v1", "PodMonitor"),
    ("metricsarchives", "promarchive.dev", "v1alpha1", "MetricsArchive"),
    ("replicasets", "apps", "v1", "ReplicaSet"),
    ("statefulsets", "apps", "v1", "StatefulSet"),
];

/// Why a request failed: HTTP status (0 without an answer) and text.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) message: String,
}

impl From<kube::Error> for Refused {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self { code: status.code, message: status.message.clone() },
            other => Self { code: 0, message: other.to_string() },
        }
    }
}

/// A way to the API server.
pub(crate) struct Api {
    runtime: Runtime,
    client: Client,
}

impl Api {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        // Its threads are in the cluster's network, so whatever is spawned on it is.
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2).enable_all().build().unwrap()
        };
        let runtime = cluster.inside(runtime).unwrap();
        let client = runtime.block_on(connect(&cluster.kubeconfig()));
        Self { runtime, client }
    }

    fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>> + Send + 'static,
    ) -> Result<T, Refused> {
        self.runtime.block_on(self.runtime.spawn(request)).unwrap().map_err(Refused::from)
    }

    /// No namespace stands for all of them, or for a kind that has none.
    fn of(&self, plural: &str, namespace: &str) -> Typed<DynamicObject> {
        let resource = resource(|kind| kind.0 == plural);
        match namespace {
            "" => Typed::all_with(self.client.clone(), &resource),
            namespace => Typed::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    /// `None` if it is not there.
    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let (api, name) = (self.of(plural, namespace), name.to_owned());
        self.run(async move { api.get_opt(&name).await }).unwrap().map(|found| json!(found))
    }

    /// All with these labels, each with its kind, which lists do not say.
    pub(crate) fn list_typed(&self, plural: &str, namespace: &str, labels: &str) -> Vec<Value> {
        let ApiResource { api_version, kind, .. } = resource(|kind| kind.0 == plural);
        let mut all = self.list(plural, namespace, labels);
        for object in &mut all {
            object["apiVersion"] = json!(api_version);
            object["kind"] = json!(kind);
        }
        all
    }

    /// All with these labels.
    pub(crate) fn list(&self, plural: &str, namespace: &str, labels: &str) -> Vec<Value> {
        self.try_list(plural, namespace, labels).unwrap()
    }

    /// The same where the kind itself may be gone.
    pub(crate) fn try_list(&self, plural: &str, namespace: &str, labels: &str) -> Result<Vec<Value>, Refused> {
        let (api, params) = (self.of(plural, namespace), ListParams::default().labels(labels));
        let list = self.run(async move { api.list(&params).await })?;
        Ok(list.items.iter().map(|item| json!(item)).collect())
    }

    /// Server-side apply, which takes over what others have set, as a GitOps tool's does.
    pub(crate) fn apply(&self, object: Value) -> Result<Value, Refused> {
        let api = self.of_object(&object);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let params = PatchParams::apply(MANAGER).force();
        self.run(async move { api.patch(&name, &params, &Patch::Apply(object)).await }).map(|made| json!(made))
    }

    pub(crate) fn create(&self, object: Value) -> Result<Value, Refused> {
        let api = self.of_object(&object);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), dry_run: false };
        self.run(async move { api.create(&params, &object).await }).map(|made| json!(made))
    }

    /// A JSON merge patch.
    pub(crate) fn merge(&self, plural: &str, namespace: &str, name: &str, patch: Value) -> Result<Value, Refused> {
        let (api, name) = (self.of(plural, namespace), name.to_owned());
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.run(async move { api.patch(&name, &params, &Patch::Merge(patch)).await }).map(|made| json!(made))
    }

    /// The same of its status.
    pub(crate) fn merge_status(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value, Refused> {
        let (api, name) = (self.of(plural, namespace), name.to_owned());
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.run(async move { api.patch_status(&name, &params, &Patch::Merge(patch)).await }).map(|made| json!(made))
    }

    /// Does not wait until it is gone. What is not there is deleted.
    pub(crate) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let (api, owned) = (self.of(plural, namespace), name.to_owned());
        match self.run(async move { api.delete(&owned, &DeleteParams::background()).await }) {
            Err(refused) if refused.code != 404 => panic!("{plural} {namespace}/{name}: {refused:?}"),
            _ => {}
        }
    }

    /// Tells every version of every object of a kind from now on, until the runtime ends.
    pub(crate) fn watch(&self, plural: &str, tell: impl Fn(Value) + Send + 'static) {
        let api = self.of(plural, "");
        let first = api.clone();
        let list = self.run(async move { first.list(&ListParams::default()).await }).unwrap();
        let mut version = list.metadata.resource_version.unwrap_or_default();
        self.runtime.spawn(async move {
            use futures::TryStreamExt;
            loop {
                let Ok(events) = api.watch(&WatchParams::default().timeout(290), &version).await else {
                    // Its kind is gone, for a while.
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    continue;
                };
                let mut events = std::pin::pin!(events);
                while let Ok(Some(event)) = events.try_next().await {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                            version = object.metadata.resource_version.clone().unwrap_or_default();
                            tell(json!(object));
                        }
                        WatchEvent::Bookmark(_) => {}
                        // Too old: from what is there now.
                        WatchEvent::Error(_) => "0".clone_into(&mut version),
                    }
                }
            }
        });
    }

    fn of_object(&self, object: &Value) -> Typed<DynamicObject> {
        let resource = resource(|kind| kind.3 == object["kind"]);
        match object["metadata"]["namespace"].as_str() {
            None => Typed::all_with(self.client.clone(), &resource),
            Some(namespace) => Typed::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }
}

fn resource(is: impl Fn(&(&str, &str, &str, &str)) -> bool) -> ApiResource {
    let (plural, group, version, kind) = KINDS.into_iter().find(|kind| is(kind)).expect("in KINDS");
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource { group: group.into(), version: version.into(), api_version, kind: kind.into(), plural: plural.into() }
}

async fn connect(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}
