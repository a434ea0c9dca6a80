//! Local copies of what the operator looks at, each kept up to date by a watch of its own.
//!
//! A kind that is not installed, or a watch that fails, stalls no other: every watch has its own back-off. Kinds that
//! come with the Prometheus Operator are watched from the moment on when their definition is established.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Client, ResourceExt};
use promarchive_api::metrics_archive::PrometheusKind;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::entry::SECRET_NAME;
use crate::kind::{Kind, resource};
use crate::names::MANAGED_BY;
use crate::scope::Scope;
use crate::validate::Archive;

const LOOK_AGAIN: Duration = Duration::from_millis(50);
const NOT_SERVED_FOR: Duration = Duration::from_secs(5);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// An object was seen or has changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What kind of thing it is to us.
    pub source: Source,
    /// As it is now; as it was, if it is gone.
    pub object: Arc<DynamicObject>,
    /// Whether it is gone.
    pub gone: bool,
}

/// What an object is to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A MetricsArchive.
    Archive,
    /// Something that the operator made.
    Child(Kind),
    /// A Prometheus or PrometheusAgent.
    Prometheus(PrometheusKind),
    /// The Secret of a namespace.
    Secret,
    /// A namespace.
    Namespace,
    /// A definition of a kind of the Prometheus Operator.
    Definition,
}

/// How a kind is watched.
struct Watched {
    resource: ApiResource,
    config: watcher::Config,
    namespaced: bool,
    /// Name of the definition that must be there first.
    definition: Option<String>,
}

impl Source {
    /// Everything that the operator looks at.
    pub fn all() -> Vec<Self> {
        let mut all = Self::entries_and_finalizers();
        all.extend([Self::Secret, Self::Namespace]);
        all.extend(Kind::ALL.map(Self::Child));
        all
    }

    /// Where the operator leaves something in objects that are not its own.
    pub fn entries_and_finalizers() -> Vec<Self> {
        let mut some = vec![Self::Definition, Self::Archive];
        some.extend(PrometheusKind::ALL.map(Self::Prometheus));
        some
    }

    fn watched(self) -> Watched {
        let resource = self.resource();
        let everything = watcher::Config::default();
        let (config, namespaced) = match self {
            Self::Archive | Self::Prometheus(_) => (everything, true),
            Self::Child(_) => (everything.labels(&format!("{MANAGED_BY}=promarchive-operator")), true),
            Self::Secret => (everything.fields(&format!("metadata.name={SECRET_NAME}")), true),
            Self::Namespace | Self::Definition => (everything, false),
        };
        let optional = matches!(self, Self::Prometheus(_)) || matches!(self, Self::Child(kind) if kind.is_optional());
        let definition = optional.then(|| format!("{}.{}", resource.plural, resource.group));
        Watched { resource, config, namespaced, definition }
    }

    /// As the API server knows it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Archive => resource("promarchive.dev", "v1alpha1", "MetricsArchive", "metricsarchives"),
            Self::Child(kind) => kind.resource(),
            Self::Prometheus(PrometheusKind::Prometheus) => {
                resource("monitoring.coreos.com", "v1", "Prometheus", "prometheuses")
            }
            Self::Prometheus(PrometheusKind::PrometheusAgent) => {
                resource("monitoring.coreos.com", "v1alpha1", "PrometheusAgent", "prometheusagents")
            }
            Self::Secret => resource("", "v1", "Secret", "secrets"),
            Self::Namespace => resource("", "v1", "Namespace", "namespaces"),
            Self::Definition => {
                resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
            }
        }
    }
}

type Stores = BTreeMap<(Source, String), Store<DynamicObject>>;

/// Local copies of everything that is watched.
#[derive(Clone)]
pub struct Caches {
    client: Client,
    scope: Scope,
    sources: Arc<[Source]>,
    stores: Arc<RwLock<Stores>>,
    /// What has been listed completely once.
    seen: Arc<RwLock<BTreeSet<(Source, String)>>>,
    definitions: Arc<watch::Sender<BTreeMap<String, Arc<DynamicObject>>>>,
}

