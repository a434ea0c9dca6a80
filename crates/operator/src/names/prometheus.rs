//! The name of a Prometheus object: as a sender, and in the keys of the Secret beside it.

use std::fmt;

use promarchive_api::metrics_archive::PrometheusKind;

use super::archive::ArchiveName;
use super::text::{is_label, shorter};

const LONGEST_SECRET_KEY: usize = 253;
const LONGEST_SENDER: usize = 128;

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

    /// The Prometheus that [`Self::sender`] names; none if the name was too long to be told from its hash.
    pub fn parse_sender(text: &str) -> Option<Self> {
        if !Self::is_sender(text) {
            return None;
        }
        let mut parts = text.splitn(3, '/');
        let kind = parts.next()?;
        let kind = PrometheusKind::ALL.into_iter().find(|one| one.as_str() == kind)?;
        let (namespace, name) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        (!name.starts_with('_')).then_some(Self { kind, namespace, name })
    }

    /// What its keys for `archive` in a Secret begin with: [`Self::token_key`] without its last part.
    pub fn secret_key(&self, archive: &ArchiveName) -> String {
        let key = self.token_key(archive);
        key.strip_suffix(".token").map(ToOwned::to_owned).unwrap_or(key)
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

#[cfg(test)]
mod tests {
    use super::super::ca_key;
    use super::*;

    #[test]
    fn keys_and_senders_stay_within_their_limits_and_apart() {
        let named =
            |kind, name: &str| PrometheusName { kind, namespace: "monitoring".to_owned(), name: name.to_owned() };
        let k8s = named(PrometheusKind::Prometheus, "k8s");
        assert_eq!(k8s.sender(), "Prometheus/monitoring/k8s");
        assert_eq!(k8s.token_key(&ArchiveName::new("team", "lab")), "team.lab.k8s.p.token");
        assert_eq!(
            named(PrometheusKind::PrometheusAgent, "k8s").token_key(&ArchiveName::new("team", "lab")),
            "team.lab.k8s.a.token"
        );
        assert_eq!(ca_key(&ArchiveName::new("team", "lab")), "team.lab.ca.crt");

        let long = ArchiveName::new("n".repeat(63), "a".repeat(52));
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

    #[test]
    fn a_sender_is_found_again_by_its_name() {
        let name =
            PrometheusName { kind: PrometheusKind::PrometheusAgent, namespace: "n".to_owned(), name: "a.b".to_owned() };
        assert_eq!(PrometheusName::parse_sender(&name.sender()), Some(name));
        let long =
            PrometheusName { kind: PrometheusKind::Prometheus, namespace: "n".to_owned(), name: "x".repeat(200) };
        assert!(PrometheusName::is_sender(&long.sender()));
        assert_eq!(PrometheusName::parse_sender(&long.sender()), None);
        assert_eq!(PrometheusName::parse_sender("operator"), None);
        for wrong in [
            "Thanos/n/x",
            "Prometheus/n",
            "Prometheus//x",
            "Prometheus/N/x",
            "Prometheus/n/x/y",
            "Prometheus/n/_x",
            "Prometheus/n/x y",
            "Prometheus/n/",
        ] {
            assert_eq!(PrometheusName::parse_sender(wrong), None, "{wrong}");
        }
        let long = format!("Prometheus/n/{}", "x".repeat(200));
        assert!(!PrometheusName::is_sender(&long));
    }
}
