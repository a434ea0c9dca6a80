//! The control record that says which files this receiver may still write again, renewed before it expires.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use promarchive_archive::control::{Horizon, Records};
use promarchive_archive::log::{LogError, Put};
use promarchive_archive::store::Store;
use promarchive_model::WriterId;

/// How long a record holds: the longest that maintenance leaves the last files of a receiver alone that is gone.
const VALID_MS: i64 = 60 * 60 * 1000;
/// The horizon moves with each flush; maintenance need not know that often.
const RENEW_MS: i64 = 10 * 60 * 1000;
/// Time between two tries after one that has failed.
const BACKOFF: Duration = Duration::from_secs(60);

/// What was put last.
#[derive(Clone, Debug)]
struct Last {
    number: u64,
    time: i64,
    from: BTreeMap<WriterId, u64>,
}

/// Keeps the record.
pub(super) struct HorizonRecord {
    records: Records<Horizon>,
    last: Option<Last>,
    /// After a failure: when to try again.
    not_before: Option<Instant>,
}

impl HorizonRecord {
    /// For the receiver that has this writer's WAL.
    pub(super) fn new(store: &Store, writer: WriterId) -> Self {
        Self { records: Records::about(store, &writer.to_string()), last: None, not_before: None }
    }

    /// Puts a record if it is time: flushes from these positions on may be written again. `now` in milliseconds since the epoch. Writing goes on
    /// without it, so a failure is told and tried again.
    pub(super) async fn keep(&mut self, from: BTreeMap<WriterId, u64>, now: i64) {
        if !is_due(self.last.as_ref(), &from, now) || self.not_before.is_some_and(|time| Instant::now() < time) {
            return;
        }
        match self.put(from, now).await {
            Ok(()) => self.not_before = None,
            Err(error) => {
                if self.not_before.is_none() {
                    tracing::warn!(
                        %error,
                        "cannot write the control record that tells maintenance which files may still be rewritten; \
                         retrying every minute"
                    );
                }
                self.not_before = Some(Instant::now() + BACKOFF);
            }
        }
    }

    async fn put(&mut self, from: BTreeMap<WriterId, u64>, now: i64) -> Result<(), LogError> {
        let before = match &self.last {
            Some(last) => last.number,
            // One that cannot be read is followed all the same.
            None => self.records.newest_number().await?.unwrap_or(0),
        };
        let taken = |number: u64| LogError::Store {
            place: format!("control record {number} of kind horizon"),
            cause: "another program has written this record or a newer one".into(),
        };
        let number = before.checked_add(1).ok_or_else(|| taken(before))?;
        let expires = now.saturating_add(VALID_MS);
        // The next try looks what is there by then.
        self.last = None;
        match self.records.put(number, now, Horizon { from: from.clone(), expires }).await? {
            Put::Taken => return Err(taken(number)),
            Put::Done => self.last = Some(Last { number, time: now, from }),
        }
        self.records.trim(number).await
    }
}

/// Whether it is time for a new record. Pure.
fn is_due(last: Option<&Last>, from: &BTreeMap<WriterId, u64>, now: i64) -> bool {
    let Some(last) = last else { return true };
    // The clock may have been set back.
    let age = now.checked_sub(last.time).filter(|&age| age >= 0);
    age.is_none_or(|age| age >= VALID_MS / 2 || (age >= RENEW_MS && last.from != *from))
}

#[cfg(test)]
mod tests {
    use promarchive_archive::Location;

    use super::*;

    const OWN: WriterId = WriterId::from_u128(1);

    fn from(position: u64) -> BTreeMap<WriterId, u64> {
        BTreeMap::from([(OWN, position)])
    }

    #[test]
    fn a_record_is_renewed_before_it_expires_and_not_at_each_flush() {
        let last = Last { number: 1, time: 0, from: from(7) };
        assert!(is_due(None, &from(7), 0));
        for (now, position, due) in [
            (0, 8, false),
            (RENEW_MS - 1, 8, false),
            (RENEW_MS, 8, true),
            (RENEW_MS, 7, false),
            (VALID_MS / 2 - 1, 7, false),
            (VALID_MS / 2, 7, true),
            (-1, 7, true),
        ] {
            assert_eq!(is_due(Some(&last), &from(position), now), due, "{now} {position}");
        }
    }

    #[tokio::test]
    async fn one_record_stands_whatever_was_there_before() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Location::at(directory.path()).unwrap()).unwrap();
        let records = Records::<Horizon>::about(&store, &OWN.to_string());
        let path = directory.path().join("_promarchive/horizon").join(OWN.to_string());
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("00000000000000000004.json"), "not whole").unwrap();
        for (process, now) in [(0, 10), (1, RENEW_MS)] {
            let mut record = HorizonRecord::new(&store, OWN);
            for position in [7, 8] {
                record.keep(from(position), now).await;
            }
            let newest = records.newest().await.unwrap().unwrap();
            assert_eq!(
                (newest.number, newest.record),
                (5 + process, Horizon { from: from(7), expires: now + VALID_MS })
            );
            assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
        }
    }
}