impl Caches {
    /// Starts a watch for each of `sources`; `changed` is told of every object. The watches end with the runtime.
    pub fn start(
        client: Client,
        scope: Scope,
        sources: Vec<Source>,
        changed: impl Fn(Changed) + Clone + Send + Sync + 'static,
    ) -> Self {
        let caches = Self {
            client,
            scope,
            sources: sources.into(),
            stores: Arc::default(),
            seen: Arc::default(),
            definitions: Arc::new(watch::Sender::new(BTreeMap::new())),
        };
        for source in caches.sources.iter().copied() {
            for namespace in caches.namespaces_of(source) {
                let (caches, changed) = (caches.clone(), changed.clone());
                tokio::spawn(async move { caches.keep(source, &namespace, changed).await });
            }
        }
        caches
    }

    /// One empty name stands for everything.
    fn namespaces_of(&self, source: Source) -> Vec<String> {
        match (&self.scope, source) {
            // One watch for each definition: the role names them.
            (_, Source::Definition) => ["prometheuses", "prometheusagents", "podmonitors"]
                .map(|plural| format!("{plural}.monitoring.coreos.com"))
                .into(),
            (Scope::Cluster, _) => vec![String::new()],
            (Scope::Namespaces(names), _) => names.iter().cloned().collect(),
        }
    }

