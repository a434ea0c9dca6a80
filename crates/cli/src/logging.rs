//! Logs go to stderr, in colour only where somebody looks at them. A line that cannot be written is lost and counted.

use std::io::{self, IsTerminal};

use promarchive_api::log_output::LogOutput;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// The Delta kernel tells of every snapshot at info, and the client of a bucket of every try. The kernel also tells of each checksum beside a
/// log that it cannot read, without the file's name: `receive`, `inspect` and `verify` name such files.
const USUAL: &str = "info,delta_kernel=warn,delta_kernel::crc=off,delta_kernel_default_engine=warn,object_store=warn";

/// Starts logging at `level`, else at what `RUST_LOG` says, else at info.
pub(crate) fn start(level: Option<&str>) -> Result<(), Failure> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let (rules, source) = match (level, from_environment.as_deref()) {
        (Some(level), _) => (level, "--log-level"),
        (None, Some(rules)) if !rules.is_empty() => (rules, EnvFilter::DEFAULT_ENV),
        _ => (USUAL, "--log-level"),
    };
    let filter = EnvFilter::try_new(rules).map_err(|error| {
        Failure::usage(format!(
            "invalid {source} \"{rules}\": {error}; expected error, warn, info, debug, trace, or rules such as \
             promarchive_pipeline=debug,warn"
        ))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LogOutput)
        // It would print with `eprintln!`, which panics.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .init();
    Ok(())
}
