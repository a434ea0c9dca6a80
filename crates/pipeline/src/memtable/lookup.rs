//! Which series the labels of a request name, in an index that others use between two looks at it.

use promarchive_model::{METRIC_NAME, SetLabel};
use promarchive_wire::{LabelSet, RawLabels};

use super::naming::SenderRef;
use super::series::{LabelKey, SeriesIndex, SeriesRef};
use super::symbols::Symbol;

/// In place of a symbol: not looked up yet.
const UNKNOWN: Symbol = Symbol::MAX;
/// In place of a symbol: the name of the label that holds the metric, which no series has among its labels.
const METRIC: Symbol = Symbol::MAX - 1;
/// In place of a symbol: no series uses the text. True until series are added.
const ABSENT: Symbol = Symbol::MAX - 2;

/// What one request has found out about an index.
pub(super) struct Lookup<'s, 'a> {
    /// Of a 2.0 request.
    symbols: &'s [&'a [u8]],
    /// The index's symbols for those of the request, or a marker.
    known: Vec<Symbol>,
    /// Those that are [`ABSENT`].
    absent: Vec<usize>,
    /// Scratch: the labels of a 2.0 series as the index's symbols.
    labels: Vec<Symbol>,
    /// What the receiver sets on every series.
    label: Option<SetLabel<'a>>,
    key: LabelKey,
    /// The index's symbols for its name and value.
    label_symbols: Option<(Symbol, Symbol)>,
    /// The series that was found last.
    last: Option<SeriesRef>,
    sender: SenderRef,
    /// In which epoch of the index all of this is true.
    epoch: u32,
}

impl<'s, 'a> Lookup<'s, 'a> {
    pub(super) fn new(
        symbols: &'s [&'a [u8]],
        label: Option<SetLabel<'a>>,
        key: LabelKey,
        sender: SenderRef,
        epoch: u32,
    ) -> Self {
        Self {
            symbols,
            known: vec![UNKNOWN; symbols.len()],
            absent: Vec::new(),
            labels: Vec::new(),
            label,
            key,
            label_symbols: None,
            last: None,
            sender,
            epoch,
        }
    }

    /// To be called whenever others may have used the index since.
    pub(super) fn resume(&mut self, index: &SeriesIndex) {
        if self.epoch != index.epoch() {
            self.known.fill(UNKNOWN);
            self.absent.clear();
            self.epoch = index.epoch();
        }
        self.forget_absent();
        let symbol = |text: &str| index.find_symbol(text.as_bytes());
        self.label_symbols = self.label.and_then(|label| Some((symbol(label.name())?, symbol(label.value())?)));
    }

    fn forget_absent(&mut self) {
        for at in self.absent.drain(..) {
            if let Some(known) = self.known.get_mut(at) {
                *known = UNKNOWN;
            }
        }
    }

    /// The series that raw labels name, if it was named so before.
    pub(super) fn find(&mut self, index: &mut SeriesIndex, raw: &RawLabels<'_>) -> Option<SeriesRef> {
        let found = match raw {
            RawLabels::Text(text) => index.find_text(index.hash_text(text, self.key), self.last, self.sender),
            RawLabels::Refs(_) if self.translate(index, raw) => {
                index.find_symbols(&self.labels, self.last, self.sender)
            }
            _ => None,
        };
        self.last = found.or(self.last);
        found
    }

    /// The series of a checked label set that raw labels stand for, made known if it is not. `before` is the series that the request
    /// named before it.
    pub(super) fn find_or_insert(
        &mut self,
        index: &mut SeriesIndex,
        raw: &RawLabels<'_>,
        set: &LabelSet<'_>,
        before: Option<SeriesRef>,
    ) -> SeriesRef {
        let found = index.find_or_insert(set, before, self.sender);
        if let RawLabels::Text(text) = raw {
            index.name_by_text(found, index.hash_text(text, self.key), self.sender);
        }
        found
    }

    /// Which series was named last.
    pub(super) fn set_last(&mut self, last: Option<SeriesRef>) {
        self.last = last.or(self.last);
    }

    /// Fills `labels` with the index's symbols for the references of a 2.0 series: the metric first, the others as they
    /// come, and the label that is set where it belongs. False when one is unknown, or anything is out of the ordinary: only what is
    /// canonical can be found this way. A series that has the label itself is parsed each time, because what is wrong with its label is refused.
    fn translate(&mut self, index: &SeriesIndex, raw: &RawLabels<'_>) -> bool {
        self.labels.clear();
        self.labels.push(UNKNOWN);
        let mut to_set = self.label_symbols;
        if self.label.is_some() && to_set.is_none() {
            return false;
        }
        let mut references = raw.refs();
        while let Some(name) = references.next() {
            let (Some(name), Some(Some(value))) = (name, references.next()) else { return false };
            match (self.symbol(index, name), self.symbol(index, value)) {
                (ABSENT, _) | (_, ABSENT | METRIC) => return false,
                (METRIC, value) => match self.labels.first_mut() {
                    Some(metric) if *metric == UNKNOWN => *metric = value,
                    _ => return false,
                },
                (name, value) => {
                    if let Some((set_name, set_value)) = to_set
                        && index.text(name) >= index.text(set_name)
                    {
                        if name == set_name {
                            return false;
                        }
                        self.labels.extend([set_name, set_value]);
                        to_set = None;
                    }
                    self.labels.extend([name, value]);
                }
            }
        }
        self.labels.extend(to_set.into_iter().flat_map(|(name, value)| [name, value]));
        true
    }

    /// The index's symbol for one of the request's, looked up once.
    fn symbol(&mut self, index: &SeriesIndex, reference: usize) -> Symbol {
        match self.known.get(reference) {
            Some(&UNKNOWN) => self.look_up(index, reference),
            Some(&known) => known,
            None => ABSENT,
        }
    }

    #[cold]
    fn look_up(&mut self, index: &SeriesIndex, reference: usize) -> Symbol {
        let symbol = match self.symbols.get(reference) {
            Some(&text) if text == METRIC_NAME.as_bytes() => METRIC,
            Some(text) => index.find_symbol(text).unwrap_or(ABSENT),
            None => ABSENT,
        };
        if symbol == ABSENT {
            self.absent.push(reference);
        }
        if let Some(known) = self.known.get_mut(reference) {
            *known = symbol;
        }
        symbol
    }
}
