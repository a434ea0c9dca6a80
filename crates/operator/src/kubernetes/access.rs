//! What the operator does with which kind of object, and which admission policies it is held to there.
//!
//! This is the one list of kinds: the chart makes the operator's roles and the policies' rules from it. The test `kinds` writes it to
//! `charts/promarchive/templates/_kinds.tpl`, and compares the roles and the policies that come out with each other.

use kube::api::ApiResource;

use super::cache::Source;
use super::guard::Policy;
use super::kind::Kind;
use crate::names::SECRET_NAME;

/// What the operator does with objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// API group; empty for Kubernetes' first one.
    pub group: String,
    /// Plural name of the kind, perhaps with a subresource after a slash.
    pub resource: String,
    /// The name that alone is allowed; none for every name.
    pub name: Option<&'static str>,
    /// Verbs of RBAC.
    pub verbs: &'static [&'static str],
    /// The policies that allow only the changes that the operator needs.
    pub policies: &'static [Policy],
}

const LOOK: &[&str] = &["get", "list", "watch"];
const CHANGE: &[&str] = &["get", "list", "watch", "patch"];
const MAKE: &[&str] = &["get", "list", "watch", "create", "patch"];
const MAKE_AND_DELETE: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

impl Access {
    /// Everything that the operator does in a namespace of archives or of Prometheus objects.
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = Source::all().into_iter().filter_map(Self::of).collect();
        all.extend([
            Self::plain("promarchive.dev", "metricsarchives/status", &["patch"], &[Policy::Archives]),
            // Which pods of a Prometheus must have delivered before its entry goes.
            Self::plain("", "pods", &["list"], &[]),
            // An Event changes nothing for anybody.
            Self::plain("events.k8s.io", "events", &["create", "patch"], &[]),
        ]);
        all
    }

    /// None for what is in no namespace: that has a role of its own, which allows nothing but to look.
    fn of(source: Source) -> Option<Self> {
        let (verbs, policies): (_, &[Policy]) = match source {
            Source::Archive => (CHANGE, &[Policy::Archives]),
            Source::Prometheus(_) => (CHANGE, &[Policy::Prometheuses]),
            // Server-side apply creates it, since a plain create carries no name.
            Source::Secret => (MAKE_AND_DELETE, &[Policy::OwnObjects]),
            Source::Child(kind) => (if kind.is_deleted() { MAKE_AND_DELETE } else { MAKE }, policies(kind)),
            Source::Namespace | Source::Definition => return None,
        };
        let ApiResource { group, plural, .. } = source.resource();
        // No other Secret can be read.
        let name = (source == Source::Secret).then_some(SECRET_NAME);
        Some(Self { group, resource: plural, name, verbs, policies })
    }

    fn plain(group: &str, resource: &str, verbs: &'static [&'static str], policies: &'static [Policy]) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned(), name: None, verbs, policies }
    }

    /// Whether something can be changed.
    pub fn changes(&self) -> bool {
        self.verbs.iter().any(|verb| !LOOK.contains(verb))
    }
}

const fn policies(kind: Kind) -> &'static [Policy] {
    match kind {
        Kind::Deployment => &[Policy::OwnObjects, Policy::Receivers],
        Kind::ServiceAccount
        | Kind::Service
        | Kind::NetworkPolicy
        | Kind::PersistentVolumeClaim
        | Kind::ConfigMap
        | Kind::PodMonitor => &[Policy::OwnObjects],
    }
}
