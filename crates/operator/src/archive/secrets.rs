//! The Secret `promarchive-remote-write` of each namespace: what an archive has in it, and how it gets there.
//!
//! Several archives share a Secret. Each applies its own keys under a manager of its own, so that no archive's apply
//! takes another's keys away, and no list of archives is needed anywhere.

mod live;
mod stored;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use live::{Change, Live, change};
use promarchive_api::metrics_archive::TlsMode;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
pub(crate) use stored::{SecretError, data, namespaces_with_keys, stored};
use time::OffsetDateTime;
use tracing::info;

use crate::archive::context::Context;
use crate::archive::credentials::{Authority, CertificateError, Known, OperatorToken, Reach, SecretData, SenderToken};
use crate::archive::receiver_client::Endpoint;
use crate::archive::validate::Archive;
use crate::kubernetes::ApplyError;
use crate::kubernetes::cache::Source;
use crate::names::{ArchiveName, MANAGED_BY, PrometheusName, SECRET_NAME, ca_key};
use crate::process::NoRandomness;

/// The longest value that the operator writes is a certificate of about 1 KiB.
const LONGEST_VALUE_BYTES: usize = 16 << 10;

/// What an archive has in Secrets.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    /// Certificates; none without TLS.
    pub authority: Option<Authority>,
    /// What the operator shows to the receiver.
    pub operator: OperatorToken,
    /// What the senders show.
    pub senders: BTreeMap<PrometheusName, SenderToken>,
}

/// What became of credentials that were to be brought into Secrets.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// A Secret was changed. The local copies do not have it yet.
    pub changed: bool,
    /// The namespaces whose Secrets could not be written.
    pub unwritten: Vec<(String, ApplyError)>,
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

impl Credentials {
    /// What is there already, and what is missing made anew. `kept` stays as it is, beside `senders`. `retired`: whether a sender's
    /// token before the present one is not needed any more; `answered`: what the operator showed, and by what it knew the receiver, when
    /// the receiver answered.
    pub(crate) fn next(
        archive: &Archive,
        senders: &BTreeSet<PrometheusName>,
        kept: BTreeMap<PrometheusName, SenderToken>,
        stored: &BTreeMap<String, SecretData>,
        retired: impl Fn(&PrometheusName, &SenderToken) -> bool,
        answered: Option<&Endpoint>,
        now: OffsetDateTime,
    ) -> Result<Self, CredentialsError> {
        let nothing = SecretData::new();
        let found = |namespace: &str| stored.get(namespace).unwrap_or(&nothing);
        let own = in_order(&archive.id, found(&archive.id.namespace));
        let certificates = answered.and_then(|endpoint| endpoint.ca.as_deref());
        let known = Known { request: &archive.new_authority, answered: certificates, now };
        let reach = |authority: &Authority| reach(archive, authority, senders, stored, &retired);
        let authority = match archive.receiver.tls {
            TlsMode::SelfSigned => Some(Authority::next(&archive.id, &own, known, reach)?),
            TlsMode::Disabled => None,
        };
        let rotation = token_request(archive, authority.as_ref());
        let shown = answered.map(|endpoint| endpoint.token.as_str());
        let operator = OperatorToken::next(OperatorToken::read(&archive.id, &own), &archive.rotation, shown)?;
        let mut tokens = kept;
        for sender in senders {
            let found = SenderToken::read(found(&sender.namespace), &sender.secret_key(&archive.id));
            let retired = found.as_ref().is_some_and(|token| retired(sender, token));
            tokens.insert(sender.clone(), SenderToken::next(found, &rotation, retired)?);
        }
        Ok(Self { authority, operator, senders: tokens })
    }

