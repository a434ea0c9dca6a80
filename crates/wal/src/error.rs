use std::fmt::Display;
use std::io;

use promarchive_model::WriterId;

use super::position::Position;
use super::record::MAX_BODY_BYTES;

/// Why the WAL could not do what it was asked. Of a group that failed nothing is acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system refused.
    #[error("could not {action} {file} in the WAL directory ({})", advice(.source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file's name in the WAL directory.
        file: String,
        /// What the file system said.
        source: io::Error,
    },
    /// A segment of a version that this program does not know.
    #[error(
        "WAL segment {file} has format version {version}, but this version of promarchive cannot read it: start the \
         newer version that wrote it; before a downgrade, stop the newer version so that it flushes everything"
    )]
    UnknownVersion {
        /// The segment's name.
        file: String,
        /// Its format version.
        version: u32,
    },
    /// A segment that belongs to another WAL.
    #[error(
        "WAL segment {file} was written by writer {found}, but this directory belongs to writer {expected}: move the \
         file back to its original directory"
    )]
    ForeignSegment {
        /// The segment's name.
        file: String,
        /// The writer that the file `writer` names.
        expected: WriterId,
        /// The writer that the segment names.
        found: WriterId,
    },
    /// A file that has the name of a segment and cannot be one.
    #[error(
        "{file} has {length} bytes, which is too large for a WAL segment: move the file out of the WAL directory and \
         restart promarchive"
    )]
    Oversized {
        /// The file's name.
        file: String,
        /// Its length in bytes.
        length: u64,
    },
    /// The file with the writer id is missing or damaged, and there are segments: a new id would let records into the tables
    /// a second time.
    #[error("the file `writer` in the WAL directory is {}: {}", if *.missing { "missing" } else { "damaged" }, writer_advice(.line))]
    WriterIdLost {
        /// There is no such file; otherwise there is one that is damaged.
        missing: bool,
        /// What it must have held, if a segment says so.
        line: Option<String>,
    },
    /// A body longer than [`MAX_BODY_BYTES`].
    #[error(
        "the request body has {length} bytes, but a WAL record can hold at most {MAX_BODY_BYTES} bytes: send smaller \
         requests"
    )]
    RecordTooLarge {
        /// The body's length in bytes.
        length: usize,
    },
    /// There is no position left.
    #[error(
        "the WAL has reached position {tail}, which is the last one; the likely cause is a damaged table or a renamed \
         segment: let the receiver flush, then start it with an empty WAL directory"
    )]
    PositionsExhausted {
        /// The last position used.
        tail: Position,
    },
}

impl WalError {
    pub(super) fn io(action: &'static str, file: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, file: file.to_string(), source }
    }

    /// Whether the same call can succeed later without anybody changing the directory's files or the request.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::UnknownVersion { .. }
            | Self::ForeignSegment { .. }
            | Self::Oversized { .. }
            | Self::WriterIdLost { .. }
            | Self::RecordTooLarge { .. }
            | Self::PositionsExhausted { .. } => false,
        }
    }

    pub(super) fn is_kind(&self, kind: io::ErrorKind) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == kind)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do about it; the error itself follows as the source.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_full(error) => {
            "the volume is full; free some space or inodes (check with df -h and df -i); senders retry until then"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the volume is read-only, possibly after a disk error; check the node's kernel log, then remount or \
             replace the volume"
        }
        io::ErrorKind::PermissionDenied => "permission denied; check the directory's owner and the pod's fsGroup",
        _ => "senders retry; if the error persists, check the volume and the node's kernel log",
    }
}

fn writer_advice(line: &Option<String>) -> String {
    match line {
        Some(line) => {
            format!("write this line, which was read from the segments, into the file and restart promarchive: {line}")
        }
        None => {
            "restore it from a backup; without a backup, move all wal-*.log files out of the directory and restart \
             promarchive: records that are only in these files will then be missing in the archive"
                .to_owned()
        }
    }
}
