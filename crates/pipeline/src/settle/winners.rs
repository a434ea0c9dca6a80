//! The superseding rows of a table and a day, whichever flushes wrote what they supersede, in the order of files.
//!
//! They are unpacked as they are written, some at a time, and never all at once.

use std::ops::Range;
use std::sync::Arc;

use promarchive_archive::file::{EncodeError, EncodedFile, FileEncoder, Origin};
use promarchive_archive::log::DataFile;
use promarchive_archive::merge::{RewriteError, Rewriter};
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_archive::store::StoredFile;
use promarchive_model::{Date, FlushId, Histogram, Sample};

use super::Superseding;
use super::plan::{Plan, day_of_run, of_day, rows_of};
use crate::memtable::{Labels, SeriesRef, SortedRun};

/// Rows that are laid beside a file at once.
const PIECE_ROWS: usize = 64 * 1024;
/// The same, bytes of label sets.
const PIECE_LABEL_BYTES: usize = 8 * 1024 * 1024;

/// Winning rows, and which of them have replaced a row of a file.
#[derive(Debug)]
pub struct Winners {
    plan: Arc<Plan>,
    table: Table,
    date: Date,
    label_columns: LabelColumns,
    flushes: Vec<FlushId>,
    /// Indices in the plan's order of the series that have rows.
    series: Vec<usize>,
    /// By flush, of each row in the order of files, whether it has replaced one in a file.
    used: Vec<Marks>,
}

/// A row to write.
#[derive(Clone, Copy)]
enum Row<'a> {
    Sample(Sample),
    Histogram(&'a Histogram),
}

impl Row<'_> {
    fn timestamp(&self) -> i64 {
        match self {
            Self::Sample(sample) => sample.timestamp,
            Self::Histogram(histogram) => histogram.timestamp,
        }
    }

    fn encode(self, file: &mut FileEncoder) -> Result<(), EncodeError> {
        match self {
            Self::Sample(sample) => file.sample(sample),
            Self::Histogram(histogram) => file.histogram(histogram),
        }
    }
}

/// Which row: the index of its flush, and its number among the rows for that flush.
type RowNumber = (usize, usize);

impl Winners {
    /// Those of all days.
    pub fn of(plan: &Arc<Plan>, table: Table, label_columns: &LabelColumns) -> Vec<Self> {
        let of_day = |(date, (flushes, series)): (Date, (Vec<FlushId>, Vec<usize>))| Self {
            plan: plan.clone(),
            table,
            date,
            label_columns: label_columns.clone(),
            used: flushes.iter().map(|_| Marks::default()).collect(),
            flushes,
            series,
        };
        plan.superseding_days(table).into_iter().map(of_day).collect()
    }

    /// Of which day they are.
    pub fn date(&self) -> Date {
        self.date
    }

    /// Whether a file may have rows to replace.
    pub fn concern(&self, file: &DataFile) -> bool {
        file.date == self.date && self.flushes.iter().any(|&(writer, position)| file.origin.has(writer, position))
    }

    /// A file of the table with the rows replaced for whose flushes it stands; none if it has none of them.
    pub fn rewrite(&mut self, old: &DataFile, file: StoredFile) -> Result<Option<Vec<u8>>, RewriteError> {
        let mut rewriter = Rewriter::new(self.table, &self.label_columns, &old.origin, file)?;
        let mut used = std::mem::take(&mut self.used);
        let written = self.lay_beside(old, &mut rewriter, &mut used);
        self.used = used;
        written?;
        rewriter.finish()
    }

    /// Lays the rows beside a file, but for those that cannot be in it, and those that have been found in another one.
    fn lay_beside(
        &self,
        old: &DataFile,
        rewriter: &mut Rewriter<StoredFile>,
        used: &mut [Marks],
    ) -> Result<(), RewriteError> {
        let concerned: Vec<bool> =
            self.flushes.iter().map(|&(writer, position)| old.origin.has(writer, position)).collect();
        let metrics = old.stats.as_ref().and_then(|stats| stats.metric.as_ref());
        let is_outside =
            |metric: &str| metrics.is_some_and(|(first, last)| metric < first.as_str() || metric > last.as_str());
        let mut piece = Piece::default();
        for rows in self.series_rows() {
            if rewriter.is_at_end() {
                break;
            }
            if is_outside(rows.labels.metric()) || rows.are_used(used) {
                continue;
            }
            for (number, row) in self.rows(&rows).filter(|((flush, _), _)| concerned.get(*flush) == Some(&true)) {
                piece.add(self, rows.labels, number, row)?;
                if piece.is_full() {
                    piece.lay_beside(rewriter, used)?;
                }
            }
            piece.end_series();
        }
        piece.lay_beside(rewriter, used)
    }

    /// How many rows have replaced one.
    pub fn used(&self) -> u64 {
        self.used.iter().map(Marks::count).sum()
    }

    /// The flushes of which no row was there to be replaced.
    pub fn gone(&self) -> Vec<FlushId> {
        self.flushes.iter().zip(&self.used).filter(|(_, used)| used.count() == 0).map(|(&flush, _)| flush).collect()
    }

