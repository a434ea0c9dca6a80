//! One request, resolved: which series its rows belong to. Nothing of it is buffered yet; that follows the WAL.

use std::collections::HashSet;

use super::Index;
use super::metadata::{MetadataIndex, MetadataRow};
use super::series::{EpochGuard, SeriesIndex, SeriesRef};
use super::symbols::Symbol;
use crate::remote_write::{
    DecodeError, Decoder, Exemplar, Histogram, Invalid, LabelSet, METRIC_NAME, Metadata, Protocol, RawLabels,
    RawMetadata, Reason, Refusals, Sample, TimeSeries, TimestampBounds,
};
use crate::schema::labels_text;

/// How many series of a request are looked at for a label that they may have in common.
const LOOKED_AT: usize = 8;

/// Bytes of exemplars' labels and of metadata that a request may come to, written out: one text of it may be referred to many times.
const MAX_TEXT_BYTES: usize = 32 << 20;

/// In place of a symbol: there is none that is known.
const NOT_FOUND: Symbol = Symbol::MAX;
/// In place of a symbol: the name of the label that holds the metric, which no series has among its labels.
const METRIC: Symbol = Symbol::MAX - 1;

/// An exemplar of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemplarRow {
    /// Whose.
    pub series: SeriesRef,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// IEEE bits.
    pub value: u64,
    /// Its own labels, as canonical text.
    pub labels: String,
}

/// What one request holds, by series.
#[derive(Debug)]
pub struct Batch {
    /// Float samples and stale markers.
    pub samples: Vec<(SeriesRef, Sample)>,
    /// Native histograms.
    pub histograms: Vec<(SeriesRef, Histogram)>,
    /// Exemplars.
    pub exemplars: Vec<ExemplarRow>,
    /// Metadata that was not known when the request was resolved.
    pub metadata: Vec<MetadataRow>,
    /// What cannot be kept.
    pub refusals: Refusals,
    /// Time series in the request.
    pub series: u64,
    /// Keeps its series known.
    _guard: EpochGuard,
}

impl Batch {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty() && self.metadata.is_empty()
    }

    /// The earliest and the latest timestamp of samples and histograms, milliseconds since the epoch; none without any.
    pub fn timestamps(&self) -> Option<(i64, i64)> {
        self.sample_timestamps().fold(None, |span, timestamp| {
            let (first, last) = span.unwrap_or((timestamp, timestamp));
            Some((timestamp.min(first), timestamp.max(last)))
        })
    }

    /// The timestamps of all rows that have one, milliseconds since the epoch.
    pub fn all_timestamps(&self) -> impl Iterator<Item = i64> {
        self.sample_timestamps().chain(self.exemplars.iter().map(|row| row.timestamp))
    }

    fn sample_timestamps(&self) -> impl Iterator<Item = i64> {
        let samples = self.samples.iter().map(|(_, sample)| sample.timestamp);
        samples.chain(self.histograms.iter().map(|(_, histogram)| histogram.timestamp))
    }

    /// The value of a label in the series of samples and histograms, if those looked at have the same. At most
    /// [`LOOKED_AT`] of them are, evenly spread.
    pub fn label_in_common<'i>(&self, series: &'i SeriesIndex, name: &str) -> Option<&'i str> {
        let rows = self.samples.len() + self.histograms.len();
        let at = |row: usize| {
            let sample = self.samples.get(row).map(|(series, _)| *series);
            sample.or_else(|| self.histograms.get(row - self.samples.len()).map(|(series, _)| *series))
        };
        let name = series.find_symbol(name.as_bytes())?;
        let step = rows.div_ceil(LOOKED_AT).max(1);
        let mut values = (0..rows).step_by(step).filter_map(at).map(|found| series.value(found, name));
        let first = values.next()??;
        values.all(|value| value == Some(first)).then(|| series.text(first))
    }

    /// Bytes held, estimated.
    pub fn heap_bytes(&self) -> usize {
        self.samples.capacity() * size_of::<(SeriesRef, Sample)>()
            + self.histograms.iter().map(|(_, histogram)| super::buffer::histogram_bytes(histogram)).sum::<usize>()
            + self.exemplars.iter().map(super::buffer::exemplar_bytes).sum::<usize>()
            + self.metadata.iter().map(MetadataRow::heap_bytes).sum::<usize>()
    }
}

