//! A request becomes a batch: its rows are checked, and its series are found or made known.
//!
//! The index is shared, and a request may hold millions of series. So it is gone through in slices, and the index is used for
//! moments: to look a slice's series up by hash, and to add those that are new. Decoding, parsing of labels and checks of rows happen
//! in between, while others use the index.

use std::collections::HashSet;

use promarchive_model::{Histogram, Invalid, MetadataRow, Reason, labels_text};
use promarchive_wire::{
    DecodeError, Decoder, ENTRY_BYTES, Exemplar, FREE_ENTRIES, LabelSet, Metadata, RawHistogram, TimeSeries,
};

use super::Index;
use super::batch::{Batch, ExemplarRow};
use super::buffer::histogram_bytes;
use super::lookup::Lookup;
use super::metadata;
use super::request::{IndexAccess, Request, RequestKind, Unusable};
use super::series::{SERIES_BYTES, SeriesRef};
use super::slice::{SLICE_SERIES, SeriesMetadata, Slice, is_nameless, rows};
use super::symbols::Symbol;

/// Bytes of labels of new series that are added at once.
const SLICE_LABEL_BYTES: usize = 1 << 20;
/// Bytes of memory that the histograms, exemplars and metadata of a request may take. On the wire they take far less: a bucket one byte
/// instead of eight, and a text that is referred to many times next to nothing.
const MAX_ROW_BYTES: usize = 32 << 20;
/// A histogram that is longer on the wire takes more than that, and is not even read.
const LONGEST_HISTOGRAM: usize = MAX_ROW_BYTES / 8;
/// Bytes of the labels of new series that an arriving request may come to, written out.
const MAX_LABEL_TEXT_BYTES: usize = 512 << 20;

/// Resolves a request. The same body, bounds, label and time of receipt give the same rows and refusals, whatever is known already:
/// replay depends on it.
///
/// # Errors
///
/// Nothing of the request is usable; or a sender's request is out of all proportion ([`DecodeError::TooManyEntries`],
/// [`DecodeError::TooMuchLabelText`]), which is not looked at in a replay; or [`IndexAccess::grown`] has ended it.
pub fn resolve(mut index: impl IndexAccess, request: Request<'_>) -> Result<Batch, Unusable> {
    let mut decoder = Decoder::new(request.protocol, request.body)?;
    let symbols = decoder.symbols();
    let begun = |index: &mut Index| {
        let series = &index.series;
        (series.epoch_guard(), series.label_key(request.label), series.epoch())
    };
    let (guard, key, epoch) = index.with(begun);
    let mut resolver = Resolver {
        request,
        symbols: &symbols,
        lookup: Lookup::new(&symbols, request.label, key, index.sender(), epoch),
        metadata_seen: HashSet::new(),
        metadata_bytes: 0,
        row_bytes: 0,
        label_text_bytes: 0,
        entries: 0,
        batch: Batch::new(guard),
    };
    resolver.read(&mut decoder, &mut index)?;
    Ok(resolver.batch)
}

struct Resolver<'s, 'a> {
    request: Request<'a>,
    symbols: &'s [&'a [u8]],
    lookup: Lookup<'s, 'a>,
    /// Metadata of this 2.0 request that has been looked at: metric, type, help and unit.
    metadata_seen: HashSet<(Symbol, i32, u32, u32)>,
    /// Of its texts.
    metadata_bytes: usize,
    /// Of histograms, exemplars and metadata so far; see [`MAX_ROW_BYTES`].
    row_bytes: usize,
    /// Of new series so far.
    label_text_bytes: usize,
    /// Series, rows and metadata so far.
    entries: usize,
    batch: Batch,
}

