//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Raises the limit as far as the system lets it.
///
/// The usual soft limit of 1024 is as many as the connections that are served: with it, senders could take the
/// descriptors that the write-ahead log needs.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        debug!("cannot increase the limit of open files: {error}");
    }
}
