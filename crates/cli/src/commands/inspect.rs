//! `promarchive inspect`: what is in an archive.

use std::fmt::Write as _;
use std::process::ExitCode;

use promarchive_archive::ArchiveError;
use promarchive_inspection::{
    Inspection, InspectionError, SamplesInspection, TableInspection, WriterInspection, inspect,
};
use promarchive_model::quote::visible;

use super::output::{Bar, bytes, count, plain_table, print, three_digits};
use crate::arguments::{Output, ReadArguments};
use crate::failure::Failure;
use crate::memory_limit;

/// Inspects an archive and prints a report. Needs a multi-threaded Tokio runtime.
pub(crate) async fn run(arguments: ReadArguments) -> Result<ExitCode, Failure> {
    memory_limit::start(arguments.memory_limit);
    let bar = Bar::default();
    let store = arguments.archive()?;
    let inspected = inspect(&store, &bar).await;
    bar.finish();
    let inspection = inspected.map_err(|error| match error {
        InspectionError::Archive(ArchiveError::Missing(_)) => Failure::usage(error),
        error => Failure::from(error),
    })?;
    print(&render(&inspection, arguments.output), arguments.output)?;
    Ok(ExitCode::SUCCESS)
}

fn render(inspection: &Inspection, format: Output) -> String {
    match format {
        Output::Json => match serde_json::to_string_pretty(inspection) {
            Ok(json) => format!("{json}\n"),
            Err(e) => format!("{{\"error\": {:?}}}\n", e.to_string()),
        },
        Output::Table => text(inspection),
    }
}

fn text(inspection: &Inspection) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Archive {}", visible(&inspection.archive));
    if let Some(table) = inspection.tables.first() {
        let _ = writeln!(
            out,
            "Schema version {}, label columns {}",
            visible(&table.schema_version),
            visible(&table.label_columns.join(", "))
        );
    }
    out.push_str(&guard(&inspection.tables));
    let _ = writeln!(out, "\n{}", tables(&inspection.tables));
    match &inspection.samples {
        Some(found) => out.push_str(&samples(found)),
        None if inspection.problems.is_empty() => out.push_str("\nThere are no samples yet.\n"),
        None => {}
    }
    if !inspection.writers.is_empty() {
        let _ = writeln!(out, "\n{}", writers(&inspection.writers));
    }
    for table in inspection.tables.iter().filter(|table| table.unlisted_files > 0) {
        let (files, size) = (table.unlisted_files, bytes(table.unlisted_bytes));
        let _ = writeln!(
            out,
            "\n{}: {files} files ({size}) are not in the newest version; run `promarchive verify` for details.",
            table.table
        );
    }
    for (table, old) in inspection.tables.iter().filter_map(|table| Some((table.table, table.before_2000.as_ref()?))) {
        // A file without statistics does not say how many.
        let rows = if old.rows == 0 { "rows".to_owned() } else { of(old.rows, "row") };
        let days = of(old.dates, "day");
        let dates = match old.dates {
            1 => old.first_date.clone(),
            _ => format!("{} to {}", old.first_date, old.last_date),
        };
        let _ = writeln!(
            out,
            "\nNote: {table} has {rows} of {days} before the year 2000 ({dates}). If you did not import old data, a \
             sender sends 0, or seconds instead of milliseconds."
        );
    }
    for problem in &inspection.problems {
        let _ = writeln!(out, "\nProblem: {}.", visible(problem));
    }
    out
}

/// Whether other programs may write to the tables, and what to do about it.
fn guard(tables: &[TableInspection]) -> String {
    let open: Vec<&str> = tables.iter().filter(|table| !table.guarded).map(|table| table.table).collect();
    match open.as_slice() {
        [] => "Guarded: other programs can read the tables, but refuse to write to them\n".to_owned(),
        open if open.len() == tables.len() => {
            "Not guarded: other programs can write to the tables; run `promarchive upgrade` to guard them\n".to_owned()
        }
        open => format!(
            "Not all guarded: other programs can write to {}; run `promarchive upgrade` to guard the rest\n",
            open.join(", ")
        ),
    }
}

/// `1 row`, `2 rows`.
fn of(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

fn tables(tables: &[TableInspection]) -> String {
    let header = ["TABLE", "VERSION", "FILES", "SIZE", "ROWS", "SERIES", "DAYS", "FIRST", "LAST", "COMMITTED"];
    let mut rendered = plain_table(&header, 1);
    for table in tables {
        let time = |time: Option<_>| {
            time.map_or_else(|| "-".to_owned(), |time: promarchive_inspection::Moment| time.to_string())
        };
        rendered.add_row(vec![
            table.table.to_owned(),
            table.version.to_string(),
            count(table.files),
            bytes(table.bytes),
            count(table.rows),
            table.series.map_or_else(|| "-".to_owned(), count),
            count(table.dates),
            time(table.first),
            time(table.last),
            time(table.last_commit),
        ]);
    }
    rendered.trim_fmt()
}

fn samples(samples: &SamplesInspection) -> String {
    let mut out = String::new();
    let size = samples.bytes_per_sample.map_or_else(|| "-".to_owned(), three_digits);
    let (rows, series, metrics) = (count(samples.samples), count(samples.series), count(samples.metrics));
    let _ = writeln!(out, "\n{rows} samples of {series} series of {metrics} metrics, {size} bytes per sample\n");
    let mut table = plain_table(&["TOP METRICS", "SAMPLES", "SERIES"], 1);
    for metric in &samples.top_metrics {
        table.add_row(vec![visible(&metric.metric).into_owned(), count(metric.samples), count(metric.series)]);
    }
    let _ = writeln!(out, "{}", table.trim_fmt());
    out
}

fn writers(writers: &[WriterInspection]) -> String {
    let mut table = plain_table(&["WRITER", "LAST POSITIONS", "COMMITTED", "HORIZON EXPIRES"], 2);
    for writer in writers {
        let positions: Vec<String> =
            writer.positions.iter().map(|(table, position)| format!("{table} {position}")).collect();
        let time = writer.last_commit.map_or_else(|| "before the last checkpoint".to_owned(), |time| time.to_string());
        let horizon = writer.horizon_expires.map_or_else(|| "-".to_owned(), |time| time.to_string());
        table.add_row(vec![visible(&writer.writer).into_owned(), positions.join(", "), time, horizon]);
    }
    table.trim_fmt()
}
