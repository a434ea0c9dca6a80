//! The series that are known: found by what a request says, without allocation, and given an index.
//!
//! A series is its label set. The set is kept as symbols: the metric, then name and value of each other label, sorted by name. A 2.0 request
//! names labels by its own symbol table, which is translated once a request; the symbols are then hashed. A 1.0 request repeats the text: its
//! raw bytes are hashed. Hashes have 96 bits and keys that no sender knows, and what is found by one is not compared again: that took half
//! of the time of a request. That two of ten million label sets share a hash has a probability of 10⁻¹⁵.
//!
//! A sender names its series in the same order again and again. So each series remembers which one followed it, and that one is looked at
//! before the table is: neighbours in memory, where the table is read at random for each sample.
//!
//! A series is forgotten when nothing refers to it any more: no buffered sample, no sample within the deduplication horizon, no
//! request in flight. For the last, each request holds the epoch in which it was resolved.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;
use promarchive_model::SetLabel;
use promarchive_wire::LabelSet;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::horizon::Cost;
use super::naming::{LabelsHash, Naming, SenderRef};
use super::symbols::{Symbol, Symbols, label_bytes};
use super::view::SeriesView;

/// A keyed hash of a label that the receiver sets; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LabelKey([u64; 2]);

/// A series by a hash of its labels.
type Entry = (LabelsHash, SeriesRef);

/// Index of a series; used again after the series is forgotten.
pub type SeriesRef = u32;

/// What a series takes in the index besides its labels.
pub(super) const SERIES_BYTES: usize = 150;

