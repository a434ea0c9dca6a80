//! The name of an archive, and of what belongs to it.

use std::fmt;

use super::text::{PREFIX, is_label};

/// An archive: its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ArchiveName {
    /// Of these.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The claim that the operator makes.
    pub fn claim(&self) -> String {
        format!("{}-archive", self.name)
    }

    /// The ConfigMap with the entry to paste in mode Manual.
    pub fn snippet(&self) -> String {
        format!("{}-remote-write", self.name)
    }

    /// Manager of the archive's fields in a Secret that other archives have fields in too. At most 128 characters.
    pub fn secret_manager(&self) -> String {
        format!("promarchive/{}/{}", self.namespace, self.name)
    }

    /// What the archive's keys in a Secret begin with; neither namespaces nor archives have dots in their names.
    pub fn secret_prefix(&self) -> String {
        format!("{}.{}.", self.namespace, self.name)
    }

    /// The archive's key `what` in a Secret.
    pub fn secret_key(&self, what: &str) -> String {
        format!("{}{what}", self.secret_prefix())
    }

    /// Whether an archive can be named so: a Service is named after it.
    pub fn is_valid(&self) -> bool {
        let begins = self.name.starts_with(|c: char| c.is_ascii_lowercase());
        is_label(&self.namespace, 63) && is_label(&self.name, 52) && begins
    }

    /// What the names of all entries of this archive begin with: `promarchive/<namespace>/<archive>/`.
    pub fn entry_prefix(&self) -> String {
        format!("{PREFIX}/{}/{}/", self.namespace, self.name)
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Key of an archive's certificate authority in the Secret [`SECRET_NAME`]: `<namespace>.<archive>.ca.crt`.
pub fn ca_key(archive: &ArchiveName) -> String {
    format!("{}.{}.ca.crt", archive.namespace, archive.name)
}
