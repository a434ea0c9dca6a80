//! The proof that a start asks of a bucket, before anything is written to the archive there.
//!
//! The first start proves all that can be proved, and leaves a control record that says so. Those after it prove less: they find a store that was
//! replaced by a worse one, at a tenth of the cost. A directory needs no proof: whether it has hard links was tried when it was made.

use promarchive_model::environment::{Clock, Entropy};

use crate::control::{Proved, Records};
use crate::log::{LogError, Put};
use crate::store::Store;
use crate::store::probe::{Effort, ProbeError, prove};

/// What a start has proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How hard it tried.
    pub effort: Effort,
    /// Whether an earlier start has proved all.
    pub is_repeated: bool,
}

/// Proves the conditional put of an archive's store, where it must be proved.
pub async fn prove_store(store: &Store, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Option<Proof>, ProbeError> {
    if store.endpoint().is_none() {
        return Ok(None);
    }
    let records = Records::<Proved>::about(store, Proved::SUBJECT);
    let (whereabouts, Effort { rounds, contenders }) = (store.whereabouts(), Effort::FULL);
    let is_repeated = remembered(&records).await?.is_some_and(|proved| proved.holds(&whereabouts, rounds, contenders));
    let effort = if is_repeated { Effort::SHORT } else { Effort::FULL };
    prove(store, effort, entropy).await?;
    if !is_repeated {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        remember(&records, clock.now_ms(), Proved { store: whereabouts, rounds, contenders, version }).await?;
    }
    Ok(Some(Proof { effort, is_repeated }))
}

/// What an earlier start has proved; nothing if its record cannot be used.
async fn remembered(records: &Records<Proved>) -> Result<Option<Proved>, LogError> {
    match records.newest().await {
        Ok(newest) => Ok(newest.map(|newest| newest.record)),
        Err(error) if error.is_retryable() => Err(error),
        Err(error) => {
            tracing::warn!(%error, "what was proved of the store is proved again");
            Ok(None)
        }
    }
}

async fn remember(records: &Records<Proved>, now: i64, proved: Proved) -> Result<(), LogError> {
    let number = records.newest_number().await?.map_or(1, |newest| newest.saturating_add(1));
    match records.put(number, now, proved).await? {
        Put::Done => {
            if let Err(error) = records.trim(number).await {
                tracing::warn!(%error, "older records of what was proved of the store are left");
            }
        }
        // Another receiver has proved it at the same time.
        Put::Taken => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use promarchive_model::environment::{SeededEntropy, SystemClock};

    use super::*;
    use crate::Location;
    use crate::control::CONTROL_DIRECTORY;

    async fn start(store: &Store) -> Option<Proof> {
        prove_store(store, &SystemClock::default(), &SeededEntropy::new(1)).await.unwrap()
    }

    const FIRST: Option<Proof> = Some(Proof { effort: Effort::FULL, is_repeated: false });
    const LATER: Option<Proof> = Some(Proof { effort: Effort::SHORT, is_repeated: true });

    #[tokio::test]
    async fn the_first_start_proves_all_and_later_ones_less() {
        let store = Store::over(Location::parse("s3://lab/a").unwrap(), Arc::new(InMemory::new()));
        assert_eq!(start(&store).await, None, "it is in no bucket");
        let here = store.clone().asked_at("https://here");
        assert_eq!(start(&here).await, FIRST);
        assert_eq!(start(&here).await, LATER);
        // The archive was copied to another store, with its records.
        let there = store.clone().asked_at("https://there");
        assert_eq!(start(&there).await, FIRST);
        assert_eq!(start(&there).await, LATER);
        let records = Records::<Proved>::about(&store, Proved::SUBJECT);
        let newest = records.newest().await.unwrap().unwrap();
        assert_eq!((newest.number, newest.record.store.as_str()), (2, "s3://lab/a at https://there"));
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_used_is_replaced() {
        let store = Store::over(Location::parse("s3://lab/a").unwrap(), Arc::new(InMemory::new()));
        let store = store.asked_at("https://here");
        start(&store).await;
        let name = format!("probe/store/{:020}.json", 7);
        store.root_of(CONTROL_DIRECTORY).put(&name, "half".into()).await.unwrap();
        assert_eq!(start(&store).await, FIRST);
        assert_eq!(start(&store).await, LATER);
    }
}
