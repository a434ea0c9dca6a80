//! `promarchive verify`: whether an archive keeps its promises.

use std::fmt::Write as _;
use std::process::ExitCode;

use promarchive_inspection::{Finding, Verification, VerifyOptions, verify};
use promarchive_model::environment::SystemClock;
use promarchive_model::quote::visible;

use super::output::{Bar, bytes, count, plain_table, print};
use crate::arguments::{Output, VerifyArguments};
use crate::failure::Failure;
use crate::memory_limit;

/// Errors were found: exit code 1, without being a failure of the program.
const ERRORS: u8 = 1;

/// Verifies an archive, against its WAL directory if one is given, and prints a report. Needs a multi-threaded Tokio runtime.
pub(crate) async fn run(arguments: VerifyArguments) -> Result<ExitCode, Failure> {
    memory_limit::start(arguments.read.memory_limit);
    quiet_worker_panics();
    let bar = Bar::default();
    let store = arguments.read.archive()?;
    let options = VerifyOptions { wal: arguments.wal };
    let verified = verify(&store, &options, &SystemClock::default(), &bar).await;
    bar.finish();
    let verification = verified.map_err(Failure::usage)?;
    print(&render(&verification, arguments.read.output), arguments.read.output)?;
    Ok(if verification.ok { ExitCode::SUCCESS } else { ExitCode::from(ERRORS) })
}

/// Decoders may panic on damaged files. That is caught and becomes a finding; what the panic would print beside it helps nobody.
fn quiet_worker_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some("main") {
            usual(panic);
        }
    }));
}

fn render(verification: &Verification, format: Output) -> String {
    match format {
        Output::Json => match serde_json::to_string_pretty(verification) {
            Ok(json) => format!("{json}\n"),
            Err(e) => format!("{{\"error\": {:?}}}\n", e.to_string()),
        },
        Output::Table => text(verification),
    }
}

fn text(verification: &Verification) -> String {
    let mut out = format!("Archive {}\n\n", visible(&verification.archive));
    let mut table = plain_table(&["TABLE", "VERSION", "FILES", "SIZE", "ROWS", "DUPLICATES", "LEFTOVERS"], 1);
    for found in &verification.tables {
        table.add_row(vec![
            found.table.to_owned(),
            found.version.map_or_else(|| "-".to_owned(), |version| version.to_string()),
            count(found.files),
            bytes(found.bytes),
            count(found.rows),
            count(found.duplicates),
            count(found.leftovers.len() as u64),
        ]);
    }
    let _ = writeln!(out, "{}", table.trim_fmt());
    let mut advice = None;
    for finding in &verification.findings {
        let _ = write!(out, "\n{}", one(finding));
        // The same advice is not given over and over.
        if advice != Some(finding.advice) {
            let _ = write!(out, "\n  {}", finding.advice);
            advice = Some(finding.advice);
        }
    }
    let Verification { errors, warnings, notes, .. } = verification;
    let verdict = if verification.ok { "sound" } else { "DAMAGED" };
    let separator = if verification.findings.is_empty() { "" } else { "\n" };
    let _ = writeln!(out, "{separator}\n{verdict}: {errors} errors, {warnings} warnings, {notes} notes");
    out
}

/// `error file-unreadable samples/date=…/part-….parquet, offset 4, row group 0: …`
fn one(finding: &Finding) -> String {
    let place =
        [finding.table.map(str::to_owned), finding.file.clone()].into_iter().flatten().collect::<Vec<_>>().join("/");
    let mut text = format!("{} {} {place}", finding.severity, finding.check.name());
    let parts = [("offset", finding.offset), ("row group", finding.row_group), ("row", finding.row)];
    for (name, number) in parts {
        if let Some(number) = number {
            let _ = write!(text, ", {name} {number}");
        }
    }
    let _ = write!(text, ": {}", finding.message);
    visible(&text).into_owned()
}
