//! Names: of archives, of their entries, of a Prometheus as a sender, and of the keys in the Secret beside it.

use std::fmt;
use std::str::FromStr;

use promarchive_api::metrics_archive::PrometheusKind;
use sha2::{Digest, Sha256};

/// The Secret in the namespace of a Prometheus that holds tokens and certificates of the archives that it sends to.
pub const SECRET_NAME: &str = "promarchive-remote-write";

const PREFIX: &str = "promarchive";
const LONGEST_ENTRY_HEADER: usize = 64;
const LONGEST_SECRET_KEY: usize = 253;
const LONGEST_SENDER: usize = 128;

/// An archive: its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ArchiveName {
    /// Whether an archive can be named so: a Service is named after it.
    pub fn is_valid(&self) -> bool {
        let begins = self.name.starts_with(|c: char| c.is_ascii_lowercase());
        is_label(&self.namespace, 63) && is_label(&self.name, 52) && begins
    }

    /// Whether the entry is one of this archive's.
    pub fn owns(&self, entry: &EntryName) -> bool {
        entry.archive == *self
    }

    /// What the names of all entries of this archive begin with: `promarchive/<namespace>/<archive>/`.
    pub fn entry_prefix(&self) -> String {
        format!("{PREFIX}/{}/{}/", self.namespace, self.name)
    }

    /// Name of the receiver's Service: `<archive>-receiver`.
    pub fn service(&self) -> String {
        format!("{}-receiver", self.name)
    }

    /// Host name of the receiver, `<archive>-receiver.<namespace>.svc`: what its certificate is for.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service(), self.namespace)
    }

    /// Whether a Prometheus in `from` reaches this archive's Service by `host`: with or without the cluster's domain, and
    /// by the short forms that the resolver completes.
    pub(super) fn is_reached_by(&self, host: &str, from: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let Some(rest) = host.strip_prefix(&self.service()) else { return false };
        match rest.strip_prefix('.') {
            None => rest.is_empty() && from == self.namespace,
            Some(rest) => match rest.strip_prefix(&self.namespace) {
                Some(domain) => domain.is_empty() || domain == ".svc" || domain.starts_with(".svc."),
                None => false,
            },
        }
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Name of an entry of ours: `promarchive/<namespace>/<archive>/<hash>`, with 8 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName {
    archive: ArchiveName,
    hash: String,
}

/// Why a text is no [`EntryName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is no name of an entry: want promarchive/<namespace>/<archive>/<8 hexadecimal digits>")]
pub struct EntryNameError {
    given: String,
}

impl EntryName {
    /// The name of the entry of `archive` whose fields are `canonical`.
    pub(super) fn of(archive: &ArchiveName, canonical: &str) -> Self {
        Self { archive: archive.clone(), hash: hex(canonical.as_bytes(), 8) }
    }

    /// Whose entry it is.
    pub fn archive(&self) -> &ArchiveName {
        &self.archive
    }

    /// What the entry's requests say in [`promarchive_api::ENTRY_HEADER`], and its marks in `entry`: the name, or, if that
    /// is over the 64 bytes that the receiver takes, `promarchive/<hash>`. The receiver has one archive's senders, so this tells
    /// their entries apart.
    pub fn header(&self) -> String {
        let name = self.to_string();
        if name.len() <= LONGEST_ENTRY_HEADER { name } else { format!("{PREFIX}/{}", self.hash) }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.archive.entry_prefix(), self.hash)
    }
}

impl FromStr for EntryName {
    type Err = EntryNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| EntryNameError { given: text.chars().take(200).collect() })
    }
}

