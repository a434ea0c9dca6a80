//! Prometheus objects in the local copies: without their specs, which are read when they are needed.

use kube::ResourceExt;
use promarchive_api::metrics_archive::PrometheusKind;
use tracing::warn;

use super::consent::Consents;
use super::prometheus::Prometheus;
use crate::kubernetes::cache::{Caches, ReadError, Source};
use crate::names::{ALLOW_ARCHIVES, ArchiveName};
use crate::process::chain;

/// Every Prometheus and PrometheusAgent within the operator's scope, without its spec.
pub(crate) fn prometheus_records(caches: &Caches) -> Vec<Prometheus> {
    let of = |kind: PrometheusKind| {
        let objects = caches.all(Source::Prometheus(kind));
        objects.into_iter().map(move |object| Prometheus::new(kind, object))
    };
    PrometheusKind::ALL.into_iter().flat_map(of).collect()
}

/// Whether an entry of `archive` is in a Prometheus whose spec is not needed for that.
pub(crate) fn has_entry(caches: &Caches, archive: &ArchiveName, record: &Prometheus) -> bool {
    caches.is_mentioned(Source::Prometheus(record.kind), &record.namespace, &record.name, archive)
}

/// Every Prometheus with an entry of an archive that `is_meant`, without its spec.
pub(crate) fn records_with_entry(caches: &Caches, is_meant: impl Fn(&ArchiveName) -> bool) -> Vec<Prometheus> {
    let of = |kind: PrometheusKind| {
        let objects = caches.mentions(Source::Prometheus(kind), &is_meant);
        objects.into_iter().map(move |(object, _)| Prometheus::new(kind, object))
    };
    PrometheusKind::ALL.into_iter().flat_map(of).collect()
}

/// With its spec; none if it is not there any more.
pub(crate) async fn with_content(caches: &Caches, record: &Prometheus) -> Result<Option<Prometheus>, ReadError> {
    let Prometheus { kind, namespace, name, .. } = record;
    let found = caches.read(Source::Prometheus(*kind), namespace, name).await?;
    Ok(found.map(|object| Prometheus::new(*kind, object)))
}

/// The same; none, too, if it cannot be read. That is left for the next time.
pub(crate) async fn with_content_now(caches: &Caches, record: &Prometheus) -> Option<Prometheus> {
    with_content(caches, record).await.unwrap_or_else(|error| {
        let (namespace, name) = (&record.namespace, &record.name);
        warn!(namespace, name, error = %chain(&error), "cannot read a Prometheus; retrying");
        None
    })
}

/// What every Prometheus says to `archive`. Specs are not needed for it, and not there.
pub(crate) fn consents(caches: &Caches, archive: &ArchiveName) -> Consents {
    consents_of(caches, archive, prometheus_records(caches))
}

/// Whether `prometheus` does not consent, as far as is known now: a look may be older than that.
pub(crate) fn is_withheld(caches: &Caches, archive: &ArchiveName, prometheus: &Prometheus) -> bool {
    let Prometheus { kind, namespace, name, .. } = prometheus;
    let known = caches.get(Source::Prometheus(*kind), namespace, name);
    let known = known.map(|object| Prometheus::new(*kind, object));
    !consents_of(caches, archive, [known.unwrap_or_else(|| prometheus.clone())]).withheld.is_empty()
}

fn consents_of(caches: &Caches, archive: &ArchiveName, all: impl IntoIterator<Item = Prometheus>) -> Consents {
    Consents::of(archive, all, |namespace| {
        let namespace = caches.get(Source::Namespace, "", namespace)?;
        Some(namespace.annotations().get(ALLOW_ARCHIVES).cloned().unwrap_or_default())
    })
}
