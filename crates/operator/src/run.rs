//! The operator's process: one of several works, the others wait for its Lease.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::DynamicObject;
use kube::{Client, ResourceExt};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use promarchive_api::Timespan;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::archive::build::ReceiverDefaults;
use crate::archive::context::Context;
use crate::archive::orphans;
use crate::archive::reconcile::reconcile;
use crate::archive::withdrawal::withdraw_now;
use crate::concern::concerned;
use crate::kubernetes::cache::{Caches, Changed, Source};
use crate::kubernetes::guard::{Guard, Standing};
use crate::kubernetes::scope::Scope;
use crate::names::ArchiveName;
use crate::process::queue::{Haste, Trigger, queue};
use crate::process::supervisor::{Supervisor, Task};
use crate::process::{Health, server};

/// Name of the Lease.
pub const LEASE: &str = "promarchive-operator";
const LEASE_SECONDS: u64 = 15;
const LEASE_GRACE_SECONDS: u64 = 5;
/// How often an operator that waits looks whether the Lease was given back.
const LOOK_AT_LEASE: Duration = Duration::from_secs(2);
const FIRST_LIST: Duration = Duration::from_secs(30);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_AGAIN: Duration = Duration::from_secs(2);
const POLICIES_AGAIN: Duration = Duration::from_secs(2);

/// What the operator is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it works.
    pub scope: Scope,
    /// About all receivers.
    pub receivers: ReceiverDefaults,
    /// Where health and metrics are served.
    pub listen: std::net::SocketAddr,
    /// Name of this process among several.
    pub identity: String,
    /// How long two entries run side by side, at least.
    pub overlap: Timespan,
    /// Whether the operator does nothing without its admission policies.
    pub policies_required: bool,
    /// How often it looks whether they are in force.
    pub policies_checked_every: Timespan,
}

/// The operator could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No way to the API server.
    #[error(
        "cannot connect to the API server: {0}. In a pod, the operator uses the pod's ServiceAccount; elsewhere it \
         uses KUBECONFIG or ~/.kube/config"
    )]
    Client(String),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Listen(#[from] crate::process::server::ListenError),
    /// Another one works now.
    #[error(
        "lost the Lease {LEASE}: another operator has it, or the API server was not reachable for too long; restarting"
    )]
    LeaseLost,
    /// A task has died.
    #[error("{0}; the operator exits and reads the state of the cluster again at its next start")]
    Task(String),
    /// The Lease cannot be had.
    #[error("the Lease {LEASE} cannot be used: {0}")]
    Lease(String),
}

/// Runs until a signal says so.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let health = Arc::new(Health::default());
    let (supervisor, mut ended) = Supervisor::new(health.clone());
    let stop = stop(&supervisor);
    let result = tokio::select! {
        biased;
        reason = ended.reason() => Err(RunError::Task(reason)),
        result = lead(settings, health, &supervisor, stop) => result,
    };
    supervisor.stopping();
    result
}

/// True from SIGTERM or SIGINT on.
fn stop(supervisor: &Supervisor) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    supervisor.task(Task::Stop, async move {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            // Without handlers the signals end the process by themselves.
            return std::future::pending().await;
        };
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        sender.send_replace(true);
        std::future::pending::<()>().await;
    });
    receiver
}

/// Waits for the Lease, and works while it has it.
async fn lead(
    settings: Settings,
    health: Arc<Health>,
    supervisor: &Supervisor,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let client = Client::try_default().await.map_err(|e| RunError::Client(crate::process::chain(&e)))?;
    server::start(settings.listen, health.clone(), supervisor).await?;
    let lease = lease(&client, &settings).await?;
    health.set_started();
    info!(identity = settings.identity, "waiting for the Lease {LEASE}");
    let lease = tokio::select! {
        lease = take(lease, &client, &settings) => lease,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    let (mut leads, keeping) = lease.watch().await;
    let keeping = supervisor.task(Task::Lease, keeping);
    info!("acquired the Lease; starting to work");
    let working = supervisor.task(Task::Queue, work(client, settings, health, supervisor.clone()));
    let result = tokio::select! {
        _ = leads.wait_for(|leads| !*leads) => Err(RunError::LeaseLost),
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    supervisor.stopping();
    // Nothing may be under way when another one begins.
    working.abort();
    // Its task gives the Lease back when nobody watches any more, so that another operator need not wait it out.
    drop(leads);
    if result.is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(5), keeping).await;
    }
    result
}

async fn lease(client: &Client, settings: &Settings) -> Result<LeaseManager, RunError> {
    let lease = LeaseManagerBuilder::new(client.clone(), LEASE)
        .with_namespace(&settings.receivers.operator_namespace)
        .with_identity(&settings.identity)
        .with_duration(LEASE_SECONDS)
        .with_grace(LEASE_GRACE_SECONDS);
    lease.build().await.map_err(|e| RunError::Lease(crate::process::chain(&e)))
}