/// Strict: what we would not have written is somebody else's.
fn parse(text: &str) -> Option<EntryName> {
    let mut parts = text.split('/');
    let (prefix, namespace, name, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hash = hash.len() == 8 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let archive = ArchiveName { namespace: namespace.to_owned(), name: name.to_owned() };
    let is_ours = prefix == PREFIX && archive.is_valid() && is_hash && parts.next().is_none();
    is_ours.then(|| EntryName { archive, hash: hash.to_owned() })
}

fn is_label(text: &str, longest: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A Prometheus object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrometheusName {
    /// Its kind.
    pub kind: PrometheusKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl PrometheusName {
    /// Its name as a sender, in the tokens file and in marks: `<kind>/<namespace>/<name>`, at most 128 bytes.
    /// A longer name is replaced by its hash, after a `_`, which no name of an object has.
    pub fn sender(&self) -> String {
        let (kind, namespace) = (self.kind.as_str(), &self.namespace);
        shorter(LONGEST_SENDER, &self.name, |name| format!("{kind}/{namespace}/{name}"))
    }

    /// Whether `text` can be the name of a sender: whether [`Self::sender`] writes such names.
    pub fn is_sender(text: &str) -> bool {
        let mut parts = text.splitn(3, '/');
        let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let is_kind = PrometheusKind::ALL.into_iter().any(|one| one.as_str() == kind);
        let hash = name.strip_prefix('_');
        let is_hash = hash.is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let is_name = !name.is_empty() && name.split('.').all(|part| is_label(part, LONGEST_SENDER));
        text.len() <= LONGEST_SENDER && is_kind && is_label(namespace, 63) && (is_hash || is_name)
    }

    /// Key of its token for an archive in the Secret [`SECRET_NAME`] of its namespace:
    /// `<archive's namespace>.<archive>.<name>.p.token`, with `a` for an agent; at most 253 bytes, like [`Self::sender`].
    pub fn token_key(&self, archive: &ArchiveName) -> String {
        let kind = match self.kind {
            PrometheusKind::Prometheus => "p",
            PrometheusKind::PrometheusAgent => "a",
        };
        let ArchiveName { namespace, name: archive } = archive;
        shorter(LONGEST_SECRET_KEY, &self.name, |name| format!("{namespace}.{archive}.{name}.{kind}.token"))
    }
}

impl fmt::Display for PrometheusName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// Key of an archive's certificate authority in the Secret [`SECRET_NAME`]: `<namespace>.<archive>.ca.crt`.
pub fn ca_key(archive: &ArchiveName) -> String {
    format!("{}.{}.ca.crt", archive.namespace, archive.name)
}

/// What `write` makes of the name, or of its hash if that would be too long.
fn shorter(longest: usize, name: &str, write: impl Fn(&str) -> String) -> String {
    let text = write(name);
    if text.len() <= longest { text } else { write(&format!("_{}", hex(name.as_bytes(), 32))) }
}

/// The first `digits` hexadecimal digits of the SHA-256.
fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(namespace: &str, name: &str) -> ArchiveName {
        ArchiveName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn only_what_we_would_write_is_ours() {
        let name: EntryName = "promarchive/monitoring/lab/1a2b3c4d".parse().unwrap();
        assert_eq!(name.to_string(), "promarchive/monitoring/lab/1a2b3c4d");
        assert!(archive("monitoring", "lab").owns(&name));
        assert!(!archive("monitoring", "la").owns(&name) && !archive("lab", "lab").owns(&name));
        for foreign in [
            "",
            "promarchive",
            "promarchive/monitoring/lab",
            "promarchive/monitoring/lab/1a2b3c4",
            "promarchive/monitoring/lab/1a2b3c4d5",
            "promarchive/monitoring/lab/1A2B3C4D",
            "promarchive/monitoring/lab/1a2b3c4d/",
            "promarchive/monitoring/lab/1a2b3c4d-old",
            "promarchive/monitoring/9lab/1a2b3c4d",
            "promarchive/-monitoring/lab/1a2b3c4d",
            "promarchive//lab/1a2b3c4d",
            " promarchive/monitoring/lab/1a2b3c4d",
            "Promarchive/monitoring/lab/1a2b3c4d",
        ] {
            assert!(foreign.parse::<EntryName>().is_err(), "{foreign}");
        }
    }

    #[test]
    fn the_header_is_one_that_the_receiver_takes() {
        let longest = EntryName::of(&archive(&"n".repeat(63), &"a".repeat(52)), "x");
        assert_eq!(longest.to_string().parse(), Ok(longest.clone()));
        assert_eq!(longest.header(), format!("promarchive/{}", hex(b"x", 8)));
        let short = EntryName::of(&archive("monitoring", "lab"), "x");
        assert_eq!(short.header(), short.to_string());
    }

    #[test]
    fn a_service_has_several_names_and_others_look_like_them() {
        let lab = archive("monitoring", "lab");
        for (host, from, reached) in [
            ("lab-receiver.monitoring.svc", "x", true),
            ("LAB-receiver.Monitoring.svc", "x", true),
            ("lab-receiver.monitoring.svc.cluster.local", "x", true),
            ("lab-receiver.monitoring.svc.cluster.local.", "x", true),
            ("lab-receiver.monitoring", "x", true),
            ("lab-receiver", "monitoring", true),
            ("lab-receiver", "x", false),
            ("lab-receiver.monitoring.svc2", "x", false),
            ("lab-receiver.monitoring2.svc", "x", false),
            ("lab-receiver.monitoring.example.org", "x", false),
            ("lab-receiver2.monitoring.svc", "x", false),
            ("my.lab-receiver.monitoring.svc", "x", false),
            ("10.0.0.1", "monitoring", false),
            ("", "monitoring", false),
        ] {
            assert_eq!(lab.is_reached_by(host, from), reached, "{host} from {from}");
        }
    }

    #[test]
    fn keys_and_senders_stay_within_their_limits_and_apart() {
        let named =
            |kind, name: &str| PrometheusName { kind, namespace: "monitoring".to_owned(), name: name.to_owned() };
        let k8s = named(PrometheusKind::Prometheus, "k8s");
        assert_eq!(k8s.sender(), "Prometheus/monitoring/k8s");
        assert_eq!(k8s.token_key(&archive("team", "lab")), "team.lab.k8s.p.token");
        assert_eq!(
            named(PrometheusKind::PrometheusAgent, "k8s").token_key(&archive("team", "lab")),
            "team.lab.k8s.a.token"
        );
        assert_eq!(ca_key(&archive("team", "lab")), "team.lab.ca.crt");

        let long = archive(&"n".repeat(63), &"a".repeat(52));
        let keys: Vec<_> = ["x", "y"]
            .into_iter()
            .map(|last| {
                let prometheus = PrometheusName {
                    kind: PrometheusKind::PrometheusAgent,
                    namespace: "n".repeat(63),
                    name: "p".repeat(252) + last,
                };
                (prometheus.sender(), prometheus.token_key(&long))
            })
            .collect();
        for (sender, key) in &keys {
            assert!(sender.len() <= 128 && key.len() <= 253, "{sender} {key}");
            assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)), "{key}");
        }
        assert_ne!(keys[0], keys[1]);
    }
}
