//! What was promised: every row that was sent, whether it was acknowledged, and what it may meet in the tables.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use promarchive_archive::commit::MIN_GENERATIONS;
use promarchive_model::FlushId;

use super::ensure;
use super::rows::{Content, Key};
use super::tables::Contents;

/// A moment in a history, as it counts for the horizon.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// Milliseconds since the epoch.
    pub(super) time: i64,
    /// How many flushes had taken their rows, at least.
    pub(super) flushes: usize,
    /// The same at most: of a flush that failed before, nobody sees when its end comes.
    pub(super) flushes_at_most: usize,
}

/// One sending of a row.
struct Sending {
    content: Content,
    serial: u64,
    /// To which WAL.
    wal: usize,
    acknowledged: bool,
    /// A flush that had to hold it has succeeded.
    owed: bool,
    /// When it was sent, and when its WAL was taken up again.
    moments: Vec<Moment>,
}

/// A flush of which rows are in the tables.
#[derive(Debug)]
struct Seen {
    flush: FlushId,
    /// When its first rows were put.
    time: i64,
}

/// All rows that were ever sent, and all flushes that were seen to write.
pub(super) struct Model {
    sent: BTreeMap<Key, Vec<Sending>>,
    serial: u64,
    /// Flushes in the order in which they came to the tables.
    flushes: Vec<Seen>,
    /// How long the horizon reaches back.
    keep: i64,
    /// Keys whose row another program has taken into a file of its own.
    excused: BTreeSet<Key>,
    /// Flushes before this one were dropped from the horizon because memory was short.
    relieved_before: usize,
}

impl Model {
    pub(super) fn new(keep: i64) -> Self {
        Self {
            sent: BTreeMap::new(),
            serial: 0,
            flushes: Vec::new(),
            keep,
            excused: BTreeSet::new(),
            relieved_before: 0,
        }
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn flushes(&self) -> usize {
        self.flushes.len()
    }

    /// Rows may come to the tables from this moment on.
    pub(super) fn send(&mut self, rows: Vec<(Key, Content)>, wal: usize, moment: Moment) {
        for (key, content) in rows {
            let sending =
                Sending { content, serial: self.serial, wal, acknowledged: false, owed: false, moments: vec![moment] };
            self.sent.entry(key).or_default().push(sending);
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
    pub(super) fn flushed(&mut self, wal: usize, serial: u64) {
        let mine = |sending: &&mut Sending| sending.acknowledged && sending.wal == wal && sending.serial < serial;
        self.sendings().filter(mine).for_each(|sending| sending.owed = true);
    }

    /// A WAL directory is taken up again: what it still holds counts as sent now, because the horizon has moved on without it.
    pub(super) fn resumed(&mut self, wal: usize, time: i64) {
        let flushes = self.flushes.len();
        let now = Moment { time, flushes, flushes_at_most: flushes };
        self.sendings().filter(|sending| sending.wal == wal).for_each(|sending| sending.moments.push(now));
    }

    /// Another program holds the rows of these keys: nobody remembers them for us.
    pub(super) fn excuse(&mut self, keys: impl Iterator<Item = Key>) {
        self.excused.extend(keys);
    }

    /// All rows are in files of ours again, each once.
    pub(super) fn excuse_nothing(&mut self) {
        self.excused.clear();
    }

    /// Memory was short: only the last flushes stay within the horizon.
    pub(super) fn relieved(&mut self) {
        self.relieved_before = self.flushes.len();
    }

    /// Flushes whose commits were not durable are gone with a power cut: as if they had never been. Replay may have made another of the
    /// same position since, out of fewer records.
    fn forget_lost_flushes(&mut self, contents: &Contents) {
        let lost = |known: &Seen| contents.flushes.get(&known.flush).is_none_or(|&time| time > known.time);
        while let Some(at) = self.flushes.iter().position(lost) {
            self.flushes.remove(at);
            let count_one_less = |flushes: &mut usize| *flushes -= usize::from(*flushes > at);
            let moments = self.sent.values_mut().flatten().flat_map(|sending| &mut sending.moments);
            moments.for_each(|moment| {
                count_one_less(&mut moment.flushes);
                count_one_less(&mut moment.flushes_at_most);
            });
            count_one_less(&mut self.relieved_before);
        }
    }

    /// Takes note of new flushes, then holds the tables against what was promised.
    pub(super) fn check(&mut self, contents: &Contents) -> Result<(), String> {
        self.forget_lost_flushes(contents);
        for (&flush, &time) in &contents.flushes {
            if !self.flushes.iter().any(|known| known.flush == flush) {
                self.flushes.push(Seen { flush, time });
            }
        }
        for (key, sendings) in &self.sent {
            let rows = contents.rows.get(key).map_or(&[][..], Vec::as_slice);
            let greatest = rows.iter().map(|(_, content)| content).max_by(|a, b| a.order(b));
            for owed in sendings.iter().filter(|sending| sending.owed) {
                let Some(greatest) = greatest else {
                    return Err(format!("acknowledged and lost: {key:?} {:?}", owed.content));
                };
                let order = greatest.order(&owed.content);
                ensure!(order != Ordering::Less, "{key:?} is {greatest:?}, and {:?} was acknowledged", owed.content);
            }
        }
        for (key, rows) in &contents.rows {
            let Some(sendings) = self.sent.get(key) else { return Err(format!("never sent: {key:?} {rows:?}")) };
            for (_, content) in rows {
                ensure!(sendings.iter().any(|sending| sending.content == *content), "never sent: {key:?} {content:?}");
            }
            self.check_once(key, rows, sendings)?;
        }
        Ok(())
    }

    /// A key may stand twice only because a row was sent again when the flush that had written the first was beyond the horizon.
    fn check_once(&self, key: &Key, rows: &[(FlushId, Content)], sendings: &[Sending]) -> Result<(), String> {
        if self.excused.contains(key) {
            return Ok(());
        }
        if matches!(key, Key::Metadata(..)) {
            // It is remembered by days, of which a WAL directory that comes back late may have missed more than are kept.
            let parked = sendings.iter().any(|sending| sending.moments.len() > 1);
            ensure!(rows.len() == 1 || parked, "twice: {key:?} {rows:?}");
            return Ok(());
        }
        let index = |flush: &FlushId| self.flushes.iter().position(|known| known.flush == *flush).unwrap_or_default();
        let mut flushes: Vec<usize> = rows.iter().map(|(flush, _)| index(flush)).collect();
        flushes.sort_unstable();
        for pair in flushes.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            // One more, because a flush that had taken rows may have found nothing new in them.
            let excuses = |&sent: &Moment| sent.flushes <= second + 1 && !self.remembers(first, sent);
            let excused = sendings.iter().flat_map(|sending| &sending.moments).any(excuses);
            ensure!(
                first != second && excused,
                "twice: {key:?} {rows:?}, by the flushes {flushes:?} of {:?}",
                self.flushes
            );
        }
        Ok(())
    }

    /// Whether a flush was within the horizon of a row that was sent at a moment.
    fn remembers(&self, flush: usize, sent: Moment) -> bool {
        let kept = self.flushes[flush].time >= sent.time - self.keep && flush >= self.relieved_before;
        flush + MIN_GENERATIONS >= sent.flushes_at_most || self.keep > 0 && kept
    }
}