/// Resolves a decompressed request. The same body, bounds and time of receipt give the same rows and refusals, whatever is known already:
/// replay depends on it.
pub fn resolve(
    index: &mut Index,
    protocol: Protocol,
    body: &[u8],
    bounds: TimestampBounds,
    received_at: i64,
) -> Result<Batch, DecodeError> {
    let mut decoder = Decoder::new(protocol, body)?;
    let symbols = decoder.symbols();
    let batch = Batch {
        samples: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
        refusals: Refusals::default(),
        series: 0,
        _guard: index.series.epoch_guard(),
    };
    let mut resolver = Resolver {
        index,
        known: vec![NOT_FOUND; symbols.len()],
        symbols: &symbols,
        labels: Vec::new(),
        metadata_seen: HashSet::new(),
        last: None,
        text_bytes: 0,
        bounds,
        received_at,
        batch,
    };
    while let Some(series) = decoder.next_series()? {
        resolver.series(series);
    }
    for entry in decoder.metadata() {
        resolver.metadata_entry(entry?);
    }
    Ok(resolver.batch)
}

struct Resolver<'i, 'a> {
    index: &'i mut Index,
    symbols: &'i [&'a [u8]],
    /// The index's symbols for those of a 2.0 request, or [`METRIC`], or [`NOT_FOUND`] as long as they are not looked up and found.
    known: Vec<Symbol>,
    /// Scratch: the labels of a 2.0 series as the index's symbols.
    labels: Vec<Symbol>,
    /// Metadata of this 2.0 request that has been looked at: metric, type, help and unit.
    metadata_seen: HashSet<(Symbol, i32, u32, u32)>,
    /// The series that was found last.
    last: Option<SeriesRef>,
    /// Of exemplars and metadata so far; see [`MAX_TEXT_BYTES`].
    text_bytes: usize,
    bounds: TimestampBounds,
    received_at: i64,
    batch: Batch,
}

impl Resolver<'_, '_> {
    fn series(&mut self, series: &TimeSeries<'_>) {
        self.batch.series += 1;
        let found = match self.find(&series.labels) {
            Ok(found) => *self.last.insert(found),
            Err(invalid) => {
                let rows = series.samples.len() + series.histograms.len() + series.exemplars.len();
                self.refuse(&invalid, rows.max(1) as u64, series);
                return;
            }
        };
        for &sample in &series.samples {
            match self.check(sample.timestamp, sample.start_timestamp) {
                Ok(()) => self.batch.samples.push((found, sample)),
                Err(invalid) => self.refuse(&invalid, 1, series),
            }
        }
        for raw in &series.histograms {
            let histogram = Histogram::parse(raw, series.created_timestamp);
            let checked = histogram.and_then(|h| self.check(h.timestamp, h.start_timestamp).map(|()| h));
            match checked {
                Ok(histogram) => self.batch.histograms.push((found, histogram)),
                Err(invalid) => self.refuse(&invalid, 1, series),
            }
        }
        for raw in &series.exemplars {
            let exemplar = Exemplar::parse(raw, self.symbols);
            let checked = exemplar.and_then(|exemplar| self.check(exemplar.timestamp, 0).map(|()| exemplar));
            let bytes =
                |exemplar: &Exemplar<'_>| exemplar.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
            match checked.and_then(|exemplar| self.count_text(bytes(&exemplar)).map(|()| exemplar)) {
                Ok(exemplar) => self.batch.exemplars.push(ExemplarRow {
                    series: found,
                    timestamp: exemplar.timestamp,
                    value: exemplar.value,
                    labels: labels_text(exemplar.labels.into_iter()),
                }),
                Err(invalid) => self.refuse(&invalid, 1, series),
            }
        }
        self.series_metadata(found, series);
    }

    fn refuse(&mut self, invalid: &Invalid, rows: u64, series: &TimeSeries<'_>) {
        let symbols = self.symbols;
        self.batch.refusals.record(invalid, rows, || series.labels.describe(symbols));
    }

    /// Counts text that is written out. What is refused here is so at every replay, too, whatever was known.
    fn count_text(&mut self, bytes: usize) -> Result<(), Invalid> {
        self.text_bytes = self.text_bytes.saturating_add(bytes);
        if self.text_bytes <= MAX_TEXT_BYTES {
            return Ok(());
        }
        let detail = format!("exemplars and metadata of one request take over {MAX_TEXT_BYTES} bytes, written out");
        Err(Invalid::new(Reason::LabelLimit, detail))
    }

