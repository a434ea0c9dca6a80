//! The Secret `promarchive-remote-write` of each namespace: what an archive has in it, and how it gets there.
//!
//! Several archives share a Secret. Each applies its own keys under a manager of its own, so that no archive's apply
//! takes another's keys away, and no list of archives is needed anywhere.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use promarchive_api::metrics_archive::TlsMode;
use serde_json::json;
use time::OffsetDateTime;
use tracing::info;

use crate::apply::ApplyError;
use crate::cache::{Caches, ReadError, Source};
use crate::context::Context;
use crate::credentials::{Authority, CertificateError, NoRandomness, SecretData, SenderToken, new_token};

use crate::entry::{ArchiveName, PrometheusName, SECRET_NAME, ca_key};
use crate::names::MANAGED_BY;
use crate::reconcile::LookError;
use crate::validate::Archive;

/// What an archive has in Secrets.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Certificates; none without TLS.
    pub authority: Option<Authority>,
    /// What the operator shows to the receiver.
    pub operator_token: String,
    /// What the senders show.
    pub senders: BTreeMap<PrometheusName, SenderToken>,
}

/// Credentials could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No token.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// The data of the Secret of `namespace`; empty if there is none.
pub async fn data(caches: &Caches, namespace: &str) -> Result<SecretData, SecretError> {
    let found = caches.read(Source::Secret, namespace, SECRET_NAME).await;
    let found = found.map_err(|error| SecretError { namespace: namespace.to_owned(), error })?;
    Ok(found.map(|secret| decoded(&secret)).unwrap_or_default())
}

/// A Secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the Secret {SECRET_NAME} of the namespace {namespace} cannot be read: {error}")]
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

/// The data of the Secrets that `archive` and its senders need. Where something is missing, the API server is asked: the local copy
/// may be behind, and what is made anew for it would replace what is in use.
pub async fn stored(
    context: &Context,
    archive: &Archive,
    senders: &BTreeSet<PrometheusName>,
) -> Result<BTreeMap<String, SecretData>, LookError> {
    let mut needed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    needed.entry(&archive.id.namespace).or_default().push(archive.id.secret_key("operator.token"));
    for sender in senders {
        needed.entry(&sender.namespace).or_default().push(sender.token_key(&archive.id));
    }
    let mut all = BTreeMap::new();
    for (namespace, keys) in needed {
        let mut found = data(&context.caches, namespace).await?;
        if !keys.iter().all(|key| found.contains_key(key)) {
            let secret = context.caches.read_now(Source::Secret, namespace, SECRET_NAME).await;
            let secret = secret.map_err(|error| SecretError { namespace: namespace.to_owned(), error })?;
            found = secret.map(|secret| decoded(&secret)).unwrap_or_default();
        }
        all.insert(namespace.to_owned(), found);
    }
    Ok(all)
}

/// Namespaces whose Secret has keys of `archive`.
pub fn namespaces_with_keys(caches: &Caches, archive: &ArchiveName) -> BTreeSet<String> {
    let with_keys = caches.mentioning(Source::Secret, archive);
    with_keys.iter().filter_map(|secret| secret.metadata.namespace.clone()).collect()
}

impl Credentials {
    /// What is there already, and what is missing made anew. `retired`: whether a sender's token before the present one is not needed any more.
    pub fn next(
        archive: &Archive,
        senders: &BTreeSet<PrometheusName>,
        found: impl Fn(&str) -> SecretData,
        retired: impl Fn(&PrometheusName, &SenderToken) -> bool,
        now: OffsetDateTime,
    ) -> Result<Self, CredentialsError> {
        let own = found(&archive.id.namespace);
        let authority = match archive.receiver.tls {
            TlsMode::SelfSigned => Some(Authority::next(&archive.id, &own, now)?),
            TlsMode::Disabled => None,
        };
        let operator = SenderToken::read(&own, &archive.id.secret_key("operator"));
        let operator_token = operator.map_or_else(new_token, |token| Ok(token.token))?;
        let mut tokens = BTreeMap::new();
        for sender in senders {
            let found = SenderToken::read(&found(&sender.namespace), &sender.secret_key(&archive.id));
            let retired = found.as_ref().is_some_and(|token| retired(sender, token));
            tokens.insert(sender.clone(), SenderToken::next(found, &archive.rotation, retired)?);
        }
        Ok(Self { authority, operator_token, senders: tokens })
    }

