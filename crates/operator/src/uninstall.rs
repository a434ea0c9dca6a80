//! `promarchive-operator remove`: what the operator has put into other people's objects is taken out, in bounded time.
//!
//! For the chart's hook before it is uninstalled, and for a person whose operator is gone. Data stays where it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use tracing::{info, warn};

use crate::archive::build::ReceiverDefaults;
use crate::archive::context::Context;
use crate::archive::removal;
use crate::kubernetes::cache::{Caches, Source};
use crate::kubernetes::guard::Guard;
use crate::kubernetes::scope::Scope;
use crate::names::{ArchiveName, FINALIZER};
use crate::process::chain;
use crate::process::supervisor::Supervisor;
use crate::senders::entry;
use crate::senders::records::{records_with_entry, with_content_now};

const STEP: Duration = Duration::from_secs(1);

/// What is to be removed.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Where.
    pub scope: Scope,
    /// Namespace and name of the operator's own Deployment, which must be gone first: it would put back what is taken out.
    pub operator: Option<(String, String)>,
    /// No longer than this.
    pub timeout: Duration,
}

/// Something is left.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// No way to the API server.
    #[error("cannot connect to the API server: {0}")]
    Client(String),
    /// Something could not be listed.
    #[error(
        "could not list {missing:?} within {seconds} s, so entries and finalizers may be left: see the warnings \
         above, then run the command again"
    )]
    NotSeen {
        /// The limit.
        seconds: u64,
        /// What could not.
        missing: Vec<Source>,
    },
    /// A task has died.
    #[error("{0}; run `promarchive-operator remove` again")]
    Task(String),
    /// Time is over.
    #[error(
        "{entries} entries in spec.remoteWrite and {finalizers} finalizers {FINALIZER} are left after {seconds} s; \
         run `promarchive-operator remove` again"
    )]
    Timeout {
        /// The limit.
        seconds: u64,
        /// Prometheus objects with entries.
        entries: usize,
        /// Archives with finalizers.
        finalizers: usize,
    },
}

/// Removes everything that it can, and says what is left.
pub async fn remove(removal: Removal) -> Result<(), RemovalError> {
    let (supervisor, mut ended) = Supervisor::new(Arc::default());
    let done = tokio::select! {
        reason = ended.reason() => Err(RemovalError::Task(reason)),
        done = take_out(removal, &supervisor) => done,
    };
    supervisor.stopping();
    done
}

async fn take_out(removal: Removal, supervisor: &Supervisor) -> Result<(), RemovalError> {
    let client = Client::try_default().await.map_err(|e| RemovalError::Client(chain(&e)))?;
    let end = Instant::now() + removal.timeout;
    if let Some((namespace, name)) = &removal.operator {
        end_operator(&client, namespace, name, end).await;
    }
    let caches =
        Caches::start(client.clone(), removal.scope.clone(), Source::entries_and_finalizers(), supervisor, |_| {});
    let left = end.saturating_duration_since(Instant::now());
    // What was not looked at is not empty.
    if tokio::time::timeout(left, caches.wait()).await.is_err() {
        return Err(RemovalError::NotSeen { seconds: removal.timeout.as_secs(), missing: caches.unseen() });
    }
    let context = Arc::new(context(client, caches));
    loop {
        let entries = take_entries_out(&context).await;
        let finalizers = take_finalizers_off(&context).await;
        if entries == 0 && finalizers == 0 {
            info!("all entries and finalizers are removed");
            return Ok(());
        }
        if Instant::now() > end {
            return Err(RemovalError::Timeout { seconds: removal.timeout.as_secs(), entries, finalizers });
        }
        tokio::time::sleep(STEP).await;
    }
}

fn context(client: Client, caches: Caches) -> Context {
    let defaults = ReceiverDefaults {
        image: String::new(),
        pull_policy: String::new(),
        fs_group: None,
        operator_namespace: String::new(),
    };
    // Its own rights end with it, and entries must go whatever is missing.
    // Nobody listens: every consent is looked at by the removal itself.
    Context::new(
        client,
        caches,
        crate::process::queue::queue().0,
        defaults,
        crate::senders::delivery::OVERLAP,
        Arc::new(Guard::new(false)),
    )
}

/// Deletes the operator's Deployment and waits until its pods are gone.
async fn end_operator(client: &Client, namespace: &str, name: &str, end: Instant) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let selector = match deployments.get_opt(name).await {
        Ok(Some(deployment)) => deployment.spec.and_then(|spec| spec.selector.match_labels).unwrap_or_default(),
        Ok(None) => return,
        Err(error) => return warn!(error = %chain(&error), "cannot read the operator's Deployment"),
    };
    info!(namespace, name, "deleting the operator's Deployment first");
    if let Err(error) = deployments.delete(name, &DeleteParams::background()).await {
        warn!(error = %chain(&error), "cannot delete the operator's Deployment");
    }
    let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    while Instant::now() < end {
        match pods.list(&ListParams::default().labels(&labels.join(","))).await {
            Ok(list) if list.items.is_empty() => return,
            Ok(list) => info!(pods = list.items.len(), "waiting for the operator's pods to end"),
            Err(error) => return warn!(error = %chain(&error), "cannot list the operator's pods; continuing"),
        }
        tokio::time::sleep(STEP).await;
    }
}

/// How many objects had entries of ours.
async fn take_entries_out(context: &Context) -> usize {
    let all = records_with_entry(&context.caches, |_| true);
    for record in &all {
        let Some(prometheus) = with_content_now(&context.caches, record).await else { continue };
        let names: std::collections::BTreeSet<ArchiveName> =
            entry::names(prometheus.remote_write().unwrap_or_default()).map(|name| name.archive().clone()).collect();
        // One a round: each patch needs the resource version that the one before made.
        if let Some(archive) = names.first() {
            context.patcher.take_out(archive, &prometheus).await;
        }
    }
    all.len()
}

/// How many archives had our finalizer.
async fn take_finalizers_off(context: &Context) -> usize {
    let with = |object: &Arc<DynamicObject>| object.finalizers().iter().any(|name| name == FINALIZER);
    let archives: Vec<_> = context.caches.all(Source::Archive).into_iter().filter(with).collect();
    for archive in &archives {
        if let Err(error) = removal::release(context, archive).await {
            warn!(archive = archive.name_any(), error = %chain(&error), "cannot remove the finalizer; retrying");
        }
    }
    archives.len()
}