    fn check(&self, timestamp: i64, start_timestamp: i64) -> Result<(), Invalid> {
        self.bounds.check(timestamp).map_err(|reason| reason.at(timestamp))?;
        self.bounds.check_start(start_timestamp).map_err(|reason| reason.at(start_timestamp))
    }

    /// The series of raw labels: by hash if it is known, else parsed, checked and made known.
    fn find(&mut self, raw: &RawLabels<'_>) -> Result<SeriesRef, Invalid> {
        match raw {
            RawLabels::Text(text) => {
                let hash = self.index.series.hash_text(text);
                if let Some(found) = self.index.series.find_text(hash, self.last) {
                    return Ok(found);
                }
                let found = self.find_slowly(raw)?;
                self.index.series.name_by_text(found, hash);
                Ok(found)
            }
            RawLabels::Refs(_) if self.translate(raw) => {
                match self.index.series.find_symbols(&self.labels, self.last) {
                    Some(found) => Ok(found),
                    None => self.find_slowly(raw),
                }
            }
            _ => self.find_slowly(raw),
        }
    }

    fn find_slowly(&mut self, raw: &RawLabels<'_>) -> Result<SeriesRef, Invalid> {
        Ok(self.index.series.find_or_insert(&LabelSet::parse(raw, self.symbols)?, self.last))
    }

    /// Fills `labels` with the index's symbols for the references of a 2.0 series: the metric first, the others as they
    /// come. False when one is unknown, or anything is out of the ordinary: only what is canonical can be found this way.
    fn translate(&mut self, raw: &RawLabels<'_>) -> bool {
        self.labels.clear();
        self.labels.push(NOT_FOUND);
        let mut references = raw.refs();
        while let Some(name) = references.next() {
            let (Some(name), Some(Some(value))) = (name, references.next()) else { return false };
            match (self.symbol(name), self.symbol(value)) {
                (NOT_FOUND, _) | (_, NOT_FOUND | METRIC) => return false,
                (METRIC, value) => match self.labels.first_mut() {
                    Some(metric) if *metric == NOT_FOUND => *metric = value,
                    _ => return false,
                },
                (name, value) => self.labels.extend([name, value]),
            }
        }
        true
    }

    /// The index's symbol for one of the request's, looked up once.
    fn symbol(&mut self, reference: usize) -> Symbol {
        match self.known.get(reference) {
            Some(&NOT_FOUND) => self.look_up(reference),
            Some(&known) => known,
            None => NOT_FOUND,
        }
    }

    #[cold]
    fn look_up(&mut self, reference: usize) -> Symbol {
        let symbol = match self.symbols.get(reference) {
            Some(&text) if text == METRIC_NAME.as_bytes() => METRIC,
            Some(text) => self.index.series.find_symbol(text).unwrap_or(NOT_FOUND),
            None => NOT_FOUND,
        };
        if let Some(known) = self.known.get_mut(reference) {
            *known = symbol;
        }
        symbol
    }

    fn series_metadata(&mut self, found: SeriesRef, series: &TimeSeries<'_>) {
        let Some(raw) = series.metadata else { return };
        let Some(metric) = self.index.series.metric(found) else { return };
        if !self.metadata_seen.insert((metric, raw.kind, raw.help_ref, raw.unit_ref)) {
            return;
        }
        let bytes =
            [raw.help_ref, raw.unit_ref].map(|text| self.symbols.get(text as usize).map_or(0, |text| text.len()));
        if let Err(invalid) = self.count_text(bytes.iter().sum()) {
            self.refuse(&invalid, 1, series);
            return;
        }
        let metric = self.index.series.text(metric);
        match Metadata::of_series(metric, raw, self.symbols) {
            Ok(metadata) => keep_metadata(&self.index.metadata, &mut self.batch, &metadata, self.received_at),
            Err(invalid) => self.refuse(&invalid, 1, series),
        }
    }

    fn metadata_entry(&mut self, raw: RawMetadata<'_>) {
        match Metadata::parse(raw) {
            Ok(metadata) => keep_metadata(&self.index.metadata, &mut self.batch, &metadata, self.received_at),
            Err(invalid) => self.batch.refusals.record(&invalid, 1, || "metadata".to_owned()),
        }
    }
}

fn keep_metadata(index: &MetadataIndex, batch: &mut Batch, metadata: &Metadata<'_>, received_at: i64) {
    if !index.contains(metadata, received_at) {
        batch.metadata.push(MetadataRow::new(metadata, received_at));
    }
}