    /// The rows that have replaced none, from a series on, as a file of this origin, and the series at which the next file begins; none if all have.
    pub fn rest(&self, origin: &Origin, from: usize) -> Result<Option<(EncodedFile, usize)>, EncodeError> {
        let left = self.series_rows().enumerate().skip(from).filter(|(_, rows)| !rows.are_used(&self.used));
        let mut file: Option<FileEncoder> = None;
        let mut next = self.series.len();
        for (at, rows) in left {
            let file = match &mut file {
                Some(file) => file,
                None => file.insert(FileEncoder::new(self.table, &self.label_columns, origin)?),
            };
            file.series(rows.labels)?;
            let is_left = |&((flush, number), _): &(RowNumber, _)| !self.used.get(flush).is_some_and(|u| u.has(number));
            self.rows(&rows).filter(is_left).try_for_each(|(_, row)| row.encode(file))?;
            if file.is_full() {
                next = at + 1;
                break;
            }
        }
        file.map(|file| Ok((file.finish()?, next))).transpose()
    }

    /// The series that have rows, in the order of files, with the numbers of their rows.
    fn series_rows(&self) -> impl Iterator<Item = SeriesRows<'_>> {
        let mut next = vec![0_usize; self.flushes.len()];
        self.series.iter().filter_map(|&index| self.plan.series(index)).map(move |(series, labels)| {
            let numbers = next.iter_mut().zip(&self.flushes).map(|(next, flush)| {
                let first = *next;
                *next += self.count(flush, series);
                first..*next
            });
            SeriesRows { series, labels, numbers: numbers.collect() }
        })
    }

    fn count(&self, flush: &FlushId, series: SeriesRef) -> usize {
        self.samples(flush, series).iter().map(|(_, run)| run.count()).sum::<usize>()
            + self.histograms(flush, series).len()
    }

    /// The rows of a series for all flushes, by time. No two have the same.
    fn rows(&self, of: &SeriesRows<'_>) -> impl Iterator<Item = (RowNumber, Row<'_>)> {
        let rows = of.numbers.iter().cloned().zip(&self.flushes);
        let mut rows: Vec<_> =
            rows.map(|(numbers, flush)| numbers.zip(self.rows_for(flush, of.series)).peekable()).collect();
        std::iter::from_fn(move || {
            let times = rows.iter_mut().enumerate();
            let times = times.filter_map(|(flush, rows)| Some((rows.peek()?.1.timestamp(), flush)));
            let (_, flush) = times.min()?;
            let (number, row) = rows.get_mut(flush)?.next()?;
            Some(((flush, number), row))
        })
    }

    /// One of both has none: the table has rows of one kind.
    fn rows_for(&self, flush: &FlushId, series: SeriesRef) -> impl Iterator<Item = Row<'_>> {
        let samples = self.samples(flush, series).iter().flat_map(|(_, run)| run.iter()).map(Row::Sample);
        samples.chain(self.histograms(flush, series).iter().map(|(_, row)| Row::Histogram(row)))
    }

    fn samples(&self, flush: &FlushId, series: SeriesRef) -> &[(SeriesRef, SortedRun)] {
        let rows = self.superseding(flush).filter(|_| self.table == Table::SAMPLES);
        rows.map_or(&[], |rows| of_day(rows_of(&rows.samples, series), self.date, |(_, run)| day_of_run(run)))
    }

    fn histograms(&self, flush: &FlushId, series: SeriesRef) -> &[(SeriesRef, Histogram)] {
        let rows = self.superseding(flush).filter(|_| self.table == Table::HISTOGRAMS);
        rows.map_or(&[], |rows| {
            of_day(rows_of(&rows.histograms, series), self.date, |(_, row)| Date::of(row.timestamp))
        })
    }

    fn superseding(&self, flush: &FlushId) -> Option<&Superseding> {
        self.plan.settled.superseding.get(flush)
    }
}

/// A series, and the numbers of its rows, flush by flush.
struct SeriesRows<'a> {
    series: SeriesRef,
    labels: Labels<'a>,
    numbers: Vec<Range<usize>>,
}

impl SeriesRows<'_> {
    /// Whether all have replaced one.
    fn are_used(&self, used: &[Marks]) -> bool {
        used.iter().zip(&self.numbers).all(|(used, rows)| rows.clone().all(|row| used.has(row)))
    }
}

/// Some winners, encoded.
#[derive(Default)]
struct Piece {
    file: Option<FileEncoder>,
    in_series: bool,
    numbers: Vec<RowNumber>,
    label_bytes: usize,
}

impl Piece {
    fn add(&mut self, of: &Winners, labels: Labels<'_>, number: RowNumber, row: Row<'_>) -> Result<(), RewriteError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => FileEncoder::new(of.table, &of.label_columns, &Origin::Foreign)?,
        };
        if !std::mem::replace(&mut self.in_series, true) {
            file.series(labels)?;
            self.label_bytes += labels.pairs().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        }
        row.encode(&mut file)?;
        self.numbers.push(number);
        self.file = Some(file);
        Ok(())
    }

    fn end_series(&mut self) {
        self.in_series = false;
    }

    fn is_full(&self) -> bool {
        self.numbers.len() >= PIECE_ROWS || self.label_bytes >= PIECE_LABEL_BYTES
    }

    /// Gives the rows to the file that is written again, and begins anew.
    fn lay_beside(&mut self, rewriter: &mut Rewriter<StoredFile>, used: &mut [Marks]) -> Result<(), RewriteError> {
        let Self { file: Some(file), numbers, .. } = std::mem::take(self) else { return Ok(()) };
        rewriter.winners(file.finish()?.bytes.into(), |row| {
            if let Some(&(flush, number)) = numbers.get(row)
                && let Some(used) = used.get_mut(flush)
            {
                used.set(number);
            }
        })
    }
}

/// A bit for each row.
#[derive(Debug, Default)]
struct Marks(Vec<u64>);

impl Marks {
    fn set(&mut self, at: usize) {
        let (word, bit) = (at / 64, at % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}