    /// What has changed about the authority, compared with what was stored in the Secret of the archive's own namespace.
    pub(crate) fn news(&self, archive: &ArchiveName, stored: &BTreeMap<String, SecretData>) -> Option<&'static str> {
        let before = Authority::read(archive, stored.get(&archive.namespace)?);
        self.authority.as_ref()?.news(before.as_ref())
    }

    /// What the Secret of each namespace must hold of `archive`.
    fn data(&self, archive: &ArchiveName) -> BTreeMap<String, SecretData> {
        let mut all: BTreeMap<String, SecretData> = BTreeMap::new();
        let own = all.entry(archive.namespace.clone()).or_default();
        self.operator.write(archive, own);
        if let Some(authority) = &self.authority {
            authority.write(archive, own);
        }
        for (sender, token) in &self.senders {
            let data = all.entry(sender.namespace.clone()).or_default();
            token.write(data, &sender.secret_key(archive));
            if let Some(authority) = &self.authority {
                data.insert(archive.secret_key("ca.crt"), authority.bundle().into_bytes());
            }
        }
        all
    }

    /// Brings all of it into the Secrets. Keys of the senders in `keep`, which an
    /// entry still names, are not taken out: without them the Prometheus Operator would stop its work on that object.
    pub(crate) async fn apply(
        &self,
        context: &Context,
        archive: &ArchiveName,
        keep: &BTreeSet<PrometheusName>,
    ) -> Applied {
        let mut wanted = self.data(archive);
        let mut kept: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for sender in keep.iter().filter(|sender| !self.senders.contains_key(*sender)) {
            kept.entry(&sender.namespace).or_default().insert(sender.secret_key(archive));
        }
        let mut namespaces = namespaces_with_keys(&context.caches, archive);
        namespaces.extend(wanted.keys().cloned());
        let mut applied = Applied::default();
        for namespace in namespaces {
            let mut wanted = wanted.remove(&namespace).unwrap_or_default();
            let kept = kept.get(namespace.as_str());
            match bring(context, archive, &namespace, &mut wanted, kept).await {
                Ok(changed) => applied.changed |= changed,
                Err(error) => applied.unwritten.push((namespace, error)),
            }
        }
        applied
    }

    /// Puts back what is stored for the senders of `namespaces`, whose Secrets could not be written; who has nothing stored is nobody.
    pub(crate) fn restore(
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

/// The request that senders' tokens are to answer.
fn token_request(archive: &Archive, authority: Option<&Authority>) -> String {
    authority.map_or_else(|| archive.rotation.clone(), |authority| authority.token_request(&archive.rotation))
}

/// How far the certificates that `authority` stands for have come: into the Secrets, and into the pods that show the tokens beside them.
fn reach(
    archive: &Archive,
    authority: &Authority,
    senders: &BTreeSet<PrometheusName>,
    stored: &BTreeMap<String, SecretData>,
    retired: impl Fn(&PrometheusName, &SenderToken) -> bool,
) -> Reach {
    let (bundle, request) = (authority.bundle(), token_request(archive, Some(authority)));
    let mut all = Reach::Pods;
    for sender in senders {
        let Some(data) = stored.get(&sender.namespace) else { return Reach::Partial };
        if data.get(&ca_key(&archive.id)).map(Vec::as_slice) != Some(bundle.as_bytes()) {
            return Reach::Partial;
        }
        let is_used =
            |token: SenderToken| token.rotation == request && (token.previous.is_none() || retired(sender, &token));
        if !SenderToken::read(data, &sender.secret_key(&archive.id)).is_some_and(is_used) {
            all = Reach::Secrets;
        }
    }
    all
}

/// What the archive has in the Secret of its own namespace, without what cannot be of the operator. The certificates of the authority are
/// copied into namespaces of others, where a Prometheus that cannot read them loads no configuration.
fn in_order(archive: &ArchiveName, data: &SecretData) -> SecretData {
    let prefix = archive.secret_prefix();
    let is_good = |key: &str, value: &[u8]| {
        value.len() <= LONGEST_VALUE_BYTES && (!holds_certificates(archive, key) || are_certificates(value))
    };
    let its = data.iter().filter(|(key, value)| key.starts_with(&prefix) && is_good(key, value));
    its.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn holds_certificates(archive: &ArchiveName, key: &str) -> bool {
    ["ca.crt", "ca.next.crt", "ca.former.crt"].iter().any(|what| key == archive.secret_key(what))
}

/// While an authority changes there are two.
const MOST_AUTHORITIES: usize = 2;

fn are_certificates(pem: &[u8]) -> bool {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(MOST_AUTHORITIES + 1).collect();
    let is_root =
        |certificate: &CertificateDer<'_>| RootCertStore::empty().add(certificate.clone().into_owned()).is_ok();
    all.is_ok_and(|all| (1..=MOST_AUTHORITIES).contains(&all.len()) && all.iter().all(is_root))
}

/// What the keys of one sender begin with: a key without its last part.
pub(crate) fn sender_of(key: &str) -> Option<&str> {
    key.rsplit_once('.').map(|(sender, _)| sender)
}

/// Makes the keys of `archive` in the Secret of `namespace` `wanted`, and gives whether anything had to be changed for it. Leaves those of the senders in `kept`.
async fn bring(
    context: &Context,
    archive: &ArchiveName,
    namespace: &str,
    wanted: &mut SecretData,
    kept: Option<&BTreeSet<String>>,
) -> Result<bool, ApplyError> {
    if let Some(kept) = kept {
        for (key, value) in data(&context.caches, namespace).await? {
            if key == ca_key(archive) || sender_of(&key).is_some_and(|sender| kept.contains(sender)) {
                wanted.entry(key).or_insert(value);
            }
        }
    }
    write(context, archive, namespace, wanted).await
}

/// Makes the keys of `archive` in the Secret of `namespace` exactly `wanted`. Whether anything had to be changed for it.
///
/// Keys that look like the archive's and that its manager does not own are somebody else's: an apply would not take them out, so
/// none is sent for them.
pub(crate) async fn write(
    context: &Context,
    archive: &ArchiveName,
    namespace: &str,
    wanted: &SecretData,
) -> Result<bool, ApplyError> {
    let (key, caches) = ((archive.clone(), namespace.to_owned()), &context.caches);
    let record = caches.get(Source::Secret, namespace, SECRET_NAME);
    let looked_at = context.settled.said(&key);
    let now = fingerprint(record.as_deref(), wanted);
    if looked_at == Some(now) {
        return Ok(false);
    }
    if looked_at.is_some() {
        let found = data(caches, namespace).await?;
        if found.iter().filter(|(key, _)| key.starts_with(&archive.secret_prefix())).eq(wanted.iter()) {
            return Ok(false);
        }
    }
    let _turn = context.secret(archive, namespace).await;
    let live = caches.requests.get_as::<Live>(Source::Secret, namespace, SECRET_NAME).await;
    let live = live.map_err(|error| ApplyError::request("Secret", SECRET_NAME, &error))?;
    let Some(change) = change(live.as_ref(), &archive.secret_manager(), wanted) else {
        context.settled.renew(key, now);
        return Ok(false);
    };
    info!(%archive, namespace, keys = wanted.len(), "updating the archive's keys in the Secret {SECRET_NAME}");
    match (change, &live) {
        (Change::Delete, Some(live)) => delete(context, namespace, live).await?,
        _ => apply(context, archive, namespace, wanted).await?,
    }
    context.settled.end(&key);
    Ok(true)
}

/// What was looked at, and what was wanted then.
fn fingerprint(secret: Option<&DynamicObject>, wanted: &SecretData) -> u64 {
    let mut hasher = DefaultHasher::new();
    (secret.map(|secret| (&secret.metadata.uid, &secret.metadata.resource_version)), wanted).hash(&mut hasher);
    hasher.finish()
}

async fn apply(
    context: &Context,
    archive: &ArchiveName,
    namespace: &str,
    wanted: &SecretData,
) -> Result<(), ApplyError> {
    let encoded: BTreeMap<&String, ByteString> =
        wanted.iter().map(|(key, value)| (key, ByteString(value.clone()))).collect();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET_NAME, "namespace": namespace, "labels": {MANAGED_BY: "promarchive-operator"}},
        "type": "Opaque",
        "data": encoded,
    });
    let (named, params) = ((namespace, SECRET_NAME), PatchParams::apply(&archive.secret_manager()).force());
    let applied = context.caches.patch(Source::Secret, named, &params, &Patch::Apply(secret)).await;
    applied.map(drop).map_err(|error| ApplyError::request("Secret", SECRET_NAME, &error))
}

