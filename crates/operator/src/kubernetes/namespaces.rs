//! Namespaces that come to their end.

use super::cache::{Caches, Source};

/// Whether nothing new can be made in `namespace`, because it is gone or going. Not known of namespaces that are not watched.
pub(crate) fn is_ending(caches: &Caches, namespace: &str) -> bool {
    let watched = caches.scope().contains(namespace);
    let found = caches.get(Source::Namespace, "", namespace);
    watched && found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())
}

/// Whether `namespace` is there and going.
pub(crate) fn is_terminating(caches: &Caches, namespace: &str) -> bool {
    let found = caches.get(Source::Namespace, "", namespace);
    found.is_some_and(|found| found.metadata.deletion_timestamp.is_some())
}
