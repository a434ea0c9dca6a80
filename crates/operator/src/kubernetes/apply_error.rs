//! Why an object could not be brought into the cluster.

use super::kind::Kind;
use crate::process::chain;

/// An object could not be brought into the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is there, and belongs to somebody else.
    #[error(
        "a {kind:?} \"{name}\" exists that does not belong to this archive: delete or rename it, or give the archive \
         another name"
    )]
    NameTaken {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// One of the same name is still going.
    #[error("the {kind:?} \"{name}\" is being deleted; waiting until it is deleted")]
    Ending {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The API server refuses it.
    #[error("{kind} \"{name}\": {reason}")]
    Request {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server said.
        reason: String,
        /// HTTP status, 0 if there was no answer.
        code: u16,
    },
}

impl ApplyError {
    /// Of a failed request.
    pub fn request(kind: impl Into<String>, name: impl Into<String>, error: &kube::Error) -> Self {
        let (reason, code) = match error {
            kube::Error::Api(status) => (status.message.clone(), status.code),
            other => (chain(other), 0),
        };
        Self::Request { kind: kind.into(), name: name.into(), reason, code }
    }

    /// Whether it may pass by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NameTaken { .. } => false,
            Self::Ending { .. } => true,
            Self::Request { code, .. } => !matches!(code, 400 | 403 | 405 | 413 | 422),
        }
    }
}
