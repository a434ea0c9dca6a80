//! One kind, or one kind in one namespace: everything is listed, then watched.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kube::api::{DynamicObject, ListParams, WatchParams};
use kube::{Client, Error, ResourceExt};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::caches::{Caches, Store};
use super::changed::Changed;
use super::kept::{self, Kept, Read};
use super::page::Said;
use super::source::{Source, Watched};
use crate::kubernetes::scope::Scope;
use crate::process::chain;
use crate::process::supervisor::{Supervisor, Task};

/// Objects of a page. A page is never in memory as a whole, but the API server has it there.
const PAGE: u32 = 100;
/// After a failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The API server ends a watch after this time, and sends bookmarks before. One that is silent for longer is dead.
const WATCH_SECONDS: u32 = 290;
const SILENCE: Duration = Duration::from_secs(300);
const NOT_SERVED_FOR: Duration = Duration::from_secs(5);
/// The version is too old to go on from.
const EXPIRED: u16 = 410;

/// How it went with the API server.
struct Health {
    pause: Duration,
    is_healthy: bool,
    not_served: Option<Instant>,
}

impl Health {
    fn good(&mut self) {
        *self = Self::default();
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { pause: FIRST_PAUSE, is_healthy: true, not_served: None }
    }
}

/// One watch.
struct Follower<'a, C> {
    caches: &'a Caches,
    source: Source,
    /// Where it is looked; empty for everywhere.
    namespace: &'a str,
    /// Where that is said.
    asked: &'a str,
    labels: Option<String>,
    fields: Option<String>,
    store: Arc<RwLock<Store>>,
    changed: &'a C,
}

impl Caches {
    /// Starts a watch for each of `sources`; `changed` is told of every object. The watches end with the runtime.
    pub fn start(
        client: Client,
        scope: Scope,
        sources: Vec<Source>,
        supervisor: &Supervisor,
        changed: impl Fn(Changed) + Clone + Send + Sync + 'static,
    ) -> Self {
        let caches = Self::new(client, scope, sources);
        for source in caches.sources.iter().copied() {
            for namespace in caches.namespaces_of(source) {
                let (caches, changed) = (caches.clone(), changed.clone());
                supervisor.task(Task::Watch, async move { caches.keep(source, &namespace, changed).await });
            }
        }
        caches
    }

    /// Watches for ever; an optional kind while it is installed.
    async fn keep(&self, source: Source, namespace: &str, changed: impl Fn(Changed) + Sync) {
        let watched = source.watched();
        let mut definitions = self.definitions.subscribe();
        loop {
            if let Some(definition) = &watched.definition {
                let _ = definitions.wait_for(|all| all.contains_key(definition)).await;
                info!(kind = watched.resource.kind, "the kind is installed; watching");
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
                () = gone => info!(kind = watched.resource.kind, "the kind is no longer installed"),
                () = self.follow(source, namespace, &watched, &changed) => {}
            }
            self.write(|stores| stores.remove(&(source, namespace.to_owned())));
            self.set_seen(source, namespace, false);
        }
    }

    /// Lists and watches, for ever.
    async fn follow(&self, source: Source, namespace: &str, watched: &Watched, changed: &(impl Fn(Changed) + Sync)) {
        let store = Arc::new(RwLock::new(Store::new()));
        self.write(|stores| stores.insert((source, namespace.to_owned()), store.clone()));
        let is_global = matches!(source, Source::Definition | Source::Namespace);
        let named = (is_global && !namespace.is_empty()).then(|| format!("metadata.name={namespace}"));
        let follower = Follower {
            caches: self,
            source,
            namespace,
            asked: if is_global { "" } else { namespace },
            labels: watched.labels.clone(),
            fields: named.or_else(|| watched.fields.clone()),
            store,
            changed,
        };
        let mut health = Health::default();
        loop {
            match follower.list().await {
                Ok(version) => {
                    health.good();
                    self.set_seen(source, namespace, true);
                    follower.watch(version, &mut health).await;
                }
                Err(error) => follower.failed(&error, &mut health).await,
            }
        }
    }
}

