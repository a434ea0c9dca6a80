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
        "WAL segment {file} has format version {version}, which this program cannot read: start the newer promarchive that \
         wrote it, or let that one flush and stop before going back to this one"
    )]
    UnknownVersion {
        /// The segment's name.
        file: String,
        /// Its format version.
        version: u32,
    },
    /// A segment that belongs to another WAL.
    #[error(
        "WAL segment {file} was written by writer {found}, but this directory belongs to writer {expected}: move the file back \
         to the directory that it came from"
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
    #[error("{file} has {length} bytes, more than any WAL segment: move it out of the WAL directory, and start again")]
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
        "a request body of {length} bytes does not fit into a WAL record, whose limit is {MAX_BODY_BYTES}: send smaller requests"
    )]
    RecordTooLarge {
        /// The body's length in bytes.
        length: usize,
    },
    /// There is no position left.
    #[error(
        "the WAL has reached position {tail} and none is left, which a damaged table or a renamed segment must have caused: let \
         it flush, and start with an empty WAL directory"
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
            "the volume is full; senders retry, and it goes on once there is space and an inode (df -h, df -i)"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the volume is read-only, as after an error of its disk; check the node's kernel log, remount or replace it"
        }
        io::ErrorKind::PermissionDenied => "the process may not; check the directory's owner and the pod's fsGroup",
        _ => "senders retry; if it stays, check the volume and the node's kernel log",
    }
}

fn writer_advice(line: &Option<String>) -> String {
    match line {
        Some(line) => format!("put this line into it, as the segments beside it say, and start again: {line}"),
        None => "restore it from a backup; without one, move all wal-*.log files out of the directory and start again: what \
                 they hold and no table does is then not in the archive"
            .to_owned(),
    }
}