impl<'a> Resolver<'_, 'a> {
    fn read(&mut self, decoder: &mut Decoder<'a>, index: &mut impl IndexAccess) -> Result<(), Unusable> {
        let mut slice = Slice::default();
        while slice.read(decoder, self.request.protocol)? {
            self.count(slice.entries())?;
            self.find(&mut slice, index)?;
            self.keep(&mut slice);
        }
        Ok(self.metadata_entries(decoder, index)?)
    }

    /// Counts entries, each of which takes memory and time whatever its length is.
    fn count(&mut self, entries: usize) -> Result<(), DecodeError> {
        self.entries += entries;
        let bytes = self.request.body.len();
        let most = FREE_ENTRIES.max(bytes / ENTRY_BYTES);
        if self.request.kind == RequestKind::Arriving && self.entries > most {
            return Err(DecodeError::TooManyEntries { entries: most, bytes });
        }
        Ok(())
    }

    /// Finds the series of a slice, or makes them known.
    fn find(&mut self, slice: &mut Slice<'a>, index: &mut impl IndexAccess) -> Result<(), Unusable> {
        slice.found.clear();
        slice.found.resize(slice.filled, None);
        slice.metadata.clear();
        let named = slice.series().iter().any(|series| !is_nameless(&series.labels));
        let done = !named || index.with(|index| self.find_known(slice, index));
        self.parse_unknown(slice)?;
        if done {
            return Ok(());
        }
        let mut from = 0;
        loop {
            let bytes;
            (from, bytes) = index.with(|index| self.add_unknown(slice, from, index));
            index.grown(bytes)?;
            if from >= slice.fresh.len() {
                return Ok(());
            }
        }
    }

    /// Looks all series up, and their metadata if all are known; whether they are.
    fn find_known(&mut self, slice: &mut Slice<'a>, index: &mut Index) -> bool {
        self.lookup.resume(&index.series);
        let series = slice.series.get(..slice.filled).unwrap_or_default();
        let mut all = true;
        for (series, found) in series.iter().zip(&mut slice.found) {
            if !is_nameless(&series.labels) {
                *found = self.lookup.find(&mut index.series, &series.labels);
                all &= found.is_some();
            }
        }
        if all {
            self.look_at_metadata(slice, index);
        }
        all
    }

    /// Parses the labels of those that are not known.
    fn parse_unknown(&mut self, slice: &mut Slice<'a>) -> Result<(), DecodeError> {
        slice.fresh.clear();
        slice.invalid.clear();
        let series = slice.series.get(..slice.filled).unwrap_or_default();
        for (at, (series, _)) in series.iter().zip(&slice.found).enumerate().filter(|(_, (_, found))| found.is_none()) {
            if is_nameless(&series.labels) {
                slice.invalid.push(Invalid::no_metric_name());
                continue;
            }
            match LabelSet::parse(&series.labels, self.symbols) {
                Ok(mut set) => {
                    self.label_text_bytes = self.label_text_bytes.saturating_add(set.text_bytes());
                    if self.request.kind == RequestKind::Arriving && self.label_text_bytes > MAX_LABEL_TEXT_BYTES {
                        return Err(DecodeError::TooMuchLabelText { limit: MAX_LABEL_TEXT_BYTES });
                    }
                    if let Some(label) = self.request.label {
                        set.set(label);
                    }
                    slice.fresh.push((at, set));
                }
                Err(invalid) => slice.invalid.push(invalid),
            }
        }
        Ok(())
    }

    /// Makes some of the unknown series known, and says where to go on, and how many bytes they take. Behind the last one comes the metadata
    /// of all.
    fn add_unknown(&mut self, slice: &mut Slice<'a>, from: usize, index: &mut Index) -> (usize, usize) {
        let (bytes_before, series_before) = index.series.label_bytes();
        let (mut to, mut bytes) = (from, 0);
        for (at, set) in slice.fresh.iter().skip(from) {
            let before = slice.found.get(..*at).unwrap_or_default().iter().rev().find_map(|found| *found);
            let Some(series) = slice.series.get(*at) else { break };
            let found = self.lookup.find_or_insert(&mut index.series, &series.labels, set, before);
            if let Some(slot) = slice.found.get_mut(*at) {
                *slot = Some(found);
            }
            to += 1;
            bytes += set.text_bytes();
            if bytes >= SLICE_LABEL_BYTES {
                break;
            }
        }
        let (bytes_after, series_after) = index.series.label_bytes();
        let grown = bytes_after - bytes_before + (series_after - series_before) * SERIES_BYTES;
        if to == slice.fresh.len() {
            self.lookup.set_last(slice.found.iter().rev().find_map(|found| *found));
            self.look_at_metadata(slice, index);
        }
        (to, grown)
    }

    /// Metadata of series that is new in this request: a row if it is not known.
    fn look_at_metadata(&mut self, slice: &mut Slice<'a>, index: &Index) {
        let series = slice.series.get(..slice.filled).unwrap_or_default();
        for (at, (series, found)) in series.iter().zip(&slice.found).enumerate() {
            let (Some(raw), Some(found)) = (series.metadata, *found) else { continue };
            let Some(metric) = index.series.metric(found) else { continue };
            if !self.metadata_seen.insert((metric, raw.kind, raw.help_ref, raw.unit_ref)) {
                continue;
            }
            let length = |text: u32| self.symbols.get(text as usize).map_or(0, |text| text.len());
            let bytes = size_of::<MetadataRow>() + length(raw.help_ref) + length(raw.unit_ref);
            self.metadata_bytes = self.metadata_bytes.saturating_add(bytes);
            let row = if self.metadata_bytes > MAX_ROW_BYTES {
                // Refused below, whatever it is.
                Ok(None)
            } else {
                let metadata = Metadata::of_series(index.series.text(metric), raw, self.symbols);
                metadata.map(|metadata| {
                    let known = index.metadata.contains(&metadata, self.request.received_at);
                    (!known).then(|| metadata::row(&metadata, self.request.received_at))
                })
            };
            slice.metadata.push(SeriesMetadata { at, bytes, row });
        }
    }

    /// Keeps the rows of a slice, and refuses what cannot be kept, in the order of the series.
    fn keep(&mut self, slice: &mut Slice<'a>) {
        let mut invalid = slice.invalid.drain(..);
        let mut metadata = slice.metadata.drain(..).peekable();
        let series = slice.series.get(..slice.filled).unwrap_or_default();
        for (at, (series, found)) in series.iter().zip(&slice.found).enumerate() {
            self.batch.series += 1;
            match *found {
                Some(found) => self.rows(found, series),
                None => {
                    let rows = rows(series).max(1) as u64;
                    if let Some(invalid) = invalid.next() {
                        self.refuse(&invalid, rows, series);
                    }
                }
            }
            if let Some(metadata) = metadata.next_if(|metadata| metadata.at == at) {
                self.series_metadata(metadata, series);
            }
        }
    }

    fn rows(&mut self, found: SeriesRef, series: &TimeSeries<'a>) {
        for &sample in &series.samples {
            match self.check(sample.timestamp, sample.start_timestamp) {
                Ok(()) => self.batch.samples.push((found, sample)),
                Err(invalid) => self.refuse(&invalid, 1, series),
            }
        }
        for raw in &series.histograms {
            match self.histogram(raw, series.created_timestamp) {
                Ok(histogram) => self.batch.histograms.push((found, histogram)),
                Err(invalid) => self.refuse(&invalid, 1, series),
            }
        }
        for raw in &series.exemplars {
            let exemplar = Exemplar::parse(raw, self.symbols);
            let checked = exemplar.and_then(|exemplar| self.check(exemplar.timestamp, 0).map(|()| exemplar));
            let bytes = |exemplar: &Exemplar<'_>| {
                let labels = exemplar.labels.iter().map(|(name, value)| name.len() + value.len());
                size_of::<ExemplarRow>() + labels.sum::<usize>()
            };
            match checked.and_then(|exemplar| self.count_row(bytes(&exemplar)).map(|()| exemplar)) {
                Ok(exemplar) => self.batch.exemplars.push(ExemplarRow {
                    series: found,
                    timestamp: exemplar.timestamp,
                    value: exemplar.value,
                    labels: labels_text(exemplar.labels.into_iter()),
                }),
                Err(invalid) => self.refuse(&invalid, 1, series),
            }
        }
    }

    fn refuse(&mut self, invalid: &Invalid, rows: u64, series: &TimeSeries<'a>) {
        let symbols = self.symbols;
        self.batch.refusals.record(invalid, rows, || series.labels.describe(symbols));
    }

    fn histogram(&mut self, raw: &RawHistogram<'_>, created_timestamp: i64) -> Result<Histogram, Invalid> {
        if raw.0.len() > LONGEST_HISTOGRAM {
            return Err(too_many_bytes_of_rows());
        }
        let histogram = raw.parse(created_timestamp)?;
        self.check(histogram.timestamp, histogram.start_timestamp)?;
        self.count_row(histogram_bytes(&histogram))?;
        Ok(histogram)
    }

    /// Counts memory of rows. What is refused here is so at every replay, too, whatever was known.
    fn count_row(&mut self, bytes: usize) -> Result<(), Invalid> {
        self.row_bytes = self.row_bytes.saturating_add(bytes);
        if self.row_bytes > MAX_ROW_BYTES { Err(too_many_bytes_of_rows()) } else { Ok(()) }
    }

    fn check(&self, timestamp: i64, start_timestamp: i64) -> Result<(), Invalid> {
        let bounds = self.request.bounds;
        bounds.check(timestamp).map_err(|reason| reason.at(timestamp))?;
        bounds.check_start(start_timestamp).map_err(|reason| reason.at(start_timestamp))
    }

    fn series_metadata(&mut self, metadata: SeriesMetadata, series: &TimeSeries<'a>) {
        match self.count_row(metadata.bytes).and(metadata.row) {
            Ok(row) => self.batch.metadata.extend(row),
            Err(invalid) => self.refuse(&invalid, 1, series),
        }
    }

    /// The metadata of a 1.0 request.
    fn metadata_entries(&mut self, decoder: &Decoder<'a>, index: &mut impl IndexAccess) -> Result<(), DecodeError> {
        let mut entries = decoder.metadata();
        let mut some = Vec::new();
        loop {
            some.clear();
            let mut read = 0;
            for entry in entries.by_ref().take(SLICE_SERIES) {
                read += 1;
                let metadata = Metadata::parse(entry?).and_then(|metadata| {
                    self.count_row(size_of::<MetadataRow>() + metadata.text_bytes()).map(|()| metadata)
                });
                match metadata {
                    Ok(metadata) => some.push(metadata),
                    Err(invalid) => self.batch.refusals.record(&invalid, 1, || "metadata".to_owned()),
                }
            }
            if read == 0 {
                return Ok(());
            }
            self.count(read)?;
            let received_at = self.request.received_at;
            index.with(|index| some.retain(|metadata| !index.metadata.contains(metadata, received_at)));
            self.batch.metadata.extend(some.iter().map(|metadata| metadata::row(metadata, received_at)));
        }
    }
}

fn too_many_bytes_of_rows() -> Invalid {
    let limit = MAX_ROW_BYTES >> 20;
    let detail = format!(
        "the histograms, exemplars and metadata of this request need more than {limit} MiB of memory: send fewer per \
         request"
    );
    Invalid::new(Reason::RequestLimit, detail)
}
