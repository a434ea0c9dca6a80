//! What archives that are gone have left behind: entries, and keys in Secrets. It happens when somebody took a finalizer
//! off by hand, or deleted the definition of the kind while the operator was away.
//!
//! Anybody can write such names into objects of their own. So a round asks about a bounded number of archives, and the next one goes
//! on from there; and of a Secret only those keys are taken out that the archive's own manager has written.

use std::collections::BTreeSet;

use kube::ResourceExt;
use promarchive_api::metrics_archive::PrometheusKind;
use tracing::{info, warn};

use crate::archive::context::Context;
use crate::archive::credentials::SecretData;
use crate::archive::secrets;
use crate::kubernetes::cache::Source;
use crate::names::ArchiveName;
use crate::senders::entry;
use crate::senders::records::{records_with_entry, with_content_now};

/// Archives that a round asks the API server about.
const MOST_IN_A_ROUND: usize = 100;

/// Where the next round begins.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    after: Option<ArchiveName>,
}

impl Sweep {
    /// Takes out what belongs to no archive. Whether something was: then another round is due soon.
    pub(crate) async fn round(&mut self, context: &Context) -> bool {
        let archives: BTreeSet<ArchiveName> = context
            .caches
            .all(Source::Archive)
            .into_iter()
            .map(|object| ArchiveName::new(object.namespace().unwrap_or_default(), object.name_any()))
            .collect();
        if !context.caches.unseen().is_empty() {
            return false;
        }
        let is_unknown =
            |archive: &ArchiveName| !archives.contains(archive) && context.caches.scope().contains(&archive.namespace);
        let mut gone = BTreeSet::new();
        for archive in self.next(mentioned(context).filter(is_unknown)) {
            if is_gone(context, &archive).await {
                gone.insert(archive);
            }
        }
        let is_orphan = |archive: &ArchiveName| gone.contains(archive);
        let mut changed = false;
        let referenced = take_entries_out(context, &is_orphan, &mut changed).await;
        for (secret, gone) in context.caches.mentions(Source::Secret, is_orphan) {
            let namespace = secret.namespace().unwrap_or_default();
            // A Secret that an entry names and that lacks the key stops the Prometheus Operator's work on that object.
            for archive in gone.difference(&referenced) {
                changed |= take_keys_out(context, archive, &namespace).await;
            }
        }
        changed
    }

    /// Those of `unknown` that this round is about: each one's turn comes, however many there are. Only these are in memory.
    fn next(&mut self, unknown: impl Iterator<Item = ArchiveName>) -> Vec<ArchiveName> {
        let after = self.after.take();
        let (mut rest, mut before) = (BTreeSet::new(), BTreeSet::new());
        for archive in unknown {
            let is_later = after.as_ref().is_none_or(|after| archive > *after);
            let part = if is_later { &mut rest } else { &mut before };
            part.insert(archive);
            if part.len() > MOST_IN_A_ROUND {
                part.pop_last();
            }
        }
        let chosen: Vec<ArchiveName> = rest.into_iter().chain(before).take(MOST_IN_A_ROUND).collect();
        self.after = chosen.last().cloned();
        chosen
    }
}

async fn take_keys_out(context: &Context, archive: &ArchiveName, namespace: &str) -> bool {
    match secrets::write(context, archive, namespace, &SecretData::new()).await {
        Ok(changed) => {
            if changed {
                info!(%archive, namespace, "the archive no longer exists: removed its keys from the Secret");
            }
            changed
        }
        Err(error) => {
            warn!(%archive, namespace, %error, "cannot remove the keys of an archive that no longer exists; retrying");
            false
        }
    }
}

/// Archives that have an entry or a key anywhere.
fn mentioned(context: &Context) -> impl Iterator<Item = ArchiveName> {
    let with_entries = PrometheusKind::ALL.map(Source::Prometheus);
    with_entries.into_iter().chain([Source::Secret]).flat_map(|source| context.caches.mentioned(source))
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
    for record in records_with_entry(&context.caches, is_orphan).into_iter().filter(|record| !record.is_deleting()) {
        let Some(prometheus) = with_content_now(&context.caches, &record).await else { continue };
        let list = prometheus.remote_write().unwrap_or_default();
        let gone: BTreeSet<ArchiveName> =
            entry::orphans(list, |archive| !is_orphan(archive)).iter().map(|name| name.archive().clone()).collect();
        // One in each round: the next patch needs the resource version that this one makes.
        if let Some(archive) = gone.first() {
            info!(%archive, namespace = prometheus.namespace, name = prometheus.name, "the archive no longer exists: removing its entry");
            *changed |= context.patcher.take_out(archive, &prometheus).await;
        }
        all.extend(gone);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_archive_has_its_turn() {
        let all: BTreeSet<ArchiveName> = (0..250).map(|n| ArchiveName::new("n", format!("a{n:03}"))).collect();
        let mut sweep = Sweep::default();
        let mut rounds = (0..5).map(|_| sweep.next(all.iter().cloned())).collect::<Vec<_>>();
        assert!(rounds.iter().all(|round| round.len() == MOST_IN_A_ROUND));
        let last = rounds.split_off(3).concat();
        assert_eq!(rounds.concat().into_iter().collect::<BTreeSet<_>>(), all);
        assert_eq!(last.into_iter().collect::<BTreeSet<_>>().len(), 200);
        let one = ArchiveName::new("n", "z");
        let mut sweep = Sweep::default();
        for expected in [Some(&one), Some(&one), None] {
            assert_eq!(sweep.next(expected.cloned().into_iter()).first(), expected);
        }
    }
}
