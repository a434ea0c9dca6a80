//! What is in the Secrets, as far as an archive has to do with it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use kube::api::DynamicObject;
use time::OffsetDateTime;

use super::{LONGEST_VALUE_BYTES, sender_of};
use crate::archive::credentials::{Authority, Known, SecretData};
use crate::archive::validate::Archive;
use crate::kubernetes::ApplyError;
use crate::kubernetes::cache::{Caches, ReadError, Source};
use crate::names::{ArchiveName, PrometheusName, SECRET_NAME, ca_key};

/// The data of the Secret of `namespace`; empty if there is none.
pub(crate) async fn data(caches: &Caches, namespace: &str) -> Result<SecretData, SecretError> {
    let found = caches.read(Source::Secret, namespace, SECRET_NAME).await;
    let found = found.map_err(|error| SecretError { namespace: namespace.to_owned(), error })?;
    Ok(found.map(|secret| decoded(&secret)).unwrap_or_default())
}

/// A Secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the Secret {SECRET_NAME} in the namespace {namespace}: {error}")]
pub struct SecretError {
    namespace: String,
    error: ReadError,
}

impl From<SecretError> for ApplyError {
    fn from(failed: SecretError) -> Self {
        match failed.error {
            ReadError::Request(error) => Self::request("Secret", SECRET_NAME, &error),
            // Nothing that is tried again helps.
            ReadError::TooLong(error) => {
                Self::Request { kind: "Secret".into(), name: SECRET_NAME.into(), reason: error.to_string(), code: 413 }
            }
        }
    }
}

fn decoded(secret: &DynamicObject) -> SecretData {
    let data = secret.data.get("data").cloned().unwrap_or_default();
    let data: BTreeMap<String, ByteString> = serde_json::from_value(data).unwrap_or_default();
    data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect()
}

/// What `archive` has in the Secrets that it and its senders need. Where something is missing, or the authority changes, the API server
/// is asked: the local copy may be behind, and what is made anew for it would replace what is in use. Of senders that are `leaving`, what
/// is seen is enough.
pub(crate) async fn stored(
    caches: &Caches,
    archive: &Archive,
    senders: &BTreeSet<PrometheusName>,
    leaving: &BTreeSet<PrometheusName>,
    now: OffsetDateTime,
) -> Result<BTreeMap<String, SecretData>, SecretError> {
    let id = &archive.id;
    let mut needed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    needed.entry(&id.namespace).or_default().push(id.secret_key("operator.token"));
    let mut kept: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for sender in senders {
        needed.entry(&sender.namespace).or_default().push(sender.token_key(id));
    }
    for sender in senders.iter().chain(leaving) {
        kept.entry(&sender.namespace).or_default().insert(sender.secret_key(id));
    }
    let mut all = BTreeMap::new();
    for (namespace, keys) in &needed {
        let mut found = data(caches, namespace).await?;
        let known = Known { request: &archive.new_authority, answered: None, now };
        let changes = id.namespace == *namespace && Authority::is_changing(id, &found, known);
        if changes || !keys.iter().all(|key| found.contains_key(key)) {
            let secret = caches.read_now(Source::Secret, namespace, SECRET_NAME).await;
            let secret = secret.map_err(|error| SecretError { namespace: (*namespace).to_owned(), error })?;
            found = secret.map(|secret| decoded(&secret)).unwrap_or_default();
        }
        all.insert((*namespace).to_owned(), only(found, id, namespace, kept.get(namespace)));
    }
    let others = kept.iter().filter(|(namespace, _)| !needed.contains_key(*namespace)).collect::<Vec<_>>();
    if others.is_empty() {
        return Ok(all);
    }
    let with_keys = namespaces_with_keys(caches, id);
    for (namespace, keys) in others.into_iter().filter(|(namespace, _)| with_keys.contains(**namespace)) {
        let found = data(caches, namespace).await?;
        all.insert((*namespace).to_owned(), only(found, id, namespace, Some(keys)));
    }
    Ok(all)
}

/// Of all data in the Secret of `namespace`, what `archive` or one of these senders can have in it: the rest may be long.
fn only(data: SecretData, archive: &ArchiveName, namespace: &str, senders: Option<&BTreeSet<String>>) -> SecretData {
    let (prefix, ca) = (archive.secret_prefix(), ca_key(archive));
    let is_senders = |key: &str| sender_of(key).is_some_and(|sender| senders.is_some_and(|all| all.contains(sender)));
    let is_its =
        |key: &str| (namespace == archive.namespace && key.starts_with(&prefix)) || key == ca || is_senders(key);
    data.into_iter().filter(|(key, value)| value.len() <= LONGEST_VALUE_BYTES && is_its(key)).collect()
}

/// Namespaces whose Secret has keys of `archive`.
pub(crate) fn namespaces_with_keys(caches: &Caches, archive: &ArchiveName) -> BTreeSet<String> {
    let with_keys = caches.mentioning(Source::Secret, archive);
    with_keys.iter().filter_map(|secret| secret.metadata.namespace.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_secrets_of_others_only_what_a_sender_can_have_is_kept() {
        let archive = ArchiveName::new("team", "lab");
        let long = vec![b'x'; LONGEST_VALUE_BYTES + 1];
        let mut data: SecretData = ["team.lab.a.p.token", "team.lab.b.p.token", "team.lab.ca.crt", "team.lab.ca.key"]
            .map(|key| (key.to_owned(), b"x".to_vec()))
            .into();
        data.extend([("team.lab.a.p.previous".to_owned(), long.clone()), ("theirs".to_owned(), long)]);
        let senders = BTreeSet::from(["team.lab.a.p".to_owned()]);
        let kept = only(data.clone(), &archive, "other", Some(&senders));
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["team.lab.a.p.token", "team.lab.ca.crt"]);
        assert_eq!(only(data, &archive, "team", None).len(), 4);
    }
}
