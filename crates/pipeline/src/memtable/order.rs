//! The order of series in a file: by metric, then by the canonical text of the other labels.
//!
//! Texts are compared once a symbol and not once a series: each symbol gets its rank among all, and series are sorted by ranks.

use std::cmp::Ordering;

use promarchive_model::compare_escaped;

use super::symbols::Symbol;
use super::view::SeriesView;

/// The indices of a view's series in the order of files.
pub fn file_order(view: &SeriesView) -> Vec<usize> {
    let texts = view.texts();
    let all = || view.symbols().iter().map(|(_, symbols)| &**symbols);
    let metrics = Ranks::new(texts.len(), all().filter_map(|symbols| symbols.first().copied()), |a, b| {
        text(texts, a).cmp(text(texts, b))
    });
    let labels = Ranks::new(texts.len(), all().flat_map(|symbols| symbols.iter().skip(1).copied()), |a, b| {
        compare_escaped(text(texts, a), text(texts, b))
    });
    let mut order: Vec<usize> = (0..view.symbols().len()).collect();
    let symbols = |index: usize| view.symbols().get(index).map_or(&[][..], |(_, symbols)| symbols);
    order.sort_unstable_by(|&a, &b| {
        let (Some((a, a_labels)), Some((b, b_labels))) = (symbols(a).split_first(), symbols(b).split_first()) else {
            return symbols(a).len().cmp(&symbols(b).len());
        };
        metrics.of(*a).cmp(&metrics.of(*b)).then_with(|| labels.compare(a_labels, b_labels))
    });
    order
}

fn text(texts: &[std::sync::Arc<str>], symbol: Symbol) -> &str {
    texts.get(symbol as usize).map_or("", |text| text)
}

/// The rank of each symbol in some order.
struct Ranks(Vec<u32>);

impl Ranks {
    fn new(known: usize, used: impl Iterator<Item = Symbol>, compare: impl Fn(Symbol, Symbol) -> Ordering) -> Self {
        const SEEN: u32 = 1;
        let mut ranks = vec![0; known];
        let mut symbols = Vec::new();
        for symbol in used {
            if let Some(rank) = ranks.get_mut(symbol as usize)
                && *rank == 0
            {
                *rank = SEEN;
                symbols.push(symbol);
            }
        }
        symbols.sort_unstable_by(|&a, &b| compare(a, b));
        for (rank, symbol) in (0..).zip(symbols) {
            if let Some(slot) = ranks.get_mut(symbol as usize) {
                *slot = rank;
            }
        }
        Self(ranks)
    }

    fn of(&self, symbol: Symbol) -> u32 {
        self.0.get(symbol as usize).copied().unwrap_or_default()
    }

    fn compare(&self, a: &[Symbol], b: &[Symbol]) -> Ordering {
        match a.iter().zip(b).find(|(a, b)| a != b) {
            Some((&a, &b)) => self.of(a).cmp(&self.of(b)),
            // One set is the beginning of the other: `,` and `"` go before `}`, so the longer one is first.
            None => b.len().cmp(&a.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memtable::{Index, SenderRef};
    use promarchive_model::labels_text;
    use promarchive_wire::LabelSet;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-c!\"\\\\\n]{1,3}", "\\PC{1,2}"]
    }

    fn set() -> impl Strategy<Value = (String, std::collections::BTreeMap<String, String>)> {
        (text(), proptest::collection::btree_map(text(), text(), 0..4))
    }

    proptest! {
        /// The order of the texts themselves.
        #[test]
        fn files_are_sorted_by_metric_and_labels(sets in proptest::collection::hash_set(set(), 0..30)) {
            let mut index = Index::new(7);
            let series: Vec<_> = sets.iter().map(|(metric, labels)| {
                let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                index.series.find_or_insert(&LabelSet { metric, labels }, None, SenderRef::UNKNOWN)
            }).collect();
            let view = index.series.view(series.into_iter());
            let key = |index: usize| view.get(index).map(|(_, l)| (l.metric().to_owned(), labels_text(l.pairs())));
            let sorted: Vec<_> = file_order(&view).into_iter().map(key).collect();
            prop_assert_eq!(sorted.len(), sets.len());
            prop_assert!(sorted.is_sorted(), "{:?}", sorted);
        }
    }
}
