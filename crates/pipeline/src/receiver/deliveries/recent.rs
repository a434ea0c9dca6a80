//! The oldest samples among those that came last. Pure.
//!
//! The newest timestamp of a sender proves little: one exporter whose clock is ahead makes it run ahead of all others. The oldest of
//! what has come in the last while cannot be ahead: a queue that lags still brings the samples of other exporters, which are old.

use std::collections::VecDeque;

use promarchive_api::Oldest;

/// Windows that are told, in seconds.
const WINDOWS: [i64; 6] = [15, 30, 60, 120, 180, 240];
/// Arrivals are put together in steps of this length, in milliseconds.
const STEP: i64 = 15_000;
/// So many steps are kept before the last one.
const STEPS: i64 = 16;

/// What came within some seconds.
#[derive(Debug)]
struct Step {
    number: i64,
    /// The earliest timestamp.
    oldest: i64,
    /// The longest time before an arrival without another one.
    pause: i64,
}

/// What came last, in steps of some seconds.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// When the first one came.
    since: i64,
    last: i64,
    steps: VecDeque<Step>,
}

impl Recent {
    /// Something came at `now` with `earliest` as its earliest timestamp, both in milliseconds since the epoch.
    pub(super) fn record(&mut self, earliest: i64, now: i64) {
        // The clock may have been set back: nothing is known of before.
        if self.steps.is_empty() || now < self.last {
            self.steps.clear();
            (self.since, self.last) = (now, now);
        }
        let pause = now.saturating_sub(self.last);
        self.last = now;
        let number = now.div_euclid(STEP);
        match self.steps.back_mut() {
            Some(step) if step.number == number => {
                (step.oldest, step.pause) = (earliest.min(step.oldest), pause.max(step.pause));
            }
            _ => self.steps.push_back(Step { number, oldest: earliest, pause }),
        }
        while self.steps.front().is_some_and(|step| number - step.number > STEPS) {
            self.steps.pop_front();
        }
    }

    /// The oldest of each window that is over, ending with the last arrival. The windows are up to a step longer than they say.
    pub(super) fn oldest(&self) -> Vec<Oldest> {
        let over = WINDOWS.into_iter().filter(|seconds| self.last.saturating_sub(self.since) >= seconds * 1_000);
        over.filter_map(|seconds| {
            let first = (self.last - seconds * 1_000).div_euclid(STEP);
            let within = || self.steps.iter().filter(|step| step.number >= first);
            let timestamp = within().map(|step| step.oldest).min()?;
            let longest_pause = within().map(|step| step.pause).max()?;
            Some(Oldest { seconds, timestamp, longest_pause })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000;

    fn told(recent: &Recent) -> Vec<(i64, i64, i64)> {
        let seconds = |one: &Oldest| (one.seconds, one.timestamp / SECOND, one.longest_pause / SECOND);
        recent.oldest().iter().map(seconds).collect()
    }

    #[test]
    fn an_exporter_that_is_ahead_does_not_hide_that_the_queue_lags() {
        let mut recent = Recent::default();
        // The queue lags by 1,000 s, every tenth request has samples of the exporter alone.
        for second in 0..=60 {
            let ahead = if second % 10 == 0 { 540 } else { 0 };
            recent.record((second - 1_000 + ahead) * SECOND, second * SECOND);
        }
        assert_eq!(told(&recent), [(15, 45 - 1_000, 1), (30, 31 - 1_000, 1), (60, 1 - 1_000, 1)]);
    }

    #[test]
    fn a_window_that_is_not_over_says_nothing_and_a_pause_is_told() {
        let mut recent = Recent::default();
        recent.record(5 * SECOND, 100 * SECOND);
        assert_eq!(told(&recent), []);
        recent.record(6 * SECOND, 130 * SECOND);
        recent.record(7 * SECOND, 160 * SECOND);
        assert_eq!(told(&recent), [(15, 7, 30), (30, 6, 30), (60, 5, 30)]);
        recent.record(8 * SECOND, 1_000 * SECOND);
        assert_eq!(told(&recent).last(), Some(&(240, 8, 840)), "what came before the pause is long past");
        recent.record(9 * SECOND, 200 * SECOND);
        assert_eq!(told(&recent), [], "a clock that was set back");
    }

    #[test]
    fn it_stays_small() {
        let mut recent = Recent::default();
        for second in 0..10_000 {
            recent.record(second * SECOND, second * SECOND);
        }
        assert!(recent.steps.len() <= 17);
        assert_eq!(told(&recent).last(), Some(&(240, 9_750, 1)));
    }
}
