//! Consent that was taken back: entries and tokens of the Prometheus go, whatever else is so with the archive.
//!
//! This comes first in every look, before anything that ends a look early: an archive that is paused, cannot be read, waits for
//! lists, or is being deleted has no right to samples that nobody gives it. It needs nothing but the archive's name.
//!
//! It also has a queue of its own ([`withdraw_now`]), so that it waits neither for a look that is under way nor for other archives of the
//! namespace. What such a look writes in spite of it, the next one takes out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::{DynamicObject, Patch};
use promarchive_api::tokens_file;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::archive::context::Context;
use crate::archive::credentials::SecretData;
use crate::archive::own::own_object;
use crate::archive::secrets::{self, sender_of};
use crate::kubernetes::ApplyError;
use crate::kubernetes::cache::Source;
use crate::kubernetes::guard::Standing;
use crate::kubernetes::kind::Kind;
use crate::names::{ArchiveName, ca_key, patch_params};
use crate::process::chain;
use crate::process::queue::Next;
use crate::senders::prometheus::Prometheus;
use crate::senders::records::{consents, has_entry, with_content};

/// One step of the queue of withdrawals. What cannot be done now is tried again, and by every look.
pub(crate) async fn withdraw_now(context: Arc<Context>, archive: ArchiveName) -> Next {
    let Some(object) = context.caches.get(Source::Archive, &archive.namespace, &archive.name) else {
        return Next::Forget;
    };
    if context.guard.standing() != Standing::InForce || withdraw(&context, &archive, &object).await {
        return Next::Forget;
    }
    Next::Retry
}

/// Takes out what the archive has in objects that do not consent. Whether all of it is out.
///
/// A Prometheus whose namespace has not been listed is left alone, and so is a kind that has not: what was not seen was not taken back.
pub(crate) async fn withdraw(context: &Context, archive: &ArchiveName, object: &DynamicObject) -> bool {
    let withheld = consents(&context.caches, archive).withheld;
    if withheld.is_empty() {
        return true;
    }
    let (staying, mut is_done) = take_entries_out(context, archive, &withheld).await;
    is_done &= take_lines_out(context, archive, object, &withheld).await;
    is_done &= take_keys_out(context, archive, &withheld, &staying).await;
    is_done
}

/// Gives the objects, by uid, in which an entry stays, and whether another try may take it out.
async fn take_entries_out(
    context: &Context,
    archive: &ArchiveName,
    withheld: &[Prometheus],
) -> (BTreeSet<String>, bool) {
    let (mut staying, mut is_done) = (BTreeSet::new(), true);
    for record in withheld.iter().filter(|record| has_entry(&context.caches, archive, record)) {
        if record.is_deleting() {
            // Its list is read by nobody any more.
            staying.insert(record.uid());
            continue;
        }
        let Prometheus { namespace, name, .. } = record;
        info!(%archive, namespace, name, "the Prometheus no longer consents: removing its entry");
        // That something else was refused is no reason to wait.
        context.patcher.forget_refusal(archive, record);
        let is_out = match with_content(&context.caches, record).await {
            Ok(Some(prometheus)) => context.patcher.take_out(archive, &prometheus).await,
            Ok(None) => true,
            Err(error) => {
                warn!(%archive, namespace, name, error = %chain(&error), "cannot remove the entry of a Prometheus; retrying");
                false
            }
        };
        if !is_out {
            staying.insert(record.uid());
            is_done = false;
        }
    }
    (staying, is_done)
}

