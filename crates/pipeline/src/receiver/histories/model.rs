//! What was promised: every row that was sent, whether it was acknowledged, and what it may meet in the tables.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::ensure;
use super::rows::{Content, Place};
use super::tables::{Contents, Flush};
use crate::memtable::MIN_GENERATIONS;
use crate::wal::WriterId;

/// One sending of a row.
struct Sending {
    content: Content,
    serial: u64,
    /// To which WAL.
    wal: usize,
    acknowledged: bool,
    /// A flush that had to hold it has succeeded.
    owed: bool,
    /// How many flushes had taken rows before it was sent.
    flushes_before: usize,
}

/// A flush of which rows are in the tables.
#[derive(Debug)]
struct Seen {
    flush: Flush,
    /// When its first rows came, and when it was known to be complete, at the latest.
    first: i64,
    last: i64,
}

/// All rows that were ever sent, and all flushes that were seen to write.
pub(super) struct Model {
    sent: BTreeMap<Place, Vec<Sending>>,
    serial: u64,
    /// Flushes in the order in which they came to the tables.
    flushes: Vec<Seen>,
    /// How many of them were complete when a flush last succeeded.
    complete: usize,
    /// How long the horizon reaches back.
    keep: i64,
    /// Flushes before this one were dropped from the horizon because memory was short.
    relieved_before: usize,
}

impl Model {
    pub(super) fn new(keep: i64) -> Self {
        Self { sent: BTreeMap::new(), serial: 0, flushes: Vec::new(), complete: 0, keep, relieved_before: 0 }
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn flushes(&self) -> usize {
        self.flushes.len()
    }

    /// Rows may come to the tables from now on; `flushes_before` have taken their rows already.
    pub(super) fn send(&mut self, rows: Vec<(Place, Content)>, wal: usize, flushes_before: usize) {
        for (place, content) in rows {
            let sending =
                Sending { content, serial: self.serial, wal, acknowledged: false, owed: false, flushes_before };
            self.sent.entry(place).or_default().push(sending);
        }
        self.serial += 1;
    }

    fn sendings(&mut self) -> impl Iterator<Item = &mut Sending> {
        self.sent.values_mut().flatten()
    }

    /// What was sent with these serial numbers is acknowledged.
    pub(super) fn acknowledge(&mut self, serials: std::ops::Range<u64>) {
        self.sendings()
            .filter(|sending| serials.contains(&sending.serial))
            .for_each(|sending| sending.acknowledged = true);
    }

    /// A flush of this WAL has succeeded, which began when `serial` was next.
    pub(super) fn flushed(&mut self, wal: usize, serial: u64, now: i64) {
        self.flushes.iter_mut().skip(self.complete).for_each(|seen| seen.last = now);
        self.complete = self.flushes.len();
        let mine = |sending: &&mut Sending| sending.acknowledged && sending.wal == wal && sending.serial < serial;
        self.sendings().filter(mine).for_each(|sending| sending.owed = true);
    }

    /// A WAL directory is taken up again: what only it holds counts as sent now, because the horizon has moved on without it.
    pub(super) fn resumed(&mut self, wal: usize) {
        let now = self.flushes.len();
        let parked = |sending: &&mut Sending| sending.wal == wal && !sending.owed;
        self.sendings().filter(parked).for_each(|sending| sending.flushes_before = now);
    }

    /// Memory was short: only the last flushes stay within the horizon.
    pub(super) fn relieved(&mut self) {
        self.relieved_before = self.flushes.len();
    }

    /// Takes note of new flushes, then holds the tables against what was promised.
    pub(super) fn check(&mut self, contents: &Contents, now: i64) -> Result<(), String> {
        for (&flush, &first) in &contents.flushes {
            if !self.flushes.iter().any(|known| known.flush == flush) {
                self.flushes.push(Seen { flush, first, last: now });
            }
        }
        for (place, sendings) in &self.sent {
            let rows = contents.rows.get(place).map_or(&[][..], Vec::as_slice);
            let greatest = rows.iter().map(|(_, content)| content).max_by(|a, b| a.order(b));
            for owed in sendings.iter().filter(|sending| sending.owed) {
                let Some(greatest) = greatest else {
                    return Err(format!("acknowledged and lost: {place:?} {:?}", owed.content));
                };
                let order = greatest.order(&owed.content);
                ensure!(order != Ordering::Less, "{place:?} is {greatest:?}, and {:?} was acknowledged", owed.content);
            }
        }
        for (place, rows) in &contents.rows {
            let Some(sendings) = self.sent.get(place) else { return Err(format!("never sent: {place:?} {rows:?}")) };
            for (_, content) in rows {
                ensure!(
                    sendings.iter().any(|sending| sending.content == *content),
                    "never sent: {place:?} {content:?}"
                );
            }
            self.check_once(place, rows, sendings)?;
        }
        Ok(())
    }

    /// A place may stand twice only because a row was sent again when the flush that had written the first was beyond the horizon.
    fn check_once(&self, place: &Place, rows: &[(Flush, Content)], sendings: &[Sending]) -> Result<(), String> {
        if matches!(place, Place::Metadata(..)) {
            // It is remembered by days, of which a WAL directory that comes back late may have missed more than are kept.
            let writers: BTreeSet<WriterId> = rows.iter().map(|((writer, _), _)| *writer).collect();
            ensure!(writers.len() == rows.len(), "twice: {place:?} {rows:?}");
            return Ok(());
        }
        let index = |flush: &Flush| self.flushes.iter().position(|known| known.flush == *flush).unwrap_or_default();
        let mut flushes: Vec<usize> = rows.iter().map(|(flush, _)| index(flush)).collect();
        flushes.sort_unstable();
        for pair in flushes.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            // One more, because a flush that had taken rows may have found nothing new in them.
            let before = |sending: &Sending| sending.flushes_before <= second + 1;
            let excused = sendings.iter().any(|sending| before(sending) && !self.remembers(sending, first));
            ensure!(
                first != second && excused,
                "twice: {place:?} {rows:?}, by the flushes {flushes:?} of {:?}",
                self.flushes
            );
        }
        Ok(())
    }

    /// Whether a flush was within the horizon when a row was sent.
    fn remembers(&self, sending: &Sending, flush: usize) -> bool {
        if flush + MIN_GENERATIONS >= sending.flushes_before {
            return true;
        }
        let newest = sending.flushes_before.checked_sub(1).and_then(|newest| self.flushes.get(newest));
        let kept = newest.is_some_and(|newest| self.flushes[flush].first >= newest.last - self.keep);
        kept && self.keep > 0 && flush >= self.relieved_before
    }
}
