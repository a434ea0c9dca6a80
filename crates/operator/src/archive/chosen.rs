//! Which Prometheus objects send to an archive. Pure.
//!
//! Only those that consent are looked at: what is said and done about an archive is then the same whether another one
//! does not consent or does not exist.

use std::collections::HashSet;

use kube::core::SelectorExt;
use promarchive_api::metrics_archive::{Mode, PrometheusKind};

use crate::archive::validate::{Archive, Selection, Target};
use crate::names::{ALLOW_ARCHIVES, ArchiveName};
use crate::senders::entry;
use crate::senders::prometheus::Prometheus;

/// A Prometheus that sends to an archive, is to do so, or did. It consents.
#[derive(Clone, Debug)]
pub(crate) struct Sender<'a> {
    pub prometheus: Prometheus,
    /// By which item it is chosen; none: it has an entry of the archive's and is not chosen any more.
    pub selection: Option<&'a Selection>,
}

impl Sender<'_> {
    /// Whether it may send at all: only then a token is made for it.
    pub(crate) fn is_entitled(&self) -> bool {
        let refused = |selection: &Selection| selection.mode == Mode::Patch && self.prometheus.belongs_to_openshift();
        self.selection.is_some_and(|selection| !refused(selection))
    }
}

/// Every Prometheus among `consenting` that has to do with `archive`.
pub(crate) fn senders<'a>(archive: &'a Archive, consenting: &[Prometheus]) -> Vec<Sender<'a>> {
    let with = |prometheus: &Prometheus| {
        let selection = archive.selections.iter().find(|selection| chooses(selection, prometheus));
        let concerned = selection.is_some() || has_entry_of(prometheus, &archive.id);
        concerned.then(|| Sender { prometheus: prometheus.clone(), selection })
    };
    consenting.iter().filter_map(with).collect()
}

/// Whether `selection` chooses `prometheus`, of which no content is needed.
pub(crate) fn chooses(selection: &Selection, prometheus: &Prometheus) -> bool {
    selection.kind == prometheus.kind
        && selection.namespaces.contains(&prometheus.namespace)
        && match &selection.target {
            Target::Name(name) => *name == prometheus.name,
            Target::Labels(selector) => selector.matches(prometheus.labels()),
        }
}

/// Whether `prometheus` has an entry that was made for `archive`.
pub(crate) fn has_entry_of(prometheus: &Prometheus, archive: &ArchiveName) -> bool {
    entry::names(prometheus.remote_write().unwrap_or_default()).any(|name| archive.owns(&name))
}

/// What `archive` asks for by name and nobody of `consenting` is, each as a message.
pub(crate) fn missing(archive: &Archive, consenting: &[Prometheus]) -> Vec<String> {
    let there: HashSet<(PrometheusKind, &str, &str)> =
        consenting.iter().map(|one| (one.kind, one.namespace.as_str(), one.name.as_str())).collect();
    let mut missing = Vec::new();
    for selection in &archive.selections {
        let Target::Name(name) = &selection.target else { continue };
        for namespace in &selection.namespaces {
            if !there.contains(&(selection.kind, namespace.as_str(), name.as_str())) {
                missing.push(absent(archive, selection.kind, namespace, name));
            }
        }
    }
    missing
}

/// Of another namespace, it is not told whether there is one that does not consent.
fn absent(archive: &Archive, kind: PrometheusKind, namespace: &str, name: &str) -> String {
    let kind = kind.as_str();
    if namespace == archive.id.namespace {
        return format!("{kind} {namespace}/{name} does not exist: create it, or correct spec.prometheuses");
    }
    format!(
        "{kind} {namespace}/{name} does not exist or does not consent: create it, correct spec.prometheuses, or \
         annotate it or its namespace with {ALLOW_ARCHIVES}: \"{}\"",
        archive.id
    )
}
