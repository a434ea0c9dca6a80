//! The superseding rows of a table and a day, whichever flushes wrote what they supersede, in the order of files.
//!
//! They are unpacked as they are written, some at a time, and never all at once.

use std::cell::RefCell;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

use promarchive_archive::file::{EncodeError, EncodedFile, FileEncoder, Origin};
use promarchive_archive::log::DataFile;
use promarchive_archive::merge::{RewriteError, Rewriter};
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_archive::store::StoredFile;
use promarchive_model::{Date, Histogram, Sample};

use super::Superseding;
use super::plan::{Plan, of_day, rows_of};
use crate::memtable::{FlushId, Labels, SeriesRef};

/// Rows that are laid beside a file at once.
const PIECE_ROWS: usize = 64 * 1024;
/// The same, bytes of label sets.
const PIECE_LABEL_BYTES: usize = 8 * 1024 * 1024;

/// Winning rows, and which of them have taken their place.
#[derive(Debug)]
pub struct Winners {
    plan: Arc<Plan>,
    table: Table,
    date: Date,
    label_columns: LabelColumns,
    flushes: Vec<FlushId>,
    /// Places in the plan's order of the series that have rows.
    series: Vec<usize>,
    /// By flush, of each row in the order of files, whether it has taken the place of one in a file.
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

/// Which row: the place of its flush, and its number among the rows for that flush.
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
        let rewriter = RefCell::new(Rewriter::new(self.table, &self.label_columns, &old.origin, file)?);
        let used = RefCell::new(std::mem::take(&mut self.used));
        let written = self.lay_beside(old, &rewriter, &used);
        self.used = used.into_inner();
        written?;
        rewriter.into_inner().finish()
    }

    /// Lays the rows beside a file, but for those that cannot be in it, and those that have been found in another one.
    fn lay_beside(
        &self,
        old: &DataFile,
        rewriter: &RefCell<Rewriter<StoredFile>>,
        used: &RefCell<Vec<Marks>>,
    ) -> Result<(), RewriteError> {
        let concerned =
            |flush: usize| self.flushes.get(flush).is_some_and(|&(writer, position)| old.origin.has(writer, position));
        let metrics = old.stats.as_ref().and_then(|stats| stats.metric.as_ref());
        let skip = |labels: Labels<'_>, numbers: &[Range<usize>]| {
            let metric = labels.metric();
            let is_outside = metrics.is_some_and(|(first, last)| metric < first.as_str() || metric > last.as_str());
            let are_used =
                || used.borrow().iter().zip(numbers).all(|(used, rows)| rows.clone().all(|row| used.has(row)));
            is_outside || rewriter.borrow().is_at_end() || are_used()
        };
        let mut piece = Piece::default();
        self.for_each_series(skip, |labels, rows| {
            for (number, row) in rows.filter(|((flush, _), _)| concerned(*flush)) {
                piece.add(self, labels, number, row)?;
                if piece.is_full() {
                    piece.lay_beside(&mut rewriter.borrow_mut(), &mut used.borrow_mut())?;
                }
            }
            piece.end_series();
            Ok::<(), RewriteError>(())
        })?;
        piece.lay_beside(&mut rewriter.borrow_mut(), &mut used.borrow_mut())
    }

    /// How many rows have taken their place.
    pub fn used(&self) -> u64 {
        self.used.iter().map(Marks::count).sum()
    }

    /// The flushes of which no row was there to be replaced.
    pub fn gone(&self) -> Vec<FlushId> {
        self.flushes.iter().zip(&self.used).filter(|(_, used)| used.count() == 0).map(|(&flush, _)| flush).collect()
    }

    fn count_all(&self) -> usize {
        let series = self.series.iter().filter_map(|&place| self.plan.series(place));
        series.flat_map(|(series, _)| self.flushes.iter().map(move |flush| self.count(flush, series))).sum()
    }

    /// The rows that have found no place, from a series on, as a file of this origin, and the series at which the next file begins; none if all have.
    pub fn rest(&self, origin: &Origin, from: usize) -> Result<Option<(EncodedFile, usize)>, EncodeError> {
        if self.used() == self.count_all() as u64 {
            return Ok(None);
        }
        let mut file = FileEncoder::new(self.table, &self.label_columns, origin)?;
        let (mut rows_written, mut at, mut next) = (0_u64, 0, self.series.len());
        let is_written = |at: usize, next: usize| at >= from && at < next;
        self.for_each_series(
            |_, _| false,
            |labels, rows| {
                let is_here = is_written(at, next);
                let mut begun = false;
                for ((flush, number), row) in rows {
                    if !is_here || self.used.get(flush).is_some_and(|used| used.has(number)) {
                        continue;
                    }
                    if !std::mem::replace(&mut begun, true) {
                        file.series(labels)?;
                    }
                    row.encode(&mut file)?;
                    rows_written += 1;
                }
                at += 1;
                if is_here && file.is_full() {
                    next = next.min(at);
                }
                Ok::<(), EncodeError>(())
            },
        )?;
        if rows_written == 0 {
            return Ok(None);
        }
        Ok(Some((file.finish()?, next)))
    }

    /// Calls `each` with the labels of each series and its rows, numbered, in the order of time. `skip` says which series to leave out, by its labels
    /// and the numbers of its rows, flush by flush.
    fn for_each_series<E>(
        &self,
        skip: impl Fn(Labels<'_>, &[Range<usize>]) -> bool,
        mut each: impl FnMut(Labels<'_>, &mut dyn Iterator<Item = (RowNumber, Row<'_>)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut numbers = vec![0_usize; self.flushes.len()];
        for (series, labels) in self.series.iter().filter_map(|&place| self.plan.series(place)) {
            let first = numbers.clone();
            for (number, flush) in numbers.iter_mut().zip(&self.flushes) {
                *number += self.count(flush, series);
            }
            let here: Vec<Range<usize>> = first.iter().zip(&numbers).map(|(first, next)| *first..*next).collect();
            if !skip(labels, &here) {
                each(labels, &mut self.rows(series, first))?;
            }
        }
        Ok(())
    }

    fn superseding(&self, flush: &FlushId) -> Option<&Superseding> {
        self.plan.settled.superseding.get(flush)
    }

    fn count(&self, flush: &FlushId, series: SeriesRef) -> usize {
        let Some(rows) = self.superseding(flush) else { return 0 };
        if self.table == Table::SAMPLES {
            let runs = rows_of(&rows.samples, series).iter().map(|(_, run)| run);
            runs.filter(|run| Date::of(run.bounds().0) == self.date).map(|run| run.count()).sum()
        } else {
            of_day(rows_of(&rows.histograms, series), self.date, |(_, row)| Date::of(row.timestamp)).len()
        }
    }

    /// The rows of a series for all flushes, by time. No two have the same.
    fn rows(&self, series: SeriesRef, mut numbers: Vec<usize>) -> impl Iterator<Item = (RowNumber, Row<'_>)> {
        let rows = self.flushes.iter().map(|flush| self.rows_for(flush, series).peekable());
        let mut rows: Vec<Peekable<Box<dyn Iterator<Item = Row<'_>>>>> = rows.collect();
        std::iter::from_fn(move || {
            let times = rows.iter_mut().enumerate().filter_map(|(flush, rows)| Some((rows.peek()?.timestamp(), flush)));
            let (_, flush) = times.min()?;
            let row = rows.get_mut(flush)?.next()?;
            let number = numbers.get_mut(flush)?;
            *number += 1;
            Some(((flush, *number - 1), row))
        })
    }

    fn rows_for(&self, flush: &FlushId, series: SeriesRef) -> Box<dyn Iterator<Item = Row<'_>> + '_> {
        let Some(rows) = self.superseding(flush) else { return Box::new(std::iter::empty()) };
        if self.table == Table::SAMPLES {
            let runs = rows_of(&rows.samples, series).iter().map(|(_, run)| run);
            let runs = runs.filter(|run| Date::of(run.bounds().0) == self.date);
            Box::new(runs.flat_map(|run| run.iter()).map(Row::Sample))
        } else {
            let rows = of_day(rows_of(&rows.histograms, series), self.date, |(_, row)| Date::of(row.timestamp));
            Box::new(rows.iter().map(|(_, row)| Row::Histogram(row)))
        }
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
