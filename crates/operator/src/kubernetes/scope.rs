//! Where the operator works.

use std::collections::BTreeSet;

/// Where the operator works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace.
    Cluster,
    /// In these.
    Namespaces(BTreeSet<String>),
}

impl Scope {
    /// Whether `namespace` belongs to it.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }
}
