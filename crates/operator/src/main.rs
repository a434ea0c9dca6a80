//! The program `promarchive-operator`.

#![deny(clippy::disallowed_methods)]

mod arguments;

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use promarchive_allocator::Allocator;
use promarchive_api::log_output::LogOutput;
use promarchive_operator::archive::build::ReceiverDefaults;
use promarchive_operator::crd::crd_yaml;
use promarchive_operator::process::chain;
use promarchive_operator::uninstall::{self, Removal};
use promarchive_operator::{check, run};
use tracing_subscriber::EnvFilter;

/// What a shell says of a program that SIGPIPE has ended: 128 and the signal's number.
const NO_READER: u8 = 141;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    promarchive_allocator::give_back_early();
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_new(&arguments.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LogOutput)
        // It would print with `eprintln!`, which panics.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    runtime.block_on(carry_out(arguments.command))
}

async fn carry_out(command: Command) -> ExitCode {
    match command {
        Command::Run(arguments) => match run::run(settings(arguments)).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Command::Crd => match crd_yaml() {
            Ok(yaml) => print(&yaml),
            Err(error) => failed(&error),
        },
        Command::Remove(arguments) => {
            let operator = arguments.operator_namespace.zip(arguments.operator_deployment);
            let scope = arguments::scope(&arguments.namespaces);
            let removal = Removal { scope, operator, timeout: arguments.timeout.duration() };
            match uninstall::remove(removal).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            }
        }
        Command::Check(arguments) => {
            report(&check::check(&arguments.namespace, &arguments.operator_url).await, &arguments.output)
        }
    }
}

fn settings(arguments: arguments::Run) -> run::Settings {
    run::Settings {
        scope: arguments::scope(&arguments.namespaces),
        receivers: ReceiverDefaults {
            image: arguments.receiver_image,
            pull_policy: arguments.receiver_image_pull_policy,
            fs_group: arguments.fs_group.0,
            operator_namespace: arguments.lease_namespace,
        },
        listen: arguments.listen,
        identity: arguments.identity,
        overlap: arguments.overlap,
        policies_required: arguments.admission_policies == "required",
        policies_checked_every: arguments.admission_check_interval,
    }
}

fn report(checked: &[check::Checked], output: &str) -> ExitCode {
    let code = if checked.iter().all(|one| one.fault.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let lines = checked.iter().map(|one| match &one.fault {
        None => format!("√ {}\n", one.what),
        Some(fault) => format!("× {}\n    {fault}\n", one.what),
    });
    let printed = match output {
        "json" => print(&format!("{}\n", serde_json::json!(checked))),
        _ => print(&lines.collect::<String>()),
    };
    if printed == ExitCode::SUCCESS { code } else { printed }
}

/// Writes the answer to standard output; the exit code says whether all of it could be written. Without a reader it says nothing.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(NO_READER),
        Err(error) => {
            // Not through the log, whose level may leave errors out.
            let _ = writeln!(std::io::stderr(), "error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{}", chain(error));
    ExitCode::FAILURE
}
