//! What of the WAL is still to be purged. The log says when that begins and when it is over, however often it is tried between the two.

use std::sync::atomic::{AtomicU64, Ordering};

/// The last position up to which the WAL is still to be purged, because that failed; 0 for none.
#[derive(Debug, Default)]
pub(super) struct Unpurged(AtomicU64);

/// What the log has to say of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It failed, and the one before it did not.
    Begins,
    /// It succeeded, and the one before it did not.
    Over,
}

impl Unpurged {
    /// Notes how the purge of everything up to `through` ended.
    pub(super) fn note(&self, through: u64, failed: bool) -> Option<News> {
        let before = self.0.swap(if failed { through } else { 0 }, Ordering::Relaxed);
        match (before > 0, failed) {
            (false, true) => Some(News::Begins),
            (true, false) => Some(News::Over),
            _ => None,
        }
    }

    /// Up to where a purge is to be tried again.
    pub(super) fn through(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&through| through > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_that_keeps_failing_is_told_once() {
        let unpurged = Unpurged::default();
        assert_eq!((unpurged.note(3, false), unpurged.through()), (None, None));
        assert_eq!((unpurged.note(3, true), unpurged.through()), (Some(News::Begins), Some(3)));
        for again in [3, 3, 9] {
            assert_eq!((unpurged.note(again, true), unpurged.through()), (None, Some(again)));
        }
        assert_eq!((unpurged.note(9, false), unpurged.through()), (Some(News::Over), None));
        assert_eq!(unpurged.note(9, true), Some(News::Begins), "the next outage is told, too");
    }
}
