//! Settings that cannot be, each with what to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::bounds::OutOfBounds;

/// A combination of settings that cannot be; each message names the settings and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No archive.
    #[error(
        "no archive is given: use --archive DIRECTORY|URL (environment PROMARCHIVE_ARCHIVE, file `archive`; in YAML a lone ~ is no value)"
    )]
    NoArchive,
    /// The archive's path has no last component to name a WAL after.
    #[error(
        "the archive {archive:?} has no name to put a WAL beside it: name a directory for it with --wal (file `wal`)"
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
    #[error("{path:?} is no usable path: {reason}")]
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
        "wal {wal:?} is inside the archive {archive:?}, where other tools take it for a table: put --wal (file `wal`) \
         beside the archive"
    )]
    WalInArchive {
        /// The WAL directory, absolute.
        wal: PathBuf,
        /// The archive, absolute.
        archive: PathBuf,
    },
    /// The archive is in the WAL.
    #[error("the archive {archive:?} is inside the WAL directory {wal:?}: put --wal (file `wal`) beside the archive")]
    ArchiveInWal {
        /// The WAL directory, absolute.
        wal: PathBuf,
        /// The archive, absolute.
        archive: PathBuf,
    },
    /// A certificate without a key, or the other way round.
    #[error(
        "{given} is given without {missing}: TLS needs both --tls-cert and --tls-key (file `tlsCert` and `tlsKey`)"
    )]
    HalfOfTls {
        /// The file setting that is there.
        given: &'static str,
        /// The file setting that is not.
        missing: &'static str,
    },
    /// Anybody could write.
    #[error(
        "listening on {listen}, which is not loopback, without tokens lets anybody write: give --tokens FILE (file \
         `tokens`), or accept it with --insecure-allow-unauthenticated (file `insecure: true`)"
    )]
    Unauthenticated {
        /// The address as given.
        listen: SocketAddr,
    },
    /// Unknown tokens, and no file of known ones.
    #[error(
        "unknownTokens is Retry without tokens: give --tokens FILE (file `tokens`), or leave --unknown-tokens (file \
         `unknownTokens`) out"
    )]
    NoTokensToKnow,
    /// A label for names that nobody has.
    #[error(
        "senderLabel is given without tokens, and without them senders have no names: give --tokens FILE (file `tokens`), or leave \
         --sender-label (file `senderLabel`) out"
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