    /// Watches for ever; an optional kind while it is installed.
    async fn keep(&self, source: Source, namespace: &str, changed: impl Fn(Changed)) {
        let watched = source.watched();
        let mut definitions = self.definitions.subscribe();
        loop {
            if let Some(definition) = &watched.definition {
                let _ = definitions.wait_for(|all| all.contains_key(definition)).await;
                info!(kind = watched.resource.kind, "is installed: watching");
            }
            let gone = async {
                match &watched.definition {
                    Some(definition) => {
                        let _ = definitions.wait_for(|all| !all.contains_key(definition)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = gone => info!(kind = watched.resource.kind, "is not installed any more"),
                () = self.follow(source, namespace, &watched, &changed) => {}
            }
            self.write(|stores| stores.remove(&(source, namespace.to_owned())));
            self.set_seen(source, namespace, false);
        }
    }

    async fn follow(&self, source: Source, namespace: &str, watched: &Watched, changed: &impl Fn(Changed)) {
        let resource = &watched.resource;
        let api: Api<DynamicObject> = if watched.namespaced && !namespace.is_empty() {
            Api::namespaced_with(self.client.clone(), namespace, resource)
        } else {
            Api::all_with(self.client.clone(), resource)
        };
        let config = match source {
            Source::Definition | Source::Namespace if !namespace.is_empty() => {
                watched.config.clone().fields(&format!("metadata.name={namespace}"))
            }
            _ => watched.config.clone(),
        };
        let writer = Writer::new(resource.clone());
        self.write(|stores| stores.insert((source, namespace.to_owned()), writer.as_reader()));
        let mut events = pin!(reflector(writer, watcher::watcher(api, config)).default_backoff());
        let mut healthy = true;
        let mut not_served: Option<Instant> = None;
        loop {
            let event = events.try_next().await;
            if event.as_ref().is_err_and(is_not_served) {
                // A kind that is not there has no objects. Not at once: its definition may just be on its way.
                if not_served.get_or_insert_with(Instant::now).elapsed() >= NOT_SERVED_FOR {
                    self.set_seen(source, namespace, true);
                }
            } else if !matches!(event, Ok(Some(Event::Init))) {
                not_served = None;
            }
            match event {
                // The next try begins; nothing is known of how it ends.
                Ok(Some(Event::Init)) => {}
                Ok(Some(event)) => {
                    healthy = true;
                    if matches!(event, Event::InitDone) {
                        self.set_seen(source, namespace, true);
                    }
                    self.tell(source, event, changed);
                }
                Ok(None) => return,
                Err(error) if healthy => {
                    healthy = false;
                    warn!(kind = resource.kind, namespace, error = %chain(&error), "cannot watch; trying again");
                }
                Err(error) => debug!(kind = resource.kind, namespace, error = %chain(&error), "cannot watch"),
            }
        }
    }

    fn tell(&self, source: Source, event: Event<DynamicObject>, changed: &impl Fn(Changed)) {
        let (object, gone) = match event {
            Event::Apply(object) | Event::InitApply(object) => (Arc::new(object), false),
            Event::Delete(object) => (Arc::new(object), true),
            Event::Init | Event::InitDone => return,
        };
        if source == Source::Definition {
            let name = object.name_any();
            let object = object.clone();
            self.definitions.send_if_modified(|all| {
                let installed = !gone && is_established(&object);
                let before = if installed { all.insert(name, object) } else { all.remove(&name) };
                before.is_some() != installed
            });
        }
        changed(Changed { source, object, gone });
    }

    fn set_seen(&self, source: Source, namespace: &str, is_seen: bool) {
        let mut seen = self.seen.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (source, namespace.to_owned());
        if is_seen {
            seen.insert(key)
        } else {
            seen.remove(&key)
        };
    }

    fn write<T>(&self, change: impl FnOnce(&mut Stores) -> T) -> T {
        change(&mut self.stores.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn stores(&self, source: Source) -> Vec<Store<DynamicObject>> {
        let stores = self.stores.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        stores.iter().filter(|((of, _), _)| *of == source).map(|(_, store)| store.clone()).collect()
    }

    /// One object.
    pub fn get(&self, source: Source, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let mut reference = ObjectRef::new_with(name, source.resource());
        if !namespace.is_empty() {
            reference = reference.within(namespace);
        }
        self.stores(source).into_iter().find_map(|store| store.get(&reference))
    }

    /// All objects of a kind.
    pub fn all(&self, source: Source) -> Vec<Arc<DynamicObject>> {
        self.stores(source).into_iter().flat_map(|store| store.state()).collect()
    }

    /// The definition of a kind of the Prometheus Operator, if it is installed.
    pub fn definition(&self, source: Source) -> Option<Arc<DynamicObject>> {
        self.definitions.borrow().get(&source.watched().definition?).cloned()
    }

    /// Kinds of which not everything that is there has been seen yet. Nothing of them may be taken for absent: a Secret that was
    /// not seen yet would be written anew, an archive that was not seen yet would be an orphan.
    pub fn unseen(&self) -> Vec<Source> {
        self.sources.iter().copied().filter(|source| self.is_unseen(*source, None)).collect()
    }

    /// The same, as far as it concerns `archive`: a kind or a namespace that it does not name must not hold it up.
    pub fn unseen_by(&self, archive: &Archive) -> Vec<Source> {
        let chosen = archive.selections.iter().flat_map(|selection| &selection.namespaces);
        let namespaces: BTreeSet<&String> = chosen.chain([&archive.id.namespace]).collect();
        let concerns = |source: &&Source| match source {
            Source::Prometheus(kind) => archive.asks_for(*kind),
            _ => true,
        };
        let sources = self.sources.iter().filter(concerns).copied();
        sources.filter(|source| self.is_unseen(*source, Some(&namespaces))).collect()
    }

    fn is_unseen(&self, source: Source, within: Option<&BTreeSet<&String>>) -> bool {
        let concerns = |name: &String| {
            let global = source == Source::Definition || name.is_empty();
            global || within.is_none_or(|names| names.contains(name))
        };
        let is_listed = |source: Source| {
            let seen = self.seen.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.namespaces_of(source).into_iter().filter(concerns).all(|name| seen.contains(&(source, name)))
        };
        match source {
            // Missing ones are looked up one by one.
            Source::Child(_) => false,
            Source::Prometheus(_) if !is_listed(Source::Definition) => true,
            Source::Prometheus(_) => self.definition(source).is_some() && !is_listed(source),
            _ => !is_listed(source),
        }
    }

    /// Waits until everything that is there has been seen, and says now and then what has not.
    pub async fn wait(&self) {
        let mut waited = Duration::ZERO;
        loop {
            let unseen = self.unseen();
            if unseen.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            waited += LOOK_AGAIN;
            if waited.as_millis().is_multiple_of(SAY_EVERY.as_millis()) {
                warn!(?unseen, "waiting for {} s until everything has been listed", waited.as_secs());
            }
        }
    }
}

fn is_not_served(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

fn is_established(definition: &DynamicObject) -> bool {
    let conditions = definition.data.pointer("/status/conditions").and_then(|all| all.as_array());
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their causes in their own text.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
