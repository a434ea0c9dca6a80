//! What archives that are gone have left behind: entries, and keys in Secrets. It happens when somebody took a finalizer
//! off by hand, or deleted the definition of the kind while the operator was away.
//!
//! Anybody can write such names into objects of their own. So a round asks about a bounded number of archives, and the next one goes
//! on from there; and of a Secret only those keys are taken out that the archive's own manager has written.

use std::collections::BTreeSet;
use std::ops::Bound;

use kube::ResourceExt;
use kube::api::{Api, DynamicObject};
use tracing::{info, warn};

use crate::cache::Source;
use crate::context::Context;
use crate::credentials::SecretData;
use crate::dereference::prometheuses;
use crate::entry::{self, ArchiveName};
use crate::{removal, secrets};

/// Archives that a round asks the API server about.
const MOST_IN_A_ROUND: usize = 100;

/// Where the next round begins.
#[derive(Debug, Default)]
pub struct Sweep {
    after: Option<ArchiveName>,
}

impl Sweep {
    /// Takes out what belongs to no archive. Whether something was: then another round is due soon.
    pub async fn round(&mut self, context: &Context) -> bool {
        let archives: BTreeSet<ArchiveName> = context
            .caches
            .all(Source::Archive)
            .into_iter()
            .map(|object| ArchiveName::new(object.namespace().unwrap_or_default(), object.name_any()))
            .collect();
        if !context.caches.unseen().is_empty() {
            return false;
        }
        let mut unknown = mentioned(context);
        unknown.retain(|archive| !archives.contains(archive) && context.scope.contains(&archive.namespace));
        let mut gone = BTreeSet::new();
        for archive in self.next(&unknown) {
            if is_gone(context, &archive).await {
                gone.insert(archive);
            }
        }
        let is_orphan = |archive: &ArchiveName| gone.contains(archive);
        let mut changed = false;
        let referenced = take_entries_out(context, &is_orphan, &mut changed).await;
        for secret in context.caches.all(Source::Secret) {
            let namespace = secret.namespace().unwrap_or_default();
            let gone: BTreeSet<ArchiveName> =
                secrets::keys(&secret).filter_map(|key| archive_of(key)).filter(is_orphan).collect();
            // A Secret that an entry names and that lacks the key stops the Prometheus Operator's work on that object.
            for archive in gone.difference(&referenced) {
                changed |= take_keys_out(context, archive, &namespace).await;
            }
        }
        changed
    }

    /// Those that this round is about: each one's turn comes, however many there are.
    fn next(&mut self, unknown: &BTreeSet<ArchiveName>) -> Vec<ArchiveName> {
        let from = self.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = unknown.range((from.clone(), Bound::Unbounded));
        let before = unknown.iter().take_while(|archive| match &from {
            Bound::Excluded(after) => *archive <= after,
            _ => false,
        });
        let chosen: Vec<ArchiveName> = rest.chain(before).take(MOST_IN_A_ROUND).cloned().collect();
        self.after = chosen.last().cloned();
        chosen
    }
}

async fn take_keys_out(context: &Context, archive: &ArchiveName, namespace: &str) -> bool {
    match secrets::write(context, archive, namespace, &SecretData::new()).await {
        Ok(changed) => {
            if changed {
                info!(%archive, namespace, "the archive is gone: took its keys out of the Secret");
            }
            changed
        }
        Err(error) => {
            warn!(%archive, namespace, %error, "keys of an archive that is gone stay for now");
            false
        }
    }
}

/// Archives that have an entry or a key anywhere.
fn mentioned(context: &Context) -> BTreeSet<ArchiveName> {
    let mut all = BTreeSet::new();
    for prometheus in prometheuses(context) {
        all.extend(entry::names(prometheus.remote_write().unwrap_or_default()).map(|name| name.archive().clone()));
    }
    for secret in context.caches.all(Source::Secret) {
        all.extend(secrets::keys(&secret).filter_map(|key| archive_of(key)));
    }
    all
}

/// Asks the API server: a local copy that is behind must not cost anybody an entry.
async fn is_gone(context: &Context, archive: &ArchiveName) -> bool {
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &archive.namespace, &Source::Archive.resource());
    matches!(api.get_opt(&archive.name).await, Ok(None))
}

/// Gives the archives whose entries were there.
async fn take_entries_out(
    context: &Context,
    is_orphan: &impl Fn(&ArchiveName) -> bool,
    changed: &mut bool,
) -> BTreeSet<ArchiveName> {
    let mut all = BTreeSet::new();
    for prometheus in prometheuses(context).into_iter().filter(|prometheus| !prometheus.is_deleting()) {
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

/// Whose key it is: `<namespace>.<archive>.…`
fn archive_of(key: &str) -> Option<ArchiveName> {
    let mut parts = key.splitn(3, '.');
    let archive = ArchiveName::new(parts.next()?, parts.next()?);
    (parts.next().is_some() && archive.is_valid()).then_some(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_archive_has_its_turn() {
        let all: BTreeSet<ArchiveName> = (0..250).map(|n| ArchiveName::new("n", format!("a{n:03}"))).collect();
        let mut sweep = Sweep::default();
        let mut rounds = (0..5).map(|_| sweep.next(&all)).collect::<Vec<_>>();
        assert!(rounds.iter().all(|round| round.len() == MOST_IN_A_ROUND));
        let last = rounds.split_off(3).concat();
        assert_eq!(rounds.concat().into_iter().collect::<BTreeSet<_>>(), all);
        assert_eq!(last.into_iter().collect::<BTreeSet<_>>().len(), 200);
        let one = BTreeSet::from([ArchiveName::new("n", "z")]);
        let mut sweep = Sweep::default();
        assert_eq!((sweep.next(&one).len(), sweep.next(&one).len(), sweep.next(&BTreeSet::new()).len()), (1, 1, 0));
    }

    #[test]
    fn only_keys_of_our_shape_name_an_archive() {
        assert_eq!(archive_of("team.lab.x.p.token"), Some(ArchiveName::new("team", "lab")));
        for other in ["team.lab", "team", "", "Team.lab.x", "team.9lab.x", "team..x", "_.lab.x"] {
            assert_eq!(archive_of(other), None, "{other}");
        }
    }
}