/// Holds back the forgetting of series that a request refers to.
#[derive(Clone, Debug)]
pub struct EpochGuard(#[expect(dead_code, reason = "held, not read")] Arc<()>);

#[derive(Debug)]
struct Series {
    /// The metric, then name and value of each other label, sorted by name.
    labels: Arc<[Symbol]>,
    /// Slot hash of the raw text under which 1.0 requests last named it.
    text_slot_hash: Option<u64>,
}

/// All known series.
#[derive(Debug)]
pub struct SeriesIndex {
    symbols: Symbols,
    series: Vec<Option<Series>>,
    namings: Vec<Naming>,
    free: Vec<SeriesRef>,
    by_labels: HashTable<Entry>,
    by_text: HashTable<Entry>,
    /// For raw bytes, and for a label that the receiver sets.
    secrets: [RapidSecrets; 4],
    seed: u64,
    epoch: u32,
    epochs: VecDeque<(u32, Arc<()>)>,
    label_bytes: usize,
}

impl SeriesIndex {
    /// `seed` must be unknown to senders.
    pub fn new(seed: u64) -> Self {
        Self {
            symbols: Symbols::new(seed),
            series: Vec::new(),
            namings: Vec::new(),
            free: Vec::new(),
            by_labels: HashTable::new(),
            by_text: HashTable::new(),
            secrets: [17, 41, 5, 29].map(|turn| RapidSecrets::seed(seed.rotate_left(turn))),
            seed,
            epoch: 0,
            epochs: VecDeque::from([(0, Arc::new(()))]),
            label_bytes: 0,
        }
    }

    /// Number of known series.
    pub fn len(&self) -> usize {
        self.series.len() - self.free.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the largest index given out.
    pub fn bound(&self) -> usize {
        self.series.len()
    }

    /// Bytes held, estimated.
    pub fn heap_bytes(&self) -> usize {
        self.symbols.heap_bytes()
            + self.label_bytes
            + self.series.capacity() * size_of::<Option<Series>>()
            + self.namings.capacity() * size_of::<Naming>()
            + self.free.capacity() * size_of::<SeriesRef>()
            + self.by_labels.allocation_size()
            + self.by_text.allocation_size()
    }

    /// Bytes that labels take, and how many series have them.
    pub(super) fn label_bytes(&self) -> (usize, usize) {
        (self.symbols.text_bytes() + self.label_bytes, self.len())
    }

    pub(super) fn epoch_guard(&self) -> EpochGuard {
        EpochGuard(self.epochs.back().map(|(_, token)| token.clone()).unwrap_or_default())
    }

    /// The series that followed `last`, if a request names it by this hash again.
    fn expected(&mut self, last: Option<SeriesRef>, hash: LabelsHash, sender: SenderRef) -> Option<SeriesRef> {
        let expected = self.namings.get(last? as usize)?.next;
        let naming = self.namings.get_mut(expected as usize)?;
        if !naming.is_by(hash) {
            return None;
        }
        naming.renew(self.epoch, sender);
        Some(expected)
    }

    /// Remembers that a request of this sender named a series by this hash, after `last`.
    fn named(&mut self, last: Option<SeriesRef>, found: SeriesRef, hash: LabelsHash, sender: SenderRef) {
        if let Some(naming) = self.namings.get_mut(found as usize) {
            naming.set_hash(hash);
            naming.renew(self.epoch, sender);
        }
        if let Some(before) = last.and_then(|last| self.namings.get_mut(last as usize)) {
            before.next = found;
        }
    }

    /// Who was the first to name a series since it is known, and how many bytes are given back when it is forgotten, about: of a text that several
    /// series use, each takes a part.
    pub fn cost(&self, series: SeriesRef) -> Cost {
        let sender = self.namings.get(series as usize).map_or(SenderRef::UNKNOWN, |naming| naming.sender);
        let labels = self.labels(series);
        let texts: usize = labels.iter().map(|&symbol| self.symbols.bytes_of(symbol)).sum();
        (sender, u32::try_from(SERIES_BYTES + label_bytes(labels) + texts).unwrap_or(u32::MAX))
    }

    fn labels(&self, series: SeriesRef) -> &[Symbol] {
        self.series.get(series as usize).and_then(Option::as_ref).map_or(&[], |series| &series.labels)
    }

    pub(super) fn metric(&self, series: SeriesRef) -> Option<Symbol> {
        self.labels(series).first().copied()
    }

    pub(super) fn value(&self, series: SeriesRef, name: Symbol) -> Option<Symbol> {
        let (pairs, _) = self.labels(series).get(1..)?.as_chunks::<2>();
        pairs.iter().find(|[label, _]| *label == name).map(|[_, value]| *value)
    }

    pub(super) fn text(&self, symbol: Symbol) -> &str {
        self.symbols.text(symbol)
    }

    /// The symbol of a text that some series uses.
    pub(super) fn find_symbol(&self, text: &[u8]) -> Option<Symbol> {
        self.symbols.find(text)
    }

    /// The series with these labels: the metric, then names and values sorted by name. `last` is the series that the request
    /// named before, if any.
    pub(super) fn find_symbols(
        &mut self,
        labels: &[Symbol],
        last: Option<SeriesRef>,
        sender: SenderRef,
    ) -> Option<SeriesRef> {
        let hash = self.hash_symbols(labels);
        if let Some(expected) = self.expected(last, hash, sender) {
            return Some(expected);
        }
        let found = self.by_labels.find(hash.slot_hash, |&(other, _)| other == hash)?.1;
        self.named(last, found, hash, sender);
        Some(found)
    }

    fn hash_symbols(&self, labels: &[Symbol]) -> LabelsHash {
        LabelsHash::new(
            [self.seed, self.seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15].map(|seed| hash_symbols(seed, labels)),
        )
    }

    /// What a label that the receiver sets adds to [`Self::hash_text`].
    pub(super) fn label_key(&self, label: Option<SetLabel<'_>>) -> LabelKey {
        let Some(label) = label else { return LabelKey([0; 2]) };
        // No UTF-8 has the byte between them.
        let text = [label.name().as_bytes(), &[0xff], label.value().as_bytes()].concat();
        let [_, _, slot, check] = &self.secrets;
        LabelKey([slot, check].map(|secrets| rapidhash_v3_seeded(&text, secrets)))
    }

    /// Hash of the raw label bytes of a 1.0 series, and of the label that the receiver sets on it.
    pub(super) fn hash_text(&self, raw: &[u8], LabelKey([slot_key, check_key]): LabelKey) -> LabelsHash {
        let [slot, check, ..] = &self.secrets;
        let [slot, check] = [slot, check].map(|secrets| rapidhash_v3_seeded(raw, secrets));
        LabelsHash::new([slot ^ slot_key, check ^ check_key])
    }

    /// Grows when series are forgotten: what is known of symbols from before does not hold any more.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The series that was last named by raw bytes of this hash. `last` as in [`Self::find_symbols`].
    pub(super) fn find_text(
        &mut self,
        hash: LabelsHash,
        last: Option<SeriesRef>,
        sender: SenderRef,
    ) -> Option<SeriesRef> {
        if let Some(expected) = self.expected(last, hash, sender) {
            return Some(expected);
        }
        let found = self.by_text.find(hash.slot_hash, |&(other, _)| other == hash)?.1;
        self.named(last, found, hash, sender);
        Some(found)
    }

    /// The series of a checked label set, made known if it is not. `last` as in [`Self::find_symbols`].
    pub fn find_or_insert(&mut self, set: &LabelSet<'_>, last: Option<SeriesRef>, sender: SenderRef) -> SeriesRef {
        let known: Option<Vec<Symbol>> = texts(set).map(|text| self.symbols.find(text.as_bytes())).collect();
        if let Some(found) = known.and_then(|labels| self.find_symbols(&labels, last, sender)) {
            return found;
        }
        let labels: Arc<[Symbol]> = texts(set).map(|text| self.symbols.acquire(text)).collect();
        self.insert(labels, last, sender)
    }

    fn insert(&mut self, labels: Arc<[Symbol]>, last: Option<SeriesRef>, sender: SenderRef) -> SeriesRef {
        let hash = self.hash_symbols(&labels);
        self.label_bytes += label_bytes(&labels);
        let series = Some(Series { labels, text_slot_hash: None });
        let index = match self.free.pop() {
            Some(index) => {
                if let Some(slot) = self.series.get_mut(index as usize) {
                    *slot = series;
                }
                index
            }
            None => {
                self.series.push(series);
                self.namings.push(Naming::NONE);
                SeriesRef::try_from(self.series.len() - 1).unwrap_or(SeriesRef::MAX)
            }
        };
        self.named(last, index, hash, sender);
        self.by_labels.insert_unique(hash.slot_hash, (hash, index), |(hash, _)| hash.slot_hash);
        index
    }

    /// Remembers that raw label bytes of this hash name the series.
    pub(super) fn name_by_text(&mut self, series: SeriesRef, hash: LabelsHash, sender: SenderRef) {
        self.named(None, series, hash, sender);
        let Some(Some(entry)) = self.series.get_mut(series as usize) else { return };
        if let Some(before) = entry.text_slot_hash.replace(hash.slot_hash) {
            self.forget_text(series, before);
        }
        self.by_text.insert_unique(hash.slot_hash, (hash, series), |(hash, _)| hash.slot_hash);
    }

    fn forget_text(&mut self, series: SeriesRef, slot_hash: u64) {
        if let Ok(found) = self.by_text.find_entry(slot_hash, |&(_, other)| other == series) {
            found.remove();
        }
    }

    /// Forgets as [`Self::forget_unused`] does. `used` calls what it is given with each series that is used, some more than once.
    pub fn forget_all_but(&mut self, used: impl FnOnce(&mut dyn FnMut(SeriesRef))) -> usize {
        let mut is_used = vec![false; self.bound()];
        used(&mut |series| {
            if let Some(is_used) = is_used.get_mut(series as usize) {
                *is_used = true;
            }
        });
        self.forget_unused(|series| is_used.get(series as usize).copied().unwrap_or(true))
    }

    /// Forgets every series that `is_used` denies and no request in flight refers to, and starts a new epoch.
    pub fn forget_unused(&mut self, is_used: impl Fn(SeriesRef) -> bool) -> usize {
        while self.epochs.len() > 1 && self.epochs.front().is_some_and(|(_, token)| Arc::strong_count(token) == 1) {
            self.epochs.pop_front();
        }
        let oldest = self.epochs.front().map_or(self.epoch, |&(epoch, _)| epoch);
        let mut forgotten = 0;
        for index in 0..SeriesRef::try_from(self.series.len()).unwrap_or(SeriesRef::MAX) {
            let in_flight = self.namings.get(index as usize).is_none_or(|naming| naming.epoch >= oldest);
            if in_flight || is_used(index) {
                continue;
            }
            let Some(slot) = self.series.get_mut(index as usize) else { continue };
            if let Some(series) = slot.take() {
                self.remove(index, &series);
                forgotten += 1;
            }
        }
        if forgotten > 0 {
            self.shrink();
        }
        self.epoch += 1;
        self.epochs.push_back((self.epoch, Arc::new(())));
        forgotten
    }

    /// Gives the memory of forgotten series back: a flood of them must not count for ever.
    fn shrink(&mut self) {
        while matches!(self.series.last(), Some(None)) {
            self.series.pop();
        }
        self.namings.truncate(self.series.len());
        let bound = self.series.len();
        self.free.retain(|&free| (free as usize) < bound);
        // The lowest is used first, so that the end becomes empty.
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        shrink_vec(&mut self.series);
        shrink_vec(&mut self.namings);
        shrink_vec(&mut self.free);
        shrink_table(&mut self.by_labels, |(hash, _)| hash.slot_hash);
        shrink_table(&mut self.by_text, |(hash, _)| hash.slot_hash);
        self.symbols.shrink();
    }

    fn remove(&mut self, index: SeriesRef, series: &Series) {
        if let Some(naming) = self.namings.get_mut(index as usize) {
            *naming = Naming::NONE;
        }
        if let Some(hash) = series.text_slot_hash {
            self.forget_text(index, hash);
        }
        let hash = self.hash_symbols(&series.labels);
        if let Ok(found) = self.by_labels.find_entry(hash.slot_hash, |&(_, other)| other == index) {
            found.remove();
        }
        self.label_bytes -= label_bytes(&series.labels);
        series.labels.iter().for_each(|&symbol| self.symbols.release(symbol));
        self.free.push(index);
    }

    /// The labels of some series, to read while the index goes on.
    pub fn view(&self, series: impl Iterator<Item = SeriesRef>) -> SeriesView {
        let mut view = SeriesView::default();
        self.add_to(&mut view, series);
        view
    }

    /// Adds the labels of more series to a view, in which none must have been forgotten since.
    pub fn add_to(&self, view: &mut SeriesView, series: impl Iterator<Item = SeriesRef>) {
        let labels = |index: SeriesRef| {
            let series = self.series.get(index as usize).and_then(Option::as_ref);
            (index, series.map(|series| series.labels.clone()).unwrap_or_default())
        };
        view.series.extend(series.map(labels));
        view.texts.extend(self.symbols.texts().skip(view.texts.len()));
    }
}

/// Halves at least, once three quarters are empty.
pub(super) fn shrink_vec<T>(vec: &mut Vec<T>) {
    if vec.len() < vec.capacity() / 4 {
        vec.shrink_to(vec.len() * 2);
    }
}

/// The same for a table.
pub(super) fn shrink_table<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if table.len() < table.capacity() / 4 {
        table.shrink_to(table.len() * 2, hash);
    }
}

fn texts<'a>(set: &LabelSet<'a>) -> impl Iterator<Item = &'a str> {
    std::iter::once(set.metric).chain(set.labels.iter().flat_map(|&(name, value)| [name, value]))
}

/// Folded multiplication of each pair of symbols (the mixing step of wyhash).
fn hash_symbols(seed: u64, labels: &[Symbol]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, value: u64| {
        let product = u128::from(hash ^ value) * u128::from(FACTOR);
        (product >> 64) as u64 ^ product as u64
    };
    let (pairs, rest) = labels.as_chunks::<2>();
    let hash = pairs.iter().fold(seed | 1, |hash, &[a, b]| mix(hash, u64::from(a) << 32 | u64::from(b)));
    mix(rest.iter().fold(hash, |hash, &last| mix(hash, u64::from(last))), labels.len() as u64)
}
