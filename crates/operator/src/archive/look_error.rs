//! Why a look at an archive could not be finished.

/// The look could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The API server did not do what was asked.
    #[error("{what}")]
    Request {
        /// What was asked.
        what: &'static str,
        /// Why not.
        source: kube::Error,
    },
    /// A Secret could not be read.
    #[error(transparent)]
    Secret(#[from] crate::archive::secrets::SecretError),
    /// No certificate or token could be made.
    #[error(transparent)]
    Credentials(#[from] crate::archive::secrets::CredentialsError),
}
