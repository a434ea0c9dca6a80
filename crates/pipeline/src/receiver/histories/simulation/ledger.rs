//! What was promised: rows that were sent, acknowledged, owed to every reader.
//!
//! Histories here are shorter than the horizon reaches, so there is one excuse only for a key that stands twice: another program has put a
//! file of its own instead of ours.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::receiver::histories::ensure;
use crate::receiver::histories::rows::{Content, Key};
use crate::receiver::histories::tables::Contents;

struct Sending {
    content: Content,
    serial: u64,
    receiver: usize,
    acknowledged: bool,
    /// A flush that had to hold it has succeeded.
    owed: bool,
}

#[derive(Default)]
pub(super) struct Ledger {
    sent: BTreeMap<Key, Vec<Sending>>,
    serial: u64,
    /// What readers have seen since the last power loss.
    seen: BTreeSet<Key>,
    /// Whether a clock was ever set back: metadata is remembered by days, and those of the future push out that of today.
    pub(super) set_back: bool,
    /// Keys of rows that are in a file of another program.
    excused: BTreeSet<Key>,
    /// Flushes that succeeded, by receiver.
    flushes: BTreeMap<usize, u64>,
}

impl Ledger {
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// The rows of one request.
    pub(super) fn send(&mut self, rows: Vec<(Key, Content)>, receiver: usize) {
        for (key, content) in rows {
            let sending = Sending { content, serial: self.serial, receiver, acknowledged: false, owed: false };
            self.sent.entry(key).or_default().push(sending);
        }
        self.serial += 1;
    }

    fn sendings(&mut self) -> impl Iterator<Item = &mut Sending> {
        self.sent.values_mut().flatten()
    }

    pub(super) fn acknowledge(&mut self, serials: &Range<u64>) {
        let mine = self.sendings().filter(|sending| serials.contains(&sending.serial));
        mine.for_each(|sending| sending.acknowledged = true);
    }

    /// A flush has succeeded that began when `serial` was next.
    pub(super) fn flushed(&mut self, receiver: usize, serial: u64) {
        let mine =
            |sending: &&mut Sending| sending.acknowledged && sending.receiver == receiver && sending.serial < serial;
        self.sendings().filter(mine).for_each(|sending| sending.owed = true);
        *self.flushes.entry(receiver).or_default() += 1;
    }

    pub(super) fn flushes(&self, receiver: usize) -> u64 {
        self.flushes.get(&receiver).copied().unwrap_or(0)
    }

    pub(super) fn acknowledged_rows(&self) -> usize {
        self.sent.values().flatten().filter(|sending| sending.acknowledged).count()
    }

    /// These may stand twice from now on.
    pub(super) fn excuse(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.excused.extend(keys);
    }

    /// What was never synced may be gone, whoever has seen it.
    pub(super) fn power_lost(&mut self) {
        self.seen.clear();
    }

    pub(super) fn check(&mut self, contents: &Contents) -> Result<(), String> {
        let gone = self.seen.iter().find(|key| !contents.rows.contains_key(key));
        ensure!(gone.is_none(), "seen, and gone: {gone:?}");
        for (key, sendings) in &self.sent {
            for owed in sendings.iter().filter(|sending| sending.owed) {
                let found = contents.rows.get(key).into_iter().flatten().map(|(_, content)| content);
                let Some(found) = found.max_by(|a, b| a.order(b)) else {
                    return Err(format!("acknowledged and lost: {key:?} {:?}", owed.content));
                };
                let order = found.order(&owed.content);
                ensure!(order != Ordering::Less, "{key:?} is {found:?}, and {:?} was acknowledged", owed.content);
            }
        }
        for (key, rows) in &contents.rows {
            let forgotten = self.set_back && matches!(key, Key::Metadata(..));
            let excused = self.excused.contains(key);
            ensure!(rows.len() == 1 || forgotten || excused, "twice: {key:?} {rows:?}");
            let sendings = self.sent.get(key).map_or(&[][..], Vec::as_slice);
            let sent = |content: &Content| sendings.iter().any(|sending| sending.content == *content);
            let strange = rows.iter().find(|(_, content)| !sent(content));
            ensure!(strange.is_none(), "never sent, or refused: {key:?} {strange:?}");
        }
        self.seen.extend(contents.rows.keys().cloned());
        Ok(())
    }
}
