//! `promarchive-operator check`: is the cluster ready for archives? Used by `helm test`.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, PostParams};
use promarchive_api::metrics_archive::MetricsArchive;
use serde_json::json;

use crate::process::chain;

const TIMEOUT: Duration = Duration::from_secs(10);

/// One thing that was checked.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Checked {
    /// What.
    pub what: String,
    /// What is wrong, and what to do; none if nothing is.
    pub fault: Option<String>,
}

/// Checks the kind, and the operator at `url` (such as `http://promarchive-operator:8080`).
pub async fn check(namespace: &str, url: &str) -> Vec<Checked> {
    vec![
        Checked {
            what: "the API server serves the kind MetricsArchive and accepts a small archive".to_owned(),
            fault: kind(namespace).await.err(),
        },
        Checked { what: format!("the operator at {url} is ready"), fault: operator(url).await.err() },
    ]
}

async fn kind(namespace: &str) -> Result<(), String> {
    let client = Client::try_default().await.map_err(|e| format!("cannot connect to the API server: {}", chain(&e)))?;
    let archive = json!({
        "apiVersion": "promarchive.dev/v1alpha1",
        "kind": "MetricsArchive",
        "metadata": {"name": "promarchive-check"},
        "spec": {"storage": {"persistentVolume": {"size": "1Gi"}}},
    });
    let archive: MetricsArchive = serde_json::from_value(archive).map_err(|e| e.to_string())?;
    let api: Api<MetricsArchive> = Api::namespaced(client, namespace);
    let dry = PostParams { dry_run: true, field_manager: None };
    let made = api.create(&dry, &archive).await;
    made.map(drop).map_err(|e| {
        format!(
            "{}. Check that the CustomResourceDefinition of this version is installed (crds.enabled, or \
             config/crd)",
            chain(&e)
        )
    })
}

async fn operator(url: &str) -> Result<(), String> {
    let client =
        reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(TIMEOUT).build().map_err(|e| chain(&e))?;
    let answer = client.get(format!("{}/-/ready", url.trim_end_matches('/'))).send().await.map_err(|e| chain(&e))?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(format!("the operator answers {}; see `kubectl logs` of its pod for the reason", answer.status())),
    }
}
