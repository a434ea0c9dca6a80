//! A flush laid out: which rows go into which file, in which order. Pure.

use std::collections::{BTreeMap, BTreeSet};

use promarchive_archive::file::{EncodeError, EncodedFile, FileEncoder, Origin};
use promarchive_archive::schema::{LabelColumns, Raw, Table};
use promarchive_model::{Date, FlushId, Histogram};

use super::Settled;
use crate::memtable::{ExemplarRow, Labels, SeriesRef, SeriesView, SortedRun, file_order};

/// Settled rows with the labels of their series, in the order of files.
#[derive(Debug)]
pub struct Plan {
    /// The rows.
    pub settled: Settled,
    view: SeriesView,
    /// Indices into the view, in the order of (metric, labels).
    order: Vec<usize>,
}

/// What of a day is to be written: the indices in the plan's order of the series that have rows in it.
#[derive(Clone, Debug, Default)]
pub struct FilePlan {
    series: Vec<usize>,
}

impl Plan {
    /// Lays out settled rows; `view` has the labels of all their series.
    pub fn new(settled: Settled, view: SeriesView) -> Self {
        let order = file_order(&view);
        Self { settled, view, order }
    }

    /// The files that a table gets, by day.
    pub fn files(&self, table: Table) -> BTreeMap<Date, FilePlan> {
        let settled = &self.settled;
        match table.raw() {
            Some(Raw::Samples) => self.by_date(&settled.samples, |(_, run)| [day_of_run(run)]),
            Some(Raw::Histograms) => self.by_date(&settled.histograms, |(_, row)| [Date::of(row.timestamp)]),
            Some(Raw::Exemplars) => self.by_date(&settled.exemplars, |row| [Date::of(row.timestamp)]),
            Some(Raw::Metadata) => {
                settled.metadata.iter().map(|row| (Date::of(row.received_at), FilePlan::default())).collect()
            }
            None => BTreeMap::new(),
        }
    }

    fn by_date<'a, T: OfSeries, D: IntoIterator<Item = Date>>(
        &'a self,
        rows: &'a [T],
        dates: impl Fn(&T) -> D,
    ) -> BTreeMap<Date, FilePlan> {
        let mut files: BTreeMap<Date, FilePlan> = BTreeMap::new();
        for index in 0..self.order.len() {
            let Some((series, _)) = self.series(index) else { continue };
            let days: BTreeSet<Date> = rows_of(rows, series).iter().flat_map(&dates).collect();
            days.into_iter().for_each(|day| files.entry(day).or_default().series.push(index));
        }
        files
    }

    pub(super) fn series(&self, index: usize) -> Option<(SeriesRef, Labels<'_>)> {
        self.view.get(*self.order.get(index)?)
    }

    /// A file of a table and a day, and what did not fit into it.
    pub fn encode(
        &self,
        table: Table,
        date: Date,
        plan: &FilePlan,
        label_columns: &LabelColumns,
        origin: &Origin,
    ) -> Result<(EncodedFile, Option<FilePlan>), EncodeError> {
        let mut file = FileEncoder::new(table, label_columns, origin)?;
        let settled = &self.settled;
        let mut indices = plan.series.iter();
        for &index in indices.by_ref() {
            let Some((series, labels)) = self.series(index) else { continue };
            file.series(labels)?;
            match table.raw() {
                Some(Raw::Samples) => {
                    let runs = of_day(rows_of(&settled.samples, series), date, |(_, run)| day_of_run(run));
                    runs.iter().flat_map(|(_, run)| run.iter()).try_for_each(|sample| file.sample(sample))?;
                }
                Some(Raw::Histograms) => histograms(&mut file, rows_of(&settled.histograms, series), date)?,
                Some(Raw::Exemplars) => {
                    let rows = of_day(rows_of(&settled.exemplars, series), date, |row| Date::of(row.timestamp));
                    rows.iter().try_for_each(|row| file.exemplar(row.timestamp, row.value, &row.labels))?;
                }
                Some(Raw::Metadata) | None => {}
            }
            if file.is_full() {
                break;
            }
        }
        if table == Table::METADATA {
            let mut rows = settled.metadata.iter().filter(|row| Date::of(row.received_at) == date);
            rows.try_for_each(|row| file.metadata(row))?;
        }
        let rest = indices.as_slice();
        Ok((file.finish()?, (!rest.is_empty()).then(|| FilePlan { series: rest.to_vec() })))
    }

    /// The days on which committed rows are superseded: the flushes that wrote those, and the indices of the series.
    pub(super) fn superseding_days(&self, table: Table) -> BTreeMap<Date, (Vec<FlushId>, Vec<usize>)> {
        let mut days: BTreeMap<Date, (Vec<FlushId>, Vec<usize>)> = BTreeMap::new();
        for (flush, rows) in &self.settled.superseding {
            let plans = match table.raw() {
                Some(Raw::Samples) => self.by_date(&rows.samples, |(_, run)| [day_of_run(run)]),
                Some(Raw::Histograms) => self.by_date(&rows.histograms, |(_, row)| [Date::of(row.timestamp)]),
                Some(Raw::Exemplars | Raw::Metadata) | None => BTreeMap::new(),
            };
            for (date, plan) in plans {
                let (flushes, series) = days.entry(date).or_default();
                flushes.push(*flush);
                series.extend(plan.series);
            }
        }
        for (_, series) in days.values_mut() {
            series.sort_unstable();
            series.dedup();
        }
        days
    }
}

fn histograms(file: &mut FileEncoder, rows: &[(SeriesRef, Histogram)], date: Date) -> Result<(), EncodeError> {
    let rows = of_day(rows, date, |(_, row)| Date::of(row.timestamp));
    rows.iter().try_for_each(|(_, histogram)| file.histogram(histogram))
}

/// The rows of one day, of rows of one series that are sorted by time. Looked up, because there may be thousands of days.
pub(super) fn of_day<T>(rows: &[T], date: Date, day: impl Fn(&T) -> Date) -> &[T] {
    let rows = rows.get(rows.partition_point(|row| day(row) < date)..).unwrap_or_default();
    rows.get(..rows.partition_point(|row| day(row) == date)).unwrap_or_default()
}

/// The rows of one series, of rows that are sorted by series.
pub(super) fn rows_of<T: OfSeries>(rows: &[T], series: SeriesRef) -> &[T] {
    let start = rows.partition_point(|row| row.series() < series);
    let rows = rows.get(start..).unwrap_or_default();
    rows.get(..rows.partition_point(|row| row.series() == series)).unwrap_or_default()
}

/// A row that says whose it is.
pub(super) trait OfSeries {
    fn series(&self) -> SeriesRef;
}

impl OfSeries for (SeriesRef, SortedRun) {
    fn series(&self) -> SeriesRef {
        self.0
    }
}

impl OfSeries for (SeriesRef, Histogram) {
    fn series(&self) -> SeriesRef {
        self.0
    }
}

impl OfSeries for ExemplarRow {
    fn series(&self) -> SeriesRef {
        self.series
    }
}

/// A settled run is of one day.
pub(super) fn day_of_run(run: &SortedRun) -> Date {
    Date::of(run.bounds().0)
}
