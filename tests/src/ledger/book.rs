//! The ledger: what was sent, what was acknowledged, and whether tables agree.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use super::reader::Tables;
use super::rows::{ROWS_PER_BLOCK, Row, metadata_of};

const SENT: u8 = 1;
const ACKNOWLEDGED: u8 = 2;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// Violations told in full.
const TOLD: usize = 12;

/// Notes of every row that was ever sent to one archive.
#[derive(Debug)]
pub struct Book {
    base: i64,
    notes: Mutex<Notes>,
}

/// The notes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    rows: Vec<u8>,
}

impl Notes {
    fn has(&self, row: Row, note: u8) -> bool {
        usize::try_from(row.id).ok().and_then(|at| self.rows.get(at)).is_some_and(|notes| notes & note != 0)
    }

    /// How many rows were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.rows.iter().filter(|&&notes| notes & ACKNOWLEDGED != 0).count()
    }
}

/// What a check has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Rows of samples and histograms in the tables, each of them once and as it was sent.
    pub rows: usize,
    /// Exemplars, likewise.
    pub exemplars: usize,
    /// Rows that had to be there.
    pub acknowledged: usize,
}

/// Where tables and ledger disagree.
#[derive(Debug, Default)]
pub struct Violations {
    /// Rows that were acknowledged, and are not there.
    pub lost: Vec<Row>,
    /// Rows that are there more than once.
    pub doubled: Vec<Row>,
    /// Anything else, told.
    pub wrong: Vec<String>,
}

impl Violations {
    fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.wrong.is_empty()
    }

    /// The numbers of the blocks that lost rows belong to.
    pub fn lost_blocks(&self) -> BTreeSet<u64> {
        self.lost.iter().map(|row| row.id / ROWS_PER_BLOCK).collect()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = |rows: &[Row]| rows.iter().take(TOLD).map(|row| row.id.to_string()).collect::<Vec<_>>().join(" ");
        writeln!(f, "{} acknowledged rows are lost: {}", self.lost.len(), ids(&self.lost))?;
        writeln!(f, "{} rows are there more than once: {}", self.doubled.len(), ids(&self.doubled))?;
        writeln!(f, "{} other faults:", self.wrong.len())?;
        self.wrong.iter().take(TOLD).try_for_each(|wrong| writeln!(f, "  {wrong}"))
    }
}

impl Default for Book {
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Self { base: i64::try_from(now).unwrap_or(0) - HOUR_MS, notes: Mutex::default() }
    }
}

impl Book {
    fn locked(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next block of rows, noted as sent: what is noted later than it leaves could be there unexpectedly.
    pub fn new_block(&self) -> Vec<Row> {
        let mut notes = self.locked();
        let first = notes.rows.len() as u64;
        notes.rows.extend([SENT; ROWS_PER_BLOCK as usize]);
        (first..first + ROWS_PER_BLOCK).map(|id| Row { id, base: self.base }).collect()
    }

    /// These rows were acknowledged.
    pub fn acknowledge(&self, rows: &[Row]) {
        let mut notes = self.locked();
        for row in rows {
            if let Some(noted) = usize::try_from(row.id).ok().and_then(|at| notes.rows.get_mut(at)) {
                *noted |= ACKNOWLEDGED;
            }
        }
    }

    /// What is noted now.
    pub fn notes(&self) -> Notes {
        self.locked().clone()
    }

    /// Compares tables with the ledger. `before` are the notes from before the flush that the tables were read after; senders may
    /// go on all the while.
    pub fn check(&self, before: &Notes, tables: &Tables) -> Result<Checked, Violations> {
        let mut check =
            Check { base: self.base, after: self.notes(), seen: Seen::default(), violations: Violations::default() };
        tables.samples.iter().for_each(|batch| check.samples(batch));
        tables.histograms.iter().for_each(|batch| check.histograms(batch));
        tables.exemplars.iter().for_each(|batch| check.exemplars(batch));
        tables.metadata.iter().for_each(|batch| check.metadata(batch));
        check.finish(before)
    }
}

#[derive(Default)]
struct Seen {
    rows: HashMap<Row, u32>,
    exemplars: HashMap<Row, u32>,
    metadata: HashMap<(String, i64), u32>,
}

struct Check {
    base: i64,
    after: Notes,
    seen: Seen,
    violations: Violations,
}

/// A column of a batch; a table without it is no table of ours, and the test cannot go on.
fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name} in {:?}", batch.schema()))
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    column(batch, name).as_string::<i32>()
}

/// A number, none for null.
fn long(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let array = column(batch, name);
    array.is_valid(row).then(|| array.as_primitive::<Int64Type>().value(row))
}

fn longs(batch: &RecordBatch, name: &str, row: usize) -> Option<Vec<i64>> {
    let array = column(batch, name);
    array.is_valid(row).then(|| array.as_list::<i32>().value(row).as_primitive::<Int64Type>().values().to_vec())
}

/// A timestamp as the tables have it: none for 0.
fn start_of(row: Row) -> Option<i64> {
    (row.start() != 0).then(|| row.start())
}

impl Check {
    fn wrong(&mut self, what: String) {
        self.violations.wrong.push(what);
    }

