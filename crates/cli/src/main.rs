//! A stand-in for the real command line, which another branch brings.

mod commands;

use std::process::ExitCode;

use clap::Parser;
use commands::output::OutputFormat;

#[derive(clap::Parser)]
enum Cli {
    Inspect {
        archive: String,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
    Verify {
        archive: String,
        #[arg(long)]
        wal: Option<std::path::PathBuf>,
        #[arg(long, value_enum, default_value_t)]
        output: OutputFormat,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Inspect { archive, output } => commands::inspect::run(&archive, output).await,
        Cli::Verify { archive, wal, output } => commands::verify::run(&archive, wal, output).await,
    }
}
