//! What the system says of this process, under the names and with the help texts that Prometheus asks of client libraries
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>): a family has one help text wherever it comes from.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};

/// Ticks in a second: the kernel tells programs so, whatever it counts in itself.
const TICKS: f64 = 100.0;

/// Read anew at each scrape.
#[derive(Debug)]
pub(super) struct Process;

/// What the fields of `/proc/self/stat` say.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    /// From the start of the machine to that of the process.
    started_seconds: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name, in brackets, may hold anything. Behind it comes field 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self { cpu_seconds: (field(14)? + field(15)?) as f64 / TICKS, started_seconds: field(22)? as f64 / TICKS })
    }
}

/// When the machine was started, in seconds since the epoch.
fn booted() -> Option<f64> {
    fs::read_to_string("/proc/stat").ok()?.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// A size out of `/proc/self/status`, in bytes.
fn memory(status: &str, name: &str) -> Option<f64> {
    let size = status.lines().find_map(|line| line.strip_prefix(name))?;
    size.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        gauge("process_resident_memory_bytes", "Resident memory size in bytes.", memory(&status, "VmRSS:"))?;
        gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", memory(&status, "VmSize:"))?;
        let started = stat.zip(booted()).map(|(stat, booted)| booted + stat.started_seconds);
        gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", started)?;
        // One of them is the directory that is being read.
        let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as f64);
        gauge("process_open_fds", "Number of open file descriptors.", open)?;
        let most = getrlimit(Resource::Nofile).current.map(|most| most as f64);
        gauge("process_max_fds", "Maximum number of open file descriptors.", most)?;
        let Some(stat) = stat else { return Ok(()) };
        let counter = ConstCounter::new(stat.cpu_seconds);
        let help = "Total user and system CPU time spent in seconds.";
        counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_behind_the_name() {
        let text =
            "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 1048576 256 18446744073709551615 1";
        assert_eq!(Stat::parse(text), Some(Stat { cpu_seconds: 3.0, started_seconds: 123.45 }));
        assert_eq!(Stat::parse("7 (short) S 1"), None);
        assert_eq!(memory("Name:\tx\nVmRSS:\t    12 kB\n", "VmRSS:"), Some(12288.0));
        assert_eq!(memory("Name:\tx\n", "VmRSS:"), None);
    }
}
