//! What was measured, as tables with ratios, or as JSON.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::measure::{Files, Latency, Restart, Throughput};

/// The receiver that all others are compared with.
const REFERENCE: &str = "prometheus";

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Loads taken as fast as they came.
    pub throughput: Vec<Throughput>,
    /// The same with files of five minutes.
    pub files: Vec<Files>,
    /// Answers at a steady rate.
    pub latency: Vec<Latency>,
    /// Restarts after a kill.
    pub restart: Vec<Restart>,
}

impl Report {
    /// Every single measurement.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| error.to_string())
    }

    fn throughput_table(&self) -> Table {
        let mut table = table(&[
            "load",
            "protocol",
            "receiver",
            "samples",
            "CPU s",
            "k samples/CPU-s",
            "ratio",
            "peak MiB",
            "B/series",
            "ratio",
            "B/sample kept",
            "ratio",
        ]);
        let rows = groups(&self.throughput, |row| (row.load.to_string(), row.protocol, row.receiver));
        for ((load, protocol, receiver), row) in &rows {
            let reference = rows.get(&(load.clone(), *protocol, REFERENCE));
            let ratio = |figure: fn(&Throughput) -> f64| {
                reference.map_or_else(String::new, |reference| {
                    format!("{:.2}×", median(row, figure) / median(reference, figure))
                })
            };
            table.add_row([
                load.clone(),
                (*protocol).to_owned(),
                (*receiver).to_owned(),
                format!("{:.0}", median(row, |r| r.samples as f64)),
                format!("{:.2}", median(row, |r| r.cpu_seconds)),
                format!("{:.0}", median(row, |r| r.samples_per_cpu_second) / 1e3),
                ratio(|r| r.samples_per_cpu_second),
                format!("{:.0}", median(row, |r| r.peak_bytes as f64) / 1024.0 / 1024.0),
                format!("{:.0}", median(row, |r| r.peak_bytes_per_series)),
                ratio(|r| r.peak_bytes_per_series),
                format!("{:.3}", median(row, |r| r.kept_bytes_per_sample)),
                ratio(|r| r.kept_bytes_per_sample),
            ]);
        }
        table
    }

    fn files_table(&self) -> Table {
        let mut table = table(&["load", "protocol", "files", "k samples/CPU-s", "B/sample kept", "floor B/sample"]);
        for ((load, protocol, files), row) in
            groups(&self.files, |row| (row.taken.load.to_string(), row.taken.protocol, row.taken.flushes))
        {
            table.add_row([
                load,
                protocol.to_owned(),
                files.to_string(),
                format!("{:.0}", median(&row, |r| r.taken.samples_per_cpu_second) / 1e3),
                format!("{:.3}", median(&row, |r| r.taken.kept_bytes_per_sample)),
                format!("{:.3}", median(&row, |r| r.floor_bytes_per_sample)),
            ]);
        }
        table
    }

    fn latency_table(&self) -> Table {
        let mut table = table(&["protocol", "receiver", "flush every", "requests", "p50 ms", "p99 ms", "max ms"]);
        for ((protocol, receiver, flush), row) in
            groups(&self.latency, |row| (row.protocol, row.receiver, row.flush_interval))
        {
            table.add_row([
                protocol.to_owned(),
                receiver.to_owned(),
                flush.to_owned(),
                format!("{:.0}", median(&row, |r| r.requests as f64)),
                format!("{:.2}", median(&row, |r| r.p50_ms)),
                format!("{:.2}", median(&row, |r| r.p99_ms)),
                format!("{:.2}", median(&row, |r| r.max_ms)),
            ]);
        }
        table
    }

    fn restart_table(&self) -> Table {
        let mut table = table(&["protocol", "receiver", "samples in the WAL", "s until ready", "M samples/s"]);
        for ((protocol, receiver), row) in groups(&self.restart, |row| (row.protocol, row.receiver)) {
            table.add_row([
                protocol.to_owned(),
                receiver.to_owned(),
                format!("{:.0}", median(&row, |r| r.samples as f64)),
                format!("{:.2}", median(&row, |r| r.seconds)),
                format!("{:.2}", median(&row, |r| r.samples_per_second) / 1e6),
            ]);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.throughput.is_empty() {
            writeln!(f, "Taken as fast as it comes; ratios are to {REFERENCE}\n\n{}\n", self.throughput_table())?;
        }
        if !self.files.is_empty() {
            writeln!(f, "promarchive with a flush every five minutes of the load\n\n{}\n", self.files_table())?;
        }
        if let Some(first) = self.latency.first() {
            writeln!(f, "Time of an answer at {:.0} samples/s\n\n{}\n", first.rate, self.latency_table())?;
        }
        if !self.restart.is_empty() {
            writeln!(f, "Restart after SIGKILL\n\n{}\n", self.restart_table())?;
        }
        Ok(())
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    let numbers =
        header.iter().position(|name| matches!(*name, "samples" | "files" | "requests" | "samples in the WAL"));
    for column in table.column_iter_mut().skip(numbers.unwrap_or(header.len())) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Measurements of the same thing together.
fn groups<'a, T, K: Ord>(rows: &'a [T], key: impl Fn(&'a T) -> K) -> BTreeMap<K, Vec<&'a T>> {
    let mut groups: BTreeMap<K, Vec<&T>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(key(row)).or_default().push(row));
    groups
}

fn median<T>(rows: &[&T], figure: fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = rows.iter().map(|row| figure(row)).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
