//! What can go wrong.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Short for results here.
pub type Result<T> = std::result::Result<T, Error>;

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A system call.
    #[error(transparent)]
    System(#[from] rustix::io::Errno),
    /// A request.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// Compression.
    #[error(transparent)]
    Snappy(#[from] snap::Error),
    /// The recording in this program.
    #[error("the recorded load is damaged: {0}")]
    Recording(String),
    /// A load that promarchive's own decoder does not take.
    #[error("a load cannot be decoded: {0}")]
    Load(String),
    /// A program whose name says nothing.
    #[error("{}: not a receiver that is known; its name is to begin with promarchive, prometheus or victoria-metrics", .0.display())]
    UnknownReceiver(PathBuf),
    /// It is not there, say.
    #[error("cannot start {}: {cause}", .program.display())]
    Start {
        /// Which.
        program: OsString,
        /// Why.
        cause: io::Error,
    },
    /// A receiver ended.
    #[error("the receiver ended: {0}")]
    Ended(String),
    /// `/proc` is not Linux's.
    #[error("/proc does not tell the processor time: this runs on Linux only")]
    Proc,
    /// A thread that sends has panicked.
    #[error("a sender failed")]
    Sender,
    /// Told to wait for ever.
    #[error("the receiver answered 503 or 429 for a minute")]
    NeverTaken,
}
