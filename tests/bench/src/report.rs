//! What was measured, as tables with ratios, or as JSON.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::measure::{Files, Large, Latency, Restart, Throughput};

/// The receiver that all others are compared with.
const REFERENCE: &str = "prometheus";

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Loads taken as fast as they came.
    pub throughput: Vec<Throughput>,
    /// The same over more and more connections.
    pub connections: Vec<Throughput>,
    /// The same with files of five minutes.
    pub files: Vec<Files>,
    /// Answers at a steady rate.
    pub latency: Vec<Latency>,
    /// Restarts after a kill.
    pub restart: Vec<Restart>,
    /// Millions of series.
    pub large: Vec<Large>,
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
        let rows = groups(&self.throughput, |row| (row.load.to_string(), row.protocol, row.receiver.as_str()));
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

    fn connections_table(&self) -> Table {
        let mut table = table(&[
            "load",
            "protocol",
            "receiver",
            "connections",
            "k samples/s",
            "k samples/CPU-s",
            "processors busy",
            "client",
            "others",
        ]);
        for ((load, protocol, receiver, connections), row) in groups(&self.connections, |row| {
            (row.load.to_string(), row.protocol, row.receiver.as_str(), row.connections)
        }) {
            table.add_row([
                load,
                protocol.to_owned(),
                receiver.to_owned(),
                connections.to_string(),
                format!("{:.0}", median(&row, |r| r.samples as f64 / r.seconds) / 1e3),
                format!("{:.0}", median(&row, |r| r.samples as f64 / r.busy_seconds) / 1e3),
                format!("{:.2}", median(&row, |r| r.busy_seconds / r.seconds)),
                format!("{:.2}", median(&row, |r| r.client_seconds / r.seconds)),
                format!("{:.2}", median(&row, |r| r.others_seconds / r.seconds)),
            ]);
        }
        table
    }

    fn files_table(&self) -> Table {
        let mut table =
            table(&["load", "protocol", "receiver", "files", "k samples/CPU-s", "B/sample kept", "floor B/sample"]);
        for ((load, protocol, receiver, files), row) in groups(&self.files, |Files { taken, .. }| {
            (taken.load.to_string(), taken.protocol, taken.receiver.as_str(), taken.flushes)
        }) {
            table.add_row([
                load,
                protocol.to_owned(),
                receiver.to_owned(),
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
            groups(&self.latency, |row| (row.protocol, row.receiver.as_str(), row.flush_interval))
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
        for ((protocol, receiver), row) in groups(&self.restart, |row| (row.protocol, row.receiver.as_str())) {
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

    fn large_table(&self) -> Table {
        let mut table = table(&[
            "protocol",
            "receiver",
            "series",
            "samples",
            "k samples/CPU-s",
            "peak MiB",
            "replay s",
            "flush s",
            "peak MiB",
            "restart s",
            "B/sample kept",
        ]);
        for ((protocol, receiver, series), row) in
            groups(&self.large, |row| (row.protocol, row.receiver.as_str(), row.series))
        {
            table.add_row([
                protocol.to_owned(),
                receiver.to_owned(),
                series.to_string(),
                format!("{:.0}", median(&row, |r| r.samples as f64)),
                format!("{:.0}", median(&row, |r| r.samples_per_cpu_second) / 1e3),
                format!("{:.0}", median(&row, |r| r.taken_peak_bytes as f64) / 1024.0 / 1024.0),
                format!("{:.1}", median(&row, |r| r.replay_seconds)),
                format!("{:.1}", median(&row, |r| r.flush_seconds)),
                format!("{:.0}", median(&row, |r| r.flushed_peak_bytes as f64) / 1024.0 / 1024.0),
                format!("{:.1}", median(&row, |r| r.restart_seconds)),
                format!("{:.3}", median(&row, |r| r.kept_bytes_per_sample)),
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
        if let Some(first) = self.connections.first() {
            let processors = first.processors;
            writeln!(
                f,
                "Connections; processors busy by the receiver, by what sends, and by others, of {processors}\n\n{}\n",
                self.connections_table()
            )?;
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
        if !self.large.is_empty() {
            writeln!(f, "Many series, killed, replayed, flushed, started again\n\n{}\n", self.large_table())?;
        }
        Ok(())
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    let numbers = header.iter().position(|name| {
        matches!(*name, "connections" | "samples" | "files" | "requests" | "samples in the WAL" | "series")
    });
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
