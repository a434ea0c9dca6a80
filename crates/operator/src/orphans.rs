//! What archives that are gone have left behind: entries, and keys in Secrets. It happens when somebody took a finalizer
//! off by hand, or deleted the definition of the kind while the operator was away.

use std::collections::BTreeSet;

use kube::ResourceExt;
use promarchive_api::metrics_archive::PrometheusKind;
use tracing::{info, warn};

use crate::cache::Source;
use crate::context::Context;
use crate::credentials::SecretData;
use crate::dereference::prometheuses_with_entry;
use crate::entry::{self, ArchiveName};
use crate::{removal, secrets};

/// Takes out what belongs to no archive. Whether something was: then another round is due soon.
pub async fn sweep(context: &Context) -> bool {
    let archives: BTreeSet<ArchiveName> = context
        .caches
        .all(Source::Archive)
        .into_iter()
        .map(|object| ArchiveName::new(object.namespace().unwrap_or_default(), object.name_any()))
        .collect();
    if !context.caches.unseen().is_empty() {
        return false;
    }
    let is_unknown = |archive: &ArchiveName| !archives.contains(archive) && context.scope.contains(&archive.namespace);
    let mut gone = BTreeSet::new();
    for archive in mentioned(context).into_iter().filter(is_unknown) {
        if is_gone(context, &archive).await {
            gone.insert(archive);
        }
    }
    let is_orphan = |archive: &ArchiveName| gone.contains(archive);
    let mut changed = false;
    let referenced = take_entries_out(context, &is_orphan, &mut changed).await;
    for (secret, archives) in context.caches.mentions(Source::Secret) {
        let namespace = secret.namespace().unwrap_or_default();
        let gone: BTreeSet<ArchiveName> = archives.into_iter().filter(is_orphan).collect();
        // A Secret that an entry names and that lacks the key stops the Prometheus Operator's work on that object.
        for archive in gone.difference(&referenced) {
            info!(%archive, namespace, "the archive is gone: taking its keys out of the Secret");
            let written =
                secrets::write(&context.client, &context.caches, archive, &namespace, &SecretData::new()).await;
            if let Err(error) = written {
                warn!(%archive, namespace, %error, "keys of an archive that is gone stay for now");
            } else {
                changed = true;
            }
        }
    }
    changed
}

/// Archives that have an entry or a key anywhere.
fn mentioned(context: &Context) -> BTreeSet<ArchiveName> {
    let with_entries = PrometheusKind::ALL.map(Source::Prometheus);
    let sources = with_entries.into_iter().chain([Source::Secret]);
    sources.flat_map(|source| context.caches.mentions(source)).flat_map(|(_, archives)| archives).collect()
}

/// Asks the API server: a local copy that is behind must not cost anybody an entry.
async fn is_gone(context: &Context, archive: &ArchiveName) -> bool {
    let there = context.caches.exists_now(Source::Archive, &archive.namespace, &archive.name).await;
    there.is_ok_and(|there| !there)
}

/// Gives the archives whose entries were there.
async fn take_entries_out(
    context: &Context,
    is_orphan: &impl Fn(&ArchiveName) -> bool,
    changed: &mut bool,
) -> BTreeSet<ArchiveName> {
    let mut all = BTreeSet::new();
    let with_orphans = prometheuses_with_entry(context, is_orphan).await;
    for prometheus in with_orphans.into_iter().filter(|prometheus| !prometheus.is_deleting()) {
        let list = prometheus.remote_write().unwrap_or_default();
        let gone: BTreeSet<ArchiveName> =
            entry::orphans(list, |archive| !is_orphan(archive)).iter().map(|name| name.archive().clone()).collect();
        // One in each round: the next patch needs the resource version that this one makes.
        if let Some(archive) = gone.first() {
            info!(%archive, namespace = prometheus.namespace, name = prometheus.name, "the archive is gone: taking its entry out");
            *changed |= removal::take_out(context, archive, &prometheus).await;
        }
        all.extend(gone);
    }
    all
}
