//! All local copies, and reading them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use promarchive_api::metrics_archive::PrometheusKind;
use serde::Serialize;
use tokio::sync::watch;
use tracing::warn;

use super::kept::{self, Kept, Room, TooLong};
use super::requests::Requests;
use super::source::Source;
use crate::kubernetes::scope::Scope;
use crate::names::ArchiveName;

const LOOK_AGAIN: Duration = Duration::from_millis(50);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Objects by namespace and name.
pub(super) type Store = HashMap<(String, String), Arc<Kept>>;

type Stores = BTreeMap<(Source, String), Arc<RwLock<Store>>>;

/// The content of an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The API server did not give it.
    #[error(transparent)]
    Request(#[from] kube::Error),
    /// It is too much.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// Local copies of everything that is watched.
#[derive(Clone)]
pub struct Caches {
    /// To the API server, for what is not kept.
    pub requests: Requests,
    pub(super) room: Arc<Room>,
    scope: Scope,
    pub(super) sources: Arc<[Source]>,
    stores: Arc<RwLock<Stores>>,
    /// What has been listed completely once.
    seen: Arc<RwLock<BTreeSet<(Source, String)>>>,
    pub(super) definitions: Arc<watch::Sender<BTreeMap<String, Arc<DynamicObject>>>>,
}

impl Caches {
    /// Nothing is watched yet.
    pub(super) fn new(client: Client, scope: Scope, sources: Vec<Source>) -> Self {
        Self {
            requests: Requests::new(client),
            room: Arc::default(),
            scope,
            sources: sources.into(),
            stores: Arc::default(),
            seen: Arc::default(),
            definitions: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }

    /// Where the operator works.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// One empty name stands for everything.
    pub(super) fn namespaces_of(&self, source: Source) -> Vec<String> {
        match (&self.scope, source) {
            // One watch for each definition: the role names them.
            (_, Source::Definition) => ["prometheuses", "prometheusagents", "podmonitors"]
                .map(|plural| format!("{plural}.monitoring.coreos.com"))
                .into(),
            (Scope::Cluster, _) => vec![String::new()],
            (Scope::Namespaces(names), _) => names.iter().cloned().collect(),
        }
    }

    pub(super) fn set_seen(&self, source: Source, namespace: &str, is_seen: bool) {
        let mut seen = self.seen.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (source, namespace.to_owned());
        if is_seen {
            seen.insert(key)
        } else {
            seen.remove(&key)
        };
    }

    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Stores) -> T) -> T {
        change(&mut self.stores.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn stores(&self, source: Source) -> Vec<Arc<RwLock<Store>>> {
        let stores = self.stores.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        stores.iter().filter(|((of, _), _)| *of == source).map(|(_, store)| store.clone()).collect()
    }

    fn kept(&self, source: Source, namespace: &str, name: &str) -> Option<Arc<Kept>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.stores(source).into_iter().find_map(|store| {
            let store = store.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            store.get(&key).cloned()
        })
    }

    fn all_kept(&self, source: Source) -> Vec<Arc<Kept>> {
        let of = |store: Arc<RwLock<Store>>| {
            let store = store.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            store.values().cloned().collect::<Vec<_>>()
        };
        self.stores(source).into_iter().flat_map(of).collect()
    }

    /// The record of one object: its metadata.
    pub fn get(&self, source: Source, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.kept(source, namespace, name).map(|kept| kept.record.clone())
    }

    /// The records of all objects of a kind.
    pub fn all(&self, source: Source) -> Vec<Arc<DynamicObject>> {
        self.all_kept(source).iter().map(|kept| kept.record.clone()).collect()
    }

    /// The records of all archives of a namespace, and the claim that each one names, if it names one.
    pub fn archives_of(&self, namespace: &str) -> Vec<(Arc<DynamicObject>, Option<String>)> {
        let all = self.all_kept(Source::Archive);
        let of_namespace = all.iter().filter(|kept| kept.record.metadata.namespace.as_deref() == Some(namespace));
        of_namespace.map(|kept| (kept.record.clone(), kept.claim.as_deref().map(ToOwned::to_owned))).collect()
    }

    /// Archives that have an entry or a key in an object of a kind, once for each object. There may be very many.
    pub fn mentioned(&self, source: Source) -> impl Iterator<Item = ArchiveName> {
        self.all_kept(source).into_iter().flat_map(|kept| kept.mentions().collect::<Vec<_>>())
    }

    /// The records of all objects of a kind in which an archive that `is_meant` has an entry or a key, and these archives.
    pub fn mentions(
        &self,
        source: Source,
        is_meant: impl Fn(&ArchiveName) -> bool,
    ) -> Vec<(Arc<DynamicObject>, BTreeSet<ArchiveName>)> {
        let all = self.all_kept(source);
        let with = all.iter().map(|kept| (kept.record.clone(), kept.mentions().filter(&is_meant).collect()));
        with.filter(|(_, archives): &(_, BTreeSet<_>)| !archives.is_empty()).collect()
    }

    /// Whether `archive` has an entry or a key in this object.
    pub fn is_mentioned(&self, source: Source, namespace: &str, name: &str, archive: &ArchiveName) -> bool {
        self.kept(source, namespace, name).is_some_and(|kept| kept.is_mentioned(archive))
    }

    /// The records of all objects of a kind in which `archive` has an entry or a key.
    pub fn mentioning(&self, source: Source, archive: &ArchiveName) -> Vec<Arc<DynamicObject>> {
        let all = self.all_kept(source);
        all.iter().filter(|kept| kept.is_mentioned(archive)).map(|kept| kept.record.clone()).collect()
    }

    /// One object with its content: the local copy of it, or, if that is not kept or not there yet, as the API server has it now.
    pub async fn read(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<DynamicObject>>, ReadError> {
        match self.kept(source, namespace, name) {
            None if self.is_listed(source, namespace) => Ok(None),
            None => self.read_now(source, namespace, name).await,
            Some(kept) => match &kept.text {
                Some(text) => Ok(Some(Arc::new(kept::object(source, &kept.record.metadata, text)))),
                None => self.read_now(source, namespace, name).await,
            },
        }
    }

    /// Whether an object is known to have a long content, of which only a few may be in memory at a time.
    pub fn is_long(&self, source: Source, namespace: &str, name: &str) -> bool {
        self.kept(source, namespace, name).is_some_and(|kept| !kept.is_short)
    }

    /// Whether all objects of a kind in `namespace` have been seen once, so that what is not known is not there.
    fn is_listed(&self, source: Source, namespace: &str) -> bool {
        let seen = self.seen.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.contains(&(source, String::new())) || seen.contains(&(source, namespace.to_owned()))
    }

    /// One object with its content, as the API server has it now.
    pub async fn read_now(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<DynamicObject>>, ReadError> {
        let read = self.requests.get(source, namespace, name).await?;
        Ok(read.map(kept::Read::object).transpose()?.map(Arc::new))
    }

    /// Whether an object is there, as the API server says.
    pub async fn exists_now(&self, source: Source, namespace: &str, name: &str) -> kube::Result<bool> {
        self.requests.get(source, namespace, name).await.map(|read| read.is_some())
    }

    /// Patches an object, and gives it as it is then.
    pub async fn patch<P: Serialize>(
        &self,
        source: Source,
        (namespace, name): (&str, &str),
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> kube::Result<Result<DynamicObject, TooLong>> {
        self.requests.patch(source, namespace, name, params, patch).await.map(kept::Read::object)
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

    /// The same within `namespaces` and for Prometheus objects of `kinds`: what an archive does not name must not hold it up.
    pub fn unseen_within(&self, namespaces: &BTreeSet<&String>, kinds: impl Fn(PrometheusKind) -> bool) -> Vec<Source> {
        let concerns = |source: &&Source| match source {
            Source::Prometheus(kind) => kinds(*kind),
            _ => true,
        };
        let sources = self.sources.iter().filter(concerns).copied();
        sources.filter(|source| self.is_unseen(*source, Some(namespaces))).collect()
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
                warn!(?unseen, "still waiting after {} s until all objects are listed", waited.as_secs());
            }
        }
    }
}
