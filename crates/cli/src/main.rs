//! `promarchive`: the program in every pod and on every laptop.

mod arguments;
mod commands;
mod failure;
mod layers;
mod logging;
mod memory_limit;
mod new_files;
mod open_files;
mod origins;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use promarchive_allocator::Allocator;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use crate::origins::Origins;

/// How long the end of the program waits for file calls that nobody needs any more.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    promarchive_allocator::give_back_early();
    let (arguments, origins) = match arguments::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            return arguments::explain(&error, std::env::args_os().filter_map(|word| word.into_string().ok()));
        }
    };
    run(arguments, &origins).unwrap_or_else(|failure| failure.report())
}

fn run(arguments: Arguments, origins: &Origins) -> Result<ExitCode, Failure> {
    logging::start(arguments.log_level.as_deref())?;
    // Values that are not text are no settings.
    for (given, meant) in arguments::misspelt(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        tracing::warn!("unknown environment variable {given}; did you mean {meant}?");
    }
    open_files::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::work("cannot start the runtime", error))?;
    let ended = match arguments.command {
        Command::Receive(arguments) => {
            runtime.block_on(commands::receive::run(*arguments, origins)).map(|()| ExitCode::SUCCESS)
        }
        Command::Inspect(arguments) => runtime.block_on(commands::inspect::run(arguments)),
        Command::Verify(arguments) => runtime.block_on(commands::verify::run(arguments)),
        Command::Upgrade(arguments) => runtime.block_on(commands::upgrade::run(arguments)),
        Command::CheckStore(arguments) => runtime.block_on(commands::check_store::run(arguments)),
        Command::Flush(arguments) => commands::flush::run(arguments, origins).map(|()| ExitCode::SUCCESS),
    };
    // A thread that hangs in a file call, as on a disk that has gone, must not hold up the end.
    runtime.shutdown_timeout(LEFT_BEHIND);
    ended
}
