//! Samples and series of each metric, from the columns `metric` and `series_id` as runs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use promarchive_archive::file::footprint::{FootprintError, check_chunk, chunk_range, read_footer};
use promarchive_archive::store::StoredFile;

use super::footer::column_named;
use super::runs::{Malformed, Run, append_runs};
use super::total;

/// A file whose series cannot be counted.
#[derive(Debug, thiserror::Error)]
pub(super) enum CountError {
    /// Damaged, or not Parquet.
    #[error("not readable as Parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// Larger than any that this program writes.
    #[error(transparent)]
    Footprint(#[from] FootprintError),
    /// A damaged page.
    #[error(transparent)]
    Page(#[from] Malformed),
    /// Not as this program writes it.
    #[error("column {column} of row group {row_group}: {problem}")]
    Column { column: &'static str, row_group: usize, problem: &'static str },
}

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct FileCount {
    pub(super) rows: u64,
    /// Metric, rows, ids of its series; a metric may come once for each row group.
    pub(super) metrics: Vec<(String, u64, Vec<i64>)>,
}

/// What all files hold. Takes about 10 to 20 bytes a series.
#[derive(Debug, Default)]
pub(super) struct SeriesCount {
    series: HashSet<i64>,
    /// Rows and series by metric.
    metrics: HashMap<String, (u64, u64)>,
}

impl SeriesCount {
    pub(super) fn add(&mut self, file: FileCount) {
        for (metric, rows, ids) in file.metrics {
            let counts = self.metrics.entry(metric).or_default();
            counts.0 = counts.0.saturating_add(rows);
            counts.1 += ids.into_iter().filter(|&id| self.series.insert(id)).count() as u64;
        }
    }

    /// Distinct series.
    pub(super) fn series(&self) -> u64 {
        self.series.len() as u64
    }

    /// Distinct metrics.
    pub(super) fn metrics(&self) -> u64 {
        self.metrics.len() as u64
    }

    /// The metrics with the most rows: name, rows, series.
    pub(super) fn top(&self, count: usize) -> Vec<(&str, u64, u64)> {
        let mut all: Vec<(&str, u64, u64)> =
            self.metrics.iter().map(|(metric, &(rows, series))| (&**metric, rows, series)).collect();
        all.sort_unstable_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        all.truncate(count);
        all
    }
}

/// Counts one file. Blocks.
pub(super) fn count_file(file: &StoredFile) -> Result<FileCount, CountError> {
    let footer = read_footer(file)?;
    let mut count = FileCount::default();
    for (row_group, group) in footer.row_groups().iter().enumerate() {
        count_group(file, row_group, group, &mut count)?;
    }
    Ok(count)
}

fn count_group(
    file: &StoredFile,
    row_group: usize,
    group: &RowGroupMetaData,
    count: &mut FileCount,
) -> Result<(), CountError> {
    let refused = |column, problem| CountError::Column { column, row_group, problem };
    let column = |name| column_named(group.columns(), name).ok_or_else(|| refused(name, "is missing"));
    let rows = u64::try_from(group.num_rows()).map_err(|_| refused("metric", "has a negative number of rows"))?;
    for name in ["metric", "series_id"] {
        check_chunk(file, column(name)?, row_group)?;
    }
    let metrics = read_runs(file, column("metric")?, rows).and_then(|(page, runs)| Ok((texts(page)?, runs)));
    let (names, metrics) = metrics.map_err(|e| e.at("metric", row_group))?;
    let ids = read_runs(file, column("series_id")?, rows).map(|(page, runs)| (numbers(&page), runs));
    let (ids, series) = ids.map_err(|e| e.at("series_id", row_group))?;
    count.rows = count.rows.saturating_add(rows);
    let mut found: Vec<(u64, Vec<i64>)> = vec![(0, Vec::new()); names.len()];
    let mut series = series.into_iter();
    let mut left: Option<Run> = None;
    for metric in metrics {
        let counted = found.get_mut(metric.index as usize);
        let (all_rows, its_series) = counted.ok_or_else(|| refused("metric", "has an index outside its dictionary"))?;
        *all_rows = all_rows.saturating_add(metric.rows);
        let mut rows = metric.rows;
        while rows > 0 {
            let run = left.take().or_else(|| series.next()).ok_or_else(|| refused("series_id", "has too few rows"))?;
            let id = ids
                .get(run.index as usize)
                .ok_or_else(|| refused("series_id", "has an index outside its dictionary"))?;
            its_series.push(*id);
            let rest = run.rows.saturating_sub(rows);
            rows = rows.saturating_sub(run.rows);
            left = (rest > 0).then_some(Run { rows: rest, ..run });
        }
    }
    let found = names.into_iter().zip(found).filter(|(_, (rows, _))| *rows > 0);
    count.metrics.extend(found.map(|(name, (rows, series))| (name, rows, series)));
    Ok(())
}

/// Why a column's runs cannot be read, before it is known which column it is.
enum RunsError {
    Parquet(ParquetError),
    Page(Malformed),
    Problem(&'static str),
}

impl From<ParquetError> for RunsError {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

impl RunsError {
    fn at(self, column: &'static str, row_group: usize) -> CountError {
        match self {
            Self::Parquet(e) => e.into(),
            Self::Page(e) => e.into(),
            Self::Problem(problem) => CountError::Column { column, row_group, problem },
        }
    }
}

/// The dictionary page and the runs of a column chunk without nulls.
fn read_runs(file: &StoredFile, chunk: &ColumnChunkMetaData, rows: u64) -> Result<(Bytes, Vec<Run>), RunsError> {
    if chunk.column_descr().max_def_level() > 0 || chunk.column_descr().max_rep_level() > 0 {
        return Err(RunsError::Problem("is nullable or repeated, unlike in the documented schema"));
    }
    let (start, length) = chunk_range(chunk).ok_or(RunsError::Problem("has a negative offset"))?;
    let range = Arc::new(file.load(start, length)?);
    let mut pages = SerializedPageReader::new(range, chunk, usize::try_from(rows).unwrap_or(usize::MAX), None)?;
    let (mut dictionary, mut runs) = (Bytes::new(), Vec::new());
    while let Some(page) = pages.get_next_page()? {
        let (indices, values) = match &page {
            Page::DictionaryPage { buf, .. } => {
                dictionary = buf.clone();
                continue;
            }
            Page::DataPage { buf, num_values, .. } => (buf.clone(), *num_values),
            Page::DataPageV2 { buf, num_values, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let levels = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                (buf.slice(levels.min(buf.len())..), *num_values)
            }
        };
        if !matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY) {
            return Err(RunsError::Problem(
                "is not dictionary-encoded, but promarchive writes only dictionary-encoded columns",
            ));
        }
        append_runs(&indices, u64::from(values), &mut runs).map_err(RunsError::Page)?;
    }
    if total(runs.iter().map(|run| run.rows)) != rows {
        return Err(RunsError::Problem("does not have as many rows as its row group"));
    }
    Ok((dictionary, runs))
}

/// Metrics of a row group: it has no more series than that, whose label sets fill it at 8 MiB.
const MOST_TEXTS: usize = 4 << 20;

/// The texts of a plain dictionary page.
fn texts(page: Bytes) -> Result<Vec<String>, RunsError> {
    let mut texts = Vec::new();
    let mut rest = &*page;
    while let Some((length, bytes)) = rest.split_first_chunk() {
        let text = bytes.split_at_checked(u32::from_le_bytes(*length) as usize);
        let (text, after) = text.ok_or(RunsError::Problem("has an incomplete dictionary"))?;
        if texts.len() >= MOST_TEXTS {
            return Err(RunsError::Problem("has more values in its dictionary than a row group has series"));
        }
        texts.push(String::from_utf8_lossy(text).into_owned());
        rest = after;
    }
    Ok(texts)
}

/// The numbers of a plain dictionary page.
fn numbers(page: &Bytes) -> Vec<i64> {
    page.chunks_exact(8).filter_map(|bytes| bytes.first_chunk()).map(|bytes| i64::from_le_bytes(*bytes)).collect()
}