/// Waits for the Lease. A manager that has seen it with somebody else does not look again before it runs out, though whoever stops
/// in order gives it back; a new one has seen nothing.
async fn take(mut lease: LeaseManager, client: &Client, settings: &Settings) -> LeaseManager {
    loop {
        let until = tokio::time::Instant::now() + LOOK_AT_LEASE;
        match tokio::time::timeout_at(until, lease.changed()).await {
            Ok(Ok(true)) => return lease,
            Ok(Err(error)) => debug!(error = %crate::process::chain(&error), "cannot read the Lease"),
            Ok(Ok(false)) | Err(_) => {}
        }
        tokio::time::sleep_until(until).await;
        if let Ok(new) = self::lease(client, settings).await {
            lease = new;
        }
    }
}

async fn work(client: Client, settings: Settings, health: Arc<Health>, supervisor: Supervisor) {
    let (trigger, asked) = queue();
    // A queue of their own, because they wait for nothing: a look can wait for a receiver, or for its turn behind others of its namespace.
    let (withdraw, withdrawals) = queue();
    let caches = {
        let (trigger, withdraw) = (trigger.clone(), withdraw.clone());
        let archives = Arc::new(std::sync::OnceLock::<Caches>::new());
        let known = archives.clone();
        let fingerprints = Arc::new(Fingerprints::default());
        let (client, scope) = (client.clone(), settings.scope.clone());
        let caches = Caches::start(client, scope, Source::all(), &supervisor, move |changed| {
            ask(&trigger, &withdraw, known.get(), &fingerprints, &changed);
        });
        let _ = archives.set(caches.clone());
        caches
    };
    // Archives that need what cannot be listed say so in their status.
    let _ = tokio::time::timeout(FIRST_LIST, caches.wait()).await;
    let guard = Arc::new(Guard::new(settings.policies_required));
    let context = Arc::new(Context::new(client, caches.clone(), withdraw, settings.receivers, settings.overlap, guard));
    let every = settings.policies_checked_every.duration();
    supervisor.task(Task::Policies, watch_policies(context.clone(), health.clone(), every));
    for archive in all(&caches) {
        trigger.ask(archive, Haste::Soon);
    }
    health.set_working();
    supervisor.task(Task::Sweep, sweep(context.clone()));
    let shared = context.clone();
    supervisor.task(Task::Withdrawals, withdrawals.work(move |archive| withdraw_now(shared.clone(), archive)));
    asked.work(move |archive| reconcile(context.clone(), archive)).await;
}

/// Takes out what archives that are gone have left, again and again.
async fn sweep(context: Arc<Context>) {
    let mut sweep = orphans::Sweep::default();
    loop {
        let changed = context.guard.standing() == Standing::InForce && sweep.round(&context).await;
        tokio::time::sleep(if changed { SWEEP_AGAIN } else { SWEEP_EVERY }).await;
    }
}

/// A policy is in force a moment after it was written, so a fault is looked at again soon.
async fn watch_policies(context: Arc<Context>, health: Arc<Health>, every: Duration) {
    loop {
        let fault = match context.guard.look(&context.caches, &context.defaults.operator_namespace).await {
            Standing::Fault(fault) => Some(fault),
            Standing::Unasked | Standing::InForce => None,
        };
        let pause = if fault.is_some() { every.min(POLICIES_AGAIN) } else { every };
        health.set_unguarded(fault);
        tokio::time::sleep(pause).await;
    }
}

fn all(caches: &Caches) -> Vec<ArchiveName> {
    let archives = caches.all(Source::Archive);
    archives.iter().map(|object| ArchiveName::new(object.namespace().unwrap_or_default(), object.name_any())).collect()
}

/// What was seen last of objects that change often without meaning anything to an archive.
#[derive(Default)]
struct Fingerprints {
    seen: Mutex<HashMap<String, u64>>,
}

impl Fingerprints {
    /// Whether something but the status of `object` has changed since it was seen last.
    fn is_news(&self, object: &DynamicObject) -> bool {
        let meta = &object.metadata;
        let mut hasher = DefaultHasher::new();
        let deleting = meta.deletion_timestamp.is_some();
        (&meta.generation, &meta.labels, &meta.annotations, deleting, &meta.finalizers).hash(&mut hasher);
        let fingerprint = hasher.finish();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(object.uid().unwrap_or_default(), fingerprint) != Some(fingerprint)
    }

    fn forget(&self, object: &DynamicObject) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(&object.uid().unwrap_or_default());
    }
}

/// Asks for every archive that `changed` may concern.
fn ask(
    trigger: &Trigger<ArchiveName>,
    withdraw: &Trigger<ArchiveName>,
    caches: Option<&Caches>,
    fingerprints: &Fingerprints,
    changed: &Changed,
) {
    let may_consent = matches!(changed.source, Source::Prometheus(_) | Source::Namespace);
    if may_consent {
        if changed.gone {
            fingerprints.forget(&changed.object);
        } else if !fingerprints.is_news(&changed.object) {
            return;
        }
    }
    for (archive, haste) in concerned(changed, || caches.map(all).unwrap_or_default()) {
        if may_consent {
            withdraw.ask(archive.clone(), haste);
        }
        trigger.ask(archive, haste);
    }
}
