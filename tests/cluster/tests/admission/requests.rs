//! Requests of a ServiceAccount, with its own token.

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use promarchive_cluster::Cluster;
use serde_json::Value;
use tokio::runtime::Runtime;

/// Kind, group, version and plural of everything that is asked for.
const KINDS: [(&str, &str, &str, &str); 12] = [
    ("Secret", "", "v1", "secrets"),
    ("ConfigMap", "", "v1", "configmaps"),
    ("Service", "", "v1", "services"),
    ("ServiceAccount", "", "v1", "serviceaccounts"),
    ("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims"),
    ("Deployment", "apps", "v1", "deployments"),
    ("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"),
    ("PodMonitor", "monitoring.coreos.com", "v1", "podmonitors"),
    ("Prometheus", "monitoring.coreos.com", "v1", "prometheuses"),
    ("PrometheusAgent", "monitoring.coreos.com", "v1alpha1", "prometheusagents"),
    ("MetricsArchive", "promarchive.dev", "v1alpha1", "metricsarchives"),
    ("Namespace", "", "v1", "namespaces"),
];

/// An object: its kind, its namespace, and its name.
pub(crate) type Name<'a> = (&'a str, &'a str, &'a str);

/// Requests as one ServiceAccount of the namespace promarchive. None of them changes anything.
pub(crate) struct Requests {
    runtime: Runtime,
    client: Client,
}

impl Requests {
    pub(crate) fn new(cluster: &Cluster, account: &str) -> Self {
        let kubeconfig = cluster.service_account_kubeconfig("promarchive", account).unwrap();
        let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let runtime = cluster.inside(build).unwrap();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        Self { runtime, client }
    }

    /// A JSON patch.
    pub(crate) fn patch(&self, name: Name<'_>, patch: &Value) -> Result<(), String> {
        self.patch_of(name, None, Patch::Json(serde_json::from_value(patch.clone()).unwrap()))
    }

    /// A JSON merge patch of a subresource.
    pub(crate) fn merge(&self, name: Name<'_>, subresource: Option<&'static str>, patch: Value) -> Result<(), String> {
        self.patch_of(name, subresource, Patch::Merge(patch))
    }

    fn patch_of(&self, name: Name<'_>, subresource: Option<&'static str>, patch: Patch<Value>) -> Result<(), String> {
        let (api, name) = (self.api(name.0, name.1), name.2.to_owned());
        self.run(async move {
            let params = PatchParams::default().dry_run();
            match subresource {
                None => api.patch(&name, &params, &patch).await,
                Some(subresource) => api.patch_subresource(subresource, &name, &params, &patch).await,
            }
        })
    }

    /// Server-side apply, which takes over what others have set, as the operator's does.
    pub(crate) fn apply(&self, object: &Value) -> Result<(), String> {
        let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
        let api = self.api(object["kind"].as_str().unwrap(), &text("namespace"));
        let (name, object) = (text("name"), object.clone());
        let params = PatchParams::apply("promarchive-operator").force().dry_run();
        self.run(async move { api.patch(&name, &params, &Patch::Apply(object)).await })
    }

    pub(crate) fn create(&self, object: &Value) -> Result<(), String> {
        let api = self.api(object["kind"].as_str().unwrap(), object["metadata"]["namespace"].as_str().unwrap());
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        self.run(async move { api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await })
    }

    pub(crate) fn delete(&self, name: Name<'_>) -> Result<(), String> {
        let (api, name) = (self.api(name.0, name.1), name.2.to_owned());
        self.run(async move { api.delete(&name, &DeleteParams { dry_run: true, ..DeleteParams::default() }).await })
    }

    fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (kind, group, version, plural) = KINDS.into_iter().find(|one| one.0 == kind).unwrap();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// `Err` is what the API server says.
    fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = kube::Result<T>> + Send + 'static,
    ) -> Result<(), String> {
        match self.runtime.block_on(self.runtime.spawn(request)).unwrap() {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(other) => panic!("no answer: {other:?}"),
        }
    }
}

/// Asserts that `result` is a denial with this message; an empty one stands for success.
#[track_caller]
pub(crate) fn assert_answer(case: &str, result: &Result<(), String>, message: &str) {
    match (result, message) {
        (Ok(()), "") => {}
        (Err(error), message) if !message.is_empty() && error.contains(message) => {}
        _ => panic!("{case}: expected {message:?}, got {result:?}"),
    }
}