    /// The row that a batch's row claims to be by its timestamp, if the rest of its identity agrees.
    fn identify(&mut self, table: &str, batch: &RecordBatch, at: usize) -> Option<Row> {
        let timestamp = long(batch, "timestamp_ms", at).unwrap_or(i64::MIN);
        let (metric, labels) = (text(batch, "metric").value(at), text(batch, "labels").value(at));
        let row = Row::at(self.base, timestamp).filter(|row| row.metric() == metric && row.labels_text() == labels);
        let sent = row.filter(|row| self.after.has(*row, SENT));
        if sent.is_none() {
            self.wrong(format!("{table}: {metric}{labels} at {timestamp} was never sent"));
        }
        sent
    }

    fn samples(&mut self, batch: &RecordBatch) {
        for at in 0..batch.num_rows() {
            let Some(row) = self.identify("samples", batch, at) else { continue };
            *self.seen.rows.entry(row).or_default() += 1;
            let bits = (!row.is_stale()).then_some(row.value_bits().cast_signed());
            let want = (bits, start_of(row), row.is_stale(), false);
            let stale = column(batch, "stale").as_boolean().value(at);
            let found = (long(batch, "bits", at), long(batch, "start_ms", at), stale, row.is_histogram());
            if want != found {
                self.wrong(format!(
                    "samples: row {} is {found:?} (bits, start, stale, histogram) instead of {want:?}",
                    row.id
                ));
            }
        }
    }

    fn histograms(&mut self, batch: &RecordBatch) {
        for at in 0..batch.num_rows() {
            let Some(row) = self.identify("histograms", batch, at) else { continue };
            *self.seen.rows.entry(row).or_default() += 1;
            let content = row.histogram();
            let bits = |count: u64| (count as f64).to_bits().cast_signed();
            let plain = |count: u64| i64::try_from(count).unwrap_or(0);
            let (count, zero, buckets) = if content.float {
                (bits(content.count()), bits(content.zero), content.buckets.map(bits))
            } else {
                (plain(content.count()), plain(content.zero), content.buckets.map(plain))
            };
            let want = (
                true,
                Some(content.sum.to_bits().cast_signed()),
                Some(count),
                Some(zero),
                Some(buckets.to_vec()),
                start_of(row),
            );
            let [count, zero, buckets] = match content.float {
                true => ["float_count_bits", "float_zero_count_bits", "float_positive_counts_bits"],
                false => ["count", "zero_count", "positive_counts"],
            };
            let found = (
                row.is_histogram(),
                long(batch, "sum_bits", at),
                long(batch, count, at),
                long(batch, zero, at),
                longs(batch, buckets, at),
                long(batch, "start_timestamp_ms", at),
            );
            if want != found {
                self.wrong(format!("histograms: row {} is {found:?} instead of {want:?}", row.id));
            }
        }
    }

    fn exemplars(&mut self, batch: &RecordBatch) {
        for at in 0..batch.num_rows() {
            let Some(row) = self.identify("exemplars", batch, at) else { continue };
            *self.seen.exemplars.entry(row).or_default() += 1;
            let labels = text(batch, "exemplar_labels").value(at);
            let found = (long(batch, "value_bits", at), labels, row.has_exemplar());
            let own = row.exemplar_labels_text();
            let want = (Some(row.exemplar_bits().cast_signed()), own.as_str(), true);
            if want != found {
                self.wrong(format!("exemplars: that of row {} is {found:?} instead of {want:?}", row.id));
            }
        }
    }

    fn metadata(&mut self, batch: &RecordBatch) {
        for at in 0..batch.num_rows() {
            let [metric, kind, unit, help] = ["metric", "type", "unit", "help"].map(|name| text(batch, name).value(at));
            let day = long(batch, "timestamp_ms", at).unwrap_or(0).div_euclid(DAY_MS);
            let (want_kind, want_unit, want_help) = metadata_of(metric);
            if (kind, unit, help) != (want_kind, want_unit.as_str(), want_help.as_str()) {
                self.wrong(format!("metadata: {metric} is {kind:?} {unit:?} {help:?}"));
            }
            *self.seen.metadata.entry((metric.to_owned(), day)).or_default() += 1;
        }
    }

    fn finish(mut self, before: &Notes) -> Result<Checked, Violations> {
        let mut told_metrics = BTreeSet::new();
        let all = (0..before.rows.len() as u64).map(|id| Row { id, base: self.base });
        for row in all.filter(|row| before.has(*row, ACKNOWLEDGED)) {
            let exemplar = !row.has_exemplar() || self.seen.exemplars.contains_key(&row);
            if !self.seen.rows.contains_key(&row) || !exemplar {
                self.violations.lost.push(row);
            }
            if row.tells_metadata() {
                told_metrics.insert(row.metric());
            }
        }
        for seen in [&self.seen.rows, &self.seen.exemplars] {
            self.violations.doubled.extend(seen.iter().filter(|(_, times)| **times > 1).map(|(row, _)| *row));
        }
        self.violations.doubled.sort_unstable();
        let known: BTreeSet<&str> = self.seen.metadata.keys().map(|(metric, _)| metric.as_str()).collect();
        let untold = told_metrics.iter().filter(|metric| !known.contains(metric.as_str()));
        let twice = self.seen.metadata.iter().filter(|(_, times)| **times > 1);
        let untold = untold.map(|metric| format!("metadata: that of {metric} was acknowledged and is lost"));
        let twice =
            twice.map(|((metric, _), times)| format!("metadata: that of {metric} is there {times} times for one day"));
        self.violations.wrong.extend(untold.chain(twice));
        if !self.violations.is_empty() {
            return Err(self.violations);
        }
        let (rows, exemplars) = (self.seen.rows.len(), self.seen.exemplars.len());
        Ok(Checked { rows, exemplars, acknowledged: before.acknowledged() })
    }
}