    /// What the Secret of each namespace must hold of `archive`.
    fn data(&self, archive: &ArchiveName) -> BTreeMap<String, SecretData> {
        let mut all: BTreeMap<String, SecretData> = BTreeMap::new();
        let own = all.entry(archive.namespace.clone()).or_default();
        own.insert(archive.secret_key("operator.token"), self.operator_token.clone().into_bytes());
        if let Some(authority) = &self.authority {
            authority.write(archive, own);
        }
        for (sender, token) in &self.senders {
            let data = all.entry(sender.namespace.clone()).or_default();
            token.write(data, &sender.secret_key(archive));
            if let Some(authority) = &self.authority {
                data.insert(archive.secret_key("ca.crt"), authority.ca_crt.clone().into_bytes());
            }
        }
        all
    }

    /// Brings all of it into the Secrets, and gives the namespaces where it could not. Keys of the senders in `keep`, which an
    /// entry still names, are not taken out: without them the Prometheus Operator would stop its work on that object.
    pub async fn apply(
        &self,
        client: &Client,
        caches: &Caches,
        archive: &ArchiveName,
        keep: &BTreeSet<PrometheusName>,
    ) -> Vec<(String, ApplyError)> {
        let mut wanted = self.data(archive);
        let mut errors = Vec::new();
        for namespace in namespaces_with_keys(caches, archive) {
            let wanted = wanted.entry(namespace.clone()).or_default();
            let kept =
                keep.iter().filter(|sender| sender.namespace == namespace && !self.senders.contains_key(*sender));
            let kept: Vec<String> = kept.map(|sender| format!("{}.", sender.secret_key(archive))).collect();
            if kept.is_empty() {
                continue;
            }
            match data(caches, &namespace).await {
                Ok(found) => {
                    let is_named =
                        |key: &String| *key == ca_key(archive) || kept.iter().any(|prefix| key.starts_with(prefix));
                    for (key, value) in found.into_iter().filter(|(key, _)| is_named(key)) {
                        wanted.entry(key).or_insert(value);
                    }
                }
                Err(error) => errors.push((namespace, error.into())),
            }
        }
        // What is to be kept there is not known.
        wanted.retain(|namespace, _| errors.iter().all(|(failed, _)| failed != namespace));
        for (namespace, wanted) in wanted {
            if let Err(error) = write(client, caches, archive, &namespace, &wanted).await {
                errors.push((namespace, error));
            }
        }
        errors
    }

    /// Puts back what is stored for the senders of `namespaces`, whose Secrets could not be written; who has nothing stored is nobody.
    pub fn restore(
        &mut self,
        archive: &ArchiveName,
        namespaces: &BTreeSet<String>,
        stored: &BTreeMap<String, SecretData>,
    ) {
        self.senders.retain(|sender, token| {
            if !namespaces.contains(&sender.namespace) {
                return true;
            }
            let data = stored.get(&sender.namespace);
            match data.and_then(|data| SenderToken::read(data, &sender.secret_key(archive))) {
                Some(old) => *token = old,
                None => return false,
            }
            true
        });
    }
}

/// Makes the keys of `archive` in the Secret of `namespace` exactly `wanted`.
pub async fn write(
    client: &Client,
    caches: &Caches,
    archive: &ArchiveName,
    namespace: &str,
    wanted: &SecretData,
) -> Result<(), ApplyError> {
    let all = data(caches, namespace).await?;
    let count = all.len();
    let found: SecretData = all.into_iter().filter(|(key, _)| key.starts_with(&archive.secret_prefix())).collect();
    if found == *wanted {
        return Ok(());
    }
    info!(%archive, namespace, keys = wanted.len(), before = found.len(), "changing what the archive has in the Secret {SECRET_NAME}");
    if wanted.is_empty() && found.len() == count {
        return delete(&Api::namespaced(client.clone(), namespace), caches, namespace).await;
    }
    let encoded: BTreeMap<&String, ByteString> =
        wanted.iter().map(|(key, value)| (key, ByteString(value.clone()))).collect();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET_NAME, "namespace": namespace, "labels": {MANAGED_BY: "promarchive-operator"}},
        "type": "Opaque",
        "data": encoded,
    });
    let params = PatchParams::apply(&archive.secret_manager()).force();
    caches
        .patch(Source::Secret, (namespace, SECRET_NAME), &params, &Patch::Apply(secret))
        .await
        .map(drop)
        .map_err(|error| ApplyError::request("Secret", SECRET_NAME, &error))
}

/// Deletes the Secret, if it is still the one in which nobody else has a key.
async fn delete(api: &Api<Secret>, caches: &Caches, namespace: &str) -> Result<(), ApplyError> {
    let Some(seen) = caches.get(Source::Secret, namespace, SECRET_NAME) else { return Ok(()) };
    let (uid, resource_version) = (seen.metadata.uid.clone(), seen.metadata.resource_version.clone());
    let params =
        DeleteParams { preconditions: Some(Preconditions { uid, resource_version }), ..DeleteParams::default() };
    match api.delete(SECRET_NAME, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ApplyError::request("Secret", SECRET_NAME, &error)),
    }
}