impl<C: Fn(Changed)> Follower<'_, C> {
    /// Reads everything, and gives the version that it is of.
    async fn list(&self) -> kube::Result<String> {
        let mut all = Store::new();
        let mut params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        loop {
            let page = self.caches.requests.page(self.source, self.asked, &params).await?;
            for read in page.items {
                let (key, kept) = self.keep(read);
                all.insert(key, kept);
            }
            if page.token.is_empty() {
                let before = std::mem::replace(&mut *self.store.write().unwrap_or_else(PoisonError::into_inner), all);
                self.tell_difference(before);
                return Ok(page.resource_version);
            }
            params.continue_token = Some(page.token);
        }
    }

    /// What is known already is not kept twice.
    fn keep(&self, read: Read) -> ((String, String), Arc<Kept>) {
        let key = key(&read);
        if self.source == Source::Definition {
            let text = read.text.as_deref().unwrap_or("{}");
            self.define(&kept::object(self.source, &read.metadata, text), false);
        }
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let known = store.get(&key).filter(|kept| {
            let (old, new) = (&kept.record.metadata, &read.metadata);
            // One that had no room may have some now.
            let is_whole = kept.text.is_some() || !kept.is_short;
            is_whole && old.uid == new.uid && old.resource_version == new.resource_version
        });
        let kept = known.cloned().unwrap_or_else(|| Arc::new(Kept::new(read, &self.caches.room)));
        (key, kept)
    }

    fn tell_difference(&self, before: Store) {
        let now = self.store.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (key, kept) in &now {
            self.tell(before.get(key).map(AsRef::as_ref), kept);
        }
        for (_, kept) in before.into_iter().filter(|(key, _)| !now.contains_key(key)) {
            if self.source == Source::Definition {
                self.define(&kept.record, true);
            }
            self.tell_gone(kept.record.clone(), Some(&kept));
        }
    }

    fn tell(&self, before: Option<&Kept>, now: &Kept) {
        let mentions = Kept::mentions_of(before.into_iter().chain([now]));
        (self.changed)(Changed { source: self.source, object: now.record.clone(), gone: false, mentions });
    }

    fn tell_gone(&self, object: Arc<DynamicObject>, before: Option<&Kept>) {
        let mentions = Kept::mentions_of(before);
        (self.changed)(Changed { source: self.source, object, gone: true, mentions });
    }

    /// Follows what changes, until that is not known any more.
    async fn watch(&self, mut version: String, health: &mut Health) {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        loop {
            match self.watch_once(&mut version, &params, health).await {
                Ok(()) => {}
                Err(Error::Api(status)) if status.code == EXPIRED => return,
                Err(error) => self.failed(&error, health).await,
            }
        }
    }

    async fn watch_once(&self, version: &mut String, params: &WatchParams, health: &mut Health) -> kube::Result<()> {
        let mut lines = self.caches.requests.watch(self.source, self.asked, params, version).await?;
        while let Ok(said) = timeout(SILENCE, lines.next()).await {
            let Some(said) = said? else { break };
            health.good();
            match said {
                Said::Changed(read) => *version = self.take(*read),
                Said::Gone(read) => *version = self.remove(*read),
                Said::Bookmark(at) => *version = at,
                Said::Error(status) => return Err(Error::Api(status)),
            }
        }
        Ok(())
    }

    /// Gives its version.
    fn take(&self, read: Read) -> String {
        let (key, kept) = self.keep(read);
        let before = self.store.write().unwrap_or_else(PoisonError::into_inner).insert(key, kept.clone());
        self.tell(before.as_deref(), &kept);
        kept.record.resource_version().unwrap_or_default()
    }

    /// Gives its last version.
    fn remove(&self, read: Read) -> String {
        let key = key(&read);
        let record: Arc<DynamicObject> = Arc::new(read.record());
        if self.source == Source::Definition {
            self.define(&record, true);
        }
        let before = self.store.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        self.tell_gone(record.clone(), before.as_deref());
        record.resource_version().unwrap_or_default()
    }

    fn define(&self, object: &DynamicObject, gone: bool) {
        let (name, object) = (object.name_any(), Arc::new(object.clone()));
        self.caches.definitions.send_if_modified(|all| {
            let installed = !gone && is_established(&object);
            let before = if installed { all.insert(name, object) } else { all.remove(&name) };
            before.is_some() != installed
        });
    }

    /// Says so once, and waits before the next try.
    async fn failed(&self, error: &Error, health: &mut Health) {
        let kind = self.source.resource().kind;
        let (namespace, error_text) = (self.namespace, chain(error));
        if matches!(error, Error::Api(status) if status.code == 404) {
            // A kind that is not there has no objects. Not at once: its definition may just be on its way.
            if health.not_served.get_or_insert_with(Instant::now).elapsed() >= NOT_SERVED_FOR {
                self.caches.set_seen(self.source, namespace, true);
            }
        } else {
            health.not_served = None;
        }
        if std::mem::replace(&mut health.is_healthy, false) {
            warn!(kind, namespace, error = error_text, "cannot watch; retrying");
        } else {
            debug!(kind, namespace, error = error_text, "cannot watch");
        }
        sleep(health.pause).await;
        health.pause = (health.pause * 2).min(LONGEST_PAUSE);
    }
}

fn key(read: &Read) -> (String, String) {
    let meta = &read.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn is_established(definition: &DynamicObject) -> bool {
    let conditions = definition.data.pointer("/status/conditions").and_then(|all| all.as_array());
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
}
