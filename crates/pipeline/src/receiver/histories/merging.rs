//! Files merged by hand, as a compaction will merge them: of one table and one day, all that some writers flushed from one position to another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use promarchive_archive::file::{EncodedFile, FileEncoder, Origin};
use promarchive_archive::log::DataFile;
use promarchive_archive::schema::Table;
use promarchive_model::{Date, FlushId, MetadataRow, SeriesLabels, WriterId, parse_labels_text};
use promarchive_wire::MetricKind;

use super::rows::{Content, Key};
use super::tables::label_columns;

/// Files of one table and one day that can be merged, and what the merged file says of its origin.
pub(super) struct Merge {
    pub(super) date: Date,
    pub(super) files: Vec<DataFile>,
    pub(super) origin: Origin,
}

impl Merge {
    /// What the merged file is called: names are for people.
    pub(super) fn path(&self, nonce: u64) -> String {
        format!("date={}/merge-{nonce:016x}.parquet", self.date)
    }

    /// To recovery it says when its newest flush was.
    pub(super) fn modification_time(&self) -> i64 {
        self.files.iter().map(|file| file.modification_time).max().unwrap_or(0)
    }
}

/// The first and the last position of each writer in a file.
fn ranges(origin: &Origin) -> Vec<(WriterId, RangeInclusive<u64>)> {
    match origin {
        Origin::Flush { writer, position } => vec![(*writer, *position..=*position)],
        Origin::Merge { flushes, .. } => flushes.clone(),
        Origin::Import | Origin::Heal | Origin::Foreign => Vec::new(),
    }
}

/// All merges of at least two flushes that begin with the first flush of the day, by day and by how much is merged.
pub(super) fn merges(files: &[DataFile]) -> Vec<Merge> {
    let mut days: BTreeMap<Date, Vec<&DataFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| !ranges(&file.origin).is_empty()) {
        days.entry(file.date).or_default().push(file);
    }
    days.into_iter().flat_map(|(date, files)| merges_of(date, &files)).collect()
}

fn merges_of(date: Date, files: &[&DataFile]) -> Vec<Merge> {
    let ends = |file: &DataFile| ranges(&file.origin).into_iter().map(|(writer, range)| (writer, *range.end()));
    let flushes: BTreeSet<FlushId> = files.iter().flat_map(|file| ends(file)).collect();
    let up_to = |last: FlushId| {
        // A file with a later flush, too, is left out, and so is what would stand on both sides of it.
        let is_whole = |file: &&&DataFile| ends(file).all(|flush| flush <= last);
        let merged: Vec<DataFile> = files.iter().filter(is_whole).map(|file| (**file).clone()).collect();
        let origin = merged_origin(&merged);
        let left = files.iter().filter(|file| !is_whole(file)).flat_map(|file| ranges(&file.origin));
        let overlaps = left.into_iter().any(|(writer, range)| range.into_iter().any(|at| origin.has(writer, at)));
        (merged.len() > 1 && !overlaps).then_some(Merge { date, files: merged, origin })
    };
    flushes.into_iter().filter_map(up_to).collect()
}

fn merged_origin(files: &[DataFile]) -> Origin {
    let level = |origin: &Origin| if let Origin::Merge { level, .. } = origin { *level } else { 0 };
    let mut flushes: BTreeMap<WriterId, RangeInclusive<u64>> = BTreeMap::new();
    for (writer, range) in files.iter().flat_map(|file| ranges(&file.origin)) {
        let known = flushes.entry(writer).or_insert_with(|| range.clone());
        *known = *known.start().min(range.start())..=*known.end().max(range.end());
    }
    let level = files.iter().map(|file| level(&file.origin)).max().unwrap_or(0).saturating_add(1);
    Origin::Merge { level, flushes: flushes.into_iter().collect() }
}

/// Rows by key, each with the flush that wrote it. Of several contents of a key the greatest stays.
#[derive(Default)]
pub(super) struct Merged(BTreeMap<Key, (FlushId, Content)>);

impl Merged {
    pub(super) fn add(&mut self, key: Key, flush: FlushId, content: Content) {
        match self.0.get_mut(&key) {
            Some(there) if there.1.order(&content).is_lt() => *there = (flush, content),
            Some(_) => {}
            None => drop(self.0.insert(key, (flush, content))),
        }
    }

    /// The flush of each row.
    pub(super) fn flushes(&self) -> BTreeMap<Key, FlushId> {
        self.0.iter().map(|(key, (flush, _))| (key.clone(), *flush)).collect()
    }

    /// The rows as a file.
    pub(super) fn encode(&self, table: Table, origin: &Origin) -> EncodedFile {
        let mut file = FileEncoder::new(table, &label_columns(), origin).unwrap();
        let mut last = None;
        for (key, (_, content)) in &self.0 {
            if let Key::Sample(series, _) | Key::Histogram(series, _) | Key::Exemplar(series, ..) = key
                && last.replace(series) != Some(series)
            {
                let pairs = parse_labels_text(&series.1).unwrap();
                file.series(Labels { metric: &series.0, pairs: &pairs }).unwrap();
            }
            match (key, content) {
                (Key::Sample(..), Content::Sample(sample)) => file.sample(*sample),
                (Key::Histogram(..), Content::Histogram(histogram)) => file.histogram(histogram),
                (Key::Exemplar(_, timestamp, value, own), _) => file.exemplar(*timestamp, *value, own),
                (Key::Metadata(_, metric, kind, unit, help), &Content::Metadata(received_at)) => {
                    let kind = MetricKind::ALL.into_iter().find(|known| known.as_str() == kind).unwrap().as_str();
                    let [metric, unit, help] = [metric, unit, help].map(Clone::clone);
                    file.metadata(&MetadataRow { metric, kind, unit, help, received_at })
                }
                _ => panic!("{key:?} is {content:?}"),
            }
            .unwrap();
        }
        file.finish().unwrap()
    }
}

#[derive(Clone, Copy)]
struct Labels<'a> {
    metric: &'a str,
    pairs: &'a BTreeMap<String, String>,
}

impl SeriesLabels for Labels<'_> {
    fn metric(&self) -> &str {
        self.metric
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
