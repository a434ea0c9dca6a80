//! Which Prometheus objects send to an archive. Pure.

use kube::core::SelectorExt;
use promarchive_api::metrics_archive::Mode;

use crate::consent::allows;
use crate::entry::{self, ArchiveName};
use crate::prometheus::Prometheus;
use crate::validate::{Archive, Selection, Target};

/// A Prometheus that sends to an archive, is to do so, or did.
#[derive(Clone, Debug)]
pub struct Sender<'a> {
    /// The object.
    pub prometheus: Prometheus,
    /// By which item it is chosen; none: it has an entry of the archive's and is not chosen any more.
    pub selection: Option<&'a Selection>,
    /// Whether it, or its namespace, lets the archive have its samples.
    pub consents: bool,
}

impl Sender<'_> {
    /// Whether it may send at all: only then it gets a token.
    pub fn is_entitled(&self) -> bool {
        let refused = |selection: &Selection| selection.mode == Mode::Patch && self.prometheus.belongs_to_openshift();
        self.consents && self.selection.is_some_and(|selection| !refused(selection))
    }
}

/// Every Prometheus that has to do with `archive`. `consent` gives the annotation of a namespace.
pub fn senders<'a>(
    archive: &'a Archive,
    all: &[Prometheus],
    consent: impl Fn(&str) -> Option<String>,
) -> Vec<Sender<'a>> {
    let with = |prometheus: &Prometheus| {
        let selection = archive.selections.iter().find(|selection| chooses(selection, prometheus));
        if selection.is_none() && !has_entry_of(prometheus, &archive.id) {
            return None;
        }
        let consents = prometheus.namespace == archive.id.namespace
            || prometheus.consent().is_some_and(|annotation| allows(annotation, &archive.id))
            || consent(&prometheus.namespace).is_some_and(|annotation| allows(&annotation, &archive.id));
        Some(Sender { prometheus: prometheus.clone(), selection, consents })
    };
    all.iter().filter_map(with).collect()
}

/// Whether `selection` chooses `prometheus`, of which no content is needed.
pub fn chooses(selection: &Selection, prometheus: &Prometheus) -> bool {
    selection.kind == prometheus.kind
        && selection.namespaces.contains(&prometheus.namespace)
        && match &selection.target {
            Target::Name(name) => *name == prometheus.name,
            Target::Labels(selector) => selector.matches(prometheus.labels()),
        }
}

/// Whether `prometheus` has an entry that was made for `archive`.
pub fn has_entry_of(prometheus: &Prometheus, archive: &ArchiveName) -> bool {
    entry::names(prometheus.remote_write().unwrap_or_default()).any(|name| archive.owns(&name))
}

/// Names that `archive` asks for and nobody has, for a message: `Prometheus monitoring/k8s`.
pub fn missing(archive: &Archive, all: &[Prometheus]) -> Vec<String> {
    let mut missing = Vec::new();
    for selection in &archive.selections {
        let Target::Name(name) = &selection.target else { continue };
        for namespace in &selection.namespaces {
            let is_it =
                |one: &Prometheus| one.kind == selection.kind && one.namespace == *namespace && one.name == *name;
            if !all.iter().any(is_it) {
                missing.push(format!("{} {namespace}/{name}", selection.kind.as_str()));
            }
        }
    }
    missing
}