/// Deletes the Secret, if it is still the one in which nobody else has a key.
async fn delete(context: &Context, namespace: &str, seen: &Live) -> Result<(), ApplyError> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let params = DeleteParams { preconditions: Some(seen.preconditions()), ..DeleteParams::default() };
    match api.delete(SECRET_NAME, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(ApplyError::request("Secret", SECRET_NAME, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_goes_to_others_that_is_none() {
        let archive = ArchiveName::new("team", "lab");
        let mut data = SecretData::from([("team.other.ca.crt".to_owned(), b"x".to_vec())]);
        let known = Known { request: "", answered: None, now: OffsetDateTime::UNIX_EPOCH };
        let good = Authority::next(&archive, &data, known, |_| Reach::Partial).unwrap();
        good.write(&archive, &mut data);
        assert_eq!(in_order(&archive, &data).len(), 6);
        let crt = good.bundle();
        let key = String::from_utf8(data["team.lab.ca.key"].clone()).unwrap();
        for wrong in [
            String::new(),
            "x".to_owned(),
            crt.replace('M', "N"),
            crt.repeat(3),
            crt.clone() + &"\n".repeat(16 << 10),
            key,
        ] {
            data.insert(ca_key(&archive), wrong.clone().into_bytes());
            assert!(!in_order(&archive, &data).contains_key(&ca_key(&archive)), "{wrong:.200}");
        }
        // Two while an authority changes.
        for good in [crt.repeat(2), crt] {
            data.insert(ca_key(&archive), good.into_bytes());
            assert!(in_order(&archive, &data).contains_key(&ca_key(&archive)));
        }
    }
}
