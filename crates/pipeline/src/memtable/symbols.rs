//! Label strings, each kept once for as long as a series uses it.

use std::sync::Arc;

use hashbrown::HashTable;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::series::{shrink_table, shrink_vec};

/// A string of [`Symbols`].
pub(super) type Symbol = u32;

/// Bytes that a text takes besides itself and its entry: header, table slot, and the entry in a view.
const PER_TEXT: usize = 24 + size_of::<Arc<str>>();

#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    /// Series that use it; at zero the entry is free.
    uses: u32,
}

/// Counted strings.
#[derive(Debug)]
pub(super) struct Symbols {
    entries: Vec<Entry>,
    by_text: HashTable<Symbol>,
    free: Vec<Symbol>,
    secrets: RapidSecrets,
    text_bytes: usize,
}

impl Symbols {
    /// `seed` must be unknown to senders, or they can make look-ups slow.
    pub(super) fn new(seed: u64) -> Self {
        let secrets = RapidSecrets::seed(seed);
        Self { entries: Vec::new(), by_text: HashTable::new(), free: Vec::new(), secrets, text_bytes: 0 }
    }

    fn hash(&self, text: &[u8]) -> u64 {
        rapidhash_v3_seeded(text, &self.secrets)
    }

    /// The symbol of a text that some series uses. Bytes, because a request's strings are not checked to be UTF-8 before
    /// they are found unknown.
    pub(super) fn find(&self, text: &[u8]) -> Option<Symbol> {
        self.by_text.find(self.hash(text), |&symbol| self.text(symbol).as_bytes() == text).copied()
    }

    /// The text of a symbol; empty for one that is not in use.
    pub(super) fn text(&self, symbol: Symbol) -> &str {
        self.entries.get(symbol as usize).map_or("", |entry| &entry.text)
    }

    /// What each of its uses takes of a text, in bytes.
    pub(super) fn bytes_of(&self, symbol: Symbol) -> usize {
        let entry = self.entries.get(symbol as usize);
        entry.map_or(0, |entry| (entry.text.len() + PER_TEXT) / entry.uses.max(1) as usize)
    }

    /// Counts one more use of a text.
    pub(super) fn acquire(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.find(text.as_bytes()) {
            if let Some(entry) = self.entries.get_mut(symbol as usize) {
                entry.uses += 1;
            }
            return symbol;
        }
        let entry = Entry { text: text.into(), uses: 1 };
        self.text_bytes += text.len();
        let symbol = match self.free.pop() {
            Some(symbol) => {
                if let Some(slot) = self.entries.get_mut(symbol as usize) {
                    *slot = entry;
                }
                symbol
            }
            None => {
                self.entries.push(entry);
                Symbol::try_from(self.entries.len() - 1).unwrap_or(Symbol::MAX)
            }
        };
        let Self { entries, by_text, secrets, .. } = self;
        let hash = rapidhash_v3_seeded(text.as_bytes(), secrets);
        by_text.insert_unique(hash, symbol, |&symbol| hash_of(entries, symbol, secrets));
        symbol
    }

    /// Takes one use back; the last one frees the text.
    pub(super) fn release(&mut self, symbol: Symbol) {
        let Some(entry) = self.entries.get_mut(symbol as usize) else { return };
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses > 0 {
            return;
        }
        let text = std::mem::replace(&mut entry.text, "".into());
        self.text_bytes -= text.len();
        let hash = self.hash(text.as_bytes());
        if let Ok(found) = self.by_text.find_entry(hash, |&other| other == symbol) {
            found.remove();
        }
        self.free.push(symbol);
    }

    /// Gives the memory of free entries back.
    pub(super) fn shrink(&mut self) {
        let Self { entries, by_text, free, secrets, .. } = self;
        while entries.last().is_some_and(|entry| entry.uses == 0) {
            entries.pop();
        }
        free.retain(|&symbol| (symbol as usize) < entries.len());
        free.sort_unstable_by(|a, b| b.cmp(a));
        shrink_vec(entries);
        shrink_vec(free);
        shrink_table(by_text, |&symbol| hash_of(entries, symbol, secrets));
    }

    /// All texts by symbol, to read while the original goes on.
    pub(super) fn texts(&self) -> impl Iterator<Item = Arc<str>> {
        self.entries.iter().map(|entry| entry.text.clone())
    }

    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Bytes held, estimated: text with the allocator's rounding, entries and tables.
    pub(super) fn heap_bytes(&self) -> usize {
        self.text_bytes
            + self.text_bytes / 8
            + self.entries.len() * PER_TEXT
            + self.entries.capacity() * size_of::<Entry>()
            + self.free.capacity() * size_of::<Symbol>()
            + self.by_text.allocation_size()
    }
}

fn hash_of(entries: &[Entry], symbol: Symbol, secrets: &RapidSecrets) -> u64 {
    rapidhash_v3_seeded(entries.get(symbol as usize).map_or(&[], |entry| entry.text.as_bytes()), secrets)
}

/// Bytes that the labels of a series take on the heap.
pub(super) fn label_bytes(labels: &[Symbol]) -> usize {
    const ARC_HEADER: usize = 16;
    size_of_val(labels) + ARC_HEADER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shared_and_given_back() {
        let mut symbols = Symbols::new(1);
        let a = symbols.acquire("a");
        assert_eq!(symbols.acquire("a"), a);
        let b = symbols.acquire("b");
        symbols.release(a);
        assert_eq!(symbols.find(b"a"), Some(a));
        symbols.release(a);
        assert_eq!(symbols.find(b"a"), None);
        assert_eq!(symbols.acquire("c"), a, "the slot is used again");
        assert_eq!((symbols.text(a), symbols.text(b)), ("c", "b"));
    }
}
