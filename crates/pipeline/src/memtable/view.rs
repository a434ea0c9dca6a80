//! Labels of some series, to read while the index goes on.

use std::sync::Arc;

use promarchive_model::SeriesLabels;

use super::series::SeriesRef;
use super::symbols::Symbol;

/// Labels of series as they were at one moment.
#[derive(Debug, Default)]
pub struct SeriesView {
    pub(super) texts: Vec<Arc<str>>,
    pub(super) series: Vec<(SeriesRef, Arc<[Symbol]>)>,
}

impl SeriesView {
    /// One of the series, by its index in [`Self::iter`].
    pub fn get(&self, at: usize) -> Option<(SeriesRef, Labels<'_>)> {
        self.series.get(at).map(|(index, symbols)| (*index, Labels { texts: &self.texts, symbols }))
    }

    /// Texts by symbol.
    pub(super) fn texts(&self) -> &[Arc<str>] {
        &self.texts
    }

    /// The series, each with its labels as symbols: the metric, then name and value of the others.
    pub(super) fn symbols(&self) -> &[(SeriesRef, Arc<[Symbol]>)] {
        &self.series
    }

    /// The series, each with its labels.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesRef, Labels<'_>)> {
        self.series.iter().map(|(index, symbols)| (*index, Labels { texts: &self.texts, symbols }))
    }
}

/// The labels of one series.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    texts: &'a [Arc<str>],
    symbols: &'a [Symbol],
}

impl<'a> Labels<'a> {
    fn text(self, symbol: Symbol) -> &'a str {
        self.texts.get(symbol as usize).map_or("", |text| text)
    }

    /// The metric's name.
    pub fn metric(self) -> &'a str {
        self.symbols.first().map_or("", |&metric| self.text(metric))
    }

    /// The other labels, sorted by name.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.symbols.get(1..).unwrap_or_default().as_chunks::<2>().0;
        pairs.iter().map(move |&[name, value]| (self.text(name), self.text(value)))
    }
}

impl SeriesLabels for Labels<'_> {
    fn metric(&self) -> &str {
        Labels::metric(*self)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        Labels::pairs(*self)
    }
}
