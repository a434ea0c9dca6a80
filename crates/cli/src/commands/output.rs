//! What `inspect` and `verify` share in what people see: the choice of format, units, progress.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use promarchive_allocator::limit;
use promarchive_inspection::Progress;
use promarchive_model::quote::{visible_json, visible_lines};

use crate::arguments::Output;
use crate::failure::Failure;

/// Work that is done within this time shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes the answer to standard output, without characters on which a terminal acts. The memory limit holds no more: an answer is printed
/// whole.
pub(crate) fn print(answer: &str, format: Output) -> Result<(), Failure> {
    limit::lift();
    let answer = match format {
        Output::Table => visible_lines(answer),
        Output::Json => visible_json(answer),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(answer.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::NoReader,
        _ => Failure::work("cannot write to standard output", error),
    })
}

/// A bar on standard error, if that is a terminal and the work takes its time.
pub(crate) struct Bar {
    since: Instant,
    current: Mutex<Part>,
}

/// What is being done.
struct Part {
    what: String,
    files: u64,
    done: u64,
    bar: ProgressBar,
}

impl Default for Bar {
    fn default() -> Self {
        let nothing = Part { what: String::new(), files: 0, done: 0, bar: ProgressBar::hidden() };
        Self { since: Instant::now(), current: Mutex::new(nothing) }
    }
}

impl Bar {
    fn current(&self) -> MutexGuard<'_, Part> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.current().bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, files: u64, bytes: u64) {
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{wide_bar}] {binary_bytes} of {binary_total_bytes} {eta}")
        {
            bar.set_style(style);
        }
        let mut current = self.current();
        current.bar.finish_and_clear();
        *current = Part { what: what.to_owned(), files, done: 0, bar };
    }

    fn advance(&self, files: u64, bytes: u64) {
        let mut current = self.current();
        current.done += files;
        current.bar.inc(bytes);
        if self.since.elapsed() >= PATIENCE {
            if current.bar.is_hidden() && std::io::stderr().is_terminal() {
                current.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            current.bar.set_message(format!("{}, {} of {} files", current.what, current.done, current.files));
        }
    }
}

/// A table without lines, columns right-aligned but for the first `left`.
pub(crate) fn plain_table(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `1.50 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = count as f64;
    let mut unit = "B";
    for larger in UNITS {
        if scaled < 1024.0 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, larger);
    }
    if unit == "B" { format!("{count} B") } else { format!("{} {unit}", three_digits(scaled)) }
}

/// Three significant digits: `0.72`, `1.35`, `21.4`, `310`.
pub(crate) fn three_digits(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!((bytes(0), bytes(1023), bytes(1024)), ("0 B".into(), "1023 B".into(), "1.00 KiB".into()));
        assert_eq!((bytes(1_600_000), bytes(u64::MAX)), ("1.53 MiB".into(), "16384 PiB".into()));
        assert_eq!((count(7), count(1234), count(1_234_567)), ("7".into(), "1,234".into(), "1,234,567".into()));
        assert_eq!([0.7199, 1.349, 21.35, 310.4].map(three_digits), ["0.72", "1.35", "21.4", "310"]);
    }
}