/// The receiver takes their tokens no more.
async fn take_lines_out(
    context: &Context,
    archive: &ArchiveName,
    object: &DynamicObject,
    withheld: &[Prometheus],
) -> bool {
    let uid = object.uid().unwrap_or_default();
    let file = match own_object(context, archive, &uid, Kind::ConfigMap, &archive.receiver()).await {
        Ok(Some(file)) => file,
        Ok(None) => return true,
        Err(error) => {
            warn!(%archive, error = %chain(&error), "cannot read the receiver's tokens file; retrying");
            return false;
        }
    };
    let text = file.data.pointer("/data/tokens").and_then(Value::as_str).unwrap_or_default();
    let refused: HashSet<String> = withheld.iter().map(|prometheus| prometheus.full_name().sender()).collect();
    let Some(text) = tokens_file::without(text, |name| refused.contains(name)) else { return true };
    info!(%archive, "some Prometheus objects do not consent: removing their tokens from the receiver's tokens file");
    let patch = json!({"metadata": {"resourceVersion": file.resource_version()}, "data": {"tokens": text}});
    let (source, name) = (Source::Child(Kind::ConfigMap), archive.receiver());
    let named = (archive.namespace.as_str(), name.as_str());
    match context.caches.patch(source, named, &patch_params(), &Patch::Merge(patch)).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 404 => true,
        Err(error) => {
            warn!(%archive, error = %chain(&error), "cannot update the receiver's tokens file; retrying");
            false
        }
    }
}

/// Their Secrets hold their tokens no more, but for those that an entry still names: without them the Prometheus Operator would stop
/// its work on that object.
async fn take_keys_out(
    context: &Context,
    archive: &ArchiveName,
    withheld: &[Prometheus],
    staying: &BTreeSet<String>,
) -> bool {
    let mut refused: BTreeMap<&str, HashSet<String>> = BTreeMap::new();
    for prometheus in withheld.iter().filter(|prometheus| !staying.contains(&prometheus.uid())) {
        refused.entry(&prometheus.namespace).or_default().insert(prometheus.full_name().secret_key(archive));
    }
    let mut is_done = true;
    for namespace in secrets::namespaces_with_keys(&context.caches, archive) {
        let Some(refused) = refused.get(namespace.as_str()) else { continue };
        if let Err(error) = take_keys_out_of(context, archive, &namespace, refused).await {
            warn!(%archive, namespace, %error, "cannot remove a token of a Prometheus that does not consent; retrying");
            is_done = false;
        }
    }
    is_done
}

async fn take_keys_out_of(
    context: &Context,
    archive: &ArchiveName,
    namespace: &str,
    refused: &HashSet<String>,
) -> Result<(), ApplyError> {
    let found = secrets::data(&context.caches, namespace).await?;
    let Some(wanted) = without(found, archive, refused) else { return Ok(()) };
    secrets::write(context, archive, namespace, &wanted).await.map(drop)
}

/// What the archive has in a Secret, without the keys of these senders; `None` if they have none. The certificate of the authority
/// goes with the last of them.
fn without(data: SecretData, archive: &ArchiveName, refused: &HashSet<String>) -> Option<SecretData> {
    let prefix = archive.secret_prefix();
    let its = data.into_iter().filter(|(key, _)| key.starts_with(&prefix));
    let is_refused = |key: &str| sender_of(key).is_some_and(|sender| refused.contains(sender));
    let (gone, mut left): (SecretData, SecretData) = its.partition(|(key, _)| is_refused(key));
    if gone.is_empty() {
        return None;
    }
    if left.keys().all(|key| *key == ca_key(archive)) {
        left.clear();
    }
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_refused_go_and_the_certificate_with_the_last() {
        let archive = ArchiveName::new("team", "lab");
        let data = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), vec![])).collect::<SecretData>();
        let refused = HashSet::from(["team.lab.a.p".to_owned()]);
        for (found, left) in [
            (
                &["team.lab.a.p.token", "team.lab.a.p.previous", "team.lab.b.p.token", "team.lab.ca.crt", "x.y.z"][..],
                Some(&["team.lab.b.p.token", "team.lab.ca.crt"][..]),
            ),
            (&["team.lab.a.p.token", "team.lab.ca.crt", "team.lab2.a.p.token"], Some(&[])),
            (&["team.lab.a.a.token", "team.lab.ca.crt"], None),
            (&["team.lab.a.p.x.p.token", "team.lab.ca.crt"], None),
            (&[], None),
        ] {
            assert_eq!(without(data(found), &archive, &refused), left.map(data), "{found:?}");
        }
    }
}
