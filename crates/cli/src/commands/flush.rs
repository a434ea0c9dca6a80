//! `promarchive flush`: asks a running receiver to commit everything that it has acknowledged.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use promarchive_api::receiver_settings::Settings;
use promarchive_model::quote::visible;
use promarchive_pipeline::receiver::ask_for_flush;
use serde_json::Value;

use super::output::{bytes, count, plain_table, print};
use crate::arguments::{FlushArguments, Output};
use crate::failure::Failure;
use crate::layers::Layers;
use crate::origins::Origins;

/// Asks for a flush, waits for it, and prints what was committed.
pub(crate) fn run(arguments: FlushArguments, origins: &Origins) -> Result<(), Failure> {
    let output = arguments.output;
    let wal = wal(arguments, origins)?;
    let report = ask_for_flush(&wal).map_err(|error| Failure::work("cannot flush", explain(&wal, &error)))?;
    let report = report.map_err(|reason| Failure::work("the receiver could not flush", reason))?;
    let answer = match output {
        Output::Json => report + "\n",
        Output::Table => text(&report)?,
    };
    print(&answer, output)
}

/// The WAL directory of the receiver that was started with the same settings.
fn wal(arguments: FlushArguments, origins: &Origins) -> Result<PathBuf, Failure> {
    let file = arguments.config.clone();
    let layers = Layers::new("receive", file.as_deref(), &arguments.configuration(), origins)?;
    let configuration = layers.configuration()?;
    match configuration.receive.wal.clone() {
        Some(wal) => Ok(wal),
        None => {
            let settings = Settings::resolve(configuration);
            Ok(settings.map_err(|error| layers.fault(&error, error.settings()))?.wal)
        }
    }
}

fn explain(wal: &Path, error: &io::Error) -> String {
    let wal = wal.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no receiver is running with the write-ahead log in {wal}: start the receiver, or use the settings that \
             it was started with (--config, --archive or --wal)"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "only the user of the receiver may request a flush in {wal}; run this command as that user, or use \
                 POST /-/flush with a token that has the role operate"
            )
        }
        _ => format!("the receiver with the write-ahead log in {wal} does not respond: {error}"),
    }
}

fn text(report: &str) -> Result<String, Failure> {
    let report: Value = serde_json::from_str(report)?;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut table = plain_table(&["TABLE", "VERSION", "FILES", "SIZE", "ROWS"], 1);
    for (name, done) in report.get("tables").and_then(Value::as_object).into_iter().flatten() {
        let field = |field: &str| done.get(field).map(number);
        table.add_row(vec![
            visible(name).into_owned(),
            field("version").map_or_else(|| "-".to_owned(), |version| version.to_string()),
            count(field("files").unwrap_or_default()),
            bytes(field("bytes").unwrap_or_default()),
            count(field("rows").unwrap_or_default()),
        ]);
    }
    let mut out = String::new();
    let position = report.get("position").map_or(0, number);
    let _ = writeln!(out, "Everything acknowledged is in the tables (position {position})\n\n{}", table.trim_fmt());
    Ok(out)
}
