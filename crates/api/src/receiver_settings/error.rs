//! Settings that cannot be, each with what to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::bounds::OutOfBounds;

/// A combination of settings that cannot be; each message names the settings and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No archive.
    #[error(
        "no archive is set: use --archive DIRECTORY|URL (environment PROMARCHIVE_ARCHIVE, file `archive`; in YAML, ~ \
         alone means no value)"
    )]
    NoArchive,
    /// The archive's path has no last component to name a WAL after.
    #[error(
        "the archive path {archive:?} has no directory name, so there is no default for the WAL directory: set it \
         with --wal (file `wal`)"
    )]
    NoPlaceForWal {
        /// The archive as given.
        archive: PathBuf,
    },
    /// A bucket has no place beside it on this machine.
    #[error(
        "the archive {archive} is in a bucket, and the write-ahead log needs a directory on this machine: name one with --wal (file `wal`)"
    )]
    NoWalForBucket {
        /// The archive as given.
        archive: String,
    },
    /// A path that the operating system cannot make absolute.
    #[error("the path {path:?} cannot be used: {reason}")]
    Path {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// A path that a shell or a browser would understand in another way.
    #[error("{setting} is {path:?}: {fault}")]
    NoPlainPath {
        /// The setting's name in the file.
        setting: &'static str,
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The WAL is in the archive.
    #[error(
        "the WAL directory {wal:?} is inside the archive {archive:?}, where other tools would read it as a table: set \
         --wal (file `wal`) to a directory outside the archive"
    )]
    WalInArchive {
        /// The WAL directory, absolute.
        wal: PathBuf,
        /// The archive, absolute.
        archive: PathBuf,
    },
    /// The archive is in the WAL.
    #[error("the archive {archive:?} is inside the WAL directory {wal:?}: set --wal (file `wal`) to another directory")]
    ArchiveInWal {
        /// The WAL directory, absolute.
        wal: PathBuf,
        /// The archive, absolute.
        archive: PathBuf,
    },
    /// A certificate without a key, or the other way round.
    #[error(
        "{given} is set, but {missing} is not: TLS needs both --tls-cert and --tls-key (file `tlsCert` and `tlsKey`)"
    )]
    HalfOfTls {
        /// The file setting that is there.
        given: &'static str,
        /// The file setting that is not.
        missing: &'static str,
    },
    /// Anybody could write.
    #[error(
        "{listen} is not a loopback address, and without tokens everyone could write: set --tokens FILE (file \
         `tokens`), or allow this with --insecure-allow-unauthenticated (file `insecure: true`)"
    )]
    Unauthenticated {
        /// The address as given.
        listen: SocketAddr,
    },
    /// Unknown tokens, and no file of known ones.
    #[error(
        "unknownTokens is Retry, but there is no tokens file: set --tokens FILE (file `tokens`), or remove \
         --unknown-tokens (file `unknownTokens`)"
    )]
    NoTokensToKnow,
    /// A label for names that nobody has.
    #[error(
        "senderLabel is set, but without a tokens file senders have no names: set --tokens FILE (file `tokens`), or \
         remove --sender-label (file `senderLabel`)"
    )]
    NoSendersToName,
    /// A value outside of its bounds.
    #[error(transparent)]
    Bound(#[from] OutOfBounds),
}

impl SettingsError {
    /// The settings that it is about, by their names in the file; the one to change comes first.
    pub fn settings(&self) -> &[&'static str] {
        match self {
            Self::NoArchive => &[],
            Self::NoPlaceForWal { .. } | Self::NoWalForBucket { .. } => &["archive"],
            Self::Path { .. } | Self::WalInArchive { .. } | Self::ArchiveInWal { .. } => &["wal", "archive"],
            Self::NoPlainPath { setting, .. } => std::slice::from_ref(setting),
            Self::HalfOfTls { given, .. } => std::slice::from_ref(given),
            Self::Unauthenticated { .. } => &["listen"],
            Self::NoTokensToKnow => &["unknownTokens"],
            Self::NoSendersToName => &["senderLabel"],
            Self::Bound(bound) => std::slice::from_ref(&bound.setting),
        }
    }
}
