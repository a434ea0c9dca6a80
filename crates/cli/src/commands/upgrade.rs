//! `promarchive upgrade`: guards the tables of an earlier version against writes of other programs.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use promarchive_archive::schema::Table;
use promarchive_archive::{Archive, ArchiveError, TableUpgrade, Upgraded, upgrade};
use promarchive_model::environment::SystemClock;
use serde_json::{Value, json};

use super::output::{plain_table, print};
use crate::arguments::{Output, UpgradeArguments};
use crate::failure::Failure;
use crate::{memory_limit, new_files};

/// Upgrades an archive, and prints what became of each table. Needs a multi-threaded Tokio runtime.
pub(crate) async fn run(arguments: UpgradeArguments) -> Result<ExitCode, Failure> {
    memory_limit::start(arguments.read.memory_limit);
    let store = arguments.read.archive()?;
    let archive = Archive::open(store.clone()).await.map_err(|error| match error {
        ArchiveError::Missing(_) => Failure::usage(error),
        error => Failure::work("nothing was upgraded", error),
    })?;
    let refused = |error: Box<dyn Error>| Failure::work("nothing was upgraded", error);
    if let Some(directory) = store.location().directory() {
        new_files::like_those_of(&directory.join(Table::SAMPLES.name()).join("_delta_log"))
            .map_err(|e| refused(e.into()))?;
    }
    store.check_upgrade().map_err(|e| refused(e.into()))?;
    let upgrades = upgrade(&archive, &SystemClock::default()).await;
    let (archive, output) = (store.location().to_string(), arguments.read.output);
    let answer = match output {
        Output::Json => json(&archive, &upgrades),
        Output::Table => text(&archive, &upgrades),
    };
    print(&answer, output)?;
    match upgrades.into_iter().find_map(|table| Some((table.table, table.result.err()?))) {
        None => Ok(ExitCode::SUCCESS),
        Some((table, error)) => Err(Failure::work(
            "not all tables were upgraded; run the command again",
            format!("{}: {error}", table.name()),
        )),
    }
}

/// Whether all tables that there are have the new protocol.
fn is_complete(upgrades: &[TableUpgrade]) -> bool {
    upgrades.iter().all(|table| table.result.is_ok())
}

/// The stable word for what became of a table, its version if it has one, and what it is called in sentences.
fn outcome(table: &TableUpgrade) -> (&'static str, Option<u64>, &'static str) {
    match table.result {
        Ok(Upgraded::Now(version)) => ("upgraded", Some(version), "upgraded"),
        Ok(Upgraded::Before(version)) => ("guarded", Some(version), "was already guarded"),
        Ok(Upgraded::Missing) => ("missing", None, "does not exist; a receiver creates it when it starts"),
        Err(_) => ("failed", None, "failed"),
    }
}

fn json(archive: &str, upgrades: &[TableUpgrade]) -> String {
    let table = |table: &TableUpgrade| -> Value {
        let (result, version, _) = outcome(table);
        let error = table.result.as_ref().err().map(ToString::to_string);
        json!({"table": table.table.name(), "result": result, "version": version, "error": error})
    };
    let tables: Vec<Value> = upgrades.iter().map(table).collect();
    format!("{:#}\n", json!({"archive": archive, "ok": is_complete(upgrades), "tables": tables}))
}

fn text(archive: &str, upgrades: &[TableUpgrade]) -> String {
    let mut table = plain_table(&["TABLE", "VERSION", "RESULT"], 1);
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for upgraded in upgrades {
        let (_, version, result) = outcome(upgraded);
        let version = version.map_or_else(|| "-".to_owned(), |version| version.to_string());
        table.add_row(vec![upgraded.table.name().to_owned(), version, result.to_owned()]);
    }
    let mut out = format!("Archive {archive}\n\n{}\n", table.trim_fmt());
    if is_complete(upgrades) {
        let _ = writeln!(
            out,
            "\nOther programs can read these tables, but refuse to write to them. Earlier versions of promarchive \
             refuse them, too."
        );
    }
    out
}
